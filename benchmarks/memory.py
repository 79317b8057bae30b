"""`python -m benchmarks.memory`: how much memory encoding from an iterator takes, above the model.

The texts are those of scifact, cut to mixed lengths and numbered so that no two are equal; found by
the environment variable ANGLER_DATA (default ../shared/data). Linux only: it reads /proc.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import judged_sets, write_result
from data import load_beir
from encoder import Encoder, load_encoder

RESULT = "memory.md"
LIMIT_MIB = 300
LENGTHS = (40, 1200, 150, 400, 80, 700, 250)
"""Characters of the texts, in turn."""


def main() -> None:
    """Measure, print, and exit with 1 if the limit is passed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--texts", type=int, default=200_000, help="default: 200000")
    parser.add_argument("--model", metavar="MODEL", help="default: the embedded one")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT}")
    arguments = parser.parse_args()
    corpus = _corpus()
    encoder = load_encoder(arguments.model)
    text, grown = _measure(encoder, corpus, arguments.texts)
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.memory --write --texts {arguments.texts}"
        write_result(RESULT, "Memory while encoding from an iterator", command, text)
    if grown > LIMIT_MIB:
        sys.exit(f"{grown:.0f} MiB above the loaded model; the limit is {LIMIT_MIB}.")


def _measure(encoder: Encoder, corpus: list[str], texts: int) -> tuple[str, float]:
    encoder.encode_documents(["one text, so that everything is loaded"])
    loaded = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    steps: dict[int, float] = {}

    def watched(done: int, _: int | None) -> None:
        if done >= len(steps) * texts / 10:
            steps[done] = _status_mib("VmHWM") - loaded

    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        report = encoder.encode_to_file(_texts(corpus, texts), path, progress=watched)
        size = path.stat().st_size / 2**20
    grown = _status_mib("VmHWM") - loaded
    seconds = time.perf_counter() - start
    lines = [
        f"{encoder.spec.name}, {encoder.engine}: {report.texts} texts, {report.tokens} tokens, "
        f"{seconds:.0f} s, a file of {size:.0f} MiB. The loaded model takes {loaded:.0f} MiB; "
        f"above it at most **{grown:.0f} MiB** (limit: {LIMIT_MIB}).",
        "",
        "| texts done | most MiB above the model so far |",
        "|---|---|",
        *(f"| {done} | {most:.0f} |" for done, most in steps.items()),
    ]
    return "\n".join(lines), grown


def _corpus() -> list[str]:
    return [document.text for document in load_beir(judged_sets() / "scifact").corpus.values()]


def _texts(corpus: list[str], texts: int) -> Iterator[str]:
    numbered = (
        f"{number} {corpus[number % len(corpus)][: LENGTHS[number % len(LENGTHS)]]}"
        for number in count()
    )
    return islice(numbered, texts)


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    (kib,) = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kib) / 1024


if __name__ == "__main__":
    main()
