"""Training a reranker: it learns, follows the order before as far as helps, and loads anywhere."""

import json
import random

import numpy as np
import pytest
import torch

from data.pairs import PairRecord
from encoder import load_reranker
from encoder.errors import UsageError
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.errors import NotBetterError
from finetune.exporting import TEXTS, export_run
from finetune.pair_export import export_reranker
from finetune.pair_model import load_trainable_reranker
from finetune.pair_trainer import PairTrainer, TextList, list_loss, lists_of
from finetune.trainer import last_checkpoint
from finetune.training import Material, train

WORDS = [f"w{number}" for number in range(80)]
RIGHT, WRONG = "w79", "w78"
PAIRS = [("w1 w2 w3", "w4 w79 w5"), ("w9", "unknown words w78"), ("w1", "w2 " * 90)]


@pytest.fixture(scope="session")
def marked():
    """Documents that all hold the query's words; the right one says so by another word."""
    drawn = random.Random(3)
    found = []
    for _ in range(240):
        words = drawn.sample(WORDS[:60], 3)

        def document(mark, words=words):
            noise = drawn.sample(WORDS[60:78], 4)
            text = [*words, mark, *noise]
            drawn.shuffle(text)
            return " ".join(text)

        found.append(
            PairRecord(
                queries=(" ".join(words),),
                positives=(document(RIGHT),),
                negatives=tuple(document(WRONG) for _ in range(4)),
            )
        )
    return found


@pytest.fixture
def config(pair_model):
    def make(**changes):
        facts = {
            "task": "reranker",
            "model": pair_model,
            "device": "cpu",
            "precision": "float32",
            "learning_rate": 3e-3,
            "batch_size": 16,
            "negatives": 4,
            "max_pair_tokens": 40,
            "epochs": 3,
            "priors": (0.0, 2.0),
        }
        return TrainConfig(**(facts | changes))

    return make


def trainer_of(config, records, folder, **changes):
    reranker = load_trainable_reranker(config)
    plan = Schedule(
        [TrainingSet("pairs", records)],
        batch_size=config.step_size,
        epochs=config.epochs,
        negatives=config.negatives,
        seed=config.seed,
        max_steps=config.max_steps,
    )
    return reranker, PairTrainer(reranker, plan, config, folder, **changes)


@pytest.fixture(scope="module")
def trained(pair_model, marked, tmp_path_factory):
    out = tmp_path_factory.mktemp("rerankers") / "run"
    chosen = TrainConfig(
        task="reranker",
        model=pair_model,
        method="lora",
        lora_rank=4,
        lora_dropout=0.0,
        device="cpu",
        precision="float32",
        learning_rate=1e-2,
        batch_size=16,
        negatives=4,
        max_pair_tokens=40,
        epochs=6,
        priors=(0.0, 2.0, 20.0),
    )
    return train(Material(sets=[TrainingSet("marked", marked)]), out, chosen), out


def test_a_reranker_that_learned_puts_the_hits_of_a_search_in_a_better_order(trained):
    facts, out = trained

    (row,) = facts["measured"]
    assert facts["verdict"] == "better"
    assert row["metric"] == "nDCG@10"
    assert "30 hits each" in row["items"]
    assert row["tuned"] > row["base"] + 0.1
    assert facts["prior"] == max(facts["priors"], key=lambda pair: pair[1])[0]
    assert json.loads((out / "manifest.json").read_text()) == json.loads(json.dumps(facts))
    assert "How far the order before is followed" in (out / "report.html").read_text("utf-8")


def test_every_library_scores_with_the_export_as_angler_does(trained):
    from sentence_transformers import CrossEncoder
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = str(trained[1] / "model")
    ours = load_reranker(folder, device="cpu", backend="torch")
    wanted = np.array(ours.compute_score(PAIRS))
    theirs = CrossEncoder(folder, device="cpu", backend="torch")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    queries, texts = zip(*PAIRS, strict=True)
    inputs = tokenizer(
        list(queries), list(texts), padding=True, truncation="only_second", return_tensors="pt"
    )

    assert wanted.std() > 0.01
    probabilities = ours.compute_score(PAIRS, normalize=True)
    np.testing.assert_allclose(theirs.predict(PAIRS), probabilities, atol=1e-5)
    np.testing.assert_allclose(model(**inputs).logits[:, 0].detach(), wanted, atol=1e-5)
    assert ours.prior == trained[0]["prior"]
    assert ours.kind == "cross-encoder"
    assert inputs["input_ids"].shape[1] == 40


def test_what_was_trained_scores_in_use_as_in_training(trained, config):
    out = trained[1]
    ours = load_reranker(str(out / "model"), device="cpu", backend="torch")
    again = load_trainable_reranker(config(model=str(out / "model")))

    assert again.is_begun
    said = [again.score(query, [text])[0] for query, text in PAIRS]
    np.testing.assert_allclose(said, ours.compute_score(PAIRS), atol=1e-5)


def test_an_adapter_goes_over_its_base_in_half_the_precision_and_few_bytes(trained, tmp_path):
    facts, out = trained

    export_run(out, tmp_path / "adapter", adapter=True, device="cpu")

    loaded = load_reranker(str(tmp_path / "adapter"), device="cpu", backend="torch")
    whole = load_reranker(str(out / "model"), device="cpu", backend="torch")
    pairs = list(zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True))
    np.testing.assert_allclose(
        loaded.compute_score(pairs), whole.compute_score(pairs), atol=2e-2, rtol=2e-2
    )
    assert loaded.prior == facts["prior"]
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    assert weights.stat().st_size < 2.2 * facts["trained_weights"] + 8192
    with pytest.raises(UsageError, match=r"no base to be averaged with"):
        export_run(out, tmp_path / "half", share=0.5, device="cpu")


def test_openvino_runs_an_adapter_as_torch_does(trained, tmp_path):
    export_run(trained[1], tmp_path / "adapter", adapter=True, device="cpu")

    by = [
        load_reranker(str(tmp_path / "adapter"), device="cpu", backend=name).compute_score(PAIRS)
        for name in ("torch", "openvino")
    ]

    np.testing.assert_allclose(by[0], by[1], atol=1e-4)


def test_an_adapter_without_its_head_is_refused(trained, tmp_path):
    from safetensors.torch import load_file, save_file

    export_run(trained[1], tmp_path / "adapter", adapter=True, device="cpu")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if "classifier" not in k}, path)

    with pytest.raises(ValueError, match=r"holds no whole reranker: 2 of its weights are missing"):
        load_reranker(str(tmp_path / "adapter"), device="cpu", backend="torch")


def test_pairs_without_negatives_get_them_from_our_own_search(config, marked, tmp_path):
    bare = [PairRecord(queries=r.queries, positives=r.positives) for r in marked]

    # By their words alone the right documents are found already, so there is nothing to gain.
    with pytest.raises(NotBetterError, match=r"marked 1\.0000 → .*Keep the base"):
        train(
            Material(sets=[TrainingSet("marked", bare)]),
            tmp_path / "run",
            config(max_steps=3, epochs=1),
        )

    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert facts["verdict"] == "not better"
    assert facts["records"] == 192
    assert (tmp_path / "run" / "rejected" / "reranker.json").is_file()
    assert not (tmp_path / "run" / "model").exists()


def test_pairs_with_a_label_are_learned_one_by_one(config, tmp_path):
    drawn = random.Random(5)
    records = []
    for number in range(200):
        mark = (RIGHT, WRONG)[number % 2]
        texts = [" ".join([*drawn.sample(WORDS[:60], 4), *more]) for more in ((), (mark,))]
        records.append(
            PairRecord(queries=texts[:1], positives=texts[1:], label=float(number % 2 == 0))
        )

    facts = train(
        Material(sets=[TrainingSet("labelled", records)]), tmp_path / "run", config(epochs=8)
    )

    assert facts["metric"] == "Spearman"
    assert facts["measured"][0]["tuned"] > 0.5


@pytest.mark.parametrize("method", ["full", "lora", "bitfit"])
def test_a_method_trains_what_it_says_and_always_the_new_head(method, config, marked, tmp_path):
    chosen = config(method=method, lora_rank=4, max_steps=3)
    reranker, trainer = trainer_of(chosen, marked, tmp_path / "c")
    before = {name: weight.clone() for name, weight in reranker.module.named_parameters()}

    trainer.train()

    after = dict(reranker.module.named_parameters())
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed <= set(reranker.trained())
    assert any("classifier" in name and name.endswith("weight") for name in changed)
    inner = {name for name in changed if "classifier" not in name}
    if method == "bitfit":
        assert inner
        assert all(name.endswith("bias") for name in inner)
    if method == "lora":
        assert all("lora_" in name for name in inner)
        assert "pooler" in str(inner)
    export_reranker(reranker, tmp_path / "model", prior=1.5)
    assert load_reranker(str(tmp_path / "model")).prior == 1.5


def test_a_large_step_in_pieces_has_the_gradients_of_one_at_once(config, marked, tmp_path):
    def gradients(batch_size):
        chosen = config(batch_size=batch_size, effective_batch=32, max_steps=1, dropout=0.0)
        reranker, trainer = trainer_of(chosen, marked, tmp_path / str(batch_size))
        trainer.create_optimizer()
        loss = trainer.training_step(reranker.module, trainer._schedule.batch(0))
        return loss, {name: weight.grad for name, weight in reranker.trained().items()}

    one_loss, one = gradients(32)
    other_loss, other = gradients(5)

    torch.testing.assert_close(one_loss, other_loss)
    assert any(gradient.abs().max() > 1e-4 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], atol=1e-6, rtol=1e-4, msg=name)


def test_a_reranker_that_goes_on_ends_bit_for_bit_as_one_that_never_stopped(
    config, marked, tmp_path
):
    chosen = config(max_steps=6, save_every=2)
    whole, trainer = trainer_of(chosen, marked, tmp_path / "whole")
    trainer.train()

    def stop(step, *_):
        if step == 5:
            raise KeyboardInterrupt

    _, cut_off = trainer_of(chosen, marked, tmp_path / "cut", progress=stop)
    with pytest.raises(KeyboardInterrupt):
        cut_off.train()
    again, resumed = trainer_of(chosen, marked, tmp_path / "cut")
    resumed.train(resume_from_checkpoint=str(last_checkpoint(tmp_path / "cut")))

    for name, weight in whole.trained().items():
        assert torch.equal(weight, again.trained()[name]), name
    assert trainer.losses == resumed.losses


def test_lists_hold_the_right_text_first_and_a_teachers_scores(marked):
    taught = [
        PairRecord(
            queries=("q",),
            positives=("d",),
            negatives=("n", "m"),
            positive_scores=(3.0,),
            negative_scores=(1.0, 2.0),
        )
    ]
    plan = Schedule([TrainingSet("p", taught)], batch_size=1, epochs=1, negatives=2, seed=1)

    (found,) = lists_of(plan.batch(0))

    assert found.query == "q"
    assert found.texts[0] == "d"
    assert dict(zip(found.texts, found.wanted, strict=True)) == {"d": 3.0, "n": 1.0, "m": 2.0}


def test_lists_of_different_lengths_have_the_mean_of_their_own_losses():
    lists = [TextList("q", ("d", "n"), ()), TextList("q", ("d", "n", "m", "o"), ())]
    scores = [torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0, 3.0, 0.0])]

    found = list_loss(scores, lists, "listwise")
    each = [-torch.log_softmax(row, 0)[0] for row in scores]
    torch.testing.assert_close(found, torch.stack(each).mean())

    found = list_loss(scores, lists, "binary")
    each = [
        -(torch.sigmoid(row[0]).log() + torch.sigmoid(-row[1:]).log().sum()) / len(row)
        for row in scores
    ]
    torch.testing.assert_close(found, torch.stack(each).mean())


def test_a_list_of_one_text_teaches_no_order():
    with pytest.raises(ValueError, match=r"needs wrong texts beside the right one"):
        list_loss([torch.tensor([1.0])], [TextList("q", ("d",), ())], "listwise")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "qlora"}, r"trained by full, lora or bitfit, not by qlora"),
        ({"method": "lora", "lora_targets": ("nowhere",)}, r"no linear layer nowhere"),
    ],
)
def test_what_cannot_be_trained_is_said(changes, sentence, config):
    with pytest.raises(UsageError, match=sentence):
        load_trainable_reranker(config(**changes))


def test_no_reranker_is_made_of_a_model_that_reads_one_way(config, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    with pytest.raises(
        UsageError, match=r"is llama; a reranker is made of a model that reads both"
    ):
        load_trainable_reranker(config(model=str(tmp_path)))


def test_losses_of_the_other_task_are_refused():
    with pytest.raises(UsageError, match=r"Unknown loss 'cosent'. Known: auto, listwise, binary"):
        TrainConfig(task="reranker", loss="cosent")
    with pytest.raises(UsageError, match=r"Unknown loss 'listwise'"):
        TrainConfig(loss="listwise")
    with pytest.raises(UsageError, match=r"priors must be 0 or more"):
        TrainConfig(task="reranker", priors=(-1.0,))
    with pytest.raises(UsageError, match=r"leave grouped-by at queries"):
        TrainConfig(task="reranker", grouped_by="documents")


def test_a_reranker_is_not_written_as_an_openvino_encoder(trained):
    from finetune.runtime_export import add_openvino

    with pytest.raises(ValueError, match=r"is a reranker; only an encoder"):
        add_openvino(trained[1] / "model")
