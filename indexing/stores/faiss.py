"""FAISS on the CPU: the flat store, and the indexes that other stores search with.

The one place that imports FAISS.
"""

import struct
import threading
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from encoder import MissingExtraError
from indexing.errors import UsageError
from indexing.stores.base import Capabilities, SearchResult, check_rows, check_search
from indexing.stores.index_types import AUTO, NAMED

if TYPE_CHECKING:
    from indexing.stores.torch_engine import TorchEngine

try:
    import faiss as faiss  # once more by name: `faiss_gpu` takes it from here
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
        _write(self._index, folder / _FILE)

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
    return faiss.SearchParameters(sel=selector)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How thoroughly an index is searched; what it has no use for stays 0."""

    nprobe: int = 0
    """Cells that a search visits."""
    ef: int = 0
    """Candidates that a walk through a graph keeps."""
    refine: int = 1
    """Candidates for each result that is asked for, scored again by their embeddings."""

    def as_dict(self) -> dict[str, int]:
        """Plain values for JSON, without those of no use."""
        return {name: value for name, value in asdict(self).items() if value}


class Chosen:
    """Which rows may be found; what FAISS needs of it is made once."""

    def __init__(self, rows: NDArray[np.bool_]) -> None:
        """Of a mask with one place for each row, which nobody changes any more."""
        self.rows = rows

    @cached_property
    def count(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.rows))

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """Eight rows in a byte, the first one in its lowest bit."""
        return np.packbits(self.rows, bitorder="little")


class FaissIndex:
    """Any FAISS index over rows numbered from 0; what is searched for goes with each search.

    FAISS lets several threads search an index on the CPU as long as none of them changes it, so
    nothing is set on it: parameters go with each call. FAISS may write into these, so that no two
    threads share them.
    """

    def __init__(self, index: Any, file: Path | None = None) -> None:  # noqa: ANN401 - faiss is untyped
        self._index = index
        self._core = _core(index)
        self._file = file
        self.has_cells = isinstance(self._core, faiss.IndexIVF)
        self.has_graph = isinstance(self._core, faiss.IndexHNSW)
        self._selects = self.has_cells or isinstance(self._core, _SELECTING)
        self._of_thread = threading.local()
        self._scored: tuple[NDArray[np.float32], Any] | None = None
        """Rows, and the index with these behind it, which scores what it finds by them."""

    @property
    def raw(self) -> Any:  # noqa: ANN401 - faiss is untyped
        """FAISS's own object."""
        return self._index

    @classmethod
    def make(cls, factory: str, dim: int) -> Self:
        """An empty index by a factory string, of inner products where FAISS has them.

        Raises:
            UsageError: If FAISS cannot read it, or not for so many dimensions.
        """
        # Hashes know one order only, which for rows of equal length is that of the inner product.
        metric = faiss.METRIC_L2 if "LSH" in factory else faiss.METRIC_INNER_PRODUCT
        try:
            made = cls(faiss.index_factory(dim, factory, metric))
        except RuntimeError as error:
            raise UsageError(
                f"FAISS makes no index {factory!r} for {dim} dimensions: {_reason(error)}. Known: "
                f"{', '.join([AUTO, *NAMED])}, or a FAISS factory string such as IVF1024,SQ8."
            ) from error
        made._make_quick_to_train()
        return made

    def _make_quick_to_train(self) -> None:
        if self.has_cells:
            self._core.cp.niter, self._core.cp.seed = _ROUNDS, _SEED
        for step in self._steps():
            if isinstance(step, faiss.OPQMatrix):
                # With FAISS's own 50 rounds over 65,536 rows it takes minutes, for the same recall.
                step.niter, step.max_train_points = _OPQ_ROUNDS, _OPQ_ROWS

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def train(self, rows: NDArray[np.float32], engine: "TorchEngine | None" = None) -> None:
        """Learn cells and codes from rows of shape (n, dim).

        Args:
            rows: What to learn from.
            engine: Does the k-means of cells and of 8- and 4-bit codes; None leaves it to FAISS.

        Raises:
            UsageError: If these are too few.
        """
        try:
            if engine is not None and self._is_bare and len(rows) >= self.cells:
                self._train_by(engine, np.ascontiguousarray(rows, np.float32))
            if engine is None or not self._index.is_trained:
                self._index.train(np.ascontiguousarray(rows, np.float32))
        except RuntimeError as error:
            raise UsageError(
                f"FAISS cannot train the index with {len(rows)} rows: {_reason(error)}."
            ) from error

    def _train_by(self, engine: "TorchEngine", rows: NDArray[np.float32]) -> None:
        """Learn the cells by torch, and the entries of product codes."""
        core = self._core
        for step in self._steps():
            step.train(rows)
            rows = step.apply(rows)
        centroids = engine.cells(
            rows, self.cells, rounds=_ROUNDS, seed=_SEED, is_round=self._is_round
        )
        core.quantizer.reset()
        core.quantizer.train(centroids)
        core.quantizer.add(centroids)  # what FAISS finds trained, it does not train again
        if not isinstance(core, _PRODUCT_CODES):
            return
        if core.by_residual:
            cells = engine.nearest_cells(rows, centroids, is_round=self._is_round)
            rows = rows - centroids[cells]
        drawn = rows[: _PQ_ROWS_PER_ENTRY * core.pq.ksub]
        books = engine.codebooks(drawn, core.pq.M, core.pq.ksub, rounds=_PQ_ROUNDS, seed=_SEED)
        faiss.copy_array_to_vector(books.ravel(), core.pq.centroids)
        core.is_trained = True
        if isinstance(core, faiss.IndexIVFPQ):
            core.precompute_table()
        self._index.is_trained = True

    def _steps(self) -> list[Any]:
        """What is done to a row before it comes to the cells."""
        if not isinstance(self._index, faiss.IndexPreTransform):
            return []
        chain = self._index.chain
        return [faiss.downcast_VectorTransform(chain.at(place)) for place in range(chain.size())]

    @property
    def _is_bare(self) -> bool:
        """Whether there are cells, and nothing around them that keeps rows of its own."""
        index = faiss.downcast_index(self._index)
        if isinstance(index, faiss.IndexPreTransform):
            index = faiss.downcast_index(index.index)
        return isinstance(index, faiss.IndexIVF)

    @property
    def _is_round(self) -> bool:
        return bool(self._core.metric_type == faiss.METRIC_INNER_PRODUCT)

    def add(self, rows: NDArray[np.float32], engine: "TorchEngine | None" = None) -> None:
        """Add rows of shape (n, dim), which get the next numbers; they may be mapped.

        Args:
            rows: What to add.
            engine: Sorts them into cells and makes product codes of 8 and 4 bits, for the indexes
                that FAISS takes these of; None leaves it to FAISS.
        """
        self._scored = None
        core = self._core
        is_packed = isinstance(core, faiss.IndexIVFPQFastScan)
        sorts = self._is_bare and (not isinstance(core, _PACKED) or (is_packed and not len(self)))
        if engine is not None and sorts and is_packed:
            core = _unpacked(core)
        for start in range(0, len(rows), _WRITTEN_AT_ONCE):
            block = np.ascontiguousarray(rows[start : start + _WRITTEN_AT_ONCE], np.float32)
            if engine is not None and sorts:
                self._add_by(engine, core, block)
            else:
                self._index.add(block)
        if core is not self._core:
            _take_packed(self._core, core)
        self._index.ntotal = self._core.ntotal

    def _add_by(self, engine: "TorchEngine", core: Any, rows: NDArray[np.float32]) -> None:  # noqa: ANN401 - faiss is untyped
        first = int(core.ntotal)
        for step in self._steps():
            rows = step.apply(rows)
        centroids = faiss.downcast_index(core.quantizer).reconstruct_n(0, self.cells)
        cells = engine.nearest_cells(rows, centroids, is_round=self._is_round)
        numbers = np.arange(first, first + len(rows))
        if isinstance(core, faiss.IndexIVFPQ) and core.pq.nbits in {4, 8}:
            rest = rows - centroids[cells] if core.by_residual else rows
            books = faiss.vector_to_array(core.pq.centroids)
            codes = engine.codes(rest, books.reshape(core.pq.M, core.pq.ksub, core.pq.dsub))
            _add_codes(core, cells, numbers, codes if core.pq.nbits == 8 else _in_pairs(codes))
        else:
            pointers = (faiss.swig_ptr(array) for array in (rows, numbers, cells))
            core.add_core(len(rows), *pointers)

    def regrow(self, numbers: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        """Make an index over cells one of other rows, without sorting anew those that stay.

        Args:
            numbers: For each row that it holds, its number from now on; -1 drops it.
            rows: All rows from now on; those whose number is not given yet are added.
        """
        self._scored = None
        if isinstance(self._core, _PACKED):
            # FAISS leaves the bits of removed codes in their blocks, and mixes them into new ones.
            self._index.reset()
            self.add(rows)
            return
        self._core.remove_ids(faiss.IDSelectorBitmap(np.packbits(numbers < 0, bitorder="little")))
        lists = self._core.invlists
        for place in range(self.cells):
            size = lists.list_size(place)
            if size:
                ids = faiss.rev_swig_ptr(lists.get_ids(place), size)
                ids[:] = numbers[ids]
        added = np.setdiff1d(np.arange(len(rows)), numbers, assume_unique=False)
        for start in range(0, len(added), _WRITTEN_AT_ONCE):
            some = added[start : start + _WRITTEN_AT_ONCE]
            self._index.add_with_ids(np.ascontiguousarray(rows[some], np.float32), some)
        self._index.ntotal = self._core.ntotal

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        setting: Setting,
        chosen: Chosen | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and numbers of the best rows, shape (m, k) each; -1 where there are fewer.

        Args:
            queries: Shape (m, dim).
            k: How many.
            setting: How thoroughly.
            chosen: Which rows may be found; None for all.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if chosen is not None and not self._selects:
            return self._sifted(queries, k, setting, chosen)
        params = self._parameters(k, None, setting, chosen)
        scores, places = self._index.search(queries, k, params=params)
        return scores, places

    def search_and_score(
        self,
        queries: NDArray[np.float32],
        k: int,
        candidates: int,
        setting: Setting,
        rows: NDArray[np.float32],
        chosen: Chosen | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As `search`, with exact scores: more are found, and scored again by their embeddings.

        Args:
            queries: Shape (m, dim).
            k: How many.
            candidates: How many are found for each query, at least `k`.
            setting: How thoroughly.
            rows: The embeddings of all rows, shape (n, dim), of one piece; they may be mapped, and
                are not copied.
            chosen: Which rows may be found; None for all.

        Raises:
            ValueError: If the rows are not of one piece.
        """
        is_sifted = chosen is not None and not self._selects
        if is_sifted or self._index.metric_type != faiss.METRIC_INNER_PRODUCT:
            _, places = self.search(queries, candidates, setting, chosen)
            return _best(inner_products(queries, rows, places), places, k)
        scored = self._scored  # another thread may put another one there meanwhile
        if scored is None or scored[0] is not rows:
            scored = self._scored = (rows, faiss.IndexRefine(self._index, _over(rows)))
        params = self._parameters(k, candidates, setting, chosen)
        queries = np.ascontiguousarray(queries, np.float32)
        scores, places = scored[1].search(queries, k, params=params)
        return scores, places

    def _parameters(
        self, k: int, candidates: int | None, setting: Setting, chosen: Chosen | None
    ) -> Any:  # noqa: ANN401 - faiss is untyped
        """Search parameters of this thread: making them takes a tenth of a quick search."""
        wanted = (k, candidates, setting, chosen)
        if getattr(self._of_thread, "wanted", None) != wanted:
            selector = None if chosen is None else faiss.IDSelectorBitmap(chosen.bits)
            params = _nested(self._index, candidates or k, setting, selector)
            if candidates is not None:
                # FAISS rounds the product down, of a factor in single precision.
                factor = (candidates + 0.5) / k
                params = faiss.IndexRefineSearchParameters(
                    k_factor=factor, base_index_params=params
                )
            self._of_thread.params = params
            self._of_thread.wanted = wanted
        return self._of_thread.params

    def _sifted(
        self, queries: NDArray[np.float32], k: int, setting: Setting, chosen: Chosen
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """For indexes that cannot select: more are fetched, until enough of them are chosen."""
        share = max(1, chosen.count) / len(chosen.rows)
        fetched = min(len(self), int(2 * k / share) + 1)
        while True:
            params = _nested(self._index, fetched, setting, None)
            scores, places = self._index.search(queries, fetched, params=params)
            kept = (places >= 0) & chosen.rows[places]
            if fetched == len(self) or (kept.sum(axis=1) >= k).all():
                break
            fetched = min(len(self), 4 * fetched)
        first = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, first, axis=1)
        places = np.where(
            np.take_along_axis(kept, first, axis=1), np.take_along_axis(places, first, axis=1), -1
        )
        missing = ((0, 0), (0, k - first.shape[1]))
        return (
            np.pad(scores, missing, constant_values=-np.inf),
            np.pad(places, missing, constant_values=-1),
        )

    @property
    def cells(self) -> int:
        """How many cells there are; 0 where rows are not sorted into cells."""
        return int(self._core.nlist) if self.has_cells else 0

    def list_sizes(self) -> NDArray[np.int64]:
        """How many rows each cell holds; empty where there are no cells."""
        if not self.has_cells:
            return np.empty(0, np.int64)
        lists = self._core.invlists
        return np.array([lists.list_size(place) for place in range(self.cells)], np.int64)

    def save(self, file: Path) -> None:
        """Write the index."""
        _write(self._index, file)

    @classmethod
    def open(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        return cls(faiss.read_index(str(file)), file)


def _add_codes(
    core: Any,  # noqa: ANN401 - faiss is untyped
    cells: NDArray[np.int64],
    numbers: NDArray[np.int64],
    codes: NDArray[np.uint8],
) -> None:
    """Put codes into the cells of an inverted file, in the order of their numbers."""
    order = np.argsort(cells, kind="stable")
    numbers, codes = numbers[order], np.ascontiguousarray(codes[order])
    ends = np.cumsum(np.bincount(cells, minlength=core.nlist))
    for cell in np.unique(cells).tolist():
        begin, end = int(ends[cell - 1]) if cell else 0, int(ends[cell])
        core.invlists.add_entries(
            cell,
            end - begin,
            faiss.swig_ptr(numbers[begin:end]),
            faiss.swig_ptr(codes[begin:end]),
        )
    core.ntotal += len(numbers)


def _in_pairs(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two codes of 4 bits in a byte, the first one in its low half."""
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return np.asarray(even[:, ::2] | even[:, 1::2] << 4, np.uint8)


def _unpacked(packed: Any) -> Any:  # noqa: ANN401 - faiss is untyped
    """An empty index with the cells and codes of one whose codes lie packed in blocks.

    It takes rows that are sorted already, as the other does not.
    """
    made = faiss.IndexIVFPQ(
        packed.quantizer, packed.d, packed.nlist, packed.pq.M, packed.pq.nbits, packed.metric_type
    )
    made.by_residual = packed.by_residual
    faiss.copy_array_to_vector(faiss.vector_to_array(packed.pq.centroids), made.pq.centroids)
    made.is_trained = True
    return made


def _take_packed(packed: Any, filled: Any) -> None:  # noqa: ANN401 - faiss is untyped
    """Give an empty index of packed codes what was put into its unpacked one."""
    found = faiss.IndexIVFPQFastScan(filled, packed.bbs)
    packed.replace_invlists(found.invlists, True)
    found.own_invlists = False  # or they would go with it
    packed.ntotal = filled.ntotal


_ROUNDS, _SEED = 8, 1234
"""Of k-means; after eight rounds the cells hardly move."""
_OPQ_ROUNDS, _OPQ_ROWS = 8, 16_384
_PQ_ROUNDS, _PQ_ROWS_PER_ENTRY = 25, 256
"""Of product codes, as FAISS has them."""
_PRODUCT_CODES = (faiss.IndexIVFPQ, faiss.IndexIVFPQFastScan)
_PACKED = (faiss.IndexIVFFastScan,)
"""They take no rows that are sorted already: their codes lie packed in blocks. What product codes
of 4 bits make is packed in the end; the others are left to FAISS."""
_SELECTING = (faiss.IndexFlat, faiss.IndexScalarQuantizer, faiss.IndexRaBitQ, faiss.IndexHNSW)


def inner_products(
    queries: NDArray[np.float32], rows: NDArray[np.float32], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The exact scores of some rows for each query, without copying the rows.

    Args:
        queries: Shape (m, dim).
        rows: All rows, shape (n, dim), of one piece; they may be mapped.
        places: Which rows, shape (m, c); -1 gives -inf.

    Raises:
        ValueError: If the rows are not of one piece.
    """
    _check_piece(rows)
    queries = np.ascontiguousarray(queries, np.float32)
    places = np.ascontiguousarray(places, np.int64)
    found = np.full(places.shape, -np.inf, np.float32)
    pointers = [faiss.swig_ptr(array) for array in (found, queries, rows, places)]
    faiss.fvec_inner_products_by_idx(*pointers, rows.shape[1], *places.shape)
    found[places < 0] = -np.inf
    return found


def _best(
    scores: NDArray[np.float32], places: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `k` best of each row, the first of equal ones first."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(places, best, axis=1)


def _over(rows: NDArray[np.float32]) -> Any:  # noqa: ANN401 - faiss is untyped
    """A flat index over rows where they lie, which must outlive it; nobody may add to it."""
    _check_piece(rows)
    flat = faiss.IndexFlatIP(rows.shape[1])
    nobody = faiss.MaybeOwnedVectorUInt8().owner  # so FAISS neither keeps nor frees them
    flat.codes = faiss.MaybeOwnedVectorUInt8.create_view(
        faiss.swig_ptr(np.asarray(rows)), rows.nbytes, nobody
    )
    flat.ntotal = len(rows)
    return flat


def _check_piece(rows: NDArray[np.float32]) -> None:
    if not rows.flags.c_contiguous or rows.dtype != np.float32:
        raise ValueError("rows must be float32 and of one piece.")


def nearest_rows(
    queries: NDArray[np.float32], rows: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `k` nearest of all rows, exactly: scores and numbers, shape (m, k) each."""
    scores, places = faiss.knn(
        np.ascontiguousarray(queries, np.float32), rows, k, faiss.METRIC_INNER_PRODUCT
    )
    return scores, places


def _core(index: Any) -> Any:  # noqa: ANN401 - faiss is untyped
    """The index that holds the rows, without what is put around it."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _core(index.index)
    return _core(index.base_index) if isinstance(index, faiss.IndexRefine) else index


def _nested(index: Any, k: int, setting: Setting, selector: Any) -> Any:  # noqa: ANN401 - faiss is untyped
    """Search parameters of one call, one within the other as the indexes are."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _nested(index.index, k, setting, selector)
        return inner and faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = _nested(index.base_index, k, setting, selector)
        # The store fetches more and scores it again, as it does for every index.
        return faiss.IndexRefineSearchParameters(k_factor=1.0, base_index_params=inner)
    chosen = {} if selector is None else {"sel": selector}
    if isinstance(index, faiss.IndexIVF):
        more = {}
        if isinstance(faiss.downcast_index(index.quantizer), faiss.IndexHNSW):
            thorough = max(2 * setting.nprobe, _LEAST_EF)
            more["quantizer_params"] = faiss.SearchParametersHNSW(efSearch=thorough)
        kind = faiss.SearchParametersIVF
        if isinstance(index, faiss.IndexIVFPQ):
            kind = faiss.IVFPQSearchParameters
        return kind(nprobe=max(1, setting.nprobe), **chosen, **more)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(setting.ef, k), **chosen)
    return faiss.SearchParameters(**chosen) if chosen else None


_LEAST_EF = 64


def _reason(error: RuntimeError) -> str:
    """The last part of a FAISS message, behind the place in its source."""
    return str(error).rpartition(": ")[2].strip().rstrip(".") or "no reason given"


def _write(index: Any, file: Path) -> None:  # noqa: ANN401 - faiss is untyped
    try:
        faiss.write_index(index, str(file))
    except RuntimeError as error:
        raise OSError(f"Cannot write {file}: {error}") from error
