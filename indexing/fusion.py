"""Joins the dense and the lexical ranking of one query, and the learned sparse one if any."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

RRF_CONSTANT = 60
"""Cormack, Clarke & Büttcher 2009 (https://doi.org/10.1145/1571941.1572114)."""
BLIND_SHARE = 0.25
"""Share of unknown tokens from which an encoder's ranking is no evidence."""
SECTION = "fusion"
"""Where the choice for an index stands in its `calibration.json`."""
FUSED_DEPTH = 100
"""Hits of each leg that fusion looks at, at least."""


def trust_in(unknown_share: float) -> float:
    """How far to follow an encoder that does not know a share of the query's tokens, 0 to 1."""
    return max(0.0, 1.0 - unknown_share / BLIND_SHARE)


class FusionMethod(StrEnum):
    """How two rankings become one."""

    CONVEX = "convex"
    """A weighted mean of both scores, each stretched to 0..1 over its list."""
    RRF = "rrf"
    """Weighted reciprocal ranks, which look at places only."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How an index joins its legs; what the caller knows of the query comes with each call."""

    method: FusionMethod = FusionMethod.CONVEX
    dense_share: float = 0.4
    """What the dense leg counts of 1 where the encoder knows every token. The default is the best
    for the development splits of the judged sets that the default encoder reads (see
    benchmarks/results/search-modes.md)."""

    sparse_share: float = 0.5
    """What the learned sparse leg counts of the words' part, where an index has one. Half is a
    guess: no encoder that has the leg was at hand to measure it."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.dense_share <= 1.0:
            raise ValueError(f"dense_share must be between 0 and 1, got {self.dense_share}.")
        if not 0.0 <= self.sparse_share <= 1.0:
            raise ValueError(f"sparse_share must be between 0 and 1, got {self.sparse_share}.")

    def as_dict(self) -> dict[str, str | float]:
        """Plain values for JSON."""
        return {
            "method": str(self.method),
            "dense_share": self.dense_share,
            "sparse_share": self.sparse_share,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Fusion":
        """The opposite of `as_dict`."""
        return cls(**{**body, "method": FusionMethod(body["method"])})

    def fuse(
        self,
        dense: Mapping[int, float],
        lexical: Mapping[int, float],
        unknown_share: float = 0.0,
        sparse: Mapping[int, float] | None = None,
    ) -> list[tuple[int, float]]:
        """Join the legs of one query.

        An encoder that cannot read the query ranks at random, and would push good lexical hits
        down, so that its share falls to nothing at `BLIND_SHARE`.

        Args:
            dense: Score by id, best first.
            lexical: Score by id, best first.
            unknown_share: Share of the query's tokens that the encoder does not know, 0 to 1.
            sparse: Score by id of the learned sparse leg, best first; it is the same encoder's, and
                means as little as the dense one where that cannot read the query.

        Returns:
            (id, score) best first. At a dense share of 0 the dense leg only ranks what the
            lexical one does not hold, behind it.

        Source: convex combination, Bruch, Gai & Ingber 2023 (https://doi.org/10.1145/3596512);
        reciprocal rank fusion, Cormack, Clarke & Büttcher 2009.
        """
        trust = trust_in(unknown_share)
        share = self.dense_share * trust
        learned = 0.0 if sparse is None else self.sparse_share * trust * (1.0 - share)
        if self.method is FusionMethod.CONVEX:
            full = min(len(dense), FUSED_DEPTH)
            values = [_of_words(lexical, full), _of_words(sparse or {}, full), _stretched(dense)]
        else:
            values = [_reciprocal_ranks(leg) for leg in (lexical, sparse or {}, dense)]
        scores: dict[int, float] = {}
        for leg, weight in zip(values, (1.0 - share - learned, learned, share), strict=True):
            for id_, value in leg.items():
                scores[id_] = scores.get(id_, 0.0) + weight * value
        # The sort is stable: equal scores keep the lexical order, then the dense one.
        return sorted(scores.items(), key=lambda item: -item[1])


def _of_words(leg: Mapping[int, float], full: int) -> dict[int, float]:
    # A leg that ends early has met every text that shares a term with the query, and what it lacks
    # scores 0.
    return _stretched(leg, floor=0.0 if len(leg) < full else None)


def _stretched(leg: Mapping[int, float], floor: float | None = None) -> dict[int, float]:
    """Scores of a leg from 1 for its best to 0 for `floor`, or for its last without one.

    Only the first `FUSED_DEPTH` count, what follows has 0: so an order does not depend on how many
    hits were asked for.
    """
    if not leg:
        return {}
    first = list(leg.values())[:FUSED_DEPTH]
    best, last = first[0], first[-1]
    low = last if floor is None else min(floor, last)
    if best == low:
        return {id_: float(score >= low) for id_, score in leg.items()}
    return {id_: max(0.0, score - low) / (best - low) for id_, score in leg.items()}


def _reciprocal_ranks(leg: Mapping[int, float]) -> dict[int, float]:
    return {id_: 1.0 / (RRF_CONSTANT + rank) for rank, id_ in enumerate(leg, start=1)}
