"""Training on a small model: it learns, goes on exactly, saves memory exactly, and is judged."""

import json
import math
import resource
import shutil
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch

from data.pairs import PairRecord
from encoder import load_encoder
from encoder.errors import UsageError
from finetune import losses
from finetune.averaging import average
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.errors import NotBetterError, TrainingStoppedError
from finetune.exporting import TEXTS, export_encoder
from finetune.holdout import split
from finetune.objective import objective
from finetune.trainable import load_trainable
from finetune.trainer import WHOLE, StepTrainer, last_checkpoint
from finetune.training import Material, train

SOME = ["w1 w2 w3", "w4", "w5 w6 w41 w42 w43 w44 w45", "unknown words", "w7 w8"]


@pytest.fixture
def config(config):
    return partial(config, epochs=4)


def trainer_of(config, records, folder, **changes):
    encoder = load_trainable(config)
    plan = Schedule(
        [TrainingSet("pairs", records)],
        batch_size=config.step_size,
        epochs=config.epochs,
        negatives=config.negatives,
        seed=config.seed,
        max_steps=config.max_steps,
    )
    return encoder, StepTrainer(encoder, plan, config, folder, **changes)


def weights_of(encoder):
    return {name: weight.detach().clone() for name, weight in encoder.trained().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(scope="module")
def trained(word_model, records, tmp_path_factory):
    """A training that succeeds, and its folder."""
    out = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig(
        model=word_model,
        device="cpu",
        precision="float32",
        learning_rate=3e-3,
        batch_size=16,
        epochs=6,
    )
    return train(Material(sets=[TrainingSet("pairs", records)]), out, config), out


def test_a_model_that_learned_is_better_and_is_handed_out(trained):
    facts, out = trained

    (row,) = facts["measured"]
    assert facts["verdict"] == "better"
    assert row["interval"][0] > 0
    assert row["tuned"] > row["base"] + 0.1
    assert facts["losses"][0][1] > facts["losses"][-1][1]
    assert facts["held_out"] == 80
    assert json.loads((out / "manifest.json").read_text()) == json.loads(json.dumps(facts))
    assert (out / "model" / "model.safetensors").is_file()


def test_the_report_is_one_page_with_curves_and_a_picture(trained):
    from PIL import Image

    facts, out = trained
    page = (out / "report.html").read_text("utf-8")

    assert facts["sentence"].split(" (")[0] in page
    assert page.count("<svg") == 2
    assert "http" not in page
    assert Image.open(out / "report.png").size == (720, 520)


def test_every_library_embeds_with_the_export_as_angler_does(trained):
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    folder = str(trained[1] / "model")
    ours = load_encoder(folder, device="cpu", backend="torch")
    theirs = SentenceTransformer(folder, device="cpu", backend="torch")
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    inputs = tokenizer(SOME, padding=True, return_tensors="pt")
    hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][:, :, None]
    plain = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    documents = ours.encode_documents(SOME)
    np.testing.assert_allclose(theirs.encode(SOME), documents, atol=1e-5)
    np.testing.assert_allclose(plain.detach().numpy(), documents, atol=1e-5)
    queries = theirs.encode(SOME, prompt_name="query")
    np.testing.assert_allclose(queries, ours.encode_queries(SOME), atol=1e-5)
    assert ours.spec.max_tokens == theirs.max_seq_length == 48


def test_a_model_that_learned_nothing_is_refused(config, records, tmp_path):
    # Answers in another order: nothing of the training holds for the hold-out.
    answers = [record.positives for record in records]
    wrong = [
        PairRecord(queries=record.queries, positives=answer)
        for record, answer in zip(records, answers[1:] + answers[:1], strict=True)
    ]

    with pytest.raises(NotBetterError, match=r"Keep the base"):
        train(Material(sets=[TrainingSet("wrong", wrong)]), tmp_path / "run", config(epochs=2))

    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert facts["verdict"] == "not better"
    assert not (tmp_path / "run" / "model").exists()
    assert (tmp_path / "run" / "rejected" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_probe_that_falls_too_far_is_refused_or_averaged_away(config, records, tmp_path):
    # Here the words count that mean nothing in the training.
    probe_records = [
        PairRecord(
            queries=(f"w{40 + i} w{40 + (i * 7 + 3) % 40}",),
            positives=(f"w{40 + i} w{40 + (i * 7 + 3) % 40} w{i}",),
        )
        for i in range(40)
    ]
    from finetune.holdout import measure_of

    probe = measure_of(probe_records, [], "elsewhere", 0)
    material = Material(sets=[TrainingSet("pairs", records)], probes=[probe])

    with pytest.raises(NotBetterError, match=r"falls on elsewhere from"):
        train(material, tmp_path / "run", config(epochs=6, averages=(1.0,)))

    refused = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert refused["verdict"] == "worse elsewhere"
    allowed = -0.9 * refused["measured"][1]["difference"]
    chosen = config(epochs=6, averages=(1.0, 0.5), allowed_fall=allowed)
    facts = train(material, tmp_path / "less", chosen)
    assert (facts["verdict"], facts["share"]) == ("better", 0.5)
    assert -allowed <= facts["measured"][1]["difference"] < 0


@pytest.mark.parametrize("method", ["full", "lora", "bitfit"])
def test_a_method_trains_what_it_says_and_is_exported_whole(method, config, records, tmp_path):
    chosen = config(method=method, max_steps=4, lora_rank=4, learning_rate=1e-2)
    encoder, trainer = trainer_of(chosen, records, tmp_path / "c")
    before = {name: weight.clone() for name, weight in encoder.module.named_parameters()}

    trainer.train()

    after = dict(encoder.module.named_parameters())
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed
    assert changed <= set(encoder.trained())
    if method == "bitfit":
        assert all(name.endswith("bias") for name in changed)
    if method == "lora":
        assert all("lora_" in name for name in changed)
        assert "query" in str(changed)
        assert "pooler" not in str(changed)
    wanted = encoder.encode(SOME, "document")
    export_encoder(encoder, tmp_path / "model")
    loaded = load_encoder(str(tmp_path / "model"), device="cpu", backend="torch")
    np.testing.assert_allclose(loaded.encode_documents(SOME), wanted, atol=1e-5)


def test_an_adapter_is_exported_alone_and_needs_its_base(config, records, tmp_path, word_model):
    base = tmp_path / "base"
    shutil.copytree(word_model, base)
    chosen = config(method="lora", max_steps=3, lora_rank=4, learning_rate=1e-2, model=str(base))
    encoder, trainer = trainer_of(chosen, records, tmp_path / "c")
    trainer.train()
    wanted = encoder.encode(SOME, "query")

    export_encoder(encoder, tmp_path / "adapter", adapter=True)

    loaded = load_encoder(str(tmp_path / "adapter"), device="cpu", backend="torch")
    np.testing.assert_allclose(loaded.encode_queries(SOME), wanted, atol=1e-5)
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    shutil.rmtree(base)
    with pytest.raises(LookupError, match=r"holds an adapter for .*base, which is not here"):
        load_encoder(str(tmp_path / "adapter"))


def test_a_full_training_has_no_adapter_to_export(config, tmp_path):
    with pytest.raises(ValueError, match=r"Only a training by lora or qlora has an adapter"):
        export_encoder(load_trainable(config()), tmp_path / "adapter", adapter=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_training_that_goes_on_ends_bit_for_bit_as_one_that_never_stopped(
    method, config, records, tmp_path
):
    chosen = config(method=method, max_steps=9, save_every=3, lora_rank=4, effective_batch=24)
    whole, trainer = trainer_of(chosen, records, tmp_path / "whole")
    trainer.train()

    def stop(step, *_):
        if step == 7:
            raise KeyboardInterrupt

    _, cut_off = trainer_of(chosen, records, tmp_path / "cut", progress=stop)
    with pytest.raises(KeyboardInterrupt):
        cut_off.train()
    last = last_checkpoint(tmp_path / "cut")
    assert last.name == "checkpoint-6"  # at most one interval is lost
    again, resumed = trainer_of(chosen, records, tmp_path / "cut")
    resumed.train(resume_from_checkpoint=str(last))

    assert equal(weights_of(whole), weights_of(again))
    assert trainer.losses == resumed.losses


def test_a_run_that_was_cut_off_goes_on_to_the_same_figures(config, records, tmp_path):
    material = Material(sets=[TrainingSet("pairs", records[:200])])
    chosen = config(epochs=3, save_every=6, learning_rate=5e-3)
    whole = train(material, tmp_path / "whole", chosen)

    def stop(step, *_):
        if step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(material, tmp_path / "cut", chosen, progress=stop)
    with pytest.raises(UsageError, match="was begun with epochs 3, not 4"):
        train(material, tmp_path / "cut", config(epochs=4, save_every=6), resume=True)
    again = train(material, tmp_path / "cut", chosen, resume=True)

    own = {"model", "seconds", "training_s"}
    for name in whole.keys() - own:
        assert again[name] == whole[name], name


def test_dropout_is_drawn_anew_so_that_equal_ends_prove_something(config, records, tmp_path):
    ends = []
    for seed in (1, 2):
        encoder, trainer = trainer_of(config(max_steps=2), records, tmp_path / str(seed))
        torch.manual_seed(seed)
        trainer.train()
        ends.append(weights_of(encoder))

    assert not equal(*ends)


def test_a_checkpoint_that_was_cut_off_is_not_gone_on_from(config, records, tmp_path):
    chosen = config(max_steps=4, save_every=2)
    trainer_of(chosen, records, tmp_path)[1].train()

    (tmp_path / "checkpoint-4" / WHOLE).unlink()

    assert last_checkpoint(tmp_path).name == "checkpoint-2"


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_large_batch_in_pieces_has_the_gradients_of_one_at_once(
    dropout, config, records, tmp_path, monkeypatch
):
    from finetune import trainer as module

    def gradients(batch_size):
        chosen = config(
            batch_size=batch_size, effective_batch=256, max_steps=1, dropout=dropout, epochs=1
        )
        encoder, trainer = trainer_of(chosen, records, tmp_path / str(batch_size))
        # Groups of the same texts in both, so that dropout draws the same numbers.
        monkeypatch.setattr(type(encoder), "token_budget", lambda *_: 400)
        trainer.create_optimizer()
        torch.manual_seed(5)
        loss = trainer.training_step(encoder.module, trainer._schedule.batch(0))
        return loss, {name: weight.grad for name, weight in encoder.trained().items()}

    assert module.StepTrainer is StepTrainer
    one_loss, one = gradients(256)
    other_loss, other = gradients(8)

    torch.testing.assert_close(one_loss, other_loss)
    assert any(gradient.abs().max() > 1e-4 for gradient in one.values())
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], atol=1e-6, rtol=1e-4, msg=name)


def test_a_loss_that_is_no_number_stops_the_training(config, records, tmp_path):
    chosen = config(max_steps=20, save_every=1, learning_rate=1e37, warmup=0.0, max_grad_norm=0.0)
    _, trainer = trainer_of(chosen, records, tmp_path)

    with pytest.raises(TrainingStoppedError, match=r"The loss of step \d+ is nan; .* lower"):
        trainer.train()


@contextmanager
def files_no_larger_than(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_stops_in_a_sentence_and_keeps_what_was_saved(
    config, records, tmp_path
):
    chosen = config(max_steps=4, save_every=2)
    limit = []

    def fill_up(step, *_):
        if step == 3:
            limit.append(files_no_larger_than(4096))
            limit[0].__enter__()

    _, trainer = trainer_of(chosen, records, tmp_path, progress=fill_up)
    try:
        with pytest.raises(
            TrainingStoppedError, match=r"checkpoint of step 4 could not be written"
        ):
            trainer.train()
    finally:
        limit[0].__exit__(None, None, None)

    assert last_checkpoint(tmp_path).name == "checkpoint-2"
    assert not (tmp_path / "checkpoint-4").exists()


def test_scored_pairs_are_trained_and_judged_by_their_order(config, scored_records, tmp_path):
    chosen = config(epochs=5, holdout=0.4, loss="angle_mix", cosine_weight=1.0)

    facts = train(Material(sets=[TrainingSet("scored", scored_records)]), tmp_path / "run", chosen)

    assert facts["metric"] == "Spearman"
    assert facts["verdict"] == "better"


def test_the_average_is_linear_and_scales_an_adapter_once():
    base = {"a": torch.tensor([0.0]), "x.lora_A.w": torch.tensor([3.0])}
    base["x.lora_B.w"] = torch.tensor([0.0])
    tuned = {"a": torch.tensor([4.0]), "x.lora_A.w": torch.tensor([5.0])}
    tuned["x.lora_B.w"] = torch.tensor([2.0])

    half = average(base, tuned, 0.5)

    assert {name: value.item() for name, value in half.items()} == {
        "a": 2.0,
        "x.lora_A.w": 5.0,
        "x.lora_B.w": 1.0,
    }


def test_the_training_reads_texts_as_the_encoder_in_use_does(config, word_model):
    encoder = load_trainable(config())
    use = load_encoder(word_model, device="cpu", backend="torch")

    for role, want in (
        ("query", use.encode_queries(list(TEXTS))),
        ("document", use.encode_documents(list(TEXTS))),
    ):
        np.testing.assert_allclose(encoder.encode(list(TEXTS), role), want, atol=1e-5)
    tokens = encoder.tokenise([("query", "w1", None), ("query", "w1", "w9 w8 ")])
    assert [len(item.ids) for item in tokens] == [5, 5]
    assert tokens[0].ids != tokens[1].ids


def test_matryoshka_means_over_its_lengths(config, records):
    chosen = config(matryoshka_dims=(8, 16))
    batch = Schedule(
        [TrainingSet("p", records)], batch_size=8, epochs=1, negatives=1, seed=1
    ).batch(0)
    rows = torch.randn(len(batch.texts), 32)

    parts = [objective(rows[:, :n], batch, config()) for n in (8, 16, 32)]

    torch.testing.assert_close(objective(rows, batch, chosen), sum(parts) / 3)


def test_a_teachers_scores_are_followed_beside_in_batch_negatives(config):
    taught = [
        PairRecord(
            queries=(f"q{i}",),
            positives=(f"d{i}",),
            negatives=(f"n{i}", f"m{i}"),
            positive_scores=(3.0,),
            negative_scores=(1.0, float(i)),
        )
        for i in range(4)
    ]
    batch = Schedule([TrainingSet("p", taught)], batch_size=4, epochs=1, negatives=2, seed=1).batch(
        0
    )
    rows = torch.randn(len(batch.texts), 32)
    queries = rows[list(batch.queries)]
    groups = torch.stack(
        [
            rows[[positive, *others]]
            for positive, others in zip(batch.positives, batch.negatives, strict=True)
        ]
    )
    teacher = torch.tensor(batch.teacher)

    both = objective(rows, batch, config(loss="distillation", negatives=2))
    margins = objective(rows, batch, config(loss="margin_mse", negatives=2))

    plain = objective(rows, batch, config(loss="in_batch", negatives=2))
    listwise = losses.listwise_distillation(queries, groups, teacher, temperature=0.05)
    torch.testing.assert_close(both, plain + listwise)
    torch.testing.assert_close(margins, losses.margin_mse(queries, groups, teacher))
    assert sorted(teacher[:, 0].tolist()) == [3.0] * 4


def test_a_loss_with_a_teacher_says_what_is_missing(config, records):
    batch = Schedule(
        [TrainingSet("p", records)], batch_size=4, epochs=1, negatives=1, seed=1
    ).batch(0)

    with pytest.raises(
        ValueError, match=r"needs a teacher's scores .* \[0\] negatives and no scores"
    ):
        objective(torch.randn(len(batch.texts), 32), batch, config(loss="margin_mse"))


@pytest.mark.parametrize("seed", range(5))
def test_a_holdout_shares_no_query_and_no_document_with_the_training(seed):
    found = [
        PairRecord(queries=(f"q{i}",), positives=(f"d{i // 3}",), negatives=(f"d{i // 3 + 1}",))
        for i in range(300)
    ]

    parts = split([TrainingSet("p", found)], 0.2, seed)

    trained = {text for record in parts.train[0].records for text in record.queries}
    documents = {text for record in parts.train[0].records for text in record.positives}
    kept = {q for measure in (*parts.choice, *parts.proof) for q in measure.queries.values()}
    answers = {
        measure.corpus[name]
        for measure in (*parts.choice, *parts.proof)
        for grades in measure.qrels.values()
        for name in grades
    }
    assert not trained & kept
    assert not documents & answers
    assert parts.by_document
    assert not set(parts.choice[0].queries.values()) & set(parts.proof[0].queries.values())
    assert math.isclose(len(kept), 60, abs_tol=3)


def test_where_everything_hangs_together_queries_are_kept_apart_and_that_is_said():
    found = [PairRecord(queries=(f"q{i}",), positives=("same",)) for i in range(50)]

    parts = split([TrainingSet("p", found)], 0.2, 0)

    assert not parts.by_document
    assert len(parts.train[0].records) == 40


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([("q", "d", None)], "p holds a single pair"),
        ([("q", "d", 1.0)] * 30, "All 30 pairs of p have the label 1, which teaches nothing"),
        ([("q", "d", None)] * 3, "p has 3 records, too few to keep some out"),
        ([("q", "d", 1.0), ("q", "d", None)], "p mixes 1 scored pairs with 1 pairs"),
    ],
)
def test_data_that_teach_nothing_are_refused_in_a_sentence(found, sentence, config, tmp_path):
    records = [PairRecord(queries=(q,), positives=(d,), label=label) for q, d, label in found]

    with pytest.raises(ValueError, match=sentence):
        train(Material(sets=[TrainingSet("p", records)]), tmp_path / "run", config())


def test_a_folder_with_other_files_or_a_finished_training_is_refused(
    config, trained, records, tmp_path
):
    material = Material(sets=[TrainingSet("p", records)])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").touch()

    for folder, sentence in (
        (tmp_path / "other", "holds other files; give a new or an empty folder"),
        (tmp_path / "other" / "note.txt", "is a file; give a folder"),
        (trained[1], "holds a finished training; give another folder"),
    ):
        with pytest.raises(UsageError, match=sentence):
            train(material, folder, config())
    with pytest.raises(UsageError, match="holds no training to go on with"):
        train(material, tmp_path / "new", config(), resume=True)


def test_two_trainings_never_share_a_folder(config, tmp_path):
    from finetune.run_folder import opened_run

    identity = {"config": {"a": 1}, "data": {}, "model": None}
    with (
        opened_run(tmp_path, identity, resume=False),
        pytest.raises(UsageError, match=r"is in use by another training \(process \d+\)"),
        opened_run(tmp_path, identity, resume=True),
    ):
        pass


def test_a_training_goes_on_only_with_the_same_choices_and_data(tmp_path):
    from finetune.run_folder import opened_run

    identity = {"config": {"epochs": 1}, "data": {"p": "x"}, "model": None}
    with opened_run(tmp_path, identity, resume=False):
        pass

    with (
        pytest.raises(UsageError, match="was begun with epochs 1, not 2; go on with the same"),
        opened_run(tmp_path, identity | {"config": {"epochs": 2}}, resume=True),
    ):
        pass
    with (
        pytest.raises(UsageError, match="was cut off; --resume goes on with it"),
        opened_run(tmp_path, identity, resume=False),
    ):
        pass


def test_a_layer_that_is_not_there_gets_no_adapter(config):
    with pytest.raises(UsageError, match=r"no linear layer 'q_proj'\. It has: dense, key, query"):
        load_trainable(config(method="lora", lora_targets=("q_proj",)))
