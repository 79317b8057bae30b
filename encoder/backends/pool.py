"""Runs a model in several processes, one for each device; they end with this one, whatever comes.

The processes are fresh interpreters that talk over pipes: nothing is forked, no script of the
user's is imported again, and nothing is pickled.
"""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.backends.frames import (
    NO_MEMORY,
    READY,
    ROWS,
    WORK,
    WRONG,
    pack_ids,
    receive,
    send,
    unpack_rows,
)
from encoder.spec import EncoderSpec

_PROGRAM = "import sys; sys.path[:] = {path!r}; from encoder.backends.worker import main; main()"
_END_S = 5.0
"""How long a process has to end by itself."""


class WorkerPool:
    """An engine in several processes; `close` it, or leave it to the end of this process."""

    def __init__(
        self,
        devices: Sequence[str],
        folder: Path,
        spec: EncoderSpec,
        *,
        base: Path | None = None,
        pad_id: int,
        backend: str,
        dtype: str,
        trust_remote_code: bool,
    ) -> None:
        """Start one process for each device (`cuda:0`, `cuda:1`, … or `cpu` several times).

        Processes on the CPU share its cores out among them.

        Raises:
            ValueError: If a process cannot load the model onto its device.
            ChildProcessError: If a process ends before that.
        """
        options = {
            "folder": str(folder),
            "spec": spec.as_dict(),
            "base": str(base) if base else None,
            "pad_id": pad_id,
            "backend": backend,
            "dtype": dtype,
            "trust_remote_code": trust_remote_code,
        }
        self.device = ",".join(devices)
        self.workers = len(devices)
        self._ended = ""
        self._lock = Lock()
        self._all = [
            _Worker(device, cores)
            for device, cores in zip(devices, _shares_of_cores(devices), strict=True)
        ]
        self._finalizer = weakref.finalize(self, _end, [worker.process for worker in self._all])
        try:
            for worker in self._all:
                worker.load(options)
            facts = [worker.facts() for worker in self._all]
        except BaseException:
            self.close()
            raise
        self.engine = f"{facts[0]['engine']}, {len(devices)} processes"
        self.token_budget = min(fact["token_budget"] for fact in facts)
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._all:
            self._free.put(worker)

    def embed(
        self, ids: Sequence[Sequence[int]], starts: Sequence[int] = ()
    ) -> NDArray[np.float32]:
        """Embed one batch in the process that is free first; safe from several threads.

        Returns:
            Shape (batch, dim).

        Raises:
            MemoryError: If the batch does not fit into the device's memory.
            ChildProcessError: If the process ends or fails; then all of them are ended.
        """
        worker = self._free.get()
        try:
            return worker.embed(ids, starts)
        except ChildProcessError as error:
            # The others end for the first one's reason, not for a reason of their own.
            self._end(str(error))
            raise ChildProcessError(self._ended) from error
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End all processes; the encoder cannot be used any more."""
        self._end("The encoder was closed, and its processes with it; load it again.")

    def _end(self, reason: str) -> None:
        with self._lock:
            self._ended = self._ended or reason
        self._finalizer()


class _Worker:
    def __init__(self, device: str, cores: list[int]) -> None:
        self._device = device
        self._cores = cores
        environment = os.environ | ({"OMP_NUM_THREADS": str(len(cores))} if cores else {})
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def load(self, options: dict[str, Any]) -> None:
        """Tell the process what to load; it takes its time."""
        options = options | {"device": self._device, "cores": self._cores}
        self._say(WORK, json.dumps(options).encode())

    def facts(self) -> dict[str, Any]:
        """What the process has loaded."""
        kind, content = self._hear()
        if kind != READY:
            raise ValueError(content.decode())
        facts: dict[str, Any] = json.loads(content)
        return facts

    def embed(self, ids: Sequence[Sequence[int]], starts: Sequence[int]) -> NDArray[np.float32]:
        self._say(WORK, pack_ids(ids, starts))
        kind, content = self._hear()
        if kind == NO_MEMORY:
            raise MemoryError(content.decode())
        if kind == WRONG:
            raise ChildProcessError(f"The encoder's process on {self._device}: {content.decode()}")
        assert kind == ROWS
        return unpack_rows(content, len(ids))

    def _say(self, kind: bytes, content: bytes) -> None:
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, kind, content)
        except (OSError, ValueError) as error:  # a broken pipe, or one that is closed
            raise self._gone() from error

    def _hear(self) -> tuple[bytes, bytes]:
        assert self.process.stdout is not None
        try:
            return receive(self.process.stdout)
        except (OSError, ValueError, EOFError) as error:
            raise self._gone() from error

    def _gone(self) -> ChildProcessError:
        try:
            code = self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            code = None
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return ChildProcessError(
            f"The encoder's process on {self._device} has ended ({how}); if it was killed, most "
            "likely for want of memory. Load the encoder again, with fewer devices."
        )


def _shares_of_cores(devices: Sequence[str]) -> list[list[int]]:
    """Cores for each process on the CPU, none for the others; all where there are too few."""
    on_cpu = [place for place, device in enumerate(devices) if device == "cpu"]
    shares: list[list[int]] = [[] for _ in devices]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) >= len(on_cpu):
        for turn, place in enumerate(on_cpu):
            shares[place] = cores[turn :: len(on_cpu)]
    return shares


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what a dead process never took is written once more
                    pipe.close()
