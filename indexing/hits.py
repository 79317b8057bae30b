"""What a search finds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How an index is searched."""

    DENSE = "dense"
    """By meaning: the encoder's vectors."""
    LEXICAL = "lexical"
    """By words: BM25."""
    HYBRID = "hybrid"
    """By both, as far as the encoder can read the query."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Scores of one hit by stage; None where a stage did not see it. Higher is better."""

    dense: float | None = None
    """Cosine, -1 to 1."""
    lexical: float | None = None
    """BM25, 0 and more."""
    sparse: float | None = None
    """Shared weight of words, 0 and more; only where the encoder weighs words, as bge-m3 does."""
    fused: float | None = None
    """What fusion made of them, 0 to 1."""
    rerank: float | None = None
    """What the reranker said; only of the hits that it read."""

    @property
    def last(self) -> float:
        """The score of the last stage that saw the hit, which put it in its place."""
        stages = (self.rerank, self.fused, self.dense, self.lexical)
        return next((score for score in stages if score is not None), 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One result of a search."""

    rank: int
    """1 is the best."""
    score: float
    """Of the stage that ordered the hits; higher is better."""
    scores: Scores
    relevance: float | None
    """The probability that this is a right hit, 0 to 1, once the index is calibrated."""
    document: str
    """The document's id."""
    title: str
    source: str
    page: int | None
    heading: tuple[str, ...]
    text: str
    start: int
    """`text` is the document's text from `start` to `end`."""
    end: int
    chunk: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    better_than: float | None = None
    """Share of unrelated text that scores lower, 0 to 1, once the index is calibrated."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a sparse score stands there only where there is such a leg."""
        body = asdict(self)
        if self.scores.sparse is None:
            del body["scores"]["sparse"]
        return body
