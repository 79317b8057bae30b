"""Generations: complete folders that are published whole, verified, and never written again."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import Chunk, Document
from indexing.calibration import Calibration, read_calibration, read_sections
from indexing.catalog import Catalog, DocumentRecord, FileState
from indexing.duplicates import read_duplicates
from indexing.errors import CorruptIndexError, IndexNotFoundError
from indexing.filter_parser import parse_filter
from indexing.filters import BUILT_IN, Filter, FilterError, render_filter
from indexing.fusion import SECTION as FUSION
from indexing.fusion import Fusion
from indexing.lexical import LexicalIndex
from indexing.manifest import Manifest
from indexing.segment import Segment
from indexing.shared_reader import BridgeReader, SharedReader
from indexing.sparse import Weights
from indexing.stores import SearchResult
from indexing.stores.exact import ExactStore
from indexing.stores.factory import is_shared
from indexing.verification import verify_files

BASE, DELTA, LEXICAL, DELETED = "base", "delta", "lexical", "deleted.npy"
CURRENT, CURRENT_NEXT = "CURRENT", "CURRENT.new"
EXACT_ALLOWED = 20_000
"""Up to so many chunks that a filter allows, their embeddings are compared one by one: exact with
every store, and no slower than the store would be."""
_KEPT_FILTERS = 8
_READ_AT_ONCE = 256
"""Documents of a portion."""
_MOST_FIELDS = 30


class Generation:
    """A published generation, open for reading; safe from several threads."""

    def __init__(self, folder: Path, *, with_stores: bool = True, verify: bool = True) -> None:
        """Verify and open a generation's folder.

        Args:
            folder: The generation's folder.
            with_stores: Whether it will be searched; a build needs no stores.
            verify: Compare the files with the manifest; only a repair does not.

        Raises:
            CorruptIndexError: If one of its files is missing or changed.
        """
        self.folder = folder
        self.manifest = Manifest.read(folder)
        if verify:
            verify_files(folder, self.manifest)
        shared = is_shared(self.manifest.store)
        store = self.manifest.store if with_stores and not shared else None
        self.base = Segment(folder / BASE, store=store)
        has_delta = (folder / DELTA).is_dir()
        self.delta = Segment(folder / DELTA, store=store) if has_delta else None
        self.deleted: NDArray[np.int64] = np.load(folder / DELETED, allow_pickle=False)
        """Chunks of the base that are no longer there, ascending."""
        self.deleted.flags.writeable = False  # so stores may remember what they made of it
        self._shared = self._opened_rows() if with_stores and shared else None
        self._lexical = LexicalIndex(folder / LEXICAL) if with_stores else None
        chosen = read_sections(folder).get(FUSION)
        self.fusion = Fusion() if chosen is None else Fusion.from_dict(chosen)
        """How hybrid search joins the legs."""
        self._allowed = lru_cache(maxsize=_KEPT_FILTERS)(self._find_allowed)
        repeated = [(one.id, one.of) for one in read_duplicates(folder).values()]
        for catalog in self._catalogs():
            catalog.note_repeated(repeated)
        self._stale = self.base.catalog.documents_of(self.deleted.tolist())

    @property
    def lexical(self) -> LexicalIndex:
        """What searches the words."""
        if self._lexical is None:  # without stores: by the writer, who removes no folder meanwhile
            self._lexical = LexicalIndex(self.folder / LEXICAL)
        return self._lexical

    @property
    def weighs_words(self) -> bool:
        """Whether its encoder weighed the words of the chunks, which makes a leg of their own."""
        return self.base.sparse is not None

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        tree: Filter | None = None,
    ) -> SearchResult:
        """The `k` nearest chunks of each query, shape (m, k).

        Args:
            queries: Shape (m, dim).
            k: How many.
            allowed: Only these chunks, if given.
            tree: The filter that allowed them, for a store that can ask it itself.
        """
        if allowed is not None and len(allowed) <= EXACT_ALLOWED:
            return self.exact_search(queries, k, allowed)
        if self._shared is not None:
            return self._shared.search(queries, k, allowed, tree)
        if allowed is None:
            parts = [self.base.store.search(queries, k, excluded=self.deleted)]
        else:
            parts = [self.base.store.search(queries, k, allowed=allowed)]
        if self.delta is not None:
            parts.append(self.delta.store.search(queries, k, allowed=allowed))
        return _joined(parts, k)

    def scan(self, queries: NDArray[np.float32], k: int) -> SearchResult:
        """As `search`, exact and without stores: all embeddings are read through once."""
        parts = [self.base.scan(queries, k, self.deleted)]
        if self.delta is not None:
            parts.append(self.delta.scan(queries, k))
        return _joined(parts, k)

    def exact_search(
        self, queries: NDArray[np.float32], k: int, ids: NDArray[np.int64]
    ) -> SearchResult:
        """The `k` nearest of some chunks by their stored embeddings, whatever the store."""
        store = ExactStore(self.manifest.encoder.dim)
        store.add(ids, self.embeddings(ids.tolist()))
        return store.search(queries, k)

    def sparse_search(
        self, query: Weights, k: int, *, allowed: NDArray[np.int64] | None = None
    ) -> SearchResult:
        """The `k` chunks that share the most weight with a query; fewer where fewer share a word.

        Returns:
            Shape (1, found), best first.
        """
        scores, ids = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
        for segment in (self.base, self.delta):
            if segment is None or segment.sparse is None:
                continue
            found = segment.sparse.scores(query)
            keep = found > 0
            if segment is self.base and len(self.deleted):
                keep &= ~np.isin(segment.ids, self.deleted)
            if allowed is not None:
                keep &= np.isin(segment.ids, allowed)
            scores.append(found[keep])
            ids.append(segment.ids[keep])
        together, names = np.concatenate(scores), np.concatenate(ids)
        best = np.lexsort((names, -together))[:k]
        return SearchResult(together[best][None], names[best][None])

    def sparse_weights(self, ids: Sequence[int]) -> list[Weights] | None:
        """What the words of chunks weigh, in the order of `ids`; None without such an encoder."""
        if not self.weighs_words:
            return None
        in_delta = set() if self.delta is None else set(self.delta.catalog.chunks(ids))
        rows: dict[int, Weights] = {}
        for segment in (self.base, self.delta):
            if segment is not None:
                some = [id_ for id_ in ids if (id_ in in_delta) == (segment is self.delta)]
                rows |= dict(zip(some, segment.weights(some) or (), strict=True))
        return [rows[id_] for id_ in ids]

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
        found = np.unique(np.concatenate(parts))
        found.flags.writeable = False  # so stores may remember what they made of it
        return found

    @cached_property
    def known_fields(self) -> set[str]:
        """The fields that a filter may ask for."""
        return set(BUILT_IN).union(*(catalog.fields() for catalog in self._catalogs()))

    @property
    def shared(self) -> SharedReader | BridgeReader | None:
        """The rows of a store that other programs share, if the index has such a store."""
        return self._shared

    def _opened_rows(self) -> SharedReader | BridgeReader:
        return BridgeReader(self) if self.manifest.store == "langchain" else SharedReader(self)

    def _unknown_field(self, field: str) -> str:
        more = sorted(self.known_fields - set(BUILT_IN))
        shown = ", ".join([*BUILT_IN, *more[:_MOST_FIELDS]])
        others = f" and {len(more) - _MOST_FIELDS} more" if len(more) > _MOST_FIELDS else ""
        return (
            f"No document has the field {field!r} that the filter asks for. Known: {shown}{others}."
        )

    def chunks(self, ids: Sequence[int]) -> dict[int, Chunk]:
        """The chunks with these ids."""
        return {id_: chunk for part in self._catalogs() for id_, chunk in part.chunks(ids).items()}

    def embedded_texts(self, ids: Sequence[int]) -> dict[int, str]:
        """What was embedded for the chunks with these ids: their headings and text."""
        parts = [catalog.embedded_texts(ids) for catalog in self._catalogs()]
        return {id_: text for part in parts for id_, text in part.items()}

    def chunks_of(self, document: str) -> list[Chunk]:
        """The chunks of a document in the order of their places; none if it is not there."""
        catalog = self.base.catalog
        ids = [] if document in self._stale else catalog.chunk_ids([document])
        if self.delta is not None and (newer := self.delta.catalog.chunk_ids([document])):
            catalog, ids = self.delta.catalog, newer
        chunks = catalog.chunks(ids)
        return sorted(chunks.values(), key=lambda chunk: (chunk.start, chunk.end))

    def chunk_ids(self) -> NDArray[np.int64]:
        """All chunks, ascending."""
        ids = np.setdiff1d(self.base.ids, self.deleted)
        return ids if self.delta is None else np.union1d(ids, self.delta.ids)

    @cached_property
    def calibration(self) -> Calibration | None:
        """What the scores mean, where that was found out."""
        return read_calibration(self.folder)

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

    def document(self, id_: str) -> Document | None:
        """A document with its whole text, None if it is not in the index."""
        text = self.text(id_)
        return None if text is None else replace(self.documents([id_])[id_], text=text)

    def portions(self) -> Iterator[list[DocumentRecord]]:
        """All documents with all that is known of them, some at a time."""
        in_base = [id_ for id_ in self.base.catalog.states() if id_ not in self._stale]
        in_delta = list(self.delta.catalog.states()) if self.delta is not None else []
        for segment, ids in ((self.base, in_base), (self.delta, in_delta)):
            for start in range(0, len(ids), _READ_AT_ONCE):
                if segment is not None:
                    yield list(segment.catalog.records(ids[start : start + _READ_AT_ONCE]))

    def records(self, documents: Sequence[str]) -> Iterator[DocumentRecord]:
        """The named documents, which the index holds, with all that is known of them."""
        newer = set() if self.delta is None else set(self.delta.catalog.documents(documents))
        for id_ in documents:
            segment = self.delta if self.delta is not None and id_ in newer else self.base
            yield from segment.catalog.records([id_])

    def digests(self) -> set[bytes]:
        """The digests of all embedded texts that count."""
        in_base = self.base.catalog.digests()
        for id_ in self.deleted.tolist():
            in_base.pop(id_, None)
        in_delta = self.delta.catalog.digests() if self.delta is not None else {}
        return {*in_base.values(), *in_delta.values()}

    def sources(self) -> dict[str, str]:
        """Where every document and duplicate came from; deleted ones included."""
        found = {one.id: one.source for one in read_duplicates(self.folder).values()}
        for catalog in self._catalogs():
            found |= catalog.sources()
        return found

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


def _joined(parts: Sequence[SearchResult], k: int) -> SearchResult:
    """The best of several results."""
    scores = np.concatenate([part.scores for part in parts], axis=1)
    ids = np.concatenate([part.ids for part in parts], axis=1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return SearchResult(
        np.take_along_axis(scores, best, axis=1), np.take_along_axis(ids, best, axis=1)
    )


def current_folder(index: Path) -> Path:
    """The folder of the live generation.

    Raises:
        IndexNotFoundError: If the folder holds no index.
        CorruptIndexError: If the pointer names no generation.
    """
    pointer = index / CURRENT
    if not has_index(index):
        raise IndexNotFoundError(index)
    if not pointer.is_file():
        raise CorruptIndexError(pointer, "is missing")
    name = pointer.read_text("utf-8", errors="replace").strip()
    folder = index / name
    if not _is_finished(name) or not folder.is_dir():
        raise CorruptIndexError(pointer, f"names no generation ({name[:40]!r})")
    return folder


def open_current(index: Path, *, with_stores: bool = True) -> Generation:
    """Open the live generation; follows the pointer when a writer moves it meanwhile."""
    while True:
        folder = current_folder(index)
        try:
            return Generation(folder, with_stores=with_stores)
        except (OSError, sqlite3.Error):
            if current_folder(index) == folder:
                raise


def has_index(index: Path) -> bool:
    """Whether the folder holds an index, whole or damaged."""
    if (index / CURRENT).exists():
        return True
    # A first build that was killed while publishing leaves the pointer that it had prepared.
    return bool(finished_generations(index)) and not (index / CURRENT_NEXT).exists()


def finished_generations(index: Path) -> list[Path]:
    """The folders of all generations that are kept, oldest first."""
    return sorted(path for path in index.glob("gen-*") if _is_finished(path.name))


def _is_finished(name: str) -> bool:
    number = name.removeprefix("gen-")
    return number != name and number.isascii() and number.isdigit()
