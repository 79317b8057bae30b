"""Parsing in processes of their own, with limits, so that a bad file costs only itself.

A process is started with the first file that needs one and reads file after file. One that runs
out of time or memory is ended; the next file gets a new one. Messages are a length and JSON.
"""

import atexit
import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock, Timer
from typing import IO, Any

from data.loaders.base import Parsed, UnreadableDocumentError

__all__ = ["ParseLimits", "ParserPool", "parse_apart", "stop_parsing"]

_LENGTH = struct.Struct(">Q")
_AT_WORK = 0
"""A message of this length says that a page is done."""


@dataclass(frozen=True, kw_only=True)
class ParseLimits:
    """What one file may cost."""

    timeout_s: float = 120.0
    """Seconds without a page done."""
    total_s: float = 3600.0
    """Seconds in all."""
    memory_mib: int = 3072
    """Memory of the process that parses; kept on Linux only."""


def parse_apart(raw: bytes, loader: str, stem: str) -> Parsed:
    """Parse bytes in another process; threads that ask at the same time get one each.

    Raises:
        UnreadableDocumentError: As the loader, or if it ran out of time or memory, or crashed.
    """
    return _shared_pool().parse(raw, loader, stem)


@cache
def _shared_pool() -> "ParserPool":
    pool = ParserPool(ParseLimits())
    atexit.register(pool.close)
    return pool


def stop_parsing() -> None:
    """End all that is being parsed for `parse_apart` now; those who wait for it get an error."""
    _shared_pool().stop()


class ParserPool:
    """Processes that wait for files; as many as were ever needed at the same time."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits
        self._idle: queue.LifoQueue[_Parser] = queue.LifoQueue()
        self._busy: set[_Parser] = set()

    def parse(self, raw: bytes, loader: str, stem: str) -> Parsed:
        """See `parse_apart`."""
        try:
            parser = self._idle.get_nowait()
        except queue.Empty:
            parser = _Parser(self._limits)
        self._busy.add(parser)
        try:
            reply = parser.ask({"loader": loader, "stem": stem}, raw)
        except BaseException:
            parser.end()
            raise
        finally:
            self._busy.discard(parser)
        if parser.is_stopped:
            parser.end()
        else:
            self._idle.put(parser)
        if "reason" in reply:
            raise UnreadableDocumentError(reply["reason"])
        return Parsed(reply["title"], reply["text"], tuple(reply["pages"]), reply["metadata"])

    def stop(self) -> None:
        """End the processes that are at work."""
        for parser in list(self._busy):
            parser.kill()

    def close(self) -> None:
        """End all processes."""
        self.stop()
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().end()


class _Parser:
    """One process that parses."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "data.loaders.parser", str(limits.memory_mib)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,  # Ctrl-C is for the one who asked
        )
        self._lock = Lock()
        self.is_stopped = False
        self._late_after_s: float | None = None

    def ask(self, request: dict[str, Any], raw: bytes) -> dict[str, Any]:
        """Send a file and wait for its text or the reason why there is none."""
        with self._deadline(self._limits.total_s):
            try:
                self._send(json.dumps(request).encode(), raw)
                reply = self._receive()
            except (OSError, EOFError) as error:
                raise self._reason_of_death() from error
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def kill(self) -> None:
        """Stop the process; whoever waits for its answer ends it."""
        self.is_stopped = True
        self._process.kill()

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _send(self, *messages: bytes) -> None:
        pipe = _open(self._process.stdin)
        for message in messages:
            pipe.write(_LENGTH.pack(len(message)))
            pipe.write(message)
        pipe.flush()

    def _receive(self) -> bytes:
        while True:
            with self._deadline(self._limits.timeout_s):
                length = _LENGTH.unpack(self._read(_LENGTH.size))[0]
                if length != _AT_WORK:
                    return self._read(length)

    def _read(self, length: int) -> bytes:
        found = _open(self._process.stdout).read(length)
        if len(found) < length:
            raise EOFError
        return found

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Any:  # noqa: ANN401
        timer = Timer(seconds, self._too_late, [seconds])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _too_late(self, seconds: float) -> None:
        with self._lock:
            self._late_after_s = seconds
            self._process.kill()

    def _reason_of_death(self) -> UnreadableDocumentError:
        code = self._process.wait()
        if self._late_after_s is not None:
            return UnreadableDocumentError(
                f"Reading it took longer than {self._late_after_s:g} s; it was given up."
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return UnreadableDocumentError(
            f"The program that reads it crashed ({how}): the file is damaged, or needs more than "
            f"{self._limits.memory_mib} MiB of memory."
        )


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EOFError
    return pipe
