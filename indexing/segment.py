"""One part of a generation, base or delta: catalogue, embeddings and store over the same chunks."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.npy import npy_header
from indexing.catalog import Catalog, CatalogWriter, DocumentRecord
from indexing.stores import Store, build_store, make_store, open_store
from indexing.stores.base import check_rows

CATALOG = "catalog.sqlite"
_EMBEDDINGS = "embeddings.npy"
_IDS = "ids.npy"


class SegmentWriter:
    """Writes a segment document by document; the store is made at the end."""

    def __init__(self, folder: Path, dim: int, *, store: str | None, index_type: str) -> None:
        """Begin a segment; without a store where `store` is None, as it lies elsewhere."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._dim = dim
        self._catalog = CatalogWriter(folder / CATALOG)
        if store is not None:  # a wrong type is found out before the work
            make_store(store, dim, index_type=index_type)
        self._store, self._index_type = store, index_type
        self._count = 0
        self._ids: list[NDArray[np.int64]] = []
        self._file = (folder / _EMBEDDINGS).open("wb")
        self._file.write(npy_header(0, dim))

    def __len__(self) -> int:
        return self._count

    def add(self, records: Sequence[DocumentRecord], embeddings: NDArray[np.float32]) -> None:
        """Add documents with one embedding for each of their chunks, in order."""
        ids = np.array([c.chunk.id for record in records for c in record.chunks], np.int64)
        check_rows(ids, embeddings, self._dim)
        self._catalog.add(records)
        self._ids.append(ids)
        self._count += len(ids)
        self._file.write(np.ascontiguousarray(embeddings, np.float32).tobytes())

    def close(self) -> None:
        """Finish all files."""
        self._catalog.close()
        ids = np.concatenate([np.empty(0, np.int64), *self._ids])
        np.save(self._folder / _IDS, ids)
        self._file.seek(0)
        self._file.write(npy_header(len(ids), self._dim))
        self._file.close()
        rows = np.load(self._folder / _EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        if self._store is not None:
            build_store(self._store, self._folder, ids, rows, index_type=self._index_type)


class Segment:
    """Reads a published segment; safe from several threads."""

    def __init__(self, folder: Path, *, store: str | None) -> None:
        """Open a segment; without its store where `store` is None, as for a build."""
        self.catalog = Catalog(folder / CATALOG)
        self._store = open_store(store, folder) if store is not None else None
        self.ids: NDArray[np.int64] = np.load(folder / _IDS, allow_pickle=False)
        """The chunks, in the order of the embeddings."""
        self._order = np.argsort(
            self.ids, kind="stable"
        )  # quick where they ascend, as they mostly do
        self._embeddings: NDArray[np.float32] = np.load(
            folder / _EMBEDDINGS, mmap_mode="r", allow_pickle=False
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def store(self) -> Store:
        """What searches the embeddings."""
        if self._store is None:
            raise RuntimeError("The segment was opened without its store.")
        return self._store

    def embeddings(self, ids: Iterable[int]) -> NDArray[np.float32]:
        """The embeddings of chunks that stand here, in the order of `ids`; shape (n, dim)."""
        wanted = np.fromiter(ids, np.int64)
        places = np.searchsorted(self.ids, wanted, sorter=self._order)
        return np.asarray(self._embeddings[self._order[places]])
