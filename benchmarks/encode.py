"""`python -m benchmarks.encode`: tokens per second on the CPU, beside other libraries.

Systems take turns, so that noise meets all alike; ratios are of the same round. Peers run in a
process of their own, in the environment that `make peers` makes. The texts are real ones of three
kinds and many lengths, found by the environment variable ANGLER_DATA (default ../shared/data).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import judged_sets, write_result
from benchmarks.matmul import gflops_of_bert, matmul_gflops
from benchmarks.shapes import SHAPES, save_shape
from data import load_beir
from encoder import describe_encoder, load_encoder

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".peers" / "bin" / "python"
BASELINE = "sentence-transformers"
DEFAULT = "all-MiniLM-L6-v2"
QUERY = ["how do I reset my password"]
OURS = (("torch", "float32"), ("openvino", "float32"), ("auto", "auto"), ("openvino", "int8"))
Vectors = NDArray[np.float32]


@dataclass
class System:
    """One way to embed texts, and what was measured of it."""

    name: str
    encode: Callable[[str], float]
    """Embeds the `texts` or the `query` and gives the seconds that it took."""
    vectors: Callable[[], Vectors]
    """Rows of the texts, as they were embedded last."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"texts": [], "query": []})


def main() -> None:
    """Measure, print, and write what was measured."""
    arguments = _parser().parse_args()
    texts = mixed_texts(arguments.texts)
    limits = {dtype: matmul_gflops(dtype) for dtype in ("f32", "bf16", "i8")}
    parts = [
        "matrix products on this machine, at best: "
        + ", ".join(f"{dtype} {limit:.0f} GFLOP/s" for dtype, limit in limits.items())
    ]
    print(parts[0], flush=True)
    for model in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            parts.append(_measured(model, Path(folder), texts, limits, arguments))
        print(parts[-1], flush=True)
    if arguments.write:
        command = " ".join(["python -m benchmarks.encode", *sys.argv[1:]])
        write_result(arguments.out, "Encoding on the CPU", command, "\n\n".join(parts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode", description=__doc__)
    parser.add_argument("--texts", type=int, default=150, help="default: 150")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    known = ", ".join((DEFAULT, *SHAPES))
    parser.add_argument("--models", default=DEFAULT, help=f"some of {known}; with commas")
    parser.add_argument("--peers", action="store_true", help="other libraries, after `make peers`")
    parser.add_argument("--no-int8", action="store_true", help="leave our 8 bits out")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/OUT")
    parser.add_argument("--out", metavar="OUT", default="encode.md", help="default: encode.md")
    return parser


def mixed_texts(count: int) -> list[str]:
    """As many abstracts, paragraphs and questions, in turn."""
    folder = judged_sets()
    abstracts = load_beir(folder / "scifact").corpus.values()
    squad = load_beir(folder / "squad11_dev", "test")
    kinds = (
        [f"{document.title} {document.text}" for document in abstracts],
        [document.text for document in list(squad.corpus.values())[::2]],
        list(squad.queries.values())[::5],
    )
    return [text for three in zip(*kinds, strict=False) for text in three][:count]


def _measured(
    model: str,
    folder: Path,
    texts: list[str],
    limits: dict[str, float],
    arguments: argparse.Namespace,
) -> str:
    path = describe_encoder().folder if model == DEFAULT else save_shape(model, folder / model)
    with ExitStack() as stack:
        systems = [_ours(path, texts, *way) for way in OURS if not _left_out(way, arguments)]
        for kind in ("torch", "openvino", "onnx", "fastembed") if arguments.peers else ("torch",):
            # The baseline is the newest one, which our own environment has.
            python = Path(sys.executable) if kind == "torch" else PEERS
            peer = stack.enter_context(_peer(python, kind, path, texts))
            if peer is not None:
                systems.append(peer)
        for turn in range(arguments.rounds + 1):
            for system in systems:
                seconds = system.encode("texts")
                if turn:  # the first one warms up
                    system.seconds["texts"].append(seconds)
        for system in systems:
            system.seconds["query"] = [system.encode("query") for _ in range(30)][5:]
        encoder = load_encoder(str(path), device="cpu", backend="torch")
        lengths = [min(n, encoder.spec.max_tokens) for n in encoder.count_tokens(texts)]
        return f"{model}: {len(texts)} texts, {_spread(lengths)}\n\n" + _table(
            systems, lengths, path, limits
        )


def _left_out(way: tuple[str, str], arguments: argparse.Namespace) -> bool:
    return arguments.no_int8 and way[1] == "int8"


def _spread(lengths: list[int]) -> str:
    tenth, half, nine = (int(x) for x in np.percentile(lengths, [10, 50, 90]))
    return f"{sum(lengths)} tokens (10, 50 and 90 % of the lengths: {tenth}, {half}, {nine})"


def _ours(path: Path, texts: list[str], backend: str, dtype: str) -> System:
    encoder = load_encoder(str(path), device="cpu", backend=backend, dtype=dtype)
    rows: list[Vectors] = []

    def encode(what: str) -> float:
        started = time.perf_counter()
        found = encoder.encode_documents(texts if what == "texts" else QUERY)
        seconds = time.perf_counter() - started
        if what == "texts":
            rows[:] = [found]
        return seconds

    name = f"Angler, {'default: ' if backend == 'auto' else ''}{encoder.engine}"
    return System(name.removesuffix(" on cpu"), encode, lambda: rows[0])


@contextmanager
def _peer(python: Path, kind: str, model: Path, texts: list[str]) -> Iterator[System | None]:
    """A library in a process of its own; None where it cannot be run, which is said."""
    if not python.is_file():
        sys.exit(f"No environment with the other libraries ({python}): run `make peers`.")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "texts.json").write_text(json.dumps({"texts": texts, "query": QUERY}), "utf-8")
        process = subprocess.Popen(
            [python, "-m", "benchmarks.peer", kind, str(model), str(work)],
            cwd=ROOT,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            ready = _answer(process)
            if "error" in ready:
                print(f"{kind} is left out: {ready['error']}", file=sys.stderr)
                yield None
            else:
                yield System(
                    ready["name"],
                    lambda what: float(_answer(process, what)["seconds"]),
                    lambda: np.load(work / "rows.npy"),
                )
        finally:
            process.kill()
            process.wait()


def _answer(process: "subprocess.Popen[str]", question: str = "") -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    if question:
        process.stdin.write(question + "\n")
        process.stdin.flush()
    line = process.stdout.readline()
    return json.loads(line) if line else {"error": "its process ended"}


def _table(systems: list[System], lengths: list[int], path: Path, limits: dict[str, float]) -> str:
    lines = [
        "| system | tokens/s | times sentence-transformers (range) | of the matrix limit "
        "| lowest cosine | one query, p50 ms |",
        "|---|---|---|---|---|---|",
    ]
    baseline = next(system for system in systems if system.name.startswith(BASELINE))
    reference = _unit(baseline.vectors())
    work = gflops_of_bert(path, lengths)
    for system in systems:
        seconds = system.seconds["texts"]
        pairs = zip(baseline.seconds["texts"], seconds, strict=True)
        ratios = [theirs / own for theirs, own in pairs]
        middle = statistics.median(seconds)
        cosine = (_unit(system.vectors()) * reference).sum(axis=1).min()
        lines.append(
            f"| {system.name} | {sum(lengths) / middle:.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {work / middle / limits[_precision(system.name)]:.0%} | {cosine:.5f} "
            f"| {1000 * statistics.median(system.seconds['query']):.1f} |"
        )
    return "\n".join(lines)


def _precision(name: str) -> str:
    if "int8" in name:
        return "i8"
    # OpenVINO computes in bfloat16 where the processor can, unless told otherwise.
    return "f32" if "float32" in name or "openvino" not in name.lower() else "bf16"


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
