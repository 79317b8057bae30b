"""`python -m finetune.train` and `finetune.export` as a user calls them."""

import json
import re
import shutil
import sys
from itertools import pairwise

import numpy as np
import pytest

from encoder import load_encoder
from finetune import export as export_command
from finetune import train as train_command
from finetune import trainer
from finetune.run_folder import opened_run


def call(command, monkeypatch, capsys, *words):
    """Run a command in this process; gives exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture
def pairs_file(records, tmp_path):
    path = tmp_path / "pairs.jsonl"
    lines = [{"query": r.queries[0], "positive": r.positives[0]} for r in records]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


OPTIONS = ("--precision", "float32", "--device", "cpu", "--learning-rate", "3e-3")
OPTIONS += ("--batch-size", "16", "--epochs", "6")


def test_a_file_of_pairs_becomes_a_better_model_and_an_export_of_half_of_it(
    pairs_file, word_model, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    words = (pairs_file, "--out", out, "--model", word_model, "--json", *OPTIONS)
    code, stdout, stderr = call(train_command, monkeypatch, capsys, *words)

    found = json.loads(stdout)
    assert code == 0
    assert found["verdict"] == "better"
    assert found["config"]["epochs"] == 6
    assert "pairs.jsonl: 400 " in stderr
    assert not (out / "checkpoints").exists()

    words = (out, "--out", tmp_path / "half", "--share", "0.5", "--device", "cpu", "--json")
    code, stdout, _ = call(export_command, monkeypatch, capsys, *words)

    assert code == 0
    assert json.loads(stdout)["share"] == 0.5
    rows = [
        load_encoder(str(model), device="cpu", backend="torch").encode_queries(["w1 w2"])
        for model in (word_model, tmp_path / "half", out / "model")
    ]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in pairwise(rows))


def test_a_line_that_is_no_pair_is_named_or_skipped_as_asked(
    pairs_file, word_model, tmp_path, monkeypatch, capsys
):
    text = pairs_file.read_text()
    pairs_file.write_text(text.replace("\n", '\n{"odd": 1}\n', 1))
    words = (pairs_file, "--out", tmp_path / "run", "--model", word_model, *OPTIONS)

    code, _, stderr = call(train_command, monkeypatch, capsys, *words)

    assert code == 1
    assert "line 2" in stderr
    assert stderr.count("error:") == 1
    assert not (tmp_path / "run").exists()
    code, _, stderr = call(
        train_command, monkeypatch, capsys, *words, "--on-bad", "skip", "--max-steps", "1"
    )
    assert "1 lines skipped" in stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--recipe", "none"), "Unknown recipe 'none'. Known: angle, angle-llama, bge"),
        (("--epochs", "x"), "--epochs must be a whole number, got 'x'"),
        (("--set-weights", "1,2"), "set-weights needs one number for each of the 1 sources"),
        (("--resume",), "holds no training to go on with"),
        (("--model", "/nowhere"), "No folder /nowhere"),
    ],
)
def test_a_wrong_call_is_a_sentence_and_exit_code_2(
    words, sentence, pairs_file, tmp_path, monkeypatch, capsys
):
    code, stdout, stderr = call(
        train_command, monkeypatch, capsys, pairs_file, "--out", tmp_path / "run", *words
    )

    assert code == 2
    assert sentence in stderr
    assert not stdout
    assert len(stderr.strip().splitlines()) <= 2  # what was read, and the sentence


def ended_in_one_sentence(result, code):
    """The sentence that a user sees, with nothing of Python's around it."""
    got, stdout, stderr = result
    assert got == code, stderr
    assert not stdout
    assert "Traceback" not in stderr
    (sentence,) = (line for line in stderr.splitlines() if line.startswith("error: "))
    return sentence


SCORED = [{"text1": f"w{i} w1", "text2": f"w{i}", "label": 1} for i in range(30)]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"foo": "w1", "bar": "w2"}], r"line 1: .*'?foo'?"),
        (SCORED, "All 30 pairs of bad.jsonl have the label 1, which teaches nothing"),
        ([{"query": "w1", "positive": "w2"}], "bad.jsonl holds a single pair"),
        ([{"query": "w1", "positive": " "}], "line 1: 'positive' holds no text"),
        ([], "bad.jsonl"),
    ],
    ids=["unknown columns", "constant labels", "a single pair", "no text", "nothing"],
)
def test_pairs_that_cannot_be_trained_on_are_a_sentence(
    rows, sentence, word_model, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = (path, "--out", tmp_path / "run", "--model", word_model, *OPTIONS)

    found = ended_in_one_sentence(call(train_command, monkeypatch, capsys, *words), 1)

    assert re.search(sentence, found)
    assert not (tmp_path / "run" / "begun.json").exists()


def test_a_text_without_tokens_is_named_where_the_encoder_adds_none(
    records, word_model, tmp_path, monkeypatch, capsys
):
    bare = tmp_path / "bare"
    shutil.copytree(word_model, bare)
    tokenizer = json.loads((bare / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": "_"}, "content": ""}
    (bare / "tokenizer.json").write_text(json.dumps(tokenizer))
    rows = [{"query": r.queries[0], "positive": r.positives[0]} for r in records]
    rows[7]["positive"] = "___"
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = (path, "--out", tmp_path / "run", "--holdout", "0", "--max-steps", "2", *OPTIONS)

    whole = call(train_command, monkeypatch, capsys, *words, "--model", word_model)
    shutil.rmtree(tmp_path / "run")
    found = ended_in_one_sentence(
        call(train_command, monkeypatch, capsys, *words, "--model", bare), 1
    )

    assert whole[0] == 0  # with marks of beginning and end there is something to pool
    assert found == (
        "error: pairs.jsonl, line 8: '___' has no tokens, and this encoder adds none; leave it out."
    )


def test_an_adapter_without_its_base_is_a_sentence(
    pairs_file, word_model, tmp_path, monkeypatch, capsys
):
    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(word_model, base)
    words = ("--method", "lora", "--lora-rank", "2", "--holdout", "0", "--max-steps", "1")
    call(
        train_command, monkeypatch, capsys, pairs_file, "--out", run, "--model", base, *words,
        *OPTIONS,
    )  # fmt: skip
    adapter = tmp_path / "adapter"
    call(export_command, monkeypatch, capsys, run, "--out", adapter, "--adapter", "--device", "cpu")
    shutil.rmtree(base)

    words = (pairs_file, "--out", tmp_path / "again", "--model", adapter, *OPTIONS)
    found = ended_in_one_sentence(call(train_command, monkeypatch, capsys, *words), 2)

    assert re.search(r"holds an adapter for .*base, which is not here", found)
    assert not (tmp_path / "again").exists()


def test_a_folder_in_use_is_a_sentence_and_stays_as_it_is(
    pairs_file, word_model, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    words = (pairs_file, "--out", run, "--model", word_model, *OPTIONS)
    with opened_run(run, {"config": {}, "data": {}, "model": None}, resume=False):
        before = (run / "begun.json").read_bytes()
        first = ended_in_one_sentence(call(train_command, monkeypatch, capsys, *words), 2)
        assert (run / "begun.json").read_bytes() == before

    assert re.search(r"cut off; --resume goes on with it|in use by another training", first)


def test_a_full_disk_is_a_sentence_and_the_training_goes_on_where_it_was(
    pairs_file, word_model, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    words = [pairs_file, "--out", run, "--model", word_model, "--holdout", "0", *OPTIONS]
    words += ["--max-steps", "4", "--save-every", "2", "--json"]
    original = trainer.save_file

    def full(weights, path):
        if "checkpoint-4" in str(path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(weights, path)

    monkeypatch.setattr(trainer, "save_file", full)
    found = ended_in_one_sentence(call(train_command, monkeypatch, capsys, *words), 1)
    monkeypatch.setattr(trainer, "save_file", original)
    code, stdout, _ = call(train_command, monkeypatch, capsys, *words, "--resume")

    assert re.search(r"step 4 could not be written .*No space left.* --resume", found)
    assert code == 0
    assert json.loads(stdout)["steps"] == 4


def test_who_stops_a_training_is_told_how_it_goes_on(
    pairs_file, word_model, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    words = [pairs_file, "--out", run, "--model", word_model, "--holdout", "0", *OPTIONS]
    words += ["--max-steps", "3", "--save-every", "1"]

    def stop(bar, done, total, what=""):
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_command.ProgressBar, "__call__", stop)
    result = call(train_command, monkeypatch, capsys, *words)

    assert ended_in_one_sentence(result, 130) == (
        f"error: Stopped; what is in {run} is whole, and --resume goes on with it."
    )


def test_a_folder_without_a_finished_training_is_not_exported(tmp_path, monkeypatch, capsys):
    code, _, stderr = call(export_command, monkeypatch, capsys, tmp_path, "--out", tmp_path / "x")

    assert code == 2
    assert "holds no finished training" in stderr
