"""FAISS on the CPU: the flat index, exact and without training."""

import struct
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from encoder import MissingExtraError
from indexing.stores.base import Capabilities, SearchResult, check_rows, check_search

try:
    import faiss
except ImportError as error:
    raise MissingExtraError("The FAISS store", "faiss") from error

_FILE = "store.faiss"
_WRITTEN_AT_ONCE = 65_536


class FaissStore:
    """A flat FAISS index with our ids."""

    capabilities = Capabilities(exact=True, delete=True, filter=True, gpu=False)

    def __init__(self, dim: int) -> None:
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add rows: ids of shape (n,), embeddings of shape (n, dim)."""
        check_rows(ids, embeddings, self._index.d)
        self._index.add_with_ids(
            np.ascontiguousarray(embeddings, np.float32), np.ascontiguousarray(ids, np.int64)
        )

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove rows; ids that are not there are passed over."""
        self._index.remove_ids(faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64)))

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> SearchResult:
        """The `k` best rows for each query."""
        check_search(queries, k, self._index.d, allowed, excluded)
        params = _parameters(allowed, excluded)
        rows = np.ascontiguousarray(queries, np.float32)
        scores, ids = self._index.search(rows, k, params=params)
        # FAISS pads missing results with -1 and the lowest float instead of -inf.
        return SearchResult(np.where(ids < 0, np.float32(-np.inf), scores), ids)

    def save(self, folder: Path) -> None:
        """Write the index into an existing folder."""
        try:
            faiss.write_index(self._index, str(folder / _FILE))
        except RuntimeError as error:
            raise OSError(f"Cannot write {folder / _FILE}: {error}") from error

    @classmethod
    def build(cls, folder: Path, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Write a store of all these rows, a block at a time: a million need not fit in memory."""
        check_rows(ids, embeddings, embeddings.shape[1])
        dim = embeddings.shape[1]
        empty = faiss.serialize_index(faiss.IndexIDMap2(faiss.IndexFlatIP(dim))).tobytes()
        parts = _headers(empty, len(ids), dim)
        if parts is None:  # another version of FAISS writes otherwise
            store = cls(dim)
            store.add(ids, embeddings)
            store.save(folder)
            return
        with (folder / _FILE).open("wb") as file:
            file.write(parts[0])
            for start in range(0, len(ids), _WRITTEN_AT_ONCE):
                block = embeddings[start : start + _WRITTEN_AT_ONCE]
                file.write(np.ascontiguousarray(block, "<f4").tobytes())
            file.write(parts[1])
            file.write(np.ascontiguousarray(ids, "<i8").tobytes())

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the index."""
        store = cls.__new__(cls)
        store._index = faiss.read_index(str(folder / _FILE))
        return store


def _headers(empty: bytes, rows: int, dim: int) -> tuple[bytes, bytes] | None:
    """What stands before the rows and before the ids in a file of so many.

    The file is that of an empty index with its counts put in: for each of the two parts its name,
    the dimension, the count, two unused numbers, a flag and the metric; then the vectors' length.

    Source: faiss/impl/index_write.cpp, `write_index_header`.
    """
    part = struct.Struct("<4siqqq?i")
    counts = struct.Struct("<q")
    if len(empty) != 2 * part.size + 2 * counts.size or any(empty[-2 * counts.size :]):
        return None
    parts = [list(part.unpack_from(empty, place * part.size)) for place in range(2)]
    if [one[:3] for one in parts] != [[b"IxM2", dim, 0], [b"IxFI", dim, 0]]:
        return None
    before = b"".join(part.pack(*one[:2], rows, *one[3:]) for one in parts)
    return before + counts.pack(rows * dim), counts.pack(rows)


def _parameters(allowed: NDArray[np.int64] | None, excluded: NDArray[np.int64] | None) -> Any:  # noqa: ANN401 - faiss is untyped
    """Search parameters of one call; FAISS writes into them, so threads never share them."""
    selector: Any
    if allowed is not None:
        selector = faiss.IDSelectorBatch(np.ascontiguousarray(allowed, np.int64))
    elif excluded is not None and len(excluded):
        selector = faiss.IDSelectorNot(
            faiss.IDSelectorBatch(np.ascontiguousarray(excluded, np.int64))
        )
    else:
        return None
    return faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
