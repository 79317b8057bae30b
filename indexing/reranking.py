"""Reorders the first hits by a model that reads query and text together, within a time limit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.legs import Query
from indexing.selection import Ranked

DEPTH = 30
TIMEOUT_S = 5.0


class TextScorer(Protocol):
    """A reranker, such as `encoder.Reranker`."""

    def score(
        self, query: str, documents: Sequence[str], *, time_limit_s: float | None = None
    ) -> NDArray[np.float32]:
        """How well each text answers the query, 0 to 1; NaN for what it did not reach."""
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

    @property
    def scorer(self) -> TextScorer:
        """The loaded reranker.

        Raises:
            TypeError: If it is a name yet.
        """
        if isinstance(self.model, str):
            raise TypeError(f"The reranker {self.model} must be loaded first.")
        return self.model

    @property
    def name(self) -> str:
        """The reranker's name, by which a calibration knows it."""
        if isinstance(self.model, str):
            return self.model
        return str(getattr(self.model, "name", type(self.model).__qualname__))


def load_reranking(model: str, *, device: str = "auto") -> Reranking:
    """A reranker by its folder or hub id, loaded.

    Raises:
        ModelNotFoundError: If there is no such model.
        ValueError: If it is no reranker.
    """
    from encoder import load_reranker

    return Reranking(model=load_reranker(model, device=device))


def rerank_ranked(asked: Query, ranked: Ranked, reranking: Reranking) -> Ranked:
    """Reorder the first hits by what the reranker says; the others follow as they were."""
    first = ranked[: reranking.depth]
    texts = asked.generation.embedded_texts([id_ for id_, _ in first])
    scores = reranking.scorer.score(
        asked.text, [texts[id_] for id_, _ in first], time_limit_s=reranking.timeout_s
    ).tolist()
    read, unread = [], []
    for (id_, seen), score in zip(first, scores, strict=True):
        if score != score:  # NaN
            unread.append((id_, seen))
        else:
            read.append((id_, replace(seen, rerank=score)))
    read.sort(key=lambda item: -item[1].last)
    return [*read, *unread, *ranked[len(first) :]]
