"""`python -m benchmarks.query`: how long one query takes over 100,000 chunks, encoding included.

The documents are sentences of the judged sets, put together anew by a fixed seed (as in
`benchmarks.lexical`), a chunk or two each; their embeddings are random unit vectors, since search
takes as long over any, and real ones would take an hour to make. ANGLER_DATA names the sets.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.lexical import SETS, made_chunks
from benchmarks.machine import judged_sets, write_result
from data import load_beir
from encoder import Encoder, load_encoder
from indexing import build_index, open_index
from indexing.config import BuildConfig
from indexing.hits import Mode

if TYPE_CHECKING:
    from indexing.retriever import SearchIndex

STAGES = ("encode", *Mode)
_WARM_UP = 20


class RandomRows(Encoder):
    """The default encoder for queries; a random vector for each document."""

    def encode_documents(self, texts: Sequence[str], **_: object) -> NDArray[np.float32]:
        """Random unit rows, shape (len(texts), dim)."""
        rows = np.random.default_rng(len(texts)).normal(size=(len(texts), self.dim))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(np.float32)


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.query", description=__doc__)
    parser.add_argument("--documents", type=int, default=64_000, help="default: 64,000")
    parser.add_argument("--queries", type=int, default=50, help="of each set (default: 50)")
    parser.add_argument("--index-type", default="auto", help="default: auto")
    parser.add_argument("--write", action="store_true", help="write results/query.md")
    arguments = parser.parse_args()
    sets = judged_sets()
    loaded = load_encoder()
    encoder = RandomRows(loaded.spec, loaded._tokenizer, loaded._backend, loaded.languages)
    with TemporaryDirectory(prefix="angler-query-") as folder:
        config = BuildConfig(index_type=arguments.index_type)
        lines = _lines(sets, arguments.documents)
        build_index(["-"], folder, config, encoder=encoder, lines=lines)
        index = open_index(folder, encoder=encoder)
        held = len(index)
        times = _times_ms(index, _queries(sets, arguments.queries))
        kind = f"{index.generation.manifest.store}, {index.generation.manifest.index_type}"
    text = _table(times) + f"\n\n{held:,} chunks ({kind}), {len(times['encode'])} queries, k = 10."
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.query --write --documents {arguments.documents}"
        write_result("query.md", "One query", command, text, encoder_runs_on=loaded.engine)


def _lines(sets: Path, count: int) -> Iterator[str]:
    for number, chunk in enumerate(made_chunks(sets, count)):
        yield json.dumps({"id": str(number), "text": chunk})


def _queries(sets: Path, most: int) -> list[str]:
    return [q for name in SETS for q in list(load_beir(sets / name).queries.values())[:most]]


def _times_ms(index: "SearchIndex", queries: list[str]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for query in queries[:_WARM_UP]:
        index.search(query, 10)
    for query in queries:
        for stage in STAGES:
            started = time.perf_counter()
            if stage == "encode":
                index.encoder.encode_queries([query])
            else:
                index.search(query, 10, mode=stage)
            times[stage].append((time.perf_counter() - started) * 1000)
    return times


def _table(times: dict[str, list[float]]) -> str:
    lines = ["| what | p50 ms | p95 ms | most ms |", "|---" * 4 + "|"]
    for stage, row in times.items():
        middle, high = np.percentile(row, (50, 95))
        lines.append(f"| {stage} | {middle:.1f} | {high:.1f} | {max(row):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
