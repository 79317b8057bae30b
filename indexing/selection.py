"""From a ranking to the hits that are shown: diverse ones, few per document, overlaps merged."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from data import Chunk
from indexing.generation import Generation
from indexing.hits import Scores

Ranked = list[tuple[int, Scores]]
"""Chunk ids with their scores, best first."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Which of the ranked hits are shown, and how."""

    diversity: float = 0.0
    per_document: int | None = None
    merge: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.diversity <= 1.0:
            raise ValueError(f"diversity must be between 0 and 1, got {self.diversity}.")
        if self.per_document is not None and self.per_document < 1:
            raise ValueError(f"per_document must be at least 1, got {self.per_document}.")

    @property
    def is_plain(self) -> bool:
        """Whether the hits are shown as they are ranked."""
        return self == Shape()


@dataclass(frozen=True)
class Shown:
    """The hits to show, with their chunks."""

    ranked: Ranked
    chunks: Mapping[int, Chunk]


def shape_ranked(generation: Generation, ranked: Ranked, k: int, shape: Shape) -> Shown:
    """The hits to show, at most `k`; fewer where too few are left."""
    if shape.is_plain:
        ranked = ranked[:k]
    chunks: Mapping[int, Chunk] = generation.chunks([id_ for id_, _ in ranked])
    if shape.merge:
        ranked, chunks = merge_overlapping(ranked, chunks, _reader(generation))
    if shape.diversity:
        embeddings = generation.embeddings([id_ for id_, _ in ranked])
        order = diversify(_relevance(ranked), embeddings, len(ranked), shape.diversity)
        ranked = [ranked[place] for place in order]
    if shape.per_document is not None:
        ranked = limit_per_document(ranked, chunks, shape.per_document)
    return Shown(ranked[:k], chunks)


def _relevance(ranked: Ranked) -> list[float]:
    """Scores on one scale: hits that a reranker did not read count as its worst one."""
    read = [scores.rerank for _, scores in ranked if scores.rerank is not None]
    if not read:
        return [scores.last for _, scores in ranked]
    return [min(read) if scores.rerank is None else scores.rerank for _, scores in ranked]


def _reader(generation: Generation) -> Callable[[str, int, int], str]:
    read = cache(generation.text)
    return lambda document, start, end: (read(document) or "")[start:end]


def diversify(
    relevance: Sequence[float], embeddings: NDArray[np.float32], k: int, diversity: float
) -> list[int]:
    """Choose candidates by maximal marginal relevance.

    Each choice has the highest (1 - diversity) · relevance - diversity · cosine to the nearest one
    chosen before, with the relevance brought to 0..1 over the candidates.

    Args:
        relevance: Scores of the candidates; higher is better.
        embeddings: Their embeddings, shape (candidates, dim), rows of unit length.
        k: How many to choose, at most.
        diversity: 0 keeps the order of relevance, 1 looks at differences alone.

    Returns:
        Positions in the order of choice.

    Source: Carbonell & Goldstein 1998 (https://doi.org/10.1145/290941.291025).
    """
    scores = np.asarray(relevance, np.float64)
    if not len(scores):
        return []
    spread = scores.max() - scores.min()
    gain = (1.0 - diversity) * ((scores - scores.min()) / spread if spread else scores * 0)
    nearest = np.full(len(scores), -np.inf)
    chosen: list[int] = []
    for _ in range(min(k, len(scores))):
        penalty = np.where(np.isneginf(nearest), 0.0, nearest)
        marginal = gain - diversity * penalty
        marginal[chosen] = -np.inf
        best = int(np.argmax(marginal))
        chosen.append(best)
        nearest = np.maximum(nearest, embeddings @ embeddings[best])
    return chosen


def limit_per_document(ranked: Ranked, chunks: Mapping[int, Chunk], most: int) -> Ranked:
    """Keep the best `most` hits of each document, in order."""
    seen: Counter[str] = Counter()
    kept = []
    for id_, scores in ranked:
        document = chunks[id_].document
        seen[document] += 1
        if seen[document] <= most:
            kept.append((id_, scores))
    return kept


def merge_overlapping(
    ranked: Ranked, chunks: Mapping[int, Chunk], text: Callable[[str, int, int], str]
) -> tuple[Ranked, dict[int, Chunk]]:
    """Join hits of one document that overlap or touch into the best of them.

    Args:
        ranked: The ranking.
        chunks: The chunk of each of its ids.
        text: Gives a document's text between two offsets.

    Returns:
        The ranking without the hits that were joined to a better one, and the chunks of those
        left, with their wider places.
    """
    wider: dict[int, Chunk] = {}
    of_document: dict[str, list[int]] = {}
    for id_, _ in ranked:
        chunk = chunks[id_]
        kept = of_document.setdefault(chunk.document, [])
        joined = [other for other in kept if _meet(wider[other], chunk)]
        home = joined[0] if joined else id_
        parts = [chunk, *(wider[other] for other in joined)]
        for other in joined[1:]:  # the new one lies between hits that were apart until now
            kept.remove(other)
            del wider[other]
        if not joined:
            kept.append(id_)
        wider[home] = _joined(chunks[home], parts)
    found = {
        id_: chunk
        if chunk == chunks[id_]
        else replace(chunk, text=text(chunk.document, chunk.start, chunk.end))
        for id_, chunk in wider.items()
    }
    return [(id_, scores) for id_, scores in ranked if id_ in found], found


def _meet(one: Chunk, other: Chunk) -> bool:
    return one.start <= other.end and other.start <= one.end


def _joined(best: Chunk, parts: Sequence[Chunk]) -> Chunk:
    first = min(parts, key=lambda part: part.start)
    return replace(best, start=first.start, end=max(part.end for part in parts), page=first.page)
