"""Why a document was found, or not: its place in every list, and what stood in its way."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import Chunk
from indexing.filters import And, Filter, render_filter
from indexing.fusion import FUSED_DEPTH
from indexing.generation import Generation
from indexing.hits import Mode
from indexing.judging import judge
from indexing.legs import Query
from indexing.reranking import Reranking, rerank_ranked
from indexing.selection import Ranked

_BLOCK = 65_536
"""Embeddings that are compared at once."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a document's best chunk stands in one list."""

    chunk: int | None
    """None if the list does not hold the document."""
    rank: int | None
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Token:
    """A piece of the query as the encoder reads it."""

    text: str
    is_known: bool


@dataclass(frozen=True, kw_only=True)
class Term:
    """A term of the query as the lexical leg reads it."""

    term: str
    weight: float
    """What it counts in the query."""
    chunks: int
    """How many chunks of the index hold it."""
    is_in_chunk: bool


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Everything that decided about one document for one query."""

    query: str
    document: str
    chunk: int
    """The chunk nearest to the query; tokens and terms are about it."""
    text: str
    chunks: int
    """How many chunks the document has."""
    dense: Place
    """Among all chunks that the filter lets through, compared one by one."""
    dense_is_missed: bool
    """Whether the store's approximate search left it out although it is among the first."""
    lexical: Place
    sparse: Place | None
    """By the encoder's own weights of words; None where it gives none."""
    fused: Place
    """Among the hits of all legs; each gives its first ones only."""
    reranked: Place | None
    relevance: float | None
    better_than: float | None
    dropped_by: tuple[str, ...]
    """The parts of the filter that no chunk of the document meets."""
    query_tokens: tuple[Token, ...]
    query_is_cut: bool
    """Whether the query is longer than the encoder reads."""
    chunk_tokens: int
    """Tokens of the chunk with its headings."""
    most_tokens: int
    """How many the encoder reads; what follows has no say in the embedding."""
    terms: tuple[Term, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def explain(
    asked: Query, document: str, tree: Filter | None = None, reranking: Reranking | None = None
) -> Explanation:
    """Follow a document through all stages of a search.

    Args:
        asked: The query, with what the filter lets through.
        document: The document's id.
        tree: The filter, to name the part of it that drops the document.
        reranking: What reorders the first hits, loaded.

    Raises:
        LookupError: If the index holds no such document, or nothing of it.
    """
    generation = asked.generation
    chunks = {chunk.id: chunk for chunk in generation.chunks_of(document)}
    if not chunks:
        raise LookupError(_not_there(generation, document))
    ids = np.array(sorted(chunks), np.int64)
    cosines = asked.cosines(ids.tolist())
    nearest = chunks[int(ids[int(np.argmax(cosines))])]
    allowed = ids if asked.allowed is None else np.intersect1d(ids, asked.allowed)
    dense = _dense_place(asked, allowed)
    ranked = asked.ranked(Mode.HYBRID, FUSED_DEPTH)
    relevance, better_than = judge(asked, Mode.HYBRID, [nearest.id])
    embedded = generation.embedded_texts([nearest.id])[nearest.id]
    encoder = asked.load()
    spans = encoder.token_spans(asked.text)
    pieces = [asked.text[start:end] for start, end in spans]
    return Explanation(
        query=asked.text,
        document=document,
        chunk=nearest.id,
        text=nearest.text,
        chunks=len(chunks),
        dense=dense,
        dense_is_missed=_is_missed(asked, dense),
        lexical=_first_place(asked.lexical(_all(asked)), allowed),
        sparse=_sparse_place(asked, allowed),
        fused=_place_in(ranked, chunks),
        reranked=_place_in(rerank_ranked(asked, ranked, reranking), chunks) if reranking else None,
        relevance=relevance[0],
        better_than=better_than[0],
        dropped_by=() if tree is None or len(allowed) else _dropping(generation, tree, ids),
        query_tokens=tuple(
            Token(text=piece, is_known=encoder.unknown_share(piece) == 0) for piece in pieces
        ),
        query_is_cut=encoder.count_tokens([asked.text], role="query")[0] > encoder.spec.max_tokens,
        chunk_tokens=encoder.count_tokens([embedded])[0],
        most_tokens=encoder.spec.max_tokens,
        terms=tuple(
            Term(term=term, weight=weight, chunks=holding, is_in_chunk=is_in)
            for term, weight, holding, is_in in generation.lexical.terms(asked.text, embedded)
        ),
    )


_NOWHERE = Place(chunk=None, rank=None, score=None)


def _dense_place(asked: Query, ids: NDArray[np.int64]) -> Place:
    """The exact place: how many chunks are nearer, whatever the store finds."""
    if not len(ids):
        return _NOWHERE
    cosines = asked.cosines(ids.tolist())
    best = int(np.argmax(cosines))
    rivals = asked.generation.chunk_ids() if asked.allowed is None else asked.allowed
    nearer = 0
    for start in range(0, len(rivals), _BLOCK):
        block = rivals[start : start + _BLOCK]
        others = block[~np.isin(block, ids)]
        nearer += int((asked.cosines(others.tolist()) > cosines[best]).sum())
    return Place(chunk=int(ids[best]), rank=nearer + 1, score=float(cosines[best]))


def _is_missed(asked: Query, dense: Place) -> bool:
    if dense.rank is None or dense.rank > FUSED_DEPTH:
        return False
    found = asked.dense(FUSED_DEPTH)
    # Equal scores at the end of the list are no miss: any of them may stand there.
    is_at_end = len(found) == FUSED_DEPTH and (dense.score or 0.0) <= min(found.values()) + 1e-5
    return dense.chunk not in found and not is_at_end


def _all(asked: Query) -> int:
    return max(1, len(asked.generation.chunk_ids()))


def _sparse_place(asked: Query, ids: NDArray[np.int64]) -> Place | None:
    found = asked.sparse(_all(asked))
    return None if found is None else _first_place(found, ids)


def _first_place(found: Mapping[int, float], ids: NDArray[np.int64]) -> Place:
    """Where the first of some chunks stands in a whole ranking."""
    wanted = set(ids.tolist())
    for rank, (id_, score) in enumerate(found.items(), start=1):
        if id_ in wanted:
            return Place(chunk=id_, rank=rank, score=score)
    return _NOWHERE


def _place_in(ranked: Ranked, chunks: dict[int, Chunk]) -> Place:
    for rank, (id_, scores) in enumerate(ranked, start=1):
        if id_ in chunks:
            return Place(chunk=id_, rank=rank, score=scores.last)
    return _NOWHERE


def _dropping(generation: Generation, tree: Filter, ids: NDArray[np.int64]) -> tuple[str, ...]:
    parts = tree.parts if isinstance(tree, And) else (tree,)
    dropping = [part for part in parts if not np.isin(ids, generation.allowed(part)).any()]
    # Each part may let another chunk through, and together they let none.
    return tuple(render_filter(part) for part in dropping or [tree])


def _not_there(generation: Generation, document: str) -> str:
    known = generation.states()
    if document in known:
        return f"The document {document!r} has no text that could be found."
    near = get_close_matches(document, known, n=3, cutoff=0.3)
    ends = [id_ for id_ in known if id_.endswith(f"/{document}")][:3]
    meant = ", ".join(dict.fromkeys([*ends, *near])) or ", ".join(sorted(known)[:3])
    return f"The index holds no document {document!r}. Did you mean: {meant}?"
