"""The contract that every store keeps."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

EMBEDDINGS, IDS = "embeddings.npy", "ids.npy"
"""Where an index keeps the embeddings and ids of a segment, beside its store."""
NO_ID = -1
"""Stands in `ids` where there are fewer results than asked for; its score is -inf."""


class SearchResult(NamedTuple):
    """The best embeddings of each query, best first."""

    scores: NDArray[np.float32]
    """Shape (queries, k); higher is better; -inf where there are fewer."""
    ids: NDArray[np.int64]
    """Shape (queries, k); -1 where there are fewer."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a store can do."""

    exact: bool
    """Whether it finds the true nearest, rather than most of them."""
    delete: bool
    filter: bool
    gpu: bool


class Store(Protocol):
    """Embeddings by id, searched by inner product (the cosine, as rows have unit length)."""

    capabilities: Capabilities

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add rows: ids of shape (n,), embeddings of shape (n, dim)."""
        ...

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        ...

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The `k` best rows for each query of shape (m, dim).

        Args:
            queries: Shape (m, dim).
            k: How many.
            allowed: Only these ids, if given.
            excluded: None of these ids, if given. Not together with `allowed`.
        """
        ...

    def __len__(self) -> int: ...

    def save(self, folder: Path) -> None:
        """Write all that `open` needs into an existing folder."""
        ...

    @classmethod
    def build(cls, folder: Path, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Write a store of all these rows for `open`; they may be mapped from a file."""
        ...

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        ...


def check_rows(ids: NDArray[np.int64], embeddings: NDArray[np.float32], dim: int) -> None:
    """Raise ValueError unless there is one embedding of `dim` values for each id."""
    if ids.ndim != 1:
        raise ValueError(f"ids must have shape (n,), got {ids.shape}.")
    if embeddings.shape != (len(ids), dim):
        raise ValueError(f"embeddings must have shape ({len(ids)}, {dim}), got {embeddings.shape}.")


def check_search(
    queries: NDArray[np.float32],
    k: int,
    dim: int,
    allowed: NDArray[np.int64] | None,
    excluded: NDArray[np.int64] | None,
) -> None:
    """Raise ValueError unless a search makes sense."""
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries must have shape (m, {dim}), got {queries.shape}.")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if allowed is not None and excluded is not None:
        raise ValueError("Give either allowed or excluded ids, not both.")


def are_among(ids: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some ids stand among others that ascend; the shape of `ids`.

    Unlike `np.isin` it does not walk through all that are held, which may be a million.
    """
    if not len(held):
        return np.zeros(ids.shape, bool)
    if held[-1] - held[0] + 1 == len(held):  # none is missing between them
        return np.asarray((ids >= held[0]) & (ids <= held[-1]))
    places = np.searchsorted(held, ids)
    return np.asarray(held[np.minimum(places, len(held) - 1)] == ids)
