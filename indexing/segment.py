"""One part of a generation, base or delta: catalogue, embeddings and store over the same chunks."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.npy import npy_header
from indexing.catalog import Catalog, CatalogWriter, DocumentRecord
from indexing.scanning import scan_embeddings
from indexing.sparse import SparseRows, SparseWriter, Weights
from indexing.stores import SearchResult, Store, build_store, make_store, open_store
from indexing.stores.base import EMBEDDINGS, IDS, check_rows
from indexing.stores.index_types import DEFAULT_RECALL

CATALOG = "catalog.sqlite"


class SegmentWriter:
    """Writes a segment document by document; the store is made at the end."""

    def __init__(
        self,
        folder: Path,
        dim: int,
        *,
        store: str | None,
        index_type: str,
        recall: float = DEFAULT_RECALL,
        grown_from: Path | None = None,
        device: str = "cpu",
        weighs_words: bool = False,
    ) -> None:
        """Begin a segment.

        Args:
            folder: Where to write it.
            dim: Values of an embedding.
            store: The kind of its store; None where it lies elsewhere.
            index_type: The store's type.
            recall: What an approximate type is to find.
            grown_from: The segment whose chunks are most of these, if there is one.
            device: Where an approximate store is built.
            weighs_words: Whether the encoder weighs the words of each chunk.
        """
        folder.mkdir(parents=True)
        self._sparse = SparseWriter(folder) if weighs_words else None
        self._folder = folder
        self._dim = dim
        self._catalog = CatalogWriter(folder / CATALOG)
        if store is not None:  # a wrong type is found out before the work
            make_store(store, dim, index_type=index_type, recall=recall)
        self._store, self._index_type, self._recall = store, index_type, recall
        self._grown_from, self._device = grown_from, device
        self._count = 0
        self._ids: list[NDArray[np.int64]] = []
        self._file = (folder / EMBEDDINGS).open("wb")
        self._file.write(npy_header(0, dim))

    def __len__(self) -> int:
        return self._count

    def add(
        self,
        records: Sequence[DocumentRecord],
        embeddings: NDArray[np.float32],
        weights: Sequence[Weights] | None = None,
    ) -> None:
        """Add documents with one embedding for each of their chunks, in order.

        Raises:
            ValueError: If the segment weighs words, and there is not one row of weights for each.
        """
        ids = np.array([c.chunk.id for record in records for c in record.chunks], np.int64)
        check_rows(ids, embeddings, self._dim)
        if self._sparse is not None:
            if weights is None or len(weights) != len(ids):
                raise ValueError(f"{len(ids)} chunks need as many weights of their words.")
            self._sparse.add(weights)
        self._catalog.add(records)
        self._ids.append(ids)
        self._count += len(ids)
        self._file.write(np.ascontiguousarray(embeddings, np.float32).tobytes())

    def abandon(self) -> None:
        """Let go of files that nobody will read; needless once they are closed."""
        self._file.close()
        self._catalog.abandon()

    def close(self) -> None:
        """Finish all files."""
        self._catalog.close()
        if self._sparse is not None:
            self._sparse.close()
        ids = np.concatenate([np.empty(0, np.int64), *self._ids])
        np.save(self._folder / IDS, ids)
        self._file.seek(0)
        self._file.write(npy_header(len(ids), self._dim))
        self._file.close()
        if self._store is None:
            return
        rows = np.load(self._folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        build_store(
            self._store,
            self._folder,
            ids,
            rows,
            index_type=self._index_type,
            recall=self._recall,
            grown_from=self._grown_from,
            device=self._device,
        )


class Segment:
    """Reads a published segment; safe from several threads."""

    def __init__(self, folder: Path, *, store: str | None) -> None:
        """Open a segment; without its store where `store` is None, as for a build."""
        self.catalog = Catalog(folder / CATALOG)
        self._store = open_store(store, folder) if store is not None else None
        self.ids: NDArray[np.int64] = np.load(folder / IDS, allow_pickle=False)
        """The chunks, in the order of the embeddings."""
        self._order = np.argsort(
            self.ids, kind="stable"
        )  # quick where they ascend, as they mostly do
        self._embeddings: NDArray[np.float32] = np.load(
            folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False
        )
        self.sparse = SparseRows(folder) if SparseRows.are_in(folder) else None
        """What the words of the chunks weigh, in the same order; None without such an encoder."""

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
        return np.asarray(self._embeddings[self._places(ids)])

    def weights(self, ids: Iterable[int]) -> list[Weights] | None:
        """What the words of chunks that stand here weigh, in the order of `ids`."""
        return None if self.sparse is None else self.sparse.rows(self._places(ids).tolist())

    def _places(self, ids: Iterable[int]) -> NDArray[np.int64]:
        wanted = np.fromiter(ids, np.int64)
        return self._order[np.searchsorted(self.ids, wanted, sorter=self._order)]

    def scan(
        self, queries: NDArray[np.float32], k: int, excluded: NDArray[np.int64] | None = None
    ) -> SearchResult:
        """The `k` nearest by the stored embeddings alone, read through from the disk."""
        return scan_embeddings(queries, k, self.ids, self._embeddings, excluded=excluded)
