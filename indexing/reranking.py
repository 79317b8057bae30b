"""Reorders the first hits by a model that reads query and text together, within a time limit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.fusion import trust_in
from indexing.legs import Query
from indexing.selection import Ranked

DEPTH = 30
TIMEOUT_S = 5.0
_SUREST = 1e-6
"""A reranker that says 0 or 1 is taken to be as sure as this, so that the log odds are finite."""


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
    prior: float | None = None
    """How far the order that came is followed, in log odds between its first and its last hit; None
    for what the reranker asks for, which is 0 unless it was trained here."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"The depth of a reranking must be at least 1, got {self.depth}.")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be above 0, got {self.timeout_s}.")
        if self.prior is not None and not self.prior >= 0:
            raise ValueError(f"The prior of a reranking must be 0 or more, got {self.prior}.")

    @property
    def scorer(self) -> TextScorer:
        """The loaded reranker.

        Raises:
            TypeError: If it is a name yet.
        """
        if isinstance(self.model, str):
            raise TypeError(f"The reranker {self.model} must be loaded first.")
        return self.model

    def scores(
        self,
        query: str,
        documents: Sequence[str],
        before: Sequence[float],
        *,
        time_limit_s: float | None = None,
    ) -> NDArray[np.float32]:
        """What the first hits are put in order by.

        Args:
            query: The query.
            documents: Texts of the hits, best first.
            before: Their scores in the order that came.
            time_limit_s: As `TextScorer.score`.

        Returns:
            Shape (len(documents),), 0 to 1, higher is better; NaN for what was not read.
        """
        scorer = self.scorer
        said = scorer.score(query, documents, time_limit_s=time_limit_s)
        prior = getattr(scorer, "prior", 0.0) if self.prior is None else self.prior
        if not prior:
            return said
        sure = np.clip(said.astype(np.float64), _SUREST, 1.0 - _SUREST)
        log_odds = np.log(sure / (1.0 - sure))
        if unknown_share := getattr(scorer, "unknown_share", None):
            # A reranker that cannot read the query leaves the order as it came.
            log_odds = log_odds * trust_in(unknown_share(query))
        return np.asarray(1.0 / (1.0 + np.exp(-held_against(log_odds, before, prior))), np.float32)

    @property
    def name(self) -> str:
        """The reranker's name, by which a calibration knows it."""
        if isinstance(self.model, str):
            return self.model
        return str(getattr(self.model, "name", type(self.model).__qualname__))


def held_against(
    log_odds: NDArray[np.floating[Any]], before: Sequence[float], prior: float
) -> NDArray[np.float64]:
    """A reranker's log odds, less what the order that came holds against each hit.

    That is 0 for its first and `prior` for its last, and between them as their scores lie.

    Args:
        log_odds: Shape (hits,); may be NaN.
        before: The hits' scores in the order that came, best first.
        prior: At least 0.
    """
    scores = np.asarray(before, np.float64)
    spread = scores[0] - scores[-1] if len(scores) else 0.0
    behind = (scores[0] - scores) / spread if spread > 0 else np.zeros_like(scores)
    return np.asarray(log_odds - prior * behind, np.float64)


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
    scores = reranking.scores(
        asked.text,
        [texts[id_] for id_, _ in first],
        [seen.last for _, seen in first],
        time_limit_s=reranking.timeout_s,
    ).tolist()
    read, unread = [], []
    for (id_, seen), score in zip(first, scores, strict=True):
        if score != score:  # NaN
            unread.append((id_, seen))
        else:
            read.append((id_, replace(seen, rerank=score)))
    read.sort(key=lambda item: -item[1].last)
    return [*read, *unread, *ranked[len(first) :]]
