"""What changes while an index is built: file states, jobs, and the work of an unfinished build.

Nothing here is needed to search. It may be lost or deleted at any time: states are then found out
anew from the catalogue, and an unfinished build starts from its beginning.
"""

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from data import Document
from data.fetching import Validators
from data.site import KnownPage
from indexing.errors import (
    BackupError,
    BuildFailedError,
    BuildStoppedError,
    CorruptIndexError,
    IndexLockedError,
    IndexNotFoundError,
)
from indexing.journal import EmbeddingJournal
from indexing.publishing import clear_leftovers, writer_lock
from indexing.sources import SeenPage

log = logging.getLogger(__name__)

WORK_NAME = "work.sqlite"
WORK_FOLDER = "work"
"""Embeddings of an unfinished build, one journal for each encoder; gone once it is published."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, command TEXT NOT NULL, process INTEGER NOT NULL,
    started REAL NOT NULL, ended REAL, outcome TEXT, done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0, current TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS files (
    document TEXT PRIMARY KEY, source TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    job INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (
    document TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (
    document TEXT PRIMARY KEY, content TEXT NOT NULL, etag TEXT NOT NULL, modified TEXT NOT NULL,
    digest TEXT NOT NULL, links TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parsed (
    document TEXT PRIMARY KEY, content TEXT NOT NULL, value TEXT NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_KEPT_JOBS = 100
_BUSY_S = 5.0


class State(StrEnum):
    """Where a file stands."""

    QUEUED = "queued"
    PARSED = "parsed"
    ENCODED = "encoded"
    PUBLISHED = "published"
    FAILED = "failed"
    UNCHANGED = "unchanged"
    """Published by an earlier job, and passed over by the last one."""
    DUPLICATE = "duplicate"
    """Not stored: another document has the same content."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """The state of one file."""

    document: str
    source: str
    state: State
    reason: str
    """Why it failed, or which document it repeats; else empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A run that writes or wrote the index."""

    id: int
    command: str
    process: int
    started: float
    """Seconds since 1970."""
    ended: float | None
    outcome: str | None
    """`published`, `nothing to do`, `failed: ...`, `stopped`; None while it runs or if killed."""
    done: int
    total: int
    current: str


class WorkFile:
    """The work file of an index that this process writes; the caller holds the writer's lock."""

    def __init__(self, index: Path, command: str) -> None:
        """Open the file and begin a job; a damaged file is replaced by an empty one."""
        self._index = index
        self._connection = _opened(index / WORK_NAME)
        self._job = self._begin(command)
        self._journals: dict[str, EmbeddingJournal] = {}

    def _begin(self, command: str) -> int:
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM jobs WHERE id <= (SELECT MAX(id) FROM jobs) - ?", [_KEPT_JOBS]
            )
            cursor = connection.execute(
                "INSERT INTO jobs (command, process, started) VALUES (?, ?, ?)",
                [command, os.getpid(), time.time()],
            )
        return int(cursor.lastrowid or 0)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # States

    def reconcile(self, held: Collection[str], sources: Callable[[], Mapping[str, str]]) -> None:
        """Make the states agree with the catalogue.

        Args:
            held: The documents that the index holds.
            sources: Gives the source of each of them; called only if one is not known here.
        """
        known = {row[0] for row in self._connection.execute("SELECT document FROM files")}
        missing = [document for document in held if document not in known]
        source_of = sources() if missing else {}
        self.forget([document for document in known if document not in held])
        with self._transaction() as connection:
            connection.execute(
                "UPDATE files SET state = ?1, reason = '' WHERE state != ?1", [State.UNCHANGED]
            )
        self.mark([FileRow(id_, source_of[id_], State.UNCHANGED, "") for id_ in missing])

    def mark(self, files: Sequence[FileRow]) -> None:
        """Set the state of files."""
        rows = [(row.document, row.source, row.state, row.reason, self._job) for row in files]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)

    def move(self, documents: Sequence[str], state: State) -> None:
        """Set the state of files that have one."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE files SET state = ?, reason = '' WHERE document = ?",
                [(state, document) for document in documents],
            )

    def forget(self, documents: Collection[str]) -> None:
        """Drop files that left the index."""
        with self._transaction() as connection:
            for table in ("files", "seen", "pages"):
                connection.executemany(
                    f"DELETE FROM {table} WHERE document = ?", [(one,) for one in documents]
                )

    def seen(self) -> dict[str, tuple[int, int, str]]:
        """Size, time and content of files that were read again and found unchanged."""
        rows = self._connection.execute("SELECT document, size, mtime_ns, content FROM seen")
        return {document: (size, mtime_ns, content) for document, size, mtime_ns, content in rows}

    def note_seen(self, files: Sequence[tuple[str, int, int, str]]) -> None:
        """Remember (document, size, mtime_ns, content), so that it need not be read once more."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", files)

    def pages(self) -> dict[str, SeenPage]:
        """What is known of web pages that were read, by address."""
        sql = "SELECT document, content, etag, modified, digest, links FROM pages"
        return {
            url: SeenPage(
                content, KnownPage(Validators(etag, modified), digest, tuple(json.loads(links)))
            )
            for url, content, etag, modified, digest, links in self._connection.execute(sql)
        }

    def note_pages(self, pages: Mapping[str, SeenPage]) -> None:
        """Remember web pages, so that they need not be read again while they are the same."""
        rows = [
            (
                url,
                page.content,
                page.known.validators.etag,
                page.known.validators.modified,
                page.known.digest,
                json.dumps(page.known.links),
            )
            for url, page in pages.items()
        ]
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?)", rows)

    def all_published(self) -> None:
        """Call what was encoded published, and drop the work that led to it."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE files SET state = ? WHERE state = ?", [State.PUBLISHED, State.ENCODED]
            )
        self.drop_work()

    # Jobs

    def progress(self, done: int, total: int, current: str) -> None:
        """Note how far the job is, for those who look on."""
        self._connection.execute(
            "UPDATE jobs SET done = ?, total = ?, current = ? WHERE id = ?",
            [done, total, current, self._job],
        )

    def end(self, outcome: str) -> None:
        """End the job and close the file; that it cannot be written hides no other error."""
        for journal in self._journals.values():
            with suppress(OSError):  # what was not written yet, once more
                journal.close()
        try:
            self._connection.execute(
                "UPDATE jobs SET ended = ?, outcome = ?, current = '' WHERE id = ?",
                [time.time(), outcome, self._job],
            )
        except sqlite3.Error as error:
            log.warning("%s was not written: %s.", WORK_NAME, error)
        self._connection.close()

    # The work of an unfinished build

    def parsed(self, document: str, content: str) -> Document | None:
        """A document that was parsed before, from the same content."""
        rows = self._connection.execute(
            "SELECT value, digest FROM parsed WHERE document = ? AND content = ?",
            [document, content],
        ).fetchall()
        if not rows or hashlib.sha256(rows[0][0].encode()).digest() != rows[0][1]:
            return None
        value = json.loads(rows[0][0])
        return Document(**(value | {"page_starts": tuple(value["page_starts"])}))

    def keep_parsed(self, document: Document, content: str) -> None:
        """Keep a parsed document until it is published, with the digest of its content."""
        value = json.dumps(asdict(document) | {"metadata": dict(document.metadata)})
        digest = hashlib.sha256(value.encode()).digest()
        self._connection.execute(
            "INSERT OR REPLACE INTO parsed VALUES (?, ?, ?, ?)",
            [document.id, content, value, digest],
        )

    def journal(self, fingerprint: str, dim: int) -> EmbeddingJournal:
        """The embeddings that an encoder made for what is not published yet."""
        if fingerprint not in self._journals:
            folder = self._index / WORK_FOLDER
            folder.mkdir(exist_ok=True)
            self._journals[fingerprint] = EmbeddingJournal(
                folder / f"{fingerprint[:32]}.embeddings", dim
            )
        return self._journals[fingerprint]

    def drop_work(self) -> None:
        """Delete parsed texts and embeddings of builds that were not published."""
        for journal in self._journals.values():
            journal.close()
        self._journals = {}
        shutil.rmtree(self._index / WORK_FOLDER, ignore_errors=True)
        if self._connection.execute("SELECT 1 FROM parsed LIMIT 1").fetchall():
            self._connection.execute("DELETE FROM parsed")
            self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # Settings

    def setting(self, name: str, default: int) -> int:
        """A number that a person has set for this index."""
        rows = self._connection.execute("SELECT value FROM settings WHERE name = ?", [name])
        return next((int(row[0]) for row in rows), default)

    def set(self, name: str, value: int) -> None:
        """Keep a number for later runs."""
        self._connection.execute(
            "INSERT OR REPLACE INTO settings VALUES (?, ?)", [name, str(value)]
        )


def file_states(index: Path, state: State | None = None) -> list[FileRow]:
    """The state of every file of an index, by document; empty where none was noted."""
    sql = "SELECT document, source, state, reason FROM files"
    rows = _read(index, f"{sql} WHERE ? IS NULL OR state = ? ORDER BY document", [state, state])
    return [
        FileRow(document, source, State(state), reason) for document, source, state, reason in rows
    ]


def jobs(index: Path) -> list[Job]:
    """The runs that wrote an index, the last one first."""
    names = ", ".join(Job.__dataclass_fields__)
    rows = _read(index, f"SELECT {names} FROM jobs ORDER BY id DESC")
    return [Job(**dict(zip(Job.__dataclass_fields__, row, strict=True))) for row in rows]


def _read(index: Path, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    path = index / WORK_NAME
    if not path.is_file():
        return []
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.Error:
        return []  # being made, or damaged: the next build makes it anew
    finally:
        connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        log.warning("%s is damaged (%s); file states are found out anew.", path, error)
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        # Of a mere aid, the last seconds may be lost with the power, but not with the process.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def job(index: Path, command: str) -> Iterator[WorkFile]:
    """Hold an index's lock and its work file for one run, and keep how the run ended.

    Whoever writes under it lets nothing fail any more once the new state is published; see
    `after_publishing`.

    Raises:
        IndexLockedError: If another process is writing the index.
        BuildFailedError: If the disk is full, or otherwise cannot be written.
        BuildStoppedError: If the run was interrupted.
    """
    with writer_lock(index):
        clear_leftovers(index)
        try:
            work = WorkFile(index, command)
        except (OSError, sqlite3.Error) as error:
            raise BuildFailedError(f"{index / WORK_NAME} cannot be written: {error}.") from error
        try:
            yield work
        except KeyboardInterrupt:
            work.end("stopped")
            raise BuildStoppedError(
                f"Stopped; the index in {index} is as it was. The same call goes on from here."
            ) from None
        except _OF_OURS as error:
            work.end(f"failed: {error}")
            raise
        except (OSError, sqlite3.Error) as error:
            failure = _disk_failure(index, error)
            work.end(f"failed: {failure}")
            raise failure from error
        except BaseException as error:
            work.end(f"failed: {error}")
            raise
        work.end("done")


_OF_OURS = (BackupError, CorruptIndexError, IndexLockedError, IndexNotFoundError)
"""Errors that say already what is wrong."""


def _disk_failure(index: Path, error: Exception) -> BuildFailedError:
    reason = getattr(error, "strerror", None) or str(error)
    return BuildFailedError(
        f"Writing the index in {index} failed: {reason.rstrip('.')}. It is as it was before; "
        "nothing was lost, and the same call goes on from here."
    )


@contextmanager
def after_publishing() -> Iterator[None]:
    """Do what only tidies up: trouble with it does not undo what is published."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        log.warning(
            "The index is published, but its work file was not brought up to date: %s.", error
        )
