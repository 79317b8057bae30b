"""Figures of base and tuned: by value, with intervals, and a verdict that chance cannot buy."""

import json
import sys
from argparse import Namespace

import numpy as np
import pytest

from data import load_beir
from encoder.errors import UsageError
from finetune import evaluate
from finetune.measures import LabelledPairs, RetrievalSet
from finetune.probes import read_probe, retrieval_set
from finetune.proving import BETTER, ELSEWHERE, HOLDOUT, NOT_BETTER, PROBE, UNPROVEN, judge


def encode_as(vectors):
    """An encoder that knows each text's vector."""

    def encode(texts, role):
        rows = np.array([vectors[text] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return encode


def row(kind, difference, low, name="x"):
    return {
        "name": name,
        "kind": kind,
        "metric": "nDCG@10",
        "base": 0.5,
        "tuned": 0.5 + difference,
        "difference": difference,
        "interval": [low, difference + 0.1],
    }


def test_a_retrieval_set_has_the_ndcg_of_its_ranking():
    found = RetrievalSet(
        "s",
        queries={"q": "query", "r": "other"},
        corpus={"a": "near", "b": "nearer", "c": "far"},
        qrels={"q": {"a": 1}, "r": {"c": 1}},
    )
    vectors = {"query": (1, 0), "other": (0, 1), "near": (1, 0.5), "nearer": (1, 0), "far": (0, 1)}

    measured = found.measured(encode_as(vectors))

    # The query's answer stands second, the other's first.
    assert measured.values == pytest.approx({"q": 1 / np.log2(3), "r": 1.0})
    assert measured.figure == pytest.approx((1 / np.log2(3) + 1) / 2)


def test_labelled_pairs_have_spearmans_correlation_and_a_paired_interval():
    pairs = [(f"a{i}", f"b{i}", float(i)) for i in range(40)]
    found = LabelledPairs("p", pairs)
    angles = np.linspace(0, 1.5, 40)
    right = {f"a{i}": (1, 0) for i in range(40)}
    right |= {f"b{39 - i}": (np.cos(angles[i]), np.sin(angles[i])) for i in range(40)}
    noise = np.random.default_rng(0).permutation(40)
    wrong = right | {f"b{i}": right[f"b{noise[i]}"] for i in range(40)}

    good, bad = (found.measured(encode_as(vectors)) for vectors in (right, wrong))
    difference = found.compared(bad, good)

    assert good.figure == pytest.approx(1.0)
    assert difference.value == pytest.approx(1.0 - bad.figure)
    assert difference.interval[0] > 0.3
    assert difference.p < 0.01
    assert difference.is_better
    same = found.compared(good, good)
    assert (same.value, same.interval, same.is_better) == (0.0, (0.0, 0.0), False)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([], UNPROVEN),
        ([row(PROBE, 0.1, 0.05)], UNPROVEN),
        ([row(HOLDOUT, 0.1, 0.05)], BETTER),
        ([row(HOLDOUT, 0.1, -0.01)], NOT_BETTER),
        ([row(HOLDOUT, -0.1, -0.2)], NOT_BETTER),
        ([row(HOLDOUT, 0.0, 0.0)], NOT_BETTER),
        ([row(HOLDOUT, 0.1, 0.05), row(HOLDOUT, 0.1, -0.01)], NOT_BETTER),
        ([row(HOLDOUT, 0.1, 0.05), row(PROBE, -0.009, -0.1)], BETTER),
        ([row(HOLDOUT, 0.1, 0.05), row(PROBE, -0.02, -0.1)], ELSEWHERE),
    ],
)
def test_only_more_than_chance_on_every_holdout_and_no_fall_is_better(rows, verdict):
    assert judge(rows, allowed_fall=0.01)[1] == verdict


def beir(folder):
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{i}", "title": "", "text": f"document about topic {i}"} for i in range(9)
    ]
    queries = [{"_id": f"q{i}", "text": f"topic {i}"} for i in range(9)]
    for name, lines in (("corpus", documents), ("queries", queries)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(9))
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def test_a_probe_is_a_split_of_a_beir_folder_or_a_file_of_pairs(tmp_path):
    folder = beir(tmp_path / "set")
    (tmp_path / "p.jsonl").write_text('{"text1": "a", "text2": "b", "label": 1}\n')

    assert read_probe(f"{folder}:dev").items == "9 queries, 9 documents"
    assert read_probe(str(tmp_path / "p.jsonl")).items == "1 pairs"
    with pytest.raises(FileNotFoundError, match="test"):
        read_probe(str(folder))


def test_of_a_set_with_dozens_of_answers_some_documents_are_enough(tmp_path):
    folder = beir(tmp_path / "set")
    judged = "".join(f"q{i}\td{j}\t{int(j != 0)}\n" for i in range(3) for j in range(i, 9, 3))
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    dataset = load_beir(folder, "dev")

    found = retrieval_set(dataset, documents=2, distractors=0)

    assert len(found.corpus) == 2
    assert found.qrels.keys() == found.queries.keys() <= {"q0", "q1", "q2"}
    for query, grades in found.qrels.items():
        assert any(grades.values())
        assert grades.items() <= dataset.qrels[query].items()
        assert grades.keys() <= found.corpus.keys()
    whole = retrieval_set(dataset, documents=9, distractors=9)
    assert whole.qrels == dataset.qrels
    assert len(whole.corpus) == 9


def test_the_command_gives_a_verdict_and_an_exit_code(word_model, tmp_path, monkeypatch, capsys):
    folder = beir(tmp_path / "set")
    words = [word_model, "--base", word_model, "--dataset", f"{folder}:dev", "--json"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words, "--device", "cpu"])

    with pytest.raises(SystemExit) as ended:
        evaluate.main()

    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert ended.value.code == 1
    assert found["verdict"] == NOT_BETTER
    assert found["measured"][0]["difference"] == 0
    assert captured.err.startswith("error: The tuned model is not better than its base: nDCG@10")


def test_nothing_is_measured_without_material():
    with pytest.raises(UsageError, match="nothing to measure on"):
        evaluate._evaluate(Namespace(dataset=[], pairs=[]))
