"""`python -m benchmarks.update`: what it costs to find nothing changed, and to publish one edit.

Two folders are made: many small documents, built once and looked at again; and an index of many
chunks, of real sentences with synthetic embeddings, into which one edited file is published.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import describe_machine
from benchmarks.material import StandIn, write_documents
from indexing import build_index
from indexing.generation import open_current

RESULT = Path(__file__).parent / "results" / "update.md"
OLD = 1_000_000_000
NOTHING_MOST_S, EDIT_MOST_S = 5.0, 2.0


def main() -> None:
    """Make the folders, measure, compare with what was promised."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--chunks", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    os.environ["ANGLER_CACHE_MIB"] = "0"
    with TemporaryDirectory(dir=arguments.folder) as name:
        rows = [
            *_nothing_changed(Path(name), arguments.documents),
            *_one_edit(Path(name), arguments.chunks),
        ]
    text = "\n".join(["| what | s | promised |", "|---|---|---|", *rows])
    print(text)
    if arguments.write:
        head = "\n".join(f"- {key}: {value}" for key, value in describe_machine().items())
        RESULT.write_text(
            f"# The cost of a change\n\n`python -m benchmarks.update --documents "
            f"{arguments.documents} --chunks {arguments.chunks} --write`\n\n{head}\n\n{text}\n",
            "utf-8",
        )


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _nothing_changed(root: Path, documents: int) -> list[str]:
    docs, kb = root / "many", root / "many-kb"
    write_documents(docs, documents, chunks_each=1)
    encoder = StandIn()
    first = _timed(lambda: build_index([str(docs)], kb, encoder=encoder.typed()))
    _say(f"{documents} documents built in {first:.0f} s")
    # As a person would: a new process, which must not load a model to see that nothing changed.
    code = (
        "import sys, time; started = time.perf_counter()\n"
        "from benchmarks.material import StandIn\n"
        "from indexing import build_index\n"
        "report = build_index(sys.argv[1:2], sys.argv[2], encoder=StandIn().typed())\n"
        "assert (report.tokens, report.added, report.updated) == (0, 0, 0), report\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "print(time.perf_counter() - started)"
    )
    seconds = [_in_process(code, str(docs), str(kb)) for _ in range(3)]
    return [
        f"| {documents} documents, nothing changed, new process, start-up included "
        f"| {sorted(seconds)[1]:.2f} | {NOTHING_MOST_S:.0f} |"
    ]


def _in_process(code: str, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def _one_edit(root: Path, chunks: int) -> list[str]:
    docs, kb = root / "large", root / "large-kb"
    each = 20
    write_documents(docs, max(1, chunks // each), chunks_each=each)
    encoder = StandIn()
    first = _timed(lambda: build_index([str(docs)], kb, encoder=encoder.typed()))
    held = open_current(kb, with_stores=False).manifest.chunks  # and hashes all files once
    _say(f"{held} chunks built in {first:.0f} s, {_peak_mib():.0f} MiB at most")
    path = next(docs.rglob("*.md"))
    seconds = []
    for number in range(5):
        path.write_text(f"# Edited\n\nThis is edit number {number}.\n", "utf-8")
        os.utime(path, (OLD + number, OLD + number))
        before = encoder.seconds
        taken = _timed(lambda: build_index([str(docs)], kb, encoder=encoder.typed()))
        seconds.append(taken - (encoder.seconds - before))
    return [
        f"| one edited file of {docs.name} ({held} chunks), published, without its encoding "
        f"(median of {len(seconds)}) | {sorted(seconds)[len(seconds) // 2]:.2f} "
        f"| {EDIT_MOST_S:.0f} |"
    ]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
