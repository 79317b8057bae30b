from math import log2

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from data import evaluate_run, hit_at_k, map_at_k, mean, mrr_at_k, ndcg_at_k, recall_at_k

# Relevant: a (grade 3), c (1), e (2, never found); b is judged and not relevant, d is not judged.
QRELS = {"q": {"a": 3, "b": 0, "c": 1, "e": 2}}
RUN = {"q": ["b", "a", "d", "c"]}

KEYS = [
    *("ndcg@10", "mrr@10", "map@100"),
    *("recall@1", "recall@3", "recall@5", "recall@10", "recall@100"),
    *("hit@1", "hit@3", "hit@5", "hit@10"),
]


def test_ndcg_is_the_hand_worked_value():
    ideal = 3 + 2 / log2(3) + 1 / log2(4)

    assert ndcg_at_k(QRELS, RUN, 10)["q"] == pytest.approx((3 / log2(3) + 1 / log2(5)) / ideal)
    assert ndcg_at_k(QRELS, RUN, 2)["q"] == pytest.approx((3 / log2(3)) / (3 + 2 / log2(3)))
    assert ndcg_at_k(QRELS, RUN, 1)["q"] == 0


def test_reciprocal_rank_is_the_hand_worked_value():
    assert mrr_at_k(QRELS, RUN, 10) == {"q": 1 / 2}
    assert mrr_at_k(QRELS, RUN, 1) == {"q": 0}


def test_average_precision_divides_by_all_relevant_documents():
    assert map_at_k(QRELS, RUN, 100)["q"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert map_at_k(QRELS, RUN, 2)["q"] == pytest.approx((1 / 2) / 3)


def test_recall_and_hit_are_the_hand_worked_values():
    assert [recall_at_k(QRELS, RUN, k)["q"] for k in (1, 2, 4, 100)] == [0, 1 / 3, 2 / 3, 2 / 3]
    assert [hit_at_k(QRELS, RUN, k)["q"] for k in (1, 2, 4)] == [0, 1, 1]


def test_the_best_order_scores_one():
    got = evaluate_run(QRELS, {"q": ["a", "e", "c", "b"]})

    want = dict.fromkeys(KEYS, 1.0) | {"recall@1": pytest.approx(1 / 3)}
    assert got == want


def test_the_report_has_exactly_its_keys_in_order():
    assert list(evaluate_run(QRELS, RUN)) == KEYS


def test_a_query_without_results_counts_as_zero():
    qrels = {"q": {"a": 1}, "empty": {"a": 1}, "absent": {"a": 1}, "nothing relevant": {"a": 0}}
    run = {"q": ["a"], "empty": [], "nothing relevant": ["a"], "not judged": ["a"]}

    assert ndcg_at_k(qrels, run, 10) == {"q": 1, "empty": 0, "absent": 0, "nothing relevant": 0}
    assert evaluate_run(qrels, run) == dict.fromkeys(KEYS, 0.25)


def test_a_negative_grade_is_not_relevant_and_costs_nothing():
    assert evaluate_run({"q": {"a": -2, "b": 1}}, {"q": ["b", "a"]}) == dict.fromkeys(KEYS, 1.0)


def test_a_document_named_twice_is_an_error():
    with pytest.raises(ValueError, match="query 'q' holds document 'a' twice"):
        recall_at_k(QRELS, {"q": ["a", "b", "a"]}, 10)


def test_k_below_one_is_an_error():
    with pytest.raises(ValueError, match="k must be 1 or more, got 0"):
        ndcg_at_k(QRELS, RUN, 0)


def test_the_mean_of_no_query_is_an_error():
    assert mean({"a": 1.0, "b": 0.0}) == 0.5
    with pytest.raises(ValueError, match="one query or more"):
        evaluate_run({}, RUN)


documents = st.sampled_from([f"d{number}" for number in range(30)])
queries = st.sampled_from(["q1", "q2", "q3", "q4"])
judged = st.dictionaries(
    queries, st.dictionaries(documents, st.integers(-1, 4), min_size=1), min_size=1
)
runs = st.dictionaries(queries, st.lists(documents, unique=True))


@given(judged, runs)
def test_every_metric_agrees_with_trec_eval(qrels, run):
    want = trec_eval(qrels, run)

    assert evaluate_run(qrels, run) == pytest.approx(want, abs=1e-12)


def trec_eval(qrels, run):
    """The same report by pytrec_eval; distinct descending scores, as it orders ties by itself."""
    measures = {"ndcg_cut.10", "map_cut.100", "recall.1,3,5,10,100", "success.1,3,5,10"}
    results = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(scored(run))
    first_ten = {query: ranked[:10] for query, ranked in run.items()}
    ranks = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(scored(first_ten))
    names = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "hit": "success"}
    report = {}
    for key in KEYS:
        name, _, k = key.partition("@")
        source, measure = (
            (ranks, "recip_rank") if name == "mrr" else (results, f"{names[name]}_{k}")
        )
        report[key] = sum(source.get(q, {}).get(measure, 0.0) for q in qrels) / len(qrels)
    return report


def scored(run):
    """Scores that fall with the rank; queries without results are left out."""
    return {
        query: {document: 1000.0 - rank for rank, document in enumerate(ranked)}
        for query, ranked in run.items()
        if ranked
    }
