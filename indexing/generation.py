"""Generations: complete folders that are published whole, verified, and never written again."""

import fcntl
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import Chunk, Document
from indexing.catalog import Catalog, FileState
from indexing.errors import CorruptIndexError, IndexLockedError, IndexNotFoundError
from indexing.filter_parser import parse_filter
from indexing.filters import BUILT_IN, Filter, FilterError, render_filter
from indexing.lexical import LexicalIndex
from indexing.manifest import Manifest, verify_files
from indexing.segment import Segment
from indexing.stores import SearchResult
from indexing.stores.exact import ExactStore

BASE, DELTA, LEXICAL, DELETED = "base", "delta", "lexical", "deleted.npy"
KEPT_GENERATIONS = 2
"""The live one, and the one before it for readers that have not moved on."""
EXACT_ALLOWED = 20_000
"""Up to so many chunks that a filter allows, their embeddings are compared one by one: exact with
every store, and no slower than the store would be."""
_KEPT_FILTERS = 8
_MOST_FIELDS = 30

_CURRENT = "CURRENT"
LOCK_NAME = "LOCK"
_UNFINISHED = ".unfinished"


class Generation:
    """A published generation, open for reading; safe from several threads."""

    def __init__(self, folder: Path) -> None:
        """Verify and open a generation's folder.

        Raises:
            CorruptIndexError: If one of its files is missing or changed.
        """
        self.folder = folder
        self.manifest = Manifest.read(folder)
        verify_files(folder, self.manifest)
        self.base = Segment(folder / BASE, store=self.manifest.store)
        has_delta = (folder / DELTA).is_dir()
        self.delta = Segment(folder / DELTA, store=self.manifest.store) if has_delta else None
        self.deleted: NDArray[np.int64] = np.load(folder / DELETED, allow_pickle=False)
        """Chunks of the base that are no longer there, ascending."""
        self.lexical = LexicalIndex(folder / LEXICAL)
        self._allowed = lru_cache(maxsize=_KEPT_FILTERS)(self._find_allowed)
        self._stale = self.base.catalog.documents_of(self.deleted.tolist())

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None = None
    ) -> SearchResult:
        """The `k` nearest chunks of each query, shape (m, k); of the allowed ones, if given."""
        if allowed is not None and len(allowed) <= EXACT_ALLOWED:
            return self.exact_search(queries, k, allowed)
        if allowed is None:
            parts = [self.base.store.search(queries, k, excluded=self.deleted)]
        else:
            parts = [self.base.store.search(queries, k, allowed=allowed)]
        if self.delta is not None:
            parts.append(self.delta.store.search(queries, k, allowed=allowed))
        scores = np.concatenate([part.scores for part in parts], axis=1)
        ids = np.concatenate([part.ids for part in parts], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return SearchResult(
            np.take_along_axis(scores, best, axis=1), np.take_along_axis(ids, best, axis=1)
        )

    def exact_search(
        self, queries: NDArray[np.float32], k: int, ids: NDArray[np.int64]
    ) -> SearchResult:
        """The `k` nearest of some chunks by their stored embeddings, whatever the store."""
        store = ExactStore(self.manifest.encoder.dim)
        store.add(ids, self.embeddings(ids.tolist()))
        return store.search(queries, k)

    def allowed(self, tree: Filter) -> NDArray[np.int64]:
        """The chunks that a filter lets through, ascending; the last few answers are kept.

        Raises:
            FilterError: If no document has one of the filter's fields.
        """
        return self._allowed(render_filter(tree))  # as text: 1 and true are equal in Python

    def _find_allowed(self, expression: str) -> NDArray[np.int64]:
        tree = parse_filter(expression)
        catalogs = self._catalogs()
        unknown = set.intersection(*(catalog.unknown_fields(tree) for catalog in catalogs))
        if unknown:
            raise FilterError(self._unknown_field(sorted(unknown)[0]))
        parts = [catalog.matching(tree) for catalog in catalogs]
        parts[0] = np.setdiff1d(parts[0], self.deleted, assume_unique=True)
        return np.unique(np.concatenate(parts))

    def _unknown_field(self, field: str) -> str:
        known = set(BUILT_IN).union(*(catalog.fields() for catalog in self._catalogs()))
        more = sorted(known - set(BUILT_IN))
        shown = ", ".join([*BUILT_IN, *more[:_MOST_FIELDS]])
        others = f" and {len(more) - _MOST_FIELDS} more" if len(more) > _MOST_FIELDS else ""
        return (
            f"No document has the field {field!r} that the filter asks for. Known: {shown}{others}."
        )

    def chunks(self, ids: Sequence[int]) -> dict[int, Chunk]:
        """The chunks with these ids."""
        return {id_: chunk for part in self._catalogs() for id_, chunk in part.chunks(ids).items()}

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents with these ids, without their texts."""
        found: dict[str, Document] = {}
        for catalog in self._catalogs():  # the delta last: its version of a document is newer
            found |= catalog.documents(ids)
        return found

    def text(self, document: str) -> str | None:
        """The whole text of a document, None if it is not in the index."""
        text = self.delta.catalog.text(document) if self.delta is not None else None
        if text is None and document not in self._stale:
            text = self.base.catalog.text(document)
        return text

    def states(self) -> dict[str, FileState]:
        """The file state of every document in the index."""
        in_base = self.base.catalog.states()
        states = {id_: state for id_, state in in_base.items() if id_ not in self._stale}
        return states | (self.delta.catalog.states() if self.delta is not None else {})

    def ids_by_digest(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """For each embedded text that the index holds, a chunk that has its embedding."""
        found: dict[bytes, int] = {}
        for catalog in self._catalogs():
            found |= catalog.ids_by_digest(digests)
        return found

    def embeddings(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The embeddings of chunks in the order of `ids`, deleted ones included."""
        in_delta = np.zeros(len(ids), bool)
        if self.delta is not None:
            in_delta = np.isin(ids, list(self.delta.catalog.chunks(ids)))
        rows = np.empty((len(ids), self.manifest.encoder.dim), np.float32)
        rows[~in_delta] = self.base.embeddings(np.array(ids, np.int64)[~in_delta])
        if self.delta is not None:
            rows[in_delta] = self.delta.embeddings(np.array(ids, np.int64)[in_delta])
        return rows

    def _catalogs(self) -> list[Catalog]:
        return [segment.catalog for segment in (self.base, self.delta) if segment is not None]


def current_folder(index: Path) -> Path:
    """The folder of the live generation.

    Raises:
        IndexNotFoundError: If the folder holds no index.
        CorruptIndexError: If the pointer names no generation.
    """
    pointer = index / _CURRENT
    if not pointer.is_file():
        if any(index.glob("gen-*")):
            raise CorruptIndexError(pointer, "is missing")
        raise IndexNotFoundError(index)
    name = pointer.read_text("utf-8", errors="replace").strip()
    folder = index / name
    if not name.startswith("gen-") or "/" in name or not folder.is_dir():
        raise CorruptIndexError(pointer, f"names no generation ({name[:40]!r})")
    return folder


def open_current(index: Path) -> Generation:
    """Open the live generation; follows the pointer when a writer moves it meanwhile."""
    while True:
        folder = current_folder(index)
        try:
            return Generation(folder)
        except (OSError, sqlite3.Error):
            if current_folder(index) == folder:
                raise


def has_index(index: Path) -> bool:
    """Whether the folder holds an index, whole or damaged."""
    return (index / _CURRENT).exists() or any(index.glob("gen-*"))


@contextmanager
def writer_lock(index: Path) -> Iterator[None]:
    """Keep other writers out of an index; the lock ends with the process, however it ends.

    Raises:
        IndexLockedError: That names the process which is writing.
    """
    index.mkdir(parents=True, exist_ok=True)
    with (index / LOCK_NAME).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise IndexLockedError(
                f"The index in {index} is being written by {file.read().strip()}. "
                "Wait until it is done, or stop it."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


@contextmanager
def new_generation(index: Path, number: int) -> Iterator[Path]:
    """A folder to write a generation into; removed again if the writing fails."""
    for left_over in index.glob(f"gen-*{_UNFINISHED}"):
        shutil.rmtree(left_over)
    folder = index / f"{_name(number)}{_UNFINISHED}"
    folder.mkdir()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def publish(index: Path, unfinished: Path) -> Path:
    """Make a finished folder the live generation: nothing is seen of it before the last step."""
    final = unfinished.with_name(unfinished.name.removesuffix(_UNFINISHED))
    for path in sorted(unfinished.rglob("*")):
        _sync(path)
    _sync(unfinished)
    unfinished.rename(final)
    _sync(index)
    pointer = index / f"{_CURRENT}.new"
    pointer.write_text(final.name + "\n", "utf-8")
    _sync(pointer)
    pointer.replace(index / _CURRENT)
    _sync(index)
    _remove_old(index, final)
    return final


def next_number(index: Path) -> int:
    """One more than the highest generation that was ever finished here."""
    numbers = [int(path.name[4:]) for path in index.glob("gen-*") if path.name[4:].isdigit()]
    return max(numbers, default=0) + 1


def _remove_old(index: Path, live: Path) -> None:
    finished = sorted(path for path in index.glob("gen-*") if path.name[4:].isdigit())
    older = finished[: finished.index(live)]
    for folder in older[: max(0, len(older) - KEPT_GENERATIONS + 1)]:
        shutil.rmtree(folder, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Bring a folder of published files into a new generation: hard links, or copies."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
            continue
        try:
            os.link(path, place)
        except OSError:  # another device, or a file system without hard links
            shutil.copy2(path, place)


def _name(number: int) -> str:
    return f"gen-{number:06d}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
