"""Joins the dense and the lexical ranking of one query."""

from collections.abc import Sequence

RRF_CONSTANT = 60
"""Cormack, Clarke & Büttcher 2009 (https://doi.org/10.1145/1571941.1572114)."""
BLIND_SHARE = 0.25
"""Share of unknown tokens from which an encoder's ranking is no evidence."""


def dense_weight(unknown_share: float) -> float:
    """How much the dense leg counts, 0 to 1, by the share of the query that the encoder knows.

    Rank fusion treats both legs as equally good. An encoder that cannot read the query ranks at
    random, and equal weight would let it push good lexical hits down, so that its weight falls to
    nothing at `BLIND_SHARE`.
    """
    return max(0.0, 1.0 - unknown_share / BLIND_SHARE)


def fuse(dense: Sequence[int], lexical: Sequence[int], weight: float) -> list[tuple[int, float]]:
    """Weighted reciprocal rank fusion.

    Args:
        dense: Ids, best first.
        lexical: Ids, best first.
        weight: What the dense leg counts against the lexical one. At 0 it only ranks what the
            lexical leg does not hold, behind it.

    Returns:
        (id, score) best first: the sum over the legs of weight / (60 + rank), ranks from 1.
    """
    scores: dict[int, float] = {}
    for ids, leg_weight in ((lexical, 1.0), (dense, weight)):
        for rank, id_ in enumerate(ids, start=1):
            scores[id_] = scores.get(id_, 0.0) + leg_weight / (RRF_CONSTANT + rank)
    # The sort is stable: equal scores keep the lexical order, then the dense one.
    return sorted(scores.items(), key=lambda item: -item[1])
