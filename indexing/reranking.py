"""Reorders the first hits by a model that reads query and text together, within a time limit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from indexing.legs import Query
from indexing.selection import Ranked

DEPTH = 30
TIMEOUT_S = 5.0
_AT_ONCE = 8
"""Texts between two looks at the clock."""


@runtime_checkable
class TextScorer(Protocol):
    """A cross-encoder."""

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """How well each text answers the query; higher is better."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """Which hits are reordered, by what, and for how long."""

    model: str | TextScorer
    """A reranker, or the folder or hub id of one."""
    depth: int = DEPTH
    """How many of the first hits are read."""
    timeout_s: float = TIMEOUT_S
    """Hits that were not read by then keep their order behind those that were."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"The depth of a reranking must be at least 1, got {self.depth}.")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, got {self.timeout_s}.")


def rerank_ranked(asked: Query, ranked: Ranked, reranking: Reranking) -> Ranked:
    """Reorder the first hits by what the reranker says; the others follow as they were."""
    if isinstance(reranking.model, str):
        raise TypeError(f"{reranking.model} must be loaded first.")
    first = ranked[: reranking.depth]
    texts = asked.generation.embedded_texts([id_ for id_, _ in first])
    read = [texts[id_] for id_, _ in first]
    scores = score_in_time(reranking.model, asked.text, read, reranking.timeout_s)
    known = [
        (id_, replace(seen, rerank=score))
        for (id_, seen), score in zip(first, scores, strict=False)
    ]
    known.sort(key=lambda item: -item[1].last)
    return known + ranked[len(known) :]


def score_in_time(
    scorer: TextScorer,
    query: str,
    texts: Sequence[str],
    timeout_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[float]:
    """Scores of the first texts, as many as the time allows; a few at least.

    A group of texts is begun only if it can be expected to end in time, judged by the slowest group
    so far.
    """
    started = clock()
    scores: list[float] = []
    slowest = 0.0
    for first in range(0, len(texts), _AT_ONCE):
        begun = clock()
        if first and begun - started + slowest > timeout_s:
            break
        scores += [float(score) for score in scorer.score(query, texts[first : first + _AT_ONCE])]
        slowest = max(slowest, clock() - begun)
    return scores
