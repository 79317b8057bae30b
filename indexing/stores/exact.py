"""Exact search by numpy: the reference that every other store is tested against."""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from indexing.stores.base import NO_ID, Capabilities, SearchResult, check_rows, check_search

_EMBEDDINGS = "store.npy"
_IDS = "store_ids.npy"
_QUERY_BLOCK = 256


class ExactStore:
    """All embeddings in one matrix."""

    capabilities = Capabilities(exact=True, delete=True, filter=True, gpu=False)

    def __init__(self, dim: int) -> None:
        self._embeddings = np.empty((0, dim), np.float32)
        self._ids = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add rows: ids of shape (n,), embeddings of shape (n, dim)."""
        check_rows(ids, embeddings, self._embeddings.shape[1])
        self._embeddings = np.concatenate([self._embeddings, embeddings.astype(np.float32)])
        self._ids = np.concatenate([self._ids, ids.astype(np.int64)])

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        kept = ~np.isin(self._ids, ids)
        self._embeddings, self._ids = self._embeddings[kept], self._ids[kept]

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The `k` best rows for each query; equal scores in the order of their ids."""
        check_search(queries, k, self._embeddings.shape[1], allowed, excluded)
        # Few are allowed and many are left after an exclusion: copy the few, mask among the many.
        rows = slice(None) if allowed is None else np.isin(self._ids, allowed)
        embeddings, own_ids = self._embeddings[rows], self._ids[rows]
        masked = None if excluded is None else np.isin(own_ids, excluded)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), NO_ID, np.int64)
        for start in range(0, len(queries), _QUERY_BLOCK):
            block = queries[start : start + _QUERY_BLOCK] @ embeddings.T
            if masked is not None:
                block[:, masked] = -np.inf
            for row, found in enumerate(block, start):
                best = _best(found, own_ids, k)
                scores[row, : len(best)], ids[row, : len(best)] = found[best], own_ids[best]
        ids[np.isneginf(scores)] = NO_ID
        return SearchResult(scores, ids)

    def save(self, folder: Path) -> None:
        """Write both arrays into an existing folder."""
        # Beside it first: the matrix may be mapped from the very file that is to be replaced.
        np.save(folder / f"new-{_EMBEDDINGS}", self._embeddings)
        (folder / f"new-{_EMBEDDINGS}").replace(folder / _EMBEDDINGS)
        np.save(folder / _IDS, self._ids)

    @classmethod
    def build(cls, folder: Path, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Write a store of all these rows, straight from where they are mapped."""
        check_rows(ids, embeddings, embeddings.shape[1])
        np.save(folder / _EMBEDDINGS, embeddings)
        np.save(folder / _IDS, ids)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the embeddings into memory."""
        embeddings = np.load(folder / _EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        store = cls(embeddings.shape[1])
        store._embeddings = embeddings
        store._ids = np.load(folder / _IDS, allow_pickle=False)
        return store


def _best(scores: NDArray[np.float32], ids: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Positions of the `k` highest scores, best first, ties by id."""
    places = np.arange(len(scores))
    if k < len(scores):
        # All that are as good as the k-th: a partition alone would choose among ties by chance.
        places = places[scores >= np.partition(scores, -k)[-k]]
    return places[np.lexsort((ids[places], -scores[places]))][:k]
