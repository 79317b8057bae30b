"""`python -m benchmarks.update`: what it costs to find nothing changed, and to publish one edit.

Two folders are made: many small documents, built once and looked at again by the build command;
and an index of many chunks of real sentences, into which one edited file is published by the
default encoder. Both indexes are built with synthetic embeddings under the default encoder's name,
so that the commands find what they expect.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import write_result
from benchmarks.material import StandIn, write_documents
from encoder import describe_encoder
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
        command = (
            f"python -m benchmarks.update --documents {arguments.documents} "
            f"--chunks {arguments.chunks} --write"
        )
        write_result(RESULT.name, "The cost of a change", command, text)


_NOTHING = """
import contextlib, io, json, runpy, sys
sys.argv = ["indexing.build", sys.argv[1], "--index", sys.argv[2], "--json"]
printed = io.StringIO()
with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
    runpy.run_module("indexing.build", run_name="__main__")
report = json.loads(printed.getvalue())
assert (report["tokens"], report["added"], report["updated"]) == (0, 0, 0), report
assert "torch" not in sys.modules and "transformers" not in sys.modules
print(report["skipped"])
"""
_EDIT = """
import sys, time
from encoder import load_encoder
encoder = load_encoder()
encoder.encode_documents(["The engine is warm."])
encode, spent = encoder.encode_documents, []
def timed(texts, **choices):
    started = time.perf_counter()
    rows = encode(texts, **choices)
    spent.append(time.perf_counter() - started)
    return rows
encoder.encode_documents = timed
from indexing import build_index
started = time.perf_counter()
report = build_index(sys.argv[1:2], sys.argv[2], encoder=encoder)
seconds = time.perf_counter() - started
assert (report.updated, report.added, report.deleted) == (1, 0, 0), report
print(seconds - sum(spent))
"""


def _nothing_changed(root: Path, documents: int) -> list[str]:
    docs, kb = root / "many", root / "many-kb"
    write_documents(docs, documents, chunks_each=1)
    first = _built(docs, kb)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        skipped = _in_process(_NOTHING, docs, kb)
        seconds.append(time.perf_counter() - started)
    return [
        f"| a folder of {skipped} documents, nothing changed: the whole command, median of "
        f"{len(seconds)} (its first build: {first:.0f} s) | {sorted(seconds)[1]:.2f} "
        f"| {NOTHING_MOST_S:.0f} |"
    ]


def _built(docs: Path, kb: Path) -> float:
    """Build an index; returns the seconds without those of the embeddings."""
    encoder = StandIn(describe_encoder(None).spec)
    started = time.perf_counter()
    report = build_index([str(docs)], kb, encoder=encoder.typed())
    seconds = time.perf_counter() - started - encoder.seconds
    _say(f"{report.documents} documents, {report.chunks} chunks built in {seconds:.0f} s")
    return seconds


def _in_process(code: str, *arguments: Path) -> str:
    """What code prints in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def _one_edit(root: Path, chunks: int) -> list[str]:
    docs, kb = root / "large", root / "large-kb"
    each = 20
    write_documents(docs, max(1, chunks // each), chunks_each=each)
    first = _built(docs, kb)
    held = open_current(kb, with_stores=False).manifest.chunks
    path = next(docs.rglob("*.md"))
    seconds = []
    for number in range(5):
        path.write_text(f"# Edited\n\nThis is edit number {number}.\n", "utf-8")
        os.utime(path, (OLD + number, OLD + number))
        seconds.append(float(_in_process(_EDIT, docs, kb)))
        _say(f"edit {number}: {seconds[-1]:.2f} s")
    return [
        f"| one edited file of {len(list(docs.rglob('*.md')))} in an index of {held} chunks, "
        "published by a new process, without its start, model and encoding: median of "
        f"{len(seconds)}, slowest {max(seconds):.2f} (its first build: {first:.0f} s) "
        f"| {sorted(seconds)[len(seconds) // 2]:.2f} | {EDIT_MOST_S:.0f} |"
    ]


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
