"""`python -m finetune.train` and `finetune.export` as a user calls them."""

import json
import sys
from itertools import pairwise

import numpy as np
import pytest

from encoder import load_encoder
from finetune import export as export_command
from finetune import train as train_command


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
        (("--recipe", "none"), "Unknown recipe 'none'. Known: angle, bge"),
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


def test_a_folder_without_a_finished_training_is_not_exported(tmp_path, monkeypatch, capsys):
    code, _, stderr = call(export_command, monkeypatch, capsys, tmp_path, "--out", tmp_path / "x")

    assert code == 2
    assert "holds no finished training" in stderr
