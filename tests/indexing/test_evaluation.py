"""Evaluation gives the same figures as a direct computation."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from data import BeirDataset, GoldenQuestion, evaluate_run
from data.beir import BeirDocument
from data.pair_files import LabelledPair
from indexing import build_index, open_index
from indexing.evaluation import (
    compare,
    evaluate_dataset,
    evaluate_golden,
    evaluate_pair_file,
    is_right,
    score_rankings,
    score_run,
)
from indexing.judged import DatasetRankings
from indexing.reranking import Reranking


@pytest.fixture
def dataset():
    words = ["red fox", "blue whale", "green tree", "grey stone", "white cloud", "black cat"]
    corpus = {
        f"d{i}": BeirDocument(title=word, text=f"text about {word}") for i, word in enumerate(words)
    }
    queries = {
        "q0": "fox in red",
        "q1": "whale",
        "q2": "cloud and stone",
        "d5": "text about black cat",
    }
    qrels = {
        "q0": {"d0": 2},
        "q1": {"d1": 1, "d0": 0},
        "q2": {"d3": 1, "d4": 2},
        "d5": {"d5": 1, "d4": 1},
    }
    return BeirDataset(name="tiny", split="test", corpus=corpus, queries=queries, qrels=qrels)


def test_dense_figures_equal_brute_force(dataset, word_encoder):
    result = evaluate_dataset(dataset, word_encoder).as_dict()

    texts = [f"{document.title} {document.text}" for document in dataset.corpus.values()]
    scores = (
        word_encoder.encode_queries(list(dataset.queries.values()))
        @ word_encoder.encode_documents(texts).T
    )
    names = np.array(list(dataset.corpus))
    run = {
        q: names[np.argsort(-row)].tolist() for q, row in zip(dataset.queries, scores, strict=True)
    }
    want = evaluate_run(dataset.qrels, run)
    assert {name: result[name] for name in want} == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("store", ["exact", "faiss"])
def test_every_store_gives_the_same_figures(dataset, word_encoder, store):
    got, want = (evaluate_dataset(dataset, word_encoder, store=s) for s in (store, "exact"))

    assert got.as_dict() == want.as_dict()


def test_the_document_called_like_the_query_is_left_out_only_on_request(dataset, word_encoder):
    kept = evaluate_dataset(dataset, word_encoder, mode="lexical").as_dict()
    dropped = evaluate_dataset(
        dataset, word_encoder, mode="lexical", ignore_identical_ids=True
    ).as_dict()

    assert kept["recall@1"] - dropped["recall@1"] == pytest.approx(0.5 / 4)


def test_hybrid_uses_both_rankings(dataset, word_encoder):
    for mode in ("lexical", "hybrid"):
        assert evaluate_dataset(dataset, word_encoder, mode=mode).as_dict()["recall@10"] == 1.0


def question(**facts):
    return GoldenQuestion(**({"question": "q", "document": "docs/a.md"} | facts))


@pytest.fixture
def index(tmp_path, word_encoder):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text(
        "# A\n\n## Fox\n\nThe red fox runs.\n\n## Whale\n\nThe blue whale dives.\n"
    )
    (docs / "b.md").write_text("# B\n\nThe red fox sleeps.\n")
    build_index([str(docs)], tmp_path / "kb", encoder=word_encoder)
    return open_index(tmp_path / "kb", encoder=word_encoder)


@pytest.mark.parametrize(
    ("facts", "right"),
    [
        ({}, True),
        ({"heading": "Fox"}, True),
        ({"heading": "A"}, True),
        ({"heading": "Whale"}, False),
        ({"quote": "red fox"}, True),
        ({"quote": "Before. The red fox runs. After."}, True),
        ({"quote": "blue"}, False),
        ({"document": "docs/b.md"}, False),
    ],
)
def test_a_hit_is_right_if_document_heading_and_quote_fit(index, facts, right):
    hit = next(hit for hit in index.search("red fox runs", 5) if hit.heading == ("A", "Fox"))

    assert is_right(question(**facts), hit) is right


def test_golden_figures_are_by_language_and_worked_by_hand(index):
    questions = [
        question(question="red fox runs", heading="Fox", language="en"),
        question(question="red fox sleeps", heading="Fox", language="en"),
        question(question="blue whale dives", heading="Whale", language="zh"),
    ]

    result = evaluate_golden(index, questions, name="three", mode="lexical").as_dict()

    # The second question finds another document first, and its own as the second.
    assert result["mrr@10"] == pytest.approx((1 + 1 / 2 + 1) / 3, abs=1e-5)
    assert result["hit@1"] == pytest.approx(2 / 3, abs=1e-5)
    assert result["by_language"]["en"]["mrr@10"] == pytest.approx(0.75)
    assert result["by_language"]["zh"]["hit@1"] == 1.0
    assert (result["queries"], result["documents"], result["dataset"]) == (3, 2, "three")


def test_a_section_of_several_chunks_counts_once(tmp_path, word_encoder):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text(
        "# Fox\n\n" + "\n\n".join(f"The fox runs {n} " + "far " * 40 for n in range(4))
    )
    (docs / "b.md").write_text("# Other\n\nThe fox.\n")
    build_index([str(docs)], tmp_path / "kb", encoder=word_encoder)
    index = open_index(tmp_path / "kb", encoder=word_encoder)
    assert len(index) > 4

    questions = [question(question="fox runs far", heading="Fox")]

    result = evaluate_golden(index, questions, name="one").as_dict()

    assert result["ndcg@10"] == 1.0
    assert result["recall@1"] == 1.0


# What a figure is worth


def test_intervals_hold_the_means_and_modes_compare_by_query(dataset, word_encoder):
    dense, hybrid = (
        evaluate_dataset(dataset, word_encoder, mode=mode) for mode in ("dense", "hybrid")
    )

    found, differences = hybrid.as_dict(), compare(dense, hybrid)

    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high
        assert differences[name]["difference"] == pytest.approx(
            found[name] - dense.as_dict()[name], abs=2e-5
        )
    assert compare(dense, dense)["ndcg@10"] == {"difference": 0, "interval": [0, 0], "p": 1}


def test_runs_over_other_queries_are_not_compared(dataset, word_encoder):
    other = BeirDataset(
        name="tiny",
        split="dev",
        corpus=dataset.corpus,
        queries={"q9": "fox"},
        qrels={"q9": {"d0": 1}},
    )

    with pytest.raises(ValueError, match=r"same queries.*4.*1, 0 of them"):
        compare(evaluate_dataset(dataset, word_encoder), evaluate_dataset(other, word_encoder))


def test_a_run_of_another_system_scores_as_its_own_would(dataset, word_encoder):
    own = evaluate_dataset(dataset, word_encoder)

    got = score_run(dataset, own.run, "other")

    assert got.values == own.values
    assert score_run(dataset, {}, "empty").as_dict()["recall@100"] == 0.0


def test_pairs_are_scored_by_the_cosines_of_their_texts(word_encoder):
    texts = ["red fox", "red fox runs", "blue whale", "a blue whale dives", "grey stone"]
    couples = [(a, b) for n, a in enumerate(texts) for b in texts[n + 1 :]]
    pairs = [LabelledPair(a, b, float(n)) for n, (a, b) in enumerate(couples)]
    labels = [pair.label for pair in pairs]

    result = evaluate_pair_file(pairs, word_encoder, name="five")

    rows = dict(zip(texts, word_encoder.encode_documents(texts), strict=True))
    want = spearmanr([rows[pair.text1] @ rows[pair.text2] for pair in pairs], labels)
    assert result["spearman"] == pytest.approx(want.statistic, abs=1e-4)
    assert (result["pairs"], result["task"], "accuracy" in result) == (10, None, False)


# Rerankers


class Wanted:
    """Says of each text how often it holds a letter."""

    name = "wanted"

    def score(self, query, documents, *, time_limit_s=None):
        assert time_limit_s is None
        return np.array([text.count("z") / 10 for text in documents], np.float32)


def reranked_set():
    texts = {"a": "one train", "b": "two trains z", "c": "a train zz", "d": "zzz nothing"}
    return BeirDataset(
        name="small",
        split="test",
        corpus={id_: BeirDocument("", text) for id_, text in texts.items()},
        queries={"q": "train"},
        qrels={"q": {"c": 1}},
    )


def test_a_judged_set_is_scored_behind_a_reranker(word_encoder):
    rankings = DatasetRankings(reranked_set(), word_encoder)
    plain = list(score_rankings(rankings, "hybrid").run["q"])

    def behind(depth):
        reranking = Reranking(model=Wanted(), depth=depth)
        return score_rankings(rankings, "hybrid", reranking=reranking)

    everything, two = behind(4), behind(2)
    assert everything.mode == "hybrid + wanted"
    assert list(everything.run["q"]) == ["d", "c", "b", "a"]
    assert set(list(two.run["q"])[:2]) == set(plain[:2])
    assert list(two.run["q"])[2:] == plain[2:]
    assert list(two.run["q"].values()) == sorted(two.run["q"].values(), reverse=True)
