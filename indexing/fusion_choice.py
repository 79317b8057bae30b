"""Chooses how an index joins its legs, by questions whose answers are known."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from data.metrics import ndcg_at_k
from data.significance import compare_means
from indexing.fusion import Fusion, FusionMethod

CANDIDATES = (
    *(Fusion(dense_share=tenth / 10) for tenth in range(11)),
    *(Fusion(method=FusionMethod.RRF, dense_share=tenth / 10) for tenth in (3, 4, 5, 6, 7)),
)
WITH_SPARSE = tuple(
    replace(fusion, sparse_share=share) for fusion in CANDIDATES for share in (0.0, 0.5, 1.0)
)
"""Where the index has a learned sparse leg."""
SURE = 0.05
"""The default stands unless chance alone would rarely give another one such a lead."""


class Judged(NamedTuple):
    """What the legs found for a question, and which of it is right."""

    dense: Mapping[int, float]
    """Score by id, best first."""
    lexical: Mapping[int, float]
    unknown_share: float
    grades: Mapping[int, int]
    """Grade by id, above 0 is right; also of what no leg found."""
    sparse: Mapping[int, float] | None = None
    """What the learned sparse leg found, if there is one."""


def choose_fusion(judged: Sequence[Judged]) -> Fusion:
    """The candidate with the best nDCG@10, or the default where its lead may be chance.

    Raises:
        ValueError: If there is no question.
    """
    if not judged:
        raise ValueError("Choosing a fusion needs one question or more, got none.")
    candidates = CANDIDATES if judged[0].sparse is None else WITH_SPARSE
    values = {fusion: _ndcg(fusion, judged) for fusion in (Fusion(), *candidates)}
    best = max(values, key=lambda fusion: sum(values[fusion]))
    return best if compare_means(values[Fusion()], values[best]).p < SURE else Fusion()


def _ndcg(fusion: Fusion, judged: Sequence[Judged]) -> list[float]:
    """nDCG@10 of each question."""
    run, qrels = {}, {}
    for number, of in enumerate(judged):
        ranked = fusion.fuse(of.dense, of.lexical, of.unknown_share, of.sparse)
        run[str(number)] = [str(id_) for id_, _ in ranked]
        qrels[str(number)] = {str(id_): grade for id_, grade in of.grades.items()}
    return list(ndcg_at_k(qrels, run, 10).values())
