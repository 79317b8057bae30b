"""Searches the rows of one generation in a store that other programs share."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.filters import Filter
from indexing.stores import SearchResult
from indexing.stores.base import NO_ID, are_among
from indexing.stores.factory import open_bridge, open_milvus
from indexing.stores.milvus_filter import render

if TYPE_CHECKING:
    from pathlib import Path

    from indexing.generation import Generation
    from indexing.manifest import Manifest
    from indexing.stores.langchain import LangChainStore
    from indexing.stores.milvus import MilvusStore

_SLACK = 16
"""Hits asked for beyond `k`: some may be of rows that wait for their deletion."""
_WIDENED = 4


def open_shared(manifest: "Manifest", index: "Path") -> "MilvusStore":
    """The rows of a generation, for reading.

    Raises:
        StoreError: If the store cannot be reached.
    """
    return open_milvus(
        manifest.store_options,
        manifest.encoder.fingerprint,
        index,
        manifest.encoder.dim,
        index_type=manifest.index_type,
        generation=manifest.generation,
    )


class BridgeReader:
    """One generation's rows in a vector store of LangChain; what it finds is compared exactly."""

    def __init__(self, generation: "Generation") -> None:
        """Connect, or fill a store that lives in this process.

        Raises:
            UsageError: If the class or its configuration is wrong.
            StoreError: If the store cannot be reached.
        """
        manifest, index = generation.manifest, generation.folder.parent
        self._generation = generation
        self.store: LangChainStore = open_bridge(
            manifest.store_options,
            manifest.encoder.fingerprint,
            index,
            manifest.encoder.dim,
            embeddings=generation.embeddings,
        )
        if self.store.options.in_memory:
            self.store.fill(self._held, generation.embeddings(self._held.tolist()))

    @cached_property
    def _held(self) -> NDArray[np.int64]:
        return self._generation.chunk_ids()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.int64] | None = None,
        tree: Filter | None = None,
    ) -> SearchResult:
        """The `k` nearest chunks of each query that the catalogue holds, shape (m, k).

        Args:
            queries: Shape (m, dim).
            k: How many.
            allowed: Only these chunks, if given.
            tree: Not asked: the catalogue has answered it.
        """
        held = self._held if allowed is None else allowed
        return self.store.search(queries, k, allowed=held)


class SharedReader:
    """One generation's rows; safe from several threads."""

    def __init__(self, generation: "Generation") -> None:
        """Connect.

        Raises:
            StoreError: If the store cannot be reached.
        """
        self._generation = generation
        self.store = open_shared(generation.manifest, generation.folder.parent)

    @cached_property
    def _held(self) -> NDArray[np.int64]:
        return self._generation.chunk_ids()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.int64] | None = None,
        tree: Filter | None = None,
    ) -> SearchResult:
        """The `k` nearest chunks of each query that the catalogue holds, shape (m, k).

        Args:
            queries: Shape (m, dim).
            k: How many.
            allowed: Only these chunks, if given.
            tree: The filter that allowed them: the store is asked it rather than the ids.
        """
        held = self._held if allowed is None else allowed
        most = self.store.most_k
        if k > most:
            return self._generation.exact_search(queries, k, held)
        where, named = None, None
        if allowed is not None:
            rendered = render(tree, self._generation.known_fields) if tree is not None else None
            where, named = (None, allowed) if rendered is None else (rendered.text, None)
        depth = k + _SLACK
        while depth < most:
            found = self.store.search(queries, depth, allowed=named, where=where)
            kept = are_among(found.ids, held)
            has_all = (kept.sum(axis=1) >= k) | (found.ids == NO_ID).any(axis=1)
            if has_all.all():
                return _compact(found, kept, k)
            depth *= _WIDENED
        # Too many rows that do not count stand before those that do.
        return self.store.search(queries, k, allowed=held)


def _compact(found: SearchResult, kept: NDArray[np.bool_], k: int) -> SearchResult:
    """The first `k` hits of each query that are kept, padded where there are fewer."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    is_kept = np.take_along_axis(kept, order, axis=1)
    scores = np.take_along_axis(found.scores, order, axis=1)
    ids = np.take_along_axis(found.ids, order, axis=1)
    return SearchResult(
        np.where(is_kept, scores, np.float32(-np.inf)).astype(np.float32),
        np.where(is_kept, ids, NO_ID),
    )
