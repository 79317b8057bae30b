"""One query over one generation: what each way of searching finds, and how each chunk scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data import Chunk
from indexing.filters import Filter
from indexing.fusion import FUSED_DEPTH, trust_in
from indexing.generation import Generation
from indexing.hits import Mode, Scores
from indexing.selection import Ranked
from indexing.stores.base import NO_ID

if TYPE_CHECKING:
    from encoder import Encoder
    from encoder.heads import HeadEmbeddings

Allowed = NDArray[np.int64] | None


@dataclass
class Query:
    """A query, the generation it is asked of, and what a filter lets through."""

    text: str
    generation: Generation
    load: Callable[[], "Encoder"]
    """The index's encoder, asked for by the legs that need it."""
    allowed: Allowed = None
    tree: Filter | None = None
    """The filter itself."""
    _legs: dict[tuple[Mode, int], dict[int, float]] = field(
        default_factory=dict, init=False, repr=False
    )
    """What each leg found at each depth."""
    _lexical_known: dict[int, float] = field(default_factory=dict, init=False, repr=False)
    """BM25 of the chunks that were met so far."""
    _lexical_is_whole: bool = field(default=False, init=False, repr=False)
    """Whether those are all that share a word with the query."""
    _chunks: dict[int, Chunk] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def vector(self) -> NDArray[np.float32]:
        """The query's embedding, shape (1, dim)."""
        if self.generation.weighs_words:
            return self._heads.dense
        return self.load().encode_queries([self.text])

    @cached_property
    def _heads(self) -> "HeadEmbeddings":
        return self.load().encode_heads([self.text], role="query", with_multi=False)

    @cached_property
    def unknown_share(self) -> float:
        """Share of the query's tokens that the encoder does not know."""
        return self.load().unknown_share(self.text)

    @property
    def trust(self) -> float:
        """How far the encoder is to be followed for this query, 0 to 1."""
        return trust_in(self.unknown_share)

    def dense(self, k: int) -> dict[int, float]:
        """Cosine by chunk, best first."""
        if (Mode.DENSE, k) not in self._legs:
            scores, ids = self.generation.search(
                self.vector, k, allowed=self.allowed, tree=self.tree
            )
            self.note_dense(k, scores[0], ids[0])
        return self._legs[Mode.DENSE, k]

    def note_dense(self, k: int, scores: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        """Take what the dense leg finds at depth `k`, searched for together with other queries."""
        pairs = zip(ids.tolist(), scores.tolist(), strict=True)
        self._legs[Mode.DENSE, k] = {id_: score for id_, score in pairs if id_ != NO_ID}

    def lexical(self, k: int) -> dict[int, float]:
        """BM25 by chunk, best first."""
        if (Mode.LEXICAL, k) not in self._legs:
            scores, ids = self.generation.lexical.search(self.text, k, allowed=self.allowed)
            found = dict(zip(ids.tolist(), scores.astype(float).tolist(), strict=True))
            self._lexical_known |= found
            self._lexical_is_whole |= len(found) < k and self.allowed is None
            self._legs[Mode.LEXICAL, k] = found
        return self._legs[Mode.LEXICAL, k]

    def sparse(self, k: int) -> dict[int, float] | None:
        """Shared weight of words by chunk, best first; None where the index has no such leg."""
        if not self.generation.weighs_words:
            return None
        weights = self._heads.lexical[0]
        scores, ids = self.generation.sparse_search(weights, k, allowed=self.allowed)
        return dict(zip(ids[0].tolist(), scores[0].tolist(), strict=True))

    def ranked(self, mode: Mode, k: int) -> Ranked:
        """At least the `k` best, best first, with the scores of the stages that saw them."""
        if mode is Mode.DENSE:
            return [(id_, Scores(dense=score)) for id_, score in self.dense(k).items()]
        if mode is Mode.LEXICAL:
            return [(id_, Scores(lexical=score)) for id_, score in self.lexical(k).items()]
        depth = max(k, FUSED_DEPTH)
        dense, lexical, sparse = self.dense(depth), self.lexical(depth), self.sparse(depth)
        fused = self.generation.fusion.fuse(dense, lexical, self.unknown_share, sparse)
        return [
            (
                id_,
                Scores(
                    dense=dense.get(id_),
                    lexical=lexical.get(id_),
                    sparse=None if sparse is None else sparse.get(id_),
                    fused=score,
                ),
            )
            for id_, score in fused
        ]

    def chunks(self, ids: Sequence[int]) -> dict[int, Chunk]:
        """The chunks with these ids, each read once."""
        missing = [id_ for id_ in ids if id_ not in self._chunks]
        if missing:
            self._chunks |= self.generation.chunks(missing)
        return {id_: self._chunks[id_] for id_ in ids}

    def cosines(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The exact cosine of chunks, whether a leg found them or not."""
        return np.asarray(self.generation.embeddings(ids) @ self.vector[0])

    def lexical_shares(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """BM25 of chunks as a share of what no text can exceed, 0 to 1."""
        lexical = self.generation.lexical
        ceiling = lexical.ceiling(self.text)
        if not len(ids) or not ceiling:
            return np.zeros(len(ids), np.float32)
        known = self._lexical_known
        missing = np.unique(np.array([id_ for id_ in ids if id_ not in known], np.int64))
        if len(missing) and not self._lexical_is_whole:
            scores, found = lexical.search(self.text, len(missing), allowed=missing)
            known |= dict(zip(found.tolist(), scores.astype(float).tolist(), strict=True))
            known |= {id_: known.get(id_, 0.0) for id_ in missing.tolist()}
        return np.array([known.get(id_, 0.0) / ceiling for id_ in ids], np.float32)
