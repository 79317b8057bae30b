"""Qrels and a run in, retrieval metrics out; higher is better everywhere.

`qrels` maps query → document → grade (above 0 is relevant), `run` maps query → document ids, best
first. Every metric gives one number per query of the qrels; a query without results gets 0, and
queries that only the run knows are ignored. The values are those of trec_eval
(https://github.com/usnistgov/trec_eval) for runs without tied scores.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from math import log2

Grades = Mapping[str, int]
Qrels = Mapping[str, Grades]
Run = Mapping[str, Sequence[str]]


def ndcg_at_k(qrels: Qrels, run: Run, k: int) -> dict[str, float]:
    """Normalised discounted cumulative gain of the first `k` documents, per query.

    DCG = Σ_i grade_i / log2(i + 1) over ranks i ≤ k, grades below 0 counting as 0 (linear gain);
    nDCG = DCG / DCG of the best possible order, 0 where nothing is relevant.

    Source: Järvelin & Kekäläinen 2002 (https://doi.org/10.1145/582415.582418); trec_eval's
    `ndcg_cut`.
    """
    return _per_query(_ndcg, qrels, run, k)


def mrr_at_k(qrels: Qrels, run: Run, k: int) -> dict[str, float]:
    """Reciprocal rank of the first relevant document, per query; 0 if it is not in the first `k`.

    RR = 1 / rank.

    Source: Voorhees 1999, TREC-8 Question Answering Track; trec_eval's `recip_rank` on the first
    `k` documents.
    """
    return _per_query(_reciprocal_rank, qrels, run, k)


def map_at_k(qrels: Qrels, run: Run, k: int) -> dict[str, float]:
    """Average precision of the first `k` documents, per query.

    AP = Σ_i precision_i / R over the ranks i ≤ k that hold a relevant document; R is the number
    of all relevant documents, found or not, also where it is larger than `k`.

    Source: Buckley & Voorhees 2000 (https://doi.org/10.1145/345508.345543); trec_eval's `map_cut`.
    """
    return _per_query(_average_precision, qrels, run, k)


def recall_at_k(qrels: Qrels, run: Run, k: int) -> dict[str, float]:
    """Share of the relevant documents that are among the first `k`, per query.

    Recall = relevant in the first k / R; 0 where nothing is relevant.

    Source: trec_eval's `recall`.
    """
    return _per_query(_recall, qrels, run, k)


def hit_at_k(qrels: Qrels, run: Run, k: int) -> dict[str, float]:
    """1 where a relevant document is among the first `k`, else 0, per query.

    Source: trec_eval's `success`.
    """
    return _per_query(_hit, qrels, run, k)


def mean(values: Mapping[str, float]) -> float:
    """Mean over the queries of what a metric gave.

    Raises:
        ValueError: If there is no query.
    """
    if not values:
        raise ValueError("A mean needs one query or more, got none; the qrels are empty.")
    return sum(values.values()) / len(values)


def evaluate_run(qrels: Qrels, run: Run) -> dict[str, float]:
    """Means over the qrels' queries of the metrics that Angler reports."""
    return {name: mean(values) for name, values in evaluate_queries(qrels, run).items()}


def evaluate_queries(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """The metrics that Angler reports: name → query → value."""
    metrics = {
        "ndcg": (ndcg_at_k, (10,)),
        "mrr": (mrr_at_k, (10,)),
        "map": (map_at_k, (100,)),
        "recall": (recall_at_k, (1, 3, 5, 10, 100)),
        "hit": (hit_at_k, (1, 3, 5, 10)),
    }
    return {
        f"{name}@{k}": metric(qrels, run, k)
        for name, (metric, cuts) in metrics.items()
        for k in cuts
    }


# One query's metric from the grades of the first k documents and the grades above 0 of all judged.
_OneQuery = Callable[[Sequence[int], Sequence[int], int], float]


def _per_query(metric: _OneQuery, qrels: Qrels, run: Run, k: int) -> dict[str, float]:
    if k < 1:
        raise ValueError(f"k must be 1 or more, got {k}.")
    values = {}
    for query, grades in qrels.items():
        ranked = run.get(query, ())
        _refuse_twins(query, ranked)
        found = [max(0, grades.get(document, 0)) for document in ranked[:k]]
        relevant = [grade for grade in grades.values() if grade > 0]
        values[query] = metric(found, relevant, k) if relevant else 0.0
    return values


def _refuse_twins(query: str, ranked: Sequence[str]) -> None:
    if len(set(ranked)) < len(ranked):
        twin = next(document for document in ranked if ranked.count(document) > 1)
        raise ValueError(
            f"The run of query {query!r} holds document {twin!r} twice; keep its best rank only."
        )


def _ndcg(found: Sequence[int], relevant: Sequence[int], k: int) -> float:
    return _dcg(found) / _dcg(sorted(relevant, reverse=True)[:k])


def _dcg(grades: Iterable[int]) -> float:
    return sum(grade / log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def _reciprocal_rank(found: Sequence[int], relevant: Sequence[int], k: int) -> float:
    return next((1 / rank for rank, grade in enumerate(found, start=1) if grade), 0.0)


def _average_precision(found: Sequence[int], relevant: Sequence[int], k: int) -> float:
    hits = accumulate(grade > 0 for grade in found)
    precisions = (n / rank for rank, n in enumerate(hits, start=1) if found[rank - 1])
    return sum(precisions) / len(relevant)


def _recall(found: Sequence[int], relevant: Sequence[int], k: int) -> float:
    return sum(grade > 0 for grade in found) / len(relevant)


def _hit(found: Sequence[int], relevant: Sequence[int], k: int) -> float:
    return float(any(found))
