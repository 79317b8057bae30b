"""`python -m benchmarks.encode`: tokens per second on the CPU, beside sentence-transformers.

Systems take turns, so that noise meets all alike; ratios are of the same round. The texts are those
of scifact, found by the environment variable ANGLER_DATA (default ../shared/data).
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe_machine
from data import load_beir
from encoder import describe_encoder, load_encoder

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "encode.md"
PEER = "sentence-transformers, float32"
Encode = Callable[[list[str]], NDArray[np.float32]]


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode", description=__doc__)
    parser.add_argument("--texts", type=int, default=200, help="default: 200")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    texts = _texts(arguments.texts)
    systems = _systems()
    tokens = sum(min(n, 256) for n in load_encoder(backend="torch").count_tokens(texts))
    reference = systems[PEER](texts)
    rows = {name: encode(texts) for name, encode in systems.items()}  # also warms up
    bulk = _rounds(systems, texts, arguments.rounds)
    query = _rounds(systems, ["how do I reset my password"], 30)
    text = _table(tokens, bulk, query, {n: (r * reference).sum(1).min() for n, r in rows.items()})
    print(text)
    if arguments.write:
        head = "\n".join(f"- {name}: {value}" for name, value in describe_machine().items())
        command = f"python -m benchmarks.encode --write --texts {len(texts)}"
        body = f"# Encoding on the CPU\n\n`{command}`: {tokens} tokens\n\n{head}\n\n{text}\n"
        RESULT.write_text(body, "utf-8")


def _texts(count: int) -> list[str]:
    folder = Path(os.environ.get("ANGLER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"No judged sets in {folder}: set ANGLER_DATA to the folder that holds them.")
    corpus = load_beir(folder / "scifact").corpus.values()
    return [f"{document.title} {document.text}" for document in corpus][:count]


def _systems() -> dict[str, Encode]:
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(describe_encoder().folder), device="cpu")

    def encode_by_peer(texts: list[str]) -> NDArray[np.float32]:
        rows: Any = peer.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, np.float32)

    ours = {
        "Angler, torch float32": load_encoder(device="cpu", backend="torch"),
        "Angler, openvino float32": load_encoder(device="cpu", backend="openvino", dtype="float32"),
    }
    default = load_encoder(device="cpu")
    ours[f"Angler, default ({default.engine})"] = default
    systems: dict[str, Encode] = {PEER: encode_by_peer}
    return systems | {name: one.encode_documents for name, one in ours.items()}


def _rounds(systems: dict[str, Encode], texts: list[str], rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, encode in systems.items():
            started = time.perf_counter()
            encode(texts)
            taken[name].append(time.perf_counter() - started)
    return taken


def _table(
    tokens: int,
    bulk: dict[str, list[float]],
    query: dict[str, list[float]],
    cosines: dict[str, float],
) -> str:
    lines = [
        "| system | tokens/s | times the peer (range) | lowest cosine | one query, p50 ms |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in bulk.items():
        ratios = [peer / own for peer, own in zip(bulk[PEER], seconds, strict=True)]
        lines.append(
            f"| {name} | {tokens / statistics.median(seconds):.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {cosines[name]:.5f} | {1000 * statistics.median(query[name]):.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
