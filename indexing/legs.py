"""One query over one generation: what each way of searching finds, and how each chunk scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.filters import Filter
from indexing.fusion import FUSED_DEPTH
from indexing.generation import Generation
from indexing.hits import Mode, Scores
from indexing.selection import Ranked
from indexing.stores.base import NO_ID

if TYPE_CHECKING:
    from encoder import Encoder

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

    @cached_property
    def vector(self) -> NDArray[np.float32]:
        """The query's embedding, shape (1, dim)."""
        return self.load().encode_queries([self.text])

    @cached_property
    def unknown_share(self) -> float:
        """Share of the query's tokens that the encoder does not know."""
        return self.load().unknown_share(self.text)

    def dense(self, k: int) -> dict[int, float]:
        """Cosine by chunk, best first."""
        scores, ids = self.generation.search(self.vector, k, allowed=self.allowed, tree=self.tree)
        pairs = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        return {id_: score for id_, score in pairs if id_ != NO_ID}

    def lexical(self, k: int) -> dict[int, float]:
        """BM25 by chunk, best first."""
        scores, ids = self.generation.lexical.search(self.text, k, allowed=self.allowed)
        return dict(zip(ids.tolist(), scores.astype(float).tolist(), strict=True))

    def ranked(self, mode: Mode, k: int) -> Ranked:
        """At least the `k` best, best first, with the scores of the stages that saw them."""
        if mode is Mode.DENSE:
            return [(id_, Scores(dense=score)) for id_, score in self.dense(k).items()]
        if mode is Mode.LEXICAL:
            return [(id_, Scores(lexical=score)) for id_, score in self.lexical(k).items()]
        depth = max(k, FUSED_DEPTH)
        dense, lexical = self.dense(depth), self.lexical(depth)
        fused = self.generation.fusion.fuse(dense, lexical, self.unknown_share)
        return [
            (id_, Scores(dense=dense.get(id_), lexical=lexical.get(id_), fused=score))
            for id_, score in fused
        ]

    def cosines(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The exact cosine of chunks, whether a leg found them or not."""
        return np.asarray(self.generation.embeddings(ids) @ self.vector[0])

    def lexical_shares(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """BM25 of chunks as a share of what no text can exceed, 0 to 1."""
        wanted = np.unique(np.array(ids, np.int64))
        lexical = self.generation.lexical
        ceiling = lexical.ceiling(self.text)
        if not len(wanted) or not ceiling:
            return np.zeros(len(ids), np.float32)
        scores, found = lexical.search(self.text, len(wanted), allowed=wanted)
        by_id = dict(zip(found.tolist(), (scores / ceiling).tolist(), strict=True))
        return np.array([by_id.get(id_, 0.0) for id_ in ids], np.float32)
