"""`python -m benchmarks.build`: what reading, splitting and storing add to encoding, and memory.

The overhead is measured with the default encoder, on Markdown of real sentences and on real filings
as PDF where the data is there: a whole build against encoding the same embedded texts alone. The
memory is measured with synthetic embeddings, so that a million chunks of real sentences are done in
minutes. A new index also asks itself up to 200 questions, to learn what its scores mean: that is
neither reading nor splitting nor storing, depends little on the size, and is shown apart.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.machine import data_folder, write_result
from benchmarks.material import StandIn, write_documents
from indexing import build_index
from indexing.calibrating import calibrate_unpublished
from indexing.generation import open_current
from indexing.manifest import Manifest

RESULT = Path(__file__).parent / "results" / "build.md"
OVERHEAD_MOST, MEMORY_MOST_MIB = 0.15, 1024
_EVERY_S = 0.1
_PARTS = ("overhead", "filings", "memory")
_FILINGS = data_folder() / "financebench_pdf"
_FEW = 4
"""Filings that are read: the larger ones have hundreds of pages."""


def main() -> None:
    """Measure both, each in a process of its own, and compare with what was promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.build", description=__doc__)
    parser.add_argument(
        "--documents", type=int, default=1500, help="for the overhead (default: 1500)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each overhead (default: 5)")
    parser.add_argument("--chunks", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    parser.add_argument("--part", choices=_PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["ANGLER_CACHE_MIB"] = "0"
    if arguments.part is not None:
        with TemporaryDirectory(dir=arguments.folder) as name:
            print(_measured(arguments, Path(name)))
        return
    rows = [row for part in _PARTS if (row := _in_process(part))]
    text = "\n".join(["| what | measured | promised |", "|---|---|---|", *rows])
    print(text)
    if arguments.write:
        command = (
            f"python -m benchmarks.build --documents {arguments.documents} "
            f"--chunks {arguments.chunks} --write"
        )
        write_result(RESULT.name, "Building from end to end", command, text)


def _in_process(part: str) -> str:
    command = [sys.executable, "-m", "benchmarks.build", *sys.argv[1:], "--part", part]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def _measured(arguments: argparse.Namespace, root: Path) -> str:
    """The row of one part; empty where its data is not there."""
    if arguments.part == "memory":
        return _memory(root, arguments.chunks)
    if arguments.part == "overhead":
        write_documents(root / "docs", arguments.documents, chunks_each=3)
        return _overhead(root, "as Markdown", arguments.rounds)
    filings = sorted(_FILINGS.glob("**/*.pdf"), key=lambda path: path.stat().st_size)[:_FEW]
    for path in filings:
        (root / "docs").mkdir(exist_ok=True)
        shutil.copy(path, root / "docs")
    return _overhead(root, "as PDF", arguments.rounds) if filings else ""


def _overhead(root: Path, kind: str, rounds: int) -> str:
    """Builds and encodes in turn: a machine that others use is slower now and then."""
    from encoder import load_encoder

    encoder = load_encoder()
    write_documents(root / "warm", 20, chunks_each=3)
    build_index([str(root / "warm")], root / "warm-kb", encoder=encoder)
    builds, alone, calibrations, over = [], [], [], []
    for number in range(rounds):
        index = root / f"kb-{number}"
        with _timed_calibration() as calibration:
            started = time.perf_counter()
            report = build_index([str(root / "docs")], index, encoder=encoder)
            whole = time.perf_counter() - started
        generation = open_current(index, with_stores=False)
        records = [record for portion in generation.portions() for record in portion]
        texts = [chunk.embedded for record in records for chunk in record.chunks]
        started = time.perf_counter()
        encoder.encode_documents(texts)
        alone.append(time.perf_counter() - started)
        calibrations.append(sum(calibration))
        builds.append(whole - calibrations[-1])
        over.append(builds[-1] / alone[-1] - 1)
    return (
        f"| {report.documents} documents {kind}, {report.chunks} chunks, {encoder.spec.name}, "
        f"median of {rounds}: {median(builds):.1f} s, of these {median(alone):.1f} s pure "
        f"encoding; calibrating its scores besides: {median(calibrations):.1f} s "
        f"| {median(over):+.1%} ({min(over):+.1%} .. {max(over):+.1%}) | +{OVERHEAD_MOST:.0%} |"
    )


@contextmanager
def _timed_calibration() -> Iterator[list[float]]:
    """The seconds that builds take to calibrate their scores."""
    seconds: list[float] = []

    def timed(*given: Any) -> Manifest:  # noqa: ANN401 - as they come
        started = time.perf_counter()
        try:
            return calibrate_unpublished(*given)
        finally:
            seconds.append(time.perf_counter() - started)

    with patch("indexing.pipeline.calibrate_unpublished", timed):
        yield seconds


def _memory(root: Path, chunks: int) -> str:
    each = 20
    write_documents(root / "docs", max(1, chunks // each), chunks_each=each)
    encoder = StandIn()
    before = _memory_mib()
    watch = _Watch()
    watch.start()
    started = time.perf_counter()
    report = build_index([str(root / "docs")], root / "kb", encoder=encoder.typed())
    seconds = time.perf_counter() - started
    watch.stop()
    own = seconds - encoder.seconds
    return (
        f"| {report.chunks} chunks of {report.documents} documents, synthetic embeddings of "
        f"{encoder.dim} values: {seconds:.0f} s ({own / report.chunks * 1e6:.0f} µs each without "
        f"the embeddings) | {watch.peak_mib - before:.0f} MiB | {MEMORY_MOST_MIB} MiB |"
    )


def _memory_mib() -> float:
    """Memory of this process that is not a file's, which the system may take back at will."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("This system does not tell a process's own memory (RssAnon).")


class _Watch(threading.Thread):
    """Notes the most memory until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mib = 0.0
        self._done = threading.Event()

    def run(self) -> None:
        """Look at the memory again and again."""
        while not self._done.wait(_EVERY_S):
            self.peak_mib = max(self.peak_mib, _memory_mib())

    def stop(self) -> None:
        """Stop looking."""
        self._done.set()
        self.join()


if __name__ == "__main__":
    main()
