"""Remembers embeddings between runs: (fingerprint, digest of a text) in, rows of float32 out.

A cache may be lost at any time: it never fails the work that uses it, and knows no documents.
"""

import hashlib
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from encoder.files import cache_folder
from encoder.templates import PLACE

log = logging.getLogger(__name__)

Row = NDArray[np.float32]

DEFAULT_SIZE_MIB = 2048.0
SMALLEST_MIB = 0.25
_BUSY_S = 30.0
_TOUCH_AFTER_S = 3600
"""How old a row's last use must be before reading it counts as a new one; saves writes."""
_AT_ONCE = 500
"""Digests of one statement; SQLite takes at least 999 parameters."""
_KEPT_SHARE = 0.9
"""A full cache is emptied down to this share of its size, so that not every write deletes."""
_TABLES = """
CREATE TABLE IF NOT EXISTS encoders (id INTEGER PRIMARY KEY, fingerprint TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS embeddings (
    id INTEGER PRIMARY KEY, encoder INTEGER NOT NULL, digest BLOB NOT NULL,
    used INTEGER NOT NULL, crc INTEGER NOT NULL, row BLOB NOT NULL, UNIQUE (encoder, digest));
CREATE INDEX IF NOT EXISTS by_use ON embeddings (used, id);
"""


def digest_of(text: str, template: str = PLACE) -> bytes:
    """The key of an embedded text: SHA-256 over its template and the text.

    The template belongs to it, since the same text has another vector as a query.
    """
    return hashlib.sha256(f"{template}\0{text}".encode()).digest()


class EmbeddingCache:
    """A file of embeddings, bounded in size, that several threads and processes may share.

    When it is full, the rows that were not used for longest make room.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        size_mib: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name the file; it is opened when it is first used.

        Args:
            path: The file, or None for `embeddings-1.sqlite` in `cache_folder()`.
            size_mib: Most MiB on disk, or None for `ANGLER_CACHE_MIB` (2048 without it); 0 turns
                the cache off.
            clock: Seconds; decides which rows were used last.

        Raises:
            ValueError: If the size is negative, too small for any row, or no number.
        """
        self.path = path or cache_folder() / "embeddings-1.sqlite"
        self.size_mib = _size() if size_mib is None else size_mib
        if self.size_mib and not self.size_mib >= SMALLEST_MIB:
            raise ValueError(
                f"The embedding cache's size must be 0 (off) or at least {SMALLEST_MIB} MiB, "
                f"got {self.size_mib:g}."
            )
        self._clock = clock
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._file: tuple[int, int] | None = None
        self._warned: set[str] = set()

    def get_many(self, fingerprint: str, digests: Sequence[bytes]) -> dict[bytes, Row]:
        """The rows that the cache holds, by digest; each of shape (dim,) and the caller's own."""
        found: dict[bytes, Row] = {}
        if not self.size_mib:
            return found
        with self._guarded("read"):
            connection = self._opened()
            encoder = _encoder(connection, fingerprint)
            damaged: list[int] = []
            stale: list[int] = []
            before = int(self._clock()) - _TOUCH_AFTER_S
            for some in _slices(list(dict.fromkeys(digests)) if encoder else []):
                for identity, digest, used, crc, data in connection.execute(
                    "SELECT id, digest, used, crc, row FROM embeddings "
                    f"WHERE encoder = ? AND digest IN ({_marks(some)})",
                    (encoder, *some),
                ):
                    if zlib.crc32(data) != crc:
                        damaged.append(identity)
                        continue
                    found[digest] = np.frombuffer(data, dtype="<f4").astype(np.float32)
                    if used <= before:
                        stale.append(identity)
            self._note_use(connection, stale, damaged)
        return found

    def put_many(self, fingerprint: str, digests: Sequence[bytes], embeddings: Row) -> None:
        """Remember rows; what is not finite is left out, and the oldest rows make room.

        Args:
            fingerprint: The encoder's.
            digests: As `digest_of` gives them, one for each row.
            embeddings: Shape (len(digests), dim).

        Raises:
            ValueError: If there is not one row for each digest.
        """
        if embeddings.ndim != 2 or len(embeddings) != len(digests):
            raise ValueError(
                f"embeddings must have shape ({len(digests)}, dim), got {embeddings.shape}."
            )
        if not self.size_mib or not digests:
            return
        sound = np.asarray(np.isfinite(embeddings).all(axis=1))
        rows = [
            (digest, zlib.crc32(data), data)
            for digest, row, good in zip(digests, embeddings, sound, strict=True)
            if good and (data := np.ascontiguousarray(row, dtype="<f4").tobytes())
        ]
        # What fills the whole cache would only push out what it has just put in.
        fitting = _last_that_fit(rows, self.size_mib * 2**20 * _KEPT_SHARE / 2)
        with self._guarded("written"):
            connection = self._opened()
            with _transaction(connection):
                encoder = _encoder(connection, fingerprint, add=True)
                now = int(self._clock())
                connection.executemany(
                    "INSERT OR REPLACE INTO embeddings (encoder, used, digest, crc, row) "
                    "VALUES (?, ?, ?, ?, ?)",
                    [(encoder, now, *row) for row in fitting],
                )
                self._make_room(connection)

    def purge(
        self, *, fingerprint: str | None = None, digests: Sequence[bytes] | None = None
    ) -> int:
        """Delete rows of an encoder, of texts (whoever embedded them), or of both together.

        Their bytes are overwritten, and copies in the journal and in a file that was once set
        aside are deleted.

        Returns:
            How many rows are gone.

        Raises:
            ValueError: If neither is given; `clear` empties the cache.
            OSError: If the file could not be changed, or another process kept a copy in use.
        """
        if fingerprint is None and digests is None:
            raise ValueError("purge needs a fingerprint or digests; clear() empties the cache.")
        return self._erase(lambda connection: _delete(connection, fingerprint, digests))

    def clear(self) -> None:
        """Delete everything.

        Raises:
            OSError: As `purge`.
        """
        self._erase(_delete_all)

    def close(self) -> None:
        """Close the file; the cache may be used again."""
        with self._lock:
            self._forget_connection()

    def __len__(self) -> int:
        count = 0
        if self.path.exists():
            with self._guarded("read"):
                (count,) = self._opened().execute("SELECT COUNT(*) FROM embeddings").fetchone()
        return count

    @property
    def used_mib(self) -> float:
        """MiB that the rows take on disk."""
        used = 0
        if self.path.exists():
            with self._guarded("read"):
                used = _used_bytes(self._opened())
        return used / 2**20

    @property
    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.damaged")

    # The file

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and self._process == os.getpid():
            if self._file == _identity(self.path):
                return self._connection
            # Another process has set the file aside or deleted it.
            self._forget_connection()
        # A connection must not be used, nor closed, in a process that was forked from its own.
        self._connection = None
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The vectors tell about the texts, so they are nobody else's to read.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._connection, self._process = _connect(self.path), os.getpid()
        self._file = _identity(self.path)
        return self._connection

    def _forget_connection(self) -> None:
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    @contextmanager
    def _guarded(self, verb: str) -> Iterator[None]:
        """Whatever is wrong with the file, the work goes on without it."""
        with self._lock:
            try:
                yield
            except (sqlite3.OperationalError, OSError) as error:
                self._forget_connection()
                self._warn(f"The embedding cache {self.path} cannot be {verb}: {error}.")
            except sqlite3.DatabaseError as error:
                self._set_aside(error)

    def _erase(self, delete: Callable[[sqlite3.Connection], int]) -> int:
        with self._lock:
            self._aside.unlink(missing_ok=True)
            if not self.path.exists():
                return 0
            try:
                connection = self._opened()
                with _transaction(connection):
                    gone = delete(connection)
                self._leave_no_copy(connection)
            except sqlite3.OperationalError as error:
                self._forget_connection()
                raise OSError(
                    f"Nothing was deleted from the embedding cache {self.path}: {error}."
                ) from error
            except sqlite3.DatabaseError as error:
                # What cannot be read cannot be searched for what must go, so all of it goes.
                self._set_aside(error)
                self._aside.unlink(missing_ok=True)
                return 0
        return gone

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            log.warning("%s Embeddings are computed again instead.", sentence)

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        mine = self._file
        self._forget_connection()
        # Another process may have been quicker; then the file at the path is a new, sound one.
        if mine is None or mine == _identity(self.path):
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            self.path.replace(self._aside)
        self._file = None
        log.warning(
            "The embedding cache %s is damaged (%s); it is now %s and a new one is begun.",
            self.path,
            error,
            self._aside.name,
        )

    # Rows

    def _note_use(
        self, connection: sqlite3.Connection, stale: Sequence[int], damaged: Sequence[int]
    ) -> None:
        if not stale and not damaged:
            return
        if damaged:
            log.warning(
                "%d rows of the embedding cache %s are damaged; they are encoded again.",
                len(damaged),
                self.path,
            )
        now = int(self._clock())
        with _transaction(connection):
            connection.executemany(
                "UPDATE embeddings SET used = ? WHERE id = ?", [(now, one) for one in stale]
            )
            connection.executemany(
                "DELETE FROM embeddings WHERE id = ?", [(one,) for one in damaged]
            )

    def _make_room(self, connection: sqlite3.Connection) -> None:
        limit = self.size_mib * 2**20
        used = _used_bytes(connection)
        if used <= limit:
            return
        while used > limit * _KEPT_SHARE:
            (rows,) = connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()
            if not rows:
                return
            # Pages are freed whole, so a few rounds may be needed.
            share = (used - limit * _KEPT_SHARE) / used
            connection.execute(
                "DELETE FROM embeddings WHERE id IN "
                "(SELECT id FROM embeddings ORDER BY used, id LIMIT ?)",
                (max(1, int(rows * share)),),
            )
            used = _used_bytes(connection)

    def _leave_no_copy(self, connection: sqlite3.Connection) -> None:
        """Empty the journal, which holds older states of the pages."""
        connection.execute("PRAGMA incremental_vacuum").fetchall()
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise OSError(
                f"The rows are deleted from the embedding cache {self.path}, but another process "
                "is reading its journal, which may hold a copy; try again when it has ended."
            )


def _size() -> float:
    given = os.environ.get("ANGLER_CACHE_MIB")
    try:
        return float(given) if given else DEFAULT_SIZE_MIB
    except ValueError:
        raise ValueError(f"ANGLER_CACHE_MIB must be a number of MiB, got {given!r}.") from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "secure_delete=ON",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.executescript(_TABLES)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _encoder(connection: sqlite3.Connection, fingerprint: str, *, add: bool = False) -> int | None:
    if add:
        connection.execute(
            "INSERT OR IGNORE INTO encoders (fingerprint) VALUES (?)", (fingerprint,)
        )
    row = connection.execute(
        "SELECT id FROM encoders WHERE fingerprint = ?", (fingerprint,)
    ).fetchone()
    return row[0] if row else None


def _delete(
    connection: sqlite3.Connection, fingerprint: str | None, digests: Sequence[bytes] | None
) -> int:
    encoder = None if fingerprint is None else _encoder(connection, fingerprint)
    if fingerprint is not None and encoder is None:
        return 0
    of_encoder, values = ("encoder = ?", (encoder,)) if encoder is not None else ("1", ())
    if digests is None:
        return connection.execute(f"DELETE FROM embeddings WHERE {of_encoder}", values).rowcount
    return sum(
        connection.execute(
            f"DELETE FROM embeddings WHERE {of_encoder} AND digest IN ({_marks(some)})",
            (*values, *some),
        ).rowcount
        for some in _slices(digests)
    )


def _delete_all(connection: sqlite3.Connection) -> int:
    gone = connection.execute("DELETE FROM embeddings").rowcount
    connection.execute("DELETE FROM encoders")
    return gone


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _last_that_fit(
    rows: list[tuple[bytes, int, bytes]], most_bytes: float
) -> list[tuple[bytes, int, bytes]]:
    total = 0.0
    for place in range(len(rows) - 1, -1, -1):
        total += len(rows[place][2])
        if total > most_bytes:
            return rows[place + 1 :]
    return rows


def _slices(digests: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(digests), _AT_ONCE):
        yield digests[start : start + _AT_ONCE]


def _marks(values: Sequence[bytes]) -> str:
    return ",".join("?" * len(values))
