"""Long work on a knowledge base, each run a process of its own that nobody's page has to wait for.

A run belongs to no page and no server: it goes on if the browser is closed and if the server is
stopped, and what it does stands in `jobs.sqlite` beside the index for whoever looks. Whether it
still runs is told by a lock that ends with its process. `app.worker` does the work.
"""

import fcntl
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.library import Listing

FILE, LOCK, LOG = "jobs.sqlite", "job.lock", "jobs.log"
_ROOT = Path(__file__).parent.parent
_KEPT = 50
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, choices TEXT NOT NULL, created REAL NOT NULL,
    process INTEGER NOT NULL DEFAULT 0, moved REAL, ended REAL, outcome TEXT,
    message TEXT NOT NULL DEFAULT '', done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0, current TEXT NOT NULL DEFAULT '', expected_s REAL,
    report TEXT NOT NULL DEFAULT '{}'
)
"""

log = logging.getLogger(__name__)
_started: list["subprocess.Popen[bytes]"] = []
"""Children of this process, which it has to bury."""


class Kind(StrEnum):
    """What a job does."""

    UPDATE = "update"
    """Brings the index into step with the files and addresses."""
    PURGE = "purge"
    """The same, and leaves nothing of what was removed."""
    REEMBED = "reembed"
    """Another encoder, from the stored chunks."""
    ROLLBACK = "rollback"
    BACKUP = "backup"
    RESTORE = "restore"
    NEAR_DUPLICATES = "near_duplicates"


class Outcome(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its process ended without a word: killed, or the machine was switched off."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run, as far as it is known."""

    id: int
    kind: Kind
    choices: Mapping[str, Any]
    created: float
    """Seconds since 1970."""
    process: int
    moved: float | None
    """When the first document was begun, before which nothing can be said about its pace."""
    ended: float | None
    outcome: Outcome | None
    """None while it runs."""
    message: str
    """Why it failed, in one sentence."""
    done: int
    total: int
    current: str
    expected_s: float | None
    """How long it was expected to take when it began, where that was measured."""
    report: Mapping[str, Any]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.outcome is None

    def rate(self, now: float) -> float | None:
        """What it does in a second, so far; None before it can be said."""
        if self.moved is None or not self.done or now - self.moved < 1:
            return None
        return self.done / (now - self.moved)

    def left_s(self, now: float) -> float | None:
        """Seconds that it will take still; None before it can be said."""
        rate = self.rate(now)
        if rate is not None:
            return (self.total - self.done) / rate
        if self.expected_s is not None and self.moved is not None:
            return max(0.0, self.expected_s - (now - self.moved))
        return None


class JobRunningError(RuntimeError):
    """Another job works on the knowledge base."""


def start(listing: Listing, kind: Kind, **choices: Any) -> int:  # noqa: ANN401 - JSON values
    """Begin a job in a process of its own; returns its number.

    Raises:
        JobRunningError: If another one runs on this knowledge base.
    """
    with (listing.folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobRunningError(
                f"Another job works on {listing.name}. Wait until it is done, or cancel it."
            ) from None
        with _opened(listing.folder) as connection:
            _note_interrupted(connection)
            number = _insert(connection, kind, choices)
            # The child inherits the lock itself, so there is no moment at which neither holds it.
            child = _spawn(listing, number, lock.fileno())
            connection.execute("UPDATE jobs SET process = ? WHERE id = ?", [child.pid, number])
    _started.append(child)
    log.info("Job %d (%s) of %s runs as process %d.", number, kind, listing.id, child.pid)
    return number


def again(listing: Listing, job: Job) -> int:
    """Begin the same job anew; what it had encoded is not encoded again."""
    return start(listing, job.kind, **job.choices)


def cancel(listing: Listing, job: Job, *, at_once: bool = False) -> None:
    """Ask a running job to stop; the index stays as it is.

    Args:
        listing: Its knowledge base.
        job: The job.
        at_once: Kill it; the index is never half-written, whenever that happens.
    """
    if job.process and _is_locked(listing.folder):
        with suppress(ProcessLookupError):
            os.kill(job.process, signal.SIGKILL if at_once else signal.SIGINT)


def last(listing: Listing) -> Job | None:
    """The newest job, running or not."""
    return next(iter(recent(listing, 1)), None)


def recent(listing: Listing, most: int = _KEPT) -> list[Job]:
    """The newest jobs, the last one first."""
    return _read(listing, "ORDER BY id DESC LIMIT ?", [most])


def last_report(listing: Listing, kind: Kind) -> Mapping[str, Any] | None:
    """What the newest job of a kind that was done has found."""
    found = _read(listing, "WHERE kind = ? AND outcome = 'done' ORDER BY id DESC LIMIT 1", [kind])
    return found[0].report if found else None


def is_running(listing: Listing) -> bool:
    """Whether a job works on a knowledge base now."""
    _bury()
    return _is_locked(listing.folder)


def _read(listing: Listing, sql: str, values: Sequence[Any]) -> list[Job]:
    _bury()
    if not (listing.folder / FILE).is_file():
        return []
    is_locked = _is_locked(listing.folder)
    with _opened(listing.folder) as connection:
        if not is_locked:
            _note_interrupted(connection)
        names = ", ".join(Job.__dataclass_fields__)
        return [_job(row) for row in connection.execute(f"SELECT {names} FROM jobs {sql}", values)]


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(Job.__dataclass_fields__, row, strict=True))
    values["kind"] = Kind(values["kind"])
    values["outcome"] = Outcome(values["outcome"]) if values["outcome"] else None
    for name in ("choices", "report"):
        values[name] = json.loads(values[name])
    return Job(**values)


def _bury() -> None:
    _started[:] = [child for child in _started if child.poll() is None]


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no folder any more, or none that may be written
        return False
    return False


def _note_interrupted(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE jobs SET outcome = ?, ended = ? WHERE outcome IS NULL",
        [Outcome.INTERRUPTED, time.time()],
    )


def _insert(connection: sqlite3.Connection, kind: Kind, choices: Mapping[str, Any]) -> int:
    connection.execute("DELETE FROM jobs WHERE id <= (SELECT MAX(id) FROM jobs) - ?", [_KEPT])
    cursor = connection.execute(
        "INSERT INTO jobs (kind, choices, created) VALUES (?, ?, ?)",
        [kind, json.dumps(choices, ensure_ascii=False), time.time()],
    )
    return int(cursor.lastrowid or 0)


def _spawn(listing: Listing, number: int, lock: int) -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    with (listing.folder / LOG).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "app.worker", str(listing.folder), str(number), str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": path},
            pass_fds=[lock],
            start_new_session=True,  # it outlives the server, and Ctrl-C is for the server
        )


class Recorder:
    """What a worker writes about its own job."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number
        self._shown = 0.0

    def begin(self) -> tuple[Kind, dict[str, Any]]:
        """What to do."""
        with _opened(self._folder) as connection:
            (kind, choices), *_ = connection.execute(
                "SELECT kind, choices FROM jobs WHERE id = ?", [self._number]
            ).fetchall()
        return Kind(kind), json.loads(choices)

    def progress(self, done: int, total: int, current: str) -> None:
        """Note how far it is, a few times a second at most."""
        now = time.time()
        if now - self._shown < 0.3 and done < total:
            return
        self._shown = now
        self._set(
            "done = ?, total = ?, current = ?, moved = COALESCE(moved, ?)",
            [done, total, current, now],
        )

    def expect(self, seconds: float) -> None:
        """Note how long it will take."""
        self._set("expected_s = ?, moved = COALESCE(moved, ?)", [seconds, time.time()])

    def end(
        self, outcome: Outcome, message: str = "", report: Mapping[str, Any] | None = None
    ) -> None:
        """Note how it ended."""
        self._set(
            "ended = ?, outcome = ?, message = ?, report = ?",
            [time.time(), outcome, message, json.dumps(report or {}, ensure_ascii=False)],
        )

    def _set(self, sql: str, values: Sequence[Any]) -> None:
        with _opened(self._folder) as connection:
            connection.execute(f"UPDATE jobs SET {sql} WHERE id = ?", [*values, self._number])


@contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(
        sqlite3.connect(folder / FILE, timeout=_BUSY_S, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute(_SCHEMA)
        yield connection
