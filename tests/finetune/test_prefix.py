"""What stands around a text in training: prefix tokens, instructions of one's own."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from encoder import load_encoder
from encoder.errors import UsageError
from finetune.batches import Schedule, TrainingSet
from finetune.exporting import export_encoder
from finetune.holdout import measure_of
from finetune.measures import encode_by
from finetune.prefix import PrefixedEmbedding
from finetune.trainable import load_trainable
from finetune.trainer import StepTrainer
from finetune.training import Material, train

SOME = ["w1 w2 w3", "w4", "w5 w6 w41 w42 w43 w44 w45"]


@pytest.fixture
def config(config):
    return partial(config, method="prefix", prefix_tokens=3, learning_rate=3e-2, epochs=4)


def test_old_words_keep_their_vectors_and_new_ones_have_rows_of_their_own():
    table = torch.nn.Embedding(7, 4)
    found = PrefixedEmbedding(table, 5, 3, seed=1)
    ids = torch.tensor([[0, 5, 6], [4, 7, 1]])

    rows = found(ids)

    torch.testing.assert_close(rows[0, 0], table.weight[0])
    torch.testing.assert_close(rows[0, 1:], found.rows[:2])
    torch.testing.assert_close(rows[1, 1], found.rows[2])
    whole = found.merged()
    assert whole.num_embeddings == 8
    torch.testing.assert_close(whole(ids), rows)
    rows.sum().backward()
    assert bool((found.rows.grad == 1).all())


def test_a_text_is_read_behind_the_words_of_its_role(config):
    encoder = load_trainable(config())

    query, document = encoder.tokenise([("query", "w1", None), ("document", "w1", None)])

    first = encoder.tokenizer.backend.token_to_id("<query-0>")
    assert query.ids[1:4] == [first, first + 1, first + 2]
    assert document.ids[1:4] == [first + 3, first + 4, first + 5]
    assert encoder.spec.template("query") == "<query-0><query-1><query-2>query: {text}"
    (name,) = encoder.trained()
    assert name.endswith(".rows")
    assert encoder.trained()[name].shape == (6, 32)


def test_training_changes_the_new_rows_alone_and_the_export_has_them(config, records, tmp_path):
    chosen = config(max_steps=5, weight_decay=0.1)
    encoder = load_trainable(chosen)
    before = {name: weight.clone() for name, weight in encoder.module.named_parameters()}
    plan = Schedule(
        [TrainingSet("p", records)], batch_size=16, epochs=1, negatives=1, seed=1, max_steps=5
    )

    StepTrainer(encoder, plan, chosen, tmp_path / "c").train()

    after = dict(encoder.module.named_parameters())
    changed = [name for name in after if not torch.equal(before[name], after[name])]
    assert changed == list(encoder.trained())
    wanted = encoder.encode(SOME, "query")
    assert export_encoder(encoder, tmp_path / "model") == []
    loaded = load_encoder(str(tmp_path / "model"), device="cpu", backend="torch")
    np.testing.assert_allclose(loaded.encode_queries(SOME), wanted, atol=1e-5)

    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu", backend="torch")
    np.testing.assert_allclose(theirs.encode(SOME, prompt_name="query"), wanted, atol=1e-5)


def test_the_base_that_it_is_held_against_has_no_new_words(config, records, word_model, tmp_path):
    facts = train(
        Material(sets=[TrainingSet("pairs", records)]), tmp_path / "run", config(epochs=12)
    )

    plain = train(
        Material(sets=[TrainingSet("pairs", records)]),
        tmp_path / "plain",
        config(method="full", learning_rate=3e-3, epochs=6),
    )
    assert facts["verdict"] == "better"
    assert facts["share"] == 1.0
    assert facts["measured"][0]["base"] == pytest.approx(plain["measured"][0]["base"], abs=1e-5)


def test_words_are_put_before_a_text_only_once(config, tmp_path):
    export_encoder(load_trainable(config()), tmp_path / "model")

    with pytest.raises(UsageError, match=r"has prefix tokens already; begin with its base"):
        load_trainable(config(model=str(tmp_path / "model")))


def test_an_instruction_and_a_pooling_of_ones_own_travel_with_the_model(
    config, records, word_model, tmp_path
):
    chosen = config(
        method="full",
        learning_rate=3e-3,
        query_instruction="w70 ",
        document_instruction='w71 "{text}" w72',
        pooling="cls",
        max_steps=4,
    )

    facts = train(
        Material(sets=[TrainingSet("pairs", records)]), tmp_path / "run", replace(chosen, holdout=0)
    )

    model = load_encoder(facts["model"], device="cpu", backend="torch")
    assert model.spec.pooling == "cls"
    assert model.spec.template("query") == "w70 {text}"
    assert model.spec.template("document") == 'w71 "{text}" w72'
    encoder = load_trainable(chosen)
    query, document = encoder.tokenise([("query", "w1", None), ("document", "w1", None)])
    assert len(document.ids) > len(query.ids) == 4
    with pytest.raises(UsageError, match=r"Unknown pooling 'middle'"):
        load_trainable(config(pooling="middle"))


def test_an_instruction_of_ones_own_is_held_against_the_base_as_it_is_used(
    config, records, word_model, tmp_path
):
    measure = measure_of(records[300:], [], "held out", 0)
    with load_encoder(word_model, device="cpu") as encoder:
        wanted = measure.measured(encode_by(encoder)).figure
    chosen = config(
        method="full", learning_rate=3e-3, query_instruction="w70 w71 w72 ", epochs=8, dropout=0.0
    )

    facts = train(
        Material(
            sets=[TrainingSet("pairs", records[:300])],
            choice=[measure],
            proof=[measure],
        ),
        tmp_path / "run",
        chosen,
    )

    assert facts["measured"][0]["base"] == pytest.approx(wanted, abs=1e-5)
