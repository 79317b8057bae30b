"""General texts in a step keep the encoder where its base is, by exactly the loss that is told."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from data.pairs import PairRecord
from encoder.errors import UsageError
from finetune import losses
from finetune.batches import DOCUMENT, Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.corpora import texts_of
from finetune.keeping import KeepingSchedule
from finetune.objective import objective
from finetune.trainable import load_trainable
from finetune.training import Material, train
from tests.finetune.test_train_command import call
from tests.finetune.test_training import equal, trainer_of, weights_of

PAIRS = [PairRecord(queries=(f"w{i}",), positives=(f"w{i} w{i + 1}",)) for i in range(8)]
KEPT = [f"w{60 + number} w{number}" for number in range(5)]


def rows_of(texts):
    """Embeddings that tell the texts apart."""
    rows = np.array([[len(text), ord(text[1]), ord(text[-1]), 3] for text in texts], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plan(records=PAIRS, texts=KEPT, each=3, **facts):
    facts = {"batch_size": 4, "epochs": 2, "negatives": 0, "seed": 3} | facts
    plain = Schedule([TrainingSet("p", records)], **facts)
    return plain, KeepingSchedule(plain, texts, rows_of, each=each, seed=3)


@pytest.fixture
def config(config):
    return partial(config, max_steps=12, holdout=0.0, dropout=0.0)


def test_each_step_holds_the_next_texts_behind_its_own_with_their_embeddings():
    plain, keeping = plan()
    seen = []
    for step in range(len(plain)):
        own, batch = plain.batch(step), keeping.batch(step)
        texts = [batch.texts[place][1] for place in batch.kept]

        assert list(batch.texts[: len(own.texts)]) == list(own.texts)
        assert (batch.queries, batch.positives) == (own.queries, own.positives)
        np.testing.assert_array_equal(batch.kept_rows, rows_of(texts))
        seen += texts

    assert len(keeping) == len(plain) == 4
    assert sorted(seen[:5]) == sorted(KEPT)  # all of them before any comes again
    assert seen[5:10] == seen[:5]


def test_a_document_of_the_step_that_is_also_kept_stands_in_it_once():
    texts = [record.positives[0] for record in PAIRS]
    plain, keeping = plan(texts=texts, each=8)

    batch = keeping.batch(0)

    assert len(batch.texts) == len(set(batch.texts)) == len(plain.batch(0).texts) + 4
    assert {batch.texts[place] for place in batch.kept} == {(DOCUMENT, t, None) for t in texts}


def test_the_loss_is_the_plain_one_and_the_mean_distance_to_the_base():
    plain, keeping = plan()
    batch, chosen = keeping.batch(1), TrainConfig(keep_weight=7.0)
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(len(batch.texts), 4)))

    got = objective(rows, batch, chosen)

    own = rows[: len(plain.batch(1).texts)]
    cosines = [
        float(rows[place] @ torch.from_numpy(base).double() / rows[place].norm())
        for place, base in zip(batch.kept, batch.kept_rows, strict=True)
    ]
    want = objective(own, plain.batch(1), chosen) + 7.0 * (1 - np.mean(cosines))
    assert float(got) == pytest.approx(float(want), rel=1e-6)


def test_the_distance_and_its_gradient_are_those_of_torch():
    draw = torch.Generator().manual_seed(4)
    student = torch.randn(6, 5, dtype=torch.float64, generator=draw, requires_grad=True)
    other = student.detach().clone().requires_grad_()
    teacher = torch.randn(6, 5, dtype=torch.float64, generator=draw)

    got = losses.embedding_distance(student, teacher)
    want = functional.cosine_embedding_loss(other, teacher, torch.ones(6))
    got.backward()
    want.backward()

    assert got.item() == pytest.approx(want.item(), abs=1e-9)
    torch.testing.assert_close(student.grad, other.grad, atol=1e-9, rtol=0)
    with pytest.raises(ValueError, match=r"got \(6, 5\) and \(6, 4\)"):
        losses.embedding_distance(student, teacher[:, :4])


def test_what_is_kept_stays_nearer_to_the_base(config, records, tmp_path):
    texts = [
        " ".join(f"w{70 + (number * step) % 10}" for step in range(1, 5)) for number in range(9)
    ]
    base = load_trainable(config()).encode(texts, DOCUMENT)
    cosines = {}
    for name, kept in (("plain", ()), ("keeping", texts)):
        material = Material(sets=[TrainingSet("p", records)], kept=kept)
        train(material, tmp_path / name, config())
        tuned = load_trainable(config(model=str(tmp_path / name / "model")))
        cosines[name] = (tuned.encode(texts, DOCUMENT) * base).sum(axis=1)

    assert cosines["keeping"].min() > cosines["plain"].max()
    assert cosines["keeping"].mean() > 0.99


def test_the_base_reads_a_text_cut_as_training_cuts_it(config):
    encoder = load_trainable(config(max_document_tokens=5))
    text = "w1 w2 w3 w4 w5 w6 w7 w8"

    (cut,) = encoder.encode_cut([(DOCUMENT, text, None)])

    np.testing.assert_allclose(cut, encoder.encode(["w1 w2 w3"], DOCUMENT)[0], atol=1e-6)
    assert np.abs(cut - encoder.encode([text], DOCUMENT)[0]).max() > 1e-3


def test_pieces_of_a_step_have_its_gradients(config, records, tmp_path, monkeypatch):
    def gradients(batch_size):
        chosen = config(batch_size=batch_size, effective_batch=64, max_steps=1)
        encoder, trainer = trainer_of(chosen, records, tmp_path / str(batch_size))
        base = lambda some: encoder.encode_cut([(DOCUMENT, text, None) for text in some])  # noqa: E731
        plain = trainer._schedule
        keeping = KeepingSchedule(plain, KEPT, lambda some: base(some) + 0.1, each=5, seed=1)
        trainer.create_optimizer()
        trainer.training_step(encoder.module, keeping.batch(0))
        return {name: weight.grad for name, weight in encoder.trained().items()}

    one, other = gradients(64), gradients(8)

    assert any(gradient.abs().max() > 1e-4 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], atol=1e-6, rtol=1e-4, msg=name)


def test_a_training_that_was_cut_off_goes_on_with_the_same_texts_alone(config, records, tmp_path):
    material = Material(sets=[TrainingSet("p", records)], kept=KEPT)
    chosen = config(save_every=4)
    train(material, tmp_path / "whole", chosen)

    def stop(step, *_):
        if step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(material, tmp_path / "cut", chosen, progress=stop)
    other = Material(sets=material.sets, kept=KEPT[1:])
    with pytest.raises(UsageError, match=r"begun with another choice of texts to keep"):
        train(other, tmp_path / "cut", chosen, resume=True)
    train(material, tmp_path / "cut", chosen, resume=True)

    ends = [
        weights_of(load_trainable(config(model=str(tmp_path / name / "model"))))
        for name in ("whole", "cut")
    ]
    assert equal(*ends)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"task": "reranker"}, r"gives no embeddings that could stay; leave keep out"),
        ({"pooling": "cls"}, r"cannot stay what it is; leave keep out"),
        ({"query_instruction": "ask: "}, r"cannot stay what it is; leave keep out"),
        ({"method": "prefix"}, r"cannot stay what it is; leave keep out"),
    ],
)
def test_what_cannot_be_kept_is_refused(choices, reason, config, records, tmp_path):
    material = Material(sets=[TrainingSet("p", records)], kept=KEPT)

    with pytest.raises(UsageError, match=reason):
        train(material, tmp_path / "run", config(**choices))

    assert not (tmp_path / "run").exists()


def test_choices_and_texts_that_say_nothing_are_refused():
    with pytest.raises(UsageError, match=r"keep-weight must be above 0, got 0"):
        TrainConfig(keep_weight=0.0)
    with pytest.raises(UsageError, match=r"keep-texts must be above 0, got -1"):
        TrainConfig(keep_texts=-1)
    with pytest.raises(ValueError, match=r"There is no text to keep; give some hundreds"):
        plan(texts=["", "  "])


def test_the_command_reads_texts_of_files_and_of_an_index(
    records, word_model, tmp_path, monkeypatch, capsys
):
    from finetune import train as command

    pairs, kept = tmp_path / "pairs.jsonl", tmp_path / "general.jsonl"
    lines = [{"query": r.queries[0], "positive": r.positives[0]} for r in records]
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    kept.write_text("".join(json.dumps({"text": text}) + "\n" for text in KEPT))
    words = (pairs, "--model", word_model, "--device", "cpu", "--max-steps", "3", "--holdout", "0")

    code, stdout, _ = call(
        command, monkeypatch, capsys, *words, "--out", tmp_path / "run", "--keep", kept, "--json"
    )

    assert code == 0
    assert json.loads(stdout)["config"]["keep_weight"] == 30.0
    missing = tmp_path / "nothing.jsonl"
    code, _, stderr = call(
        command, monkeypatch, capsys, *words, "--out", tmp_path / "more", "--keep", missing
    )
    assert code in {1, 2}
    assert stderr.strip().endswith(".")
    assert str(missing) in stderr
    kept.write_text("")
    code, _, stderr = call(
        command, monkeypatch, capsys, *words, "--out", tmp_path / "more", "--keep", kept
    )
    assert (code, f"There is no text in {kept}; leave --keep out." in stderr) == (2, True)
    assert not (tmp_path / "more").exists()


def test_an_index_gives_its_embedded_texts(word_encoder, tmp_path):
    from indexing import build_index

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Pump\n\nPress the button.\n")
    build_index([str(tmp_path / "docs")], tmp_path / "kb", encoder=word_encoder)

    assert list(texts_of(tmp_path / "kb")) == ["Pump\nPress the button."]
