"""Exact search by torch: rows of half precision on a GPU choose, float32 decides.

Without a GPU it works on the CPU, and gives the same. Rows are spread over all GPUs that there are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from indexing.stores.base import (
    EMBEDDINGS,
    IDS,
    NO_ID,
    Capabilities,
    SearchResult,
    check_rows,
    check_search,
)

_QUERY_BLOCK = 256
_ROW_BLOCK = 131_072
_MORE = 32
"""Candidates beyond k that are looked at first."""
_WIDER = 8
_ERROR = 2.0**-9
"""Bound of the error of a score in half precision, for rows and query of unit length: each value is
off by 2^-11 of itself in both, and the sum by as much once it is rounded."""
_SETTING = Lock()
"""Of torch's choices, which hold for all threads."""


class TorchStore:
    """All rows in half precision on the devices; the rows themselves stay with the CPU.

    The candidates that half precision names are scored in float32. Where the last of them is not
    surely worse than the k-th best, more are looked at: so the result is exact.
    """

    capabilities = Capabilities(exact=True, delete=True, filter=True, gpu=True)

    def __init__(self, dim: int, *, devices: tuple[str, ...] | None = None) -> None:
        """An empty store, on these devices or on all GPUs, else on the CPU."""
        self._devices = tuple(map(torch.device, devices or _all_devices()))
        self._take(np.empty(0, np.int64), np.empty((0, dim), np.float32))

    def _take(self, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        self._ids, self._rows = ids, rows
        self._longest = max(
            (float(np.linalg.norm(rows[s : s + _ROW_BLOCK], axis=1).max()) for s in _starts(rows)),
            default=0.0,
        )
        self._parts = [
            (start, _half(rows[start : start + _ROW_BLOCK]).to(self._device_of(number)))
            for number, start in enumerate(_starts(rows))
        ]

    def _device_of(self, number: int) -> torch.device:
        return self._devices[number % len(self._devices)]

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add rows: ids of shape (n,), embeddings of shape (n, dim)."""
        check_rows(ids, embeddings, self._rows.shape[1])
        self._take(
            np.concatenate([self._ids, ids.astype(np.int64)]),
            np.concatenate([self._rows, embeddings.astype(np.float32)]),
        )

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        kept = ~np.isin(self._ids, ids)
        if not kept.all():
            self._take(self._ids[kept], np.asarray(self._rows[kept]))

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The `k` best rows for each query; equal scores in the order of their ids."""
        check_search(queries, k, self._rows.shape[1], allowed, excluded)
        chosen: NDArray[np.bool_] | None = None
        if allowed is not None:
            chosen = np.isin(self._ids, allowed)
        elif excluded is not None and len(excluded):
            chosen = ~np.isin(self._ids, excluded)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), NO_ID, np.int64)
        if len(self._ids) and (chosen is None or chosen.any()):
            for start in range(0, len(queries), _QUERY_BLOCK):
                block = np.asarray(queries[start : start + _QUERY_BLOCK], np.float32)
                self._search_block(block, chosen, scores[start:], ids[start:])
        return SearchResult(scores, ids)

    def _search_block(
        self,
        queries: NDArray[np.float32],
        chosen: NDArray[np.bool_] | None,
        scores: NDArray[np.float32],
        ids: NDArray[np.int64],
    ) -> None:
        """Fill in the results of some queries, looking at more candidates until all are sure."""
        k, most = scores.shape[1], len(self._ids) if chosen is None else int(chosen.sum())
        left = np.arange(len(queries))
        candidates = min(most, k + _MORE)
        masks = [
            None
            if chosen is None
            else (~torch.from_numpy(chosen[start : start + len(part)])).to(part.device)
            for start, part in self._parts
        ]
        while len(left):
            rough, places = self._candidates(queries[left], masks, candidates)
            unsure = []
            for row, query in enumerate(left):
                exact = self._rows[places[row]] @ queries[query]
                best = np.lexsort((self._ids[places[row]], -exact))[:k]
                error = _ERROR * self._longest * float(np.linalg.norm(queries[query]))
                if candidates < most and rough[row, -1] + error >= exact[best[-1]]:
                    unsure.append(query)
                    continue
                scores[query, : len(best)] = exact[best]
                ids[query, : len(best)] = self._ids[places[row][best]]
            left, candidates = np.array(unsure, np.int64), min(most, candidates * _WIDER)

    def _candidates(
        self, queries: NDArray[np.float32], masks: Sequence[torch.Tensor | None], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best of the chosen rows in half precision: rough scores and places, best first."""
        found_scores, found_places = [], []
        asked = {device: _half(queries).to(device) for device in self._devices}
        for (start, part), mask in zip(self._parts, masks, strict=True):
            rough = _products(asked[part.device], part)
            if mask is not None:
                rough[:, mask] = -torch.inf
            best, places = rough.topk(min(count, len(part)), dim=1)
            found_scores.append(best)
            found_places.append(places + start)
        scores = torch.cat([one.cpu() for one in found_scores], dim=1)
        places = torch.cat([one.cpu() for one in found_places], dim=1)
        best, order = scores.topk(count, dim=1)
        return best.numpy(), places.gather(1, order).numpy()

    def save(self, folder: Path) -> None:
        """Write rows and ids into an existing folder."""
        # Beside it first: the matrix may be mapped from the very file that is to be replaced.
        np.save(folder / f"new-{EMBEDDINGS}", self._rows)
        (folder / f"new-{EMBEDDINGS}").replace(folder / EMBEDDINGS)
        np.save(folder / IDS, self._ids)

    @classmethod
    def build(cls, folder: Path, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Write what is not there yet: in an index rows and ids stand in the folder already."""
        check_rows(ids, embeddings, embeddings.shape[1])
        if not (folder / EMBEDDINGS).exists():
            np.save(folder / EMBEDDINGS, embeddings)
            np.save(folder / IDS, ids)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the rows, and bring them to the devices in half precision."""
        rows = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        store = cls(rows.shape[1])
        store._take(np.load(folder / IDS, allow_pickle=False), rows)
        return store


def _all_devices() -> tuple[str, ...]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)


def _starts(rows: NDArray[np.float32]) -> Iterator[int]:
    return iter(range(0, len(rows), _ROW_BLOCK))


def _half(rows: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(rows, np.float16))


def _products(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    if rows.device.type == "cpu":  # which multiplies halves slowly
        return queries.float() @ rows.float().T
    # Partial sums in half precision would err by more than `_ERROR` allows for.
    products = torch.backends.cuda.matmul
    with _SETTING:
        before = products.allow_fp16_reduced_precision_reduction
        products.allow_fp16_reduced_precision_reduction = False
        try:
            return (queries @ rows.T).float()
        finally:
            products.allow_fp16_reduced_precision_reduction = before
