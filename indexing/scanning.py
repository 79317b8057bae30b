"""Exact search over embeddings where they are mapped, a block at a time: slow, and small."""

import numpy as np
from numpy.typing import NDArray

from indexing.stores.base import NO_ID, SearchResult

_BLOCK = 16_384


def scan_embeddings(
    queries: NDArray[np.float32],
    k: int,
    ids: NDArray[np.int64],
    embeddings: NDArray[np.float32],
    *,
    excluded: NDArray[np.int64] | None = None,
) -> SearchResult:
    """The `k` best rows for each query, found by looking at all rows once.

    Args:
        queries: Shape (m, dim).
        k: How many.
        ids: Shape (n,).
        embeddings: Shape (n, dim); may be mapped from a file of any size.
        excluded: Ids that do not count.
    """
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), NO_ID, np.int64)
    for start in range(0, len(ids), _BLOCK):
        own_ids = ids[start : start + _BLOCK]
        block = np.asarray(queries @ embeddings[start : start + _BLOCK].T, np.float32)
        if excluded is not None and len(excluded):
            block[:, np.isin(own_ids, excluded)] = -np.inf
        scores, found = _best_of_both(scores, found, block, own_ids)
    found[np.isneginf(scores)] = NO_ID
    return SearchResult(scores, found)


def _best_of_both(
    scores: NDArray[np.float32],
    found: NDArray[np.int64],
    block: NDArray[np.float32],
    own_ids: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    k = scores.shape[1]
    if k < block.shape[1]:
        places = np.argpartition(-block, k - 1, axis=1)[:, :k]
        block = np.take_along_axis(block, places, axis=1)
        block_ids = own_ids[places]
    else:
        block_ids = np.broadcast_to(own_ids, block.shape)
    scores = np.concatenate([scores, block], axis=1)
    found = np.concatenate([found, block_ids], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
