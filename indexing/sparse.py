"""The learned sparse leg: what an encoder such as bge-m3 says each word of a chunk weighs."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[int, float]
"""Token id → weight, above 0."""

_NAMES = ("sparse-ends.npy", "sparse-tokens.npy", "sparse-weights.npy")
"""Where each chunk's entries end, and the entries: token ids and weights, chunk after chunk."""


class SparseWriter:
    """Collects the weights of chunks, and writes them beside their embeddings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: list[int] = []
        self._tokens: list[NDArray[np.int32]] = []
        self._weights: list[NDArray[np.float32]] = []

    def add(self, rows: Sequence[Weights]) -> None:
        """Add the weights of chunks, in the order of their embeddings."""
        for row in rows:
            self._sizes.append(len(row))
            self._tokens.append(np.fromiter(row.keys(), np.int32, len(row)))
            self._weights.append(np.fromiter(row.values(), np.float32, len(row)))

    def close(self) -> None:
        """Write the files."""
        ends = np.cumsum(np.array(self._sizes, np.int64))
        tokens = np.concatenate([np.empty(0, np.int32), *self._tokens])
        weights = np.concatenate([np.empty(0, np.float32), *self._weights])
        for name, array in zip(_NAMES, (ends, tokens, weights), strict=True):
            np.save(self._folder / name, array)


class SparseRows:
    """The weights of a segment's chunks, searched by the sum over shared tokens of the products.

    Source: Chen et al. 2024, section 3.2 (https://arxiv.org/abs/2402.03216).
    """

    def __init__(self, folder: Path) -> None:
        """Open what a `SparseWriter` left in `folder`."""
        self._ends: NDArray[np.int64]
        self._tokens: NDArray[np.int32]
        self._weights: NDArray[np.float32]
        self._ends, self._tokens, self._weights = (
            np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in _NAMES
        )

    def __len__(self) -> int:
        return len(self._ends)

    @staticmethod
    def are_in(folder: Path) -> bool:
        """Whether a segment has weights."""
        return (folder / _NAMES[0]).is_file()

    def rows(self, places: Sequence[int]) -> list[Weights]:
        """The weights of the chunks at some places."""
        return [self._row(place) for place in places]

    def _row(self, place: int) -> Weights:
        span = slice(int(self._ends[place - 1]) if place else 0, int(self._ends[place]))
        return dict(zip(self._tokens[span].tolist(), self._weights[span].tolist(), strict=True))

    def scores(self, query: Weights) -> NDArray[np.float32]:
        """The score of every chunk, shape (chunks,); 0 where no token is shared."""
        scores = np.zeros(len(self), np.float64)
        tokens, starts, places, weights = self._by_token
        for token, weight in query.items():
            at = int(np.searchsorted(tokens, token))
            if at < len(tokens) and tokens[at] == token:
                # A chunk holds a token once, so that no place comes twice.
                span = slice(int(starts[at]), int(starts[at + 1]))
                scores[places[span]] += weight * weights[span].astype(np.float64)
        return scores.astype(np.float32)

    @cached_property
    def _by_token(
        self,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Tokens, where the entries of each begin, and their places and weights."""
        sizes = np.diff(self._ends, prepend=0)
        places = np.repeat(np.arange(len(self), dtype=np.int32), sizes)
        order = np.argsort(self._tokens, kind="stable")
        tokens, starts = np.unique(self._tokens[order], return_index=True)
        starts = np.append(starts, len(order)).astype(np.int64)
        return tokens, starts, places[order], self._weights[order]
