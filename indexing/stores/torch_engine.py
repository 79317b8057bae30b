"""Cells and codes learned and applied by torch on any device: arrays in, arrays out.

Knows no index: what comes out is put into a FAISS index on the CPU by `stores.faiss`, so a GPU
needs no build of FAISS of its own.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from indexing.errors import UsageError

_SCORES_AT_ONCE = 2**26
"""Numbers of one block of scores: 256 MiB."""
_SPLIT = 1 / 1024
"""How far the two halves of a split cell are moved apart (faiss/Clustering.cpp)."""


class TorchEngine:
    """k-means, assignment and product quantisation on one device."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def cells(
        self, rows: NDArray[np.float32], count: int, *, rounds: int, seed: int, is_round: bool
    ) -> NDArray[np.float32]:
        """Centroids of k-means, shape (count, dim).

        Args:
            rows: Shape (n, dim), at least `count` of them.
            count: How many cells.
            rounds: Of k-means.
            seed: Of the rows that it begins with.
            is_round: Whether centroids have unit length and the nearest is that of the highest
                inner product, instead of the least distance.

        Raises:
            ValueError: If there are fewer rows than cells.
        """
        if len(rows) < count:
            raise ValueError(f"k-means needs a row for each of {count} cells, got {len(rows)}.")
        points = self._tensor(rows)
        first = np.random.default_rng(seed).choice(len(rows), count, replace=False)
        centroids = points[torch.from_numpy(np.sort(first)).to(self._device)].clone()
        for _ in range(rounds):
            centroids = self._moved(points, centroids, is_round=is_round)
        found: NDArray[np.float32] = centroids.cpu().numpy()
        return found

    def _moved(
        self, points: torch.Tensor, centroids: torch.Tensor, *, is_round: bool
    ) -> torch.Tensor:
        """One round: each centroid goes to the middle of its rows; empty cells split full ones."""
        count = len(centroids)
        sums = torch.zeros_like(centroids)
        sizes = torch.zeros(count, dtype=torch.int64, device=self._device)
        for block in torch.split(points, max(1, _SCORES_AT_ONCE // count)):
            nearest = _nearest(block, centroids, is_round=is_round)
            sums.index_add_(0, nearest, block)
            sizes += torch.bincount(nearest, minlength=count)
        moved = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centroids)
        empty = torch.nonzero(sizes == 0).flatten()
        full = torch.argsort(sizes, descending=True, stable=True)[: len(empty)]
        step = torch.ones_like(moved[0])
        step[::2] += _SPLIT
        step[1::2] -= _SPLIT
        moved[empty[: len(full)]] = moved[full] * step
        moved[full] = moved[full] / step
        return torch.nn.functional.normalize(moved) if is_round else moved

    def nearest_cells(
        self, rows: NDArray[np.float32], centroids: NDArray[np.float32], *, is_round: bool
    ) -> NDArray[np.int64]:
        """The cell of each row, shape (n,)."""
        points = self._tensor(centroids)
        blocks = [
            _nearest(block, points, is_round=is_round).cpu()
            for block in self._blocks(rows, len(centroids))
        ]
        return torch.cat([torch.empty(0, dtype=torch.int64), *blocks]).numpy()

    def codebooks(
        self, rows: NDArray[np.float32], parts: int, entries: int, *, rounds: int, seed: int
    ) -> NDArray[np.float32]:
        """For each part of a row its entries, shape (parts, entries, dim / parts).

        Source: Jégou, Douze & Schmid 2011 (https://doi.org/10.1109/TPAMI.2010.57).
        """
        cut = rows.reshape(len(rows), parts, -1)
        return np.stack(
            [
                self.cells(
                    np.ascontiguousarray(cut[:, part]),
                    entries,
                    rounds=rounds,
                    seed=seed + part,
                    is_round=False,
                )
                for part in range(parts)
            ]
        )

    def codes(self, rows: NDArray[np.float32], codebooks: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The nearest entry of each part of each row, shape (n, parts)."""
        books = self._tensor(codebooks)
        parts, entries, _ = books.shape
        halves = (books**2).sum(dim=2) / 2
        found = [np.empty((0, parts), np.uint8)]
        for block in self._blocks(rows, parts * entries):
            cut = block.reshape(len(block), parts, -1).transpose(0, 1)
            scores = torch.bmm(cut, books.transpose(1, 2)) - halves[:, None]
            found.append(scores.argmax(dim=2).T.to(torch.uint8).cpu().numpy())
        return np.concatenate(found)

    def _blocks(self, rows: NDArray[np.float32], width: int) -> Iterator[torch.Tensor]:
        """Rows on the device, as many at once as give a block of scores of this width."""
        size = max(1, _SCORES_AT_ONCE // width)
        for start in range(0, len(rows), size):
            yield self._tensor(rows[start : start + size])

    def _tensor(self, rows: NDArray[np.float32]) -> torch.Tensor:
        # A copy where the rows are mapped: torch warns of memory that it may not write.
        array = np.ascontiguousarray(rows, np.float32)
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self._device)


def _nearest(rows: torch.Tensor, centroids: torch.Tensor, *, is_round: bool) -> torch.Tensor:
    scores = rows @ centroids.T
    if not is_round:
        scores -= (centroids**2).sum(dim=1) / 2
    return scores.argmax(dim=1)


def engine_for(device: str) -> TorchEngine | None:
    """What builds an index on a device; None where FAISS does it on the CPU.

    Args:
        device: As for an encoder: `auto` takes the GPU where there is one, `cpu` leaves it to
            FAISS, and of several devices the first counts. `torch-cpu` has torch do it on the CPU.

    Raises:
        UsageError: If there is no GPU for `cuda`, or no such device.
    """
    first = device.partition(",")[0].strip()
    has_gpu = torch.cuda.is_available()
    if first == "cpu" or (first == "auto" and not has_gpu):
        return None
    if first == "torch-cpu":
        return TorchEngine("cpu")
    if first != "auto" and first.partition(":")[0] != "cuda":
        raise UsageError(f"Unknown device {device!r}. Known: auto, cpu, cuda, cuda:N, torch-cpu.")
    if not has_gpu:
        raise UsageError("There is no CUDA device to build the index on; use --device cpu.")
    return TorchEngine("cuda" if first == "auto" else first)
