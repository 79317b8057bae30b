"""The catalogue of one segment: its documents and chunks, in one SQLite file."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import Chunk, Document
from indexing.facts import TEXT, Fact, document_facts
from indexing.filter_sql import FACTS, condition
from indexing.filters import BUILT_IN, Filter, fields_of
from indexing.language import SAMPLE

_SCHEMA = """
CREATE TABLE documents (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, source TEXT NOT NULL,
    metadata TEXT NOT NULL, page_starts TEXT NOT NULL,
    root TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE texts (id TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, document TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    page INTEGER, heading TEXT NOT NULL, text TEXT NOT NULL, embedded TEXT NOT NULL,
    digest BLOB NOT NULL
);
"""
_INDEXES = """
CREATE INDEX chunks_by_document ON chunks (document);
CREATE INDEX chunks_by_digest ON chunks (digest);
"""
"""Made last: sorting once is quicker than a million insertions in random places."""
_STATE = "root, size, mtime_ns, content"
_FACTS = """
CREATE TABLE {where}.facts (
    document TEXT NOT NULL, field TEXT NOT NULL, kind TEXT NOT NULL, value NOT NULL,
    is_listed INTEGER NOT NULL
);
"""
_FACT_INDEXES = """
CREATE INDEX {where}.facts_by_value ON facts (field, kind, value, document);
CREATE INDEX {where}.facts_by_document ON facts (document);
"""
"""What filters ask. Catalogues of earlier versions lack it; readers then make it in memory."""
_FACT = "field, kind, value, is_listed"
_CHUNK = 'id, document, start, "end", page, heading, text'
_MOST_VARIABLES = 500
"""Ids in one SQL statement; SQLite allows at least 999."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileState:
    """What a document's source was like when it was read."""

    root: str
    """The SOURCE that it came from: an absolute path, or `-`."""
    size: int
    mtime_ns: int
    """0 where the time cannot be trusted, so that the content is compared."""
    content: str
    """SHA-256 of the bytes."""


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document with its state and its chunks, as written to a segment."""

    document: Document
    state: FileState
    chunks: tuple["ChunkRecord", ...]
    facts: tuple[Fact, ...] = field(default=(), compare=False)
    """What filters can ask of it; found out when it is first written."""


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """A chunk with what was embedded for it."""

    chunk: Chunk
    embedded: str
    digest: bytes
    """SHA-256 of `embedded`: the key by which its embedding is used again."""


class CatalogWriter:
    """Writes a new catalogue file."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        # The file is worthless until the generation is published, which syncs it as a whole.
        self._connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
        self._connection.executescript(_FACTS.format(where="main"))

    def add(self, records: Iterable[DocumentRecord]) -> None:
        """Write documents with their chunks."""
        for record in records:
            self._connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _document_row(record)
            )
            document = record.document
            self._connection.execute(
                "INSERT INTO texts VALUES (?, ?)", (document.id, document.text)
            )
            self._connection.executemany(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_chunk_row(chunk) for chunk in record.chunks],
            )
            _add_facts(self._connection, record.document.id, record.facts or _found_out(record))

    def abandon(self) -> None:
        """Close the file as it is."""
        self._connection.close()

    def close(self) -> None:
        """Commit and close the file."""
        self._connection.executescript(_INDEXES + _FACT_INDEXES.format(where="main"))
        self._connection.commit()
        self._connection.close()


class Catalog:
    """Reads a published catalogue; safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self._has_facts = False
        self._repeated: Sequence[tuple[str, str]] = ()
        has_texts = self._rows("SELECT 1 FROM sqlite_master WHERE name = 'texts'")
        self._texts = "texts" if has_texts else "documents"  # format 1 kept both in one table

    def note_repeated(self, paths: Sequence[tuple[str, str]]) -> None:
        """Take the paths of files that repeat documents, as (path, document), for filters.

        Called before the first filter.
        """
        self._repeated = paths

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def chunks(self, ids: Sequence[int]) -> dict[int, Chunk]:
        """The chunks with these ids that stand here."""
        found: dict[int, Chunk] = {}
        for some in _portions(ids):
            sql = f"SELECT {_CHUNK} FROM chunks WHERE id IN ({_marks(some)})"
            found |= {row[0]: _chunk(row) for row in self._rows(sql, some)}
        return found

    def embedded_texts(self, ids: Sequence[int]) -> dict[int, str]:
        """What was embedded for the chunks with these ids that stand here: headings and text."""
        found: dict[int, str] = {}
        for some in _portions(ids):
            sql = f"SELECT id, embedded FROM chunks WHERE id IN ({_marks(some)})"
            found |= dict(self._rows(sql, some))
        return found

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents with these ids that stand here, without their texts."""
        found: dict[str, Document] = {}
        for some in _portions(ids):
            sql = (
                "SELECT id, title, '', source, metadata, page_starts FROM documents"
                f" WHERE id IN ({_marks(some)})"
            )
            found |= {row[0]: _document(row) for row in self._rows(sql, some)}
        return found

    def text(self, document: str) -> str | None:
        """The whole text of a document that stands here."""
        rows = self._rows(f"SELECT text FROM {self._texts} WHERE id = ?", [document])
        return rows[0][0] if rows else None

    def states(self) -> dict[str, FileState]:
        """The file state of every document."""
        rows = self._rows(f"SELECT id, {_STATE} FROM documents")
        return {row[0]: _state(row[1:]) for row in rows}

    def embedded(self) -> Iterator[tuple[bytes, str]]:
        """The digest and the embedded text of every chunk."""
        last = 0
        sql = "SELECT id, digest, embedded FROM chunks WHERE id > ? ORDER BY id LIMIT 10000"
        while rows := self._rows(sql, [last]):
            yield from ((digest, text) for _, digest, text in rows)
            last = rows[-1][0]

    def digests(self) -> dict[int, bytes]:
        """The digest of every chunk's embedded text, by chunk."""
        return dict(self._rows("SELECT id, digest FROM chunks"))

    def misplaced_chunks(self) -> list[int]:
        """Chunks whose text is not what their document has at their offsets."""
        sql = (
            f"SELECT c.id FROM chunks AS c LEFT JOIN {self._texts} AS t ON t.id = c.document "
            'WHERE t.text IS NULL OR substr(t.text, c.start + 1, c."end" - c.start) != c.text'
        )
        return [row[0] for row in self._rows(sql)]

    def sources(self) -> dict[str, str]:
        """Where every document came from."""
        return dict(self._rows("SELECT id, source FROM documents"))

    def matching(self, tree: Filter) -> NDArray[np.int64]:
        """The chunks that a filter lets through, ascending."""
        self._need_facts()
        sql, values = condition(tree)
        rows = self._rows(f"SELECT c.id FROM chunks AS c WHERE {sql} ORDER BY c.id", values)
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def unknown_fields(self, tree: Filter) -> set[str]:
        """The fields of a filter that no document here has."""
        self._need_facts()
        sql = "SELECT 1 FROM facts WHERE field = ? LIMIT 1"
        asked = set(fields_of(tree)) - set(BUILT_IN)
        return {field for field in asked if not self._rows(sql, [field])}

    def fields(self) -> set[str]:
        """The fields that documents here have."""
        self._need_facts()
        return {row[0] for row in self._rows("SELECT DISTINCT field FROM facts")}

    def facts(self, document: str) -> tuple[Fact, ...]:
        """What filters can ask of a document."""
        self._need_facts()
        rows = self._rows(f"SELECT {_FACT} FROM facts WHERE document = ?", [document])
        return tuple(Fact(field, kind, value, bool(listed)) for field, kind, value, listed in rows)

    def _need_facts(self) -> None:
        """Make the table of facts in memory, where an earlier version wrote the catalogue."""
        with self._lock:
            if self._has_facts:
                return
            self._connection.execute("PRAGMA temp_store = MEMORY")
            sql = "SELECT 1 FROM sqlite_master WHERE name = 'facts'"
            if not self._connection.execute(sql).fetchall():
                self._connection.executescript((_FACTS + _FACT_INDEXES).format(where="temp"))
                sql = (
                    f"SELECT d.id, title, substr(t.text, 1, {SAMPLE}), source, metadata,"
                    f" page_starts, mtime_ns FROM documents AS d JOIN {self._texts} AS t USING (id)"
                )
                for row in self._connection.execute(sql):
                    facts = document_facts(_document(row[:6]), row[6])
                    _add_facts(self._connection, row[0], facts)
            self._connection.execute("CREATE TEMP TABLE repeated AS SELECT * FROM facts LIMIT 0")
            for path, document in self._repeated:
                _add_facts(
                    self._connection, document, [Fact("path", TEXT, path, False)], "repeated"
                )
            self._connection.execute(
                f"CREATE TEMP VIEW {FACTS} AS SELECT * FROM facts UNION ALL SELECT * FROM repeated"
            )
            self._has_facts = True

    def chunk_ids(self, documents: Sequence[str]) -> list[int]:
        """The chunks of these documents, ascending."""
        ids: list[int] = []
        for some in _portions(documents):
            sql = f"SELECT id FROM chunks WHERE document IN ({_marks(some)})"
            ids += [row[0] for row in self._rows(sql, some)]
        return sorted(ids)

    def documents_of(self, chunk_ids: Sequence[int]) -> set[str]:
        """The documents that these chunks belong to."""
        found: set[str] = set()
        for some in _portions(chunk_ids):
            sql = f"SELECT DISTINCT document FROM chunks WHERE id IN ({_marks(some)})"
            found |= {row[0] for row in self._rows(sql, some)}
        return found

    def ids_by_digest(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        """For each digest that stands here, a chunk with that embedded text."""
        found: dict[bytes, int] = {}
        for some in _portions(digests):
            sql = f"SELECT digest, id FROM chunks WHERE digest IN ({_marks(some)})"
            found |= {row[0]: row[1] for row in self._rows(sql, some)}
        return found

    def records(self, documents: Iterable[str]) -> Iterator[DocumentRecord]:
        """The named documents, one by one, with all that is known of them."""
        for id_ in documents:
            sql = f"SELECT id, title, ?, source, metadata, page_starts, {_STATE} FROM documents"
            row = self._rows(f"{sql} WHERE id = ?", [self.text(id_), id_])[0]
            sql = f"SELECT {_CHUNK}, embedded, digest FROM chunks WHERE document = ? ORDER BY id"
            chunks = (
                ChunkRecord(_chunk(chunk[:7]), chunk[7], chunk[8])
                for chunk in self._rows(sql, [id_])
            )
            document, state = _document(row[:6]), _state(row[6:])
            yield DocumentRecord(document, state, tuple(chunks), self.facts(id_))


def _found_out(record: DocumentRecord) -> tuple[Fact, ...]:
    mtime_ns = record.state.mtime_ns
    if mtime_ns == 0 and Path(record.state.root).is_absolute():  # a file, changed just now
        mtime_ns = time.time_ns()
    return document_facts(record.document, mtime_ns)


def _add_facts(
    connection: sqlite3.Connection, document: str, facts: Iterable[Fact], table: str = "facts"
) -> None:
    rows = [(document, *fact) for fact in facts]
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", rows)


def _portions(values: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), _MOST_VARIABLES):
        yield list(values[start : start + _MOST_VARIABLES])


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _document_row(record: DocumentRecord) -> tuple[Any, ...]:
    document, state = record.document, record.state
    return (
        document.id,
        document.title,
        document.source,
        json.dumps(dict(document.metadata), ensure_ascii=False),
        json.dumps(document.page_starts),
        state.root,
        state.size,
        state.mtime_ns,
        state.content,
    )


def _chunk_row(record: ChunkRecord) -> tuple[Any, ...]:
    chunk = record.chunk
    heading = json.dumps(chunk.heading, ensure_ascii=False)
    place = (chunk.id, chunk.document, chunk.start, chunk.end, chunk.page, heading)
    return (*place, chunk.text, record.embedded, record.digest)


def _chunk(row: tuple[Any, ...]) -> Chunk:
    id_, document, start, end, page, heading, text = row
    return Chunk(
        id=id_,
        document=document,
        start=start,
        end=end,
        page=page,
        heading=tuple(json.loads(heading)),
        text=text,
    )


def _document(row: tuple[Any, ...]) -> Document:
    id_, title, text, source, metadata, page_starts = row
    return Document(
        id=id_,
        title=title,
        text=text,
        source=source,
        metadata=json.loads(metadata),
        page_starts=tuple(json.loads(page_starts)),
    )


def _state(row: tuple[Any, ...]) -> FileState:
    root, size, mtime_ns, content = row
    return FileState(root=root, size=size, mtime_ns=mtime_ns, content=content)
