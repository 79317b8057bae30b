"""`python -m benchmarks.sessions`: many readers at once on the application, over 100,000 chunks.

Two Chromium and eighteen websocket sessions ask different questions of the judged sets for ten
minutes, with a pause between a reader's questions. Beside their times stands a bare loop: encode
the query, search the embeddings with FAISS. The server's memory is read all the while.
ANGLER_DATA names the sets.
"""

import argparse
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from typing import Protocol
from urllib.request import ProxyHandler, build_opener

import numpy as np

from benchmarks.lexical import SETS
from benchmarks.machine import judged_sets, write_result
from benchmarks.query import RandomRows, _lines
from benchmarks.session_client import AskError, Websocket, chromium
from data import load_beir
from encoder import load_encoder
from indexing import build_index, open_index
from indexing.config import BuildConfig
from indexing.hits import Mode

ROOT = Path(__file__).parent.parent
_BARE = 100
_LOOK_S = 2.0
_USABLE_S = 3.0
_GROWTH_MIB = 30.0
"""What the second half of a run may add to the memory of the first: the noise of an allocator."""


class Reader(Protocol):
    """Somebody who asks."""

    def ask(self, question: str) -> Mapping[str, float]:
        """Seconds until each part of the page came."""


@dataclass
class Tally:
    """What the readers saw; filled by all of them."""

    lock: Lock = field(default_factory=Lock)
    times: dict[str, list[float]] = field(default_factory=dict)
    """Seconds, by the kind of reader and the part of the page."""
    errors: list[str] = field(default_factory=list)
    memory_mib: list[float] = field(default_factory=list)
    usable_s: list[float] = field(default_factory=list)


def main() -> int:
    """Build, let them ask, print; 1 if anything went wrong."""
    arguments = _arguments()
    sets = judged_sets()
    with TemporaryDirectory(prefix="angler-sessions-") as place:
        folder = Path(place)
        chunks, store, bare_ms = _build(sets, folder / "index", arguments.documents)
        with _served(folder / "index", folder / "log.txt") as (url, process):
            tally = _run(url, process, sets, folder, arguments)
        log = (folder / "log.txt").read_text("utf-8")
        if "Traceback" in log:
            tally.errors.append(log[log.index("Traceback") :][:500])
    text = _report(tally, bare_ms, arguments) + f"\n\n{chunks:,} chunks ({store}), k = 10."
    print(text)
    for error in tally.errors[:10]:
        print(error, file=sys.stderr)
    if arguments.write:
        command = f"python -m benchmarks.sessions --write --documents {arguments.documents}"
        write_result("sessions.md", "Many readers at once", command, text)
    return 1 if tally.errors or max(tally.usable_s, default=0) > _USABLE_S else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--documents", type=int, default=64_000, help="default: 64,000")
    parser.add_argument("--minutes", type=float, default=10.0, help="default: 10")
    parser.add_argument("--websockets", type=int, default=18, help="default: 18")
    parser.add_argument("--browsers", type=int, default=2, help="default: 2")
    parser.add_argument(
        "--pause-s", type=float, default=10.0, help="between a reader's questions (default: 10)"
    )
    parser.add_argument("--write", action="store_true", help="write results/sessions.md")
    return parser.parse_args()


def _build(sets: Path, folder: Path, documents: int) -> tuple[int, str, list[float]]:
    """An index, and how long its bare loop takes in milliseconds."""
    loaded = load_encoder()
    encoder = RandomRows(loaded.spec, loaded._tokenizer, loaded._backend, loaded.languages)
    build_index(["-"], folder, BuildConfig(), encoder=encoder, lines=_lines(sets, documents))
    index = open_index(folder, encoder=loaded)
    times = []
    for question in itertools.islice(_questions(sets), _BARE):
        started = time.perf_counter()
        index.search(question, 10, mode=Mode.DENSE)
        times.append((time.perf_counter() - started) * 1000)
    manifest = index.generation.manifest
    return len(index), f"{manifest.store}, {manifest.index_type}", times[_BARE // 10 :]


def _questions(sets: Path) -> Iterator[str]:
    """Different ones, of all sets in turn."""
    lists = [list(load_beir(sets / name).queries.values()) for name in SETS]
    for turn in itertools.zip_longest(*lists):
        yield from (question for question in turn if question)


@contextmanager
def _served(index: Path, log: Path) -> Iterator[tuple[str, int]]:
    """The application's address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port)]
    own = {"ANGLER_INDEX": str(index), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | own, stdout=output, stderr=output
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(server, url)
            yield url, server.pid
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(server: "subprocess.Popen[bytes]", url: str) -> None:
    opener = build_opener(ProxyHandler({}))
    for _ in range(600):
        try:
            opener.open(f"{url}/_stcore/health", timeout=5).close()
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.2)
        else:
            return
    sys.exit("The application did not start.")


def _run(url: str, process: int, sets: Path, folder: Path, arguments: argparse.Namespace) -> Tally:
    tally, stop = Tally(), Event()
    questions = itertools.cycle(_questions(sets))
    first = Websocket(url)
    first.ask(next(questions))  # the encoder is loaded by this
    first.close()
    with ExitStack() as stack:
        browsers = [
            stack.enter_context(chromium(url, folder / f"chromium-{number}"))
            for number in range(arguments.browsers)
        ]
        tally.usable_s = [browser.open() for browser in browsers for _ in range(2)]
        sockets = [Websocket(url) for _ in range(arguments.websockets)]
        kinds: list[tuple[str, Reader]] = [("Chromium", one) for one in browsers]
        kinds += [("websocket", one) for one in sockets]
        readers = []
        with ThreadPoolExecutor(len(kinds)) as pool:
            for number, (kind, reader) in enumerate(kinds):
                wait_s = arguments.pause_s * number / len(kinds)  # they do not come all at once
                pause_s = arguments.pause_s
                readers.append(
                    pool.submit(_read, kind, reader, questions, tally, stop, wait_s, pause_s)
                )
            _watch(process, tally, arguments.minutes * 60)
            stop.set()
        for read in readers:
            read.result()
        for one in sockets:
            one.close()
        complaints = [line for browser in browsers for line in browser.complaints()]
        tally.errors += [f"the browser complained: {line}" for line in complaints]
    return tally


def _read(
    kind: str,
    reader: Reader,
    questions: Iterator[str],
    tally: Tally,
    stop: Event,
    wait_s: float,
    pause_s: float,
) -> None:
    """Ask until it is time to stop, and note every fault."""
    stop.wait(wait_s)
    while not stop.is_set():
        with tally.lock:
            question = next(questions)
        try:
            taken = reader.ask(question)
        except AskError as error:
            with tally.lock:
                tally.errors.append(f"{kind}: {error}")
        else:
            with tally.lock:
                for part, seconds in taken.items():
                    tally.times.setdefault(f"{kind}, {part}", []).append(seconds)
        stop.wait(pause_s)


def _watch(process: int, tally: Tally, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tally.memory_mib.append(_resident_mib(process))
        left = end - time.monotonic()
        print(f"\r{left:4.0f} s left, {len(tally.errors)} errors ", end="", file=sys.stderr)
        time.sleep(_LOOK_S)
    print(file=sys.stderr)


def _resident_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _report(tally: Tally, bare_ms: Sequence[float], arguments: argparse.Namespace) -> str:
    lines = ["| who | questions | p50 ms | p95 ms | most ms |", "|---" * 5 + "|"]
    rows = {kind: [1000 * one for one in times] for kind, times in sorted(tally.times.items())}
    for kind, times in {**rows, "bare encode + FAISS": list(bare_ms)}.items():
        middle, high = np.percentile(times, (50, 95))
        lines.append(f"| {kind} | {len(times)} | {middle:.0f} | {high:.0f} | {max(times):.0f} |")
    return (
        "\n".join(lines)
        + "\n\n"
        + " ".join(
            (
                f"{arguments.browsers} Chromium and {arguments.websockets} websocket sessions for",
                f"{arguments.minutes:g} minutes, {arguments.pause_s:g} s between questions of one:",
                f"{len(tally.errors)} errors.",
                _memory(tally.memory_mib),
                f"The page could be used after {max(tally.usable_s, default=0.0):.1f} s at most.",
            )
        )
    )


def _memory(mib: Sequence[float]) -> str:
    """How the server's memory went: the middle of each quarter tells growth from noise."""
    quarters = [float(np.median(part)) for part in np.array_split(mib, 4)]
    word = "flat" if quarters[3] - quarters[1] <= _GROWTH_MIB else "GROWING"
    steps = ", ".join(f"{one:,.0f}" for one in quarters)
    return f"Memory of the server, median of each quarter: {steps} MiB ({word})."


if __name__ == "__main__":
    sys.exit(main())
