"""`python -m benchmarks.cluster`: what shards and their merge cost, and a plan from these rates.

The merge is measured with synthetic embeddings, so that many chunks are done in minutes; what a
worker builds in a second is measured with the default encoder, as one process after the other.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.machine import write_result
from benchmarks.material import StandIn, write_documents
from indexing import BuildConfig, build_index
from indexing.generation import open_current
from indexing.merging import MergeReport, merge_shards
from indexing.planning import Plan, Rates, plan, sizes_of

RESULT = "cluster.md"
_EACH = 20
"""Chunks of a document."""
_PLANNED = 10**9


def main() -> None:
    """Measure, print, and write what was measured."""
    arguments = _parser().parse_args()
    os.environ["ANGLER_CACHE_MIB"] = "0"
    with TemporaryDirectory(dir=arguments.folder) as name:
        text = _measured(Path(name), arguments)
    print(text)
    if arguments.write:
        command = " ".join(["python -m benchmarks.cluster", *sys.argv[1:]])
        write_result(RESULT, "Building in shards", command, text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    option = parser.add_argument
    option("--chunks", type=int, default=200_000, help="of the merge (default: 200000)")
    option("--documents", type=int, default=1000, help="of the encoder's part (default: 1000)")
    option("--shards", type=int, default=3, help="default: 3")
    option("--index-type", default="scann", help="of the merged index (default: scann)")
    option("--price", type=float, default=1.0, help="of a node for an hour (default: 1)")
    option("--nodes", type=int, default=100, help="of the plan (default: 100)")
    option("--folder", type=Path, help="where to work (default: a temporary folder)")
    option("--write", action="store_true", help=f"write {RESULT}")
    return parser


def _measured(root: Path, arguments: argparse.Namespace) -> str:
    docs, shards = root / "docs", arguments.shards
    write_documents(docs, max(1, arguments.chunks // _EACH), chunks_each=_EACH)
    encoder = StandIn().typed()
    started = time.perf_counter()
    config = BuildConfig(index_type=arguments.index_type)
    one = build_index([str(docs)], root / "one", config, encoder=encoder)
    whole = time.perf_counter() - started
    parts = []
    for number in range(1, shards + 1):
        choice = BuildConfig(shard=f"{number}/{shards}")
        parts.append(build_index([str(docs)], root / f"s{number}", choice, encoder=encoder).seconds)
    folders = [root / f"s{number}" for number in range(1, shards + 1)]
    merged = merge_shards(folders, root / "kb", config, encoder=encoder)
    same = _are_same(root / "one", root / "kb")
    together = sum(parts) + merged.seconds
    found = _planned(root, merged, arguments)
    return "\n".join(
        [
            f"{merged.chunks} chunks of {one.documents} documents, synthetic embeddings of 384 "
            f"values, index type {arguments.index_type}:",
            "",
            "| what | seconds | chunks/s |",
            "|---|---|---|",
            f"| one build | {whole:.1f} | {one.chunks / whole:.0f} |",
            f"| {shards} shards, the slowest | {max(parts):.1f} | |",
            f"| {shards} shards, together | {sum(parts):.1f} | {one.chunks / sum(parts):.0f} |",
            f"| their merge | {merged.seconds:.1f} | {merged.chunks / merged.seconds:.0f} |",
            f"| shards and merge, over one build | {together / whole - 1:+.0%} | |",
            "",
            f"Same ids and embeddings as one build: {'yes' if same else 'NO'}.",
            "",
            _told(found),
        ]
    )


def _are_same(one: Path, other: Path) -> bool:
    first, second = (open_current(index, with_stores=False) for index in (one, other))
    ids = first.chunk_ids()
    if not np.array_equal(ids, second.chunk_ids()):
        return False
    blocks = np.array_split(ids, max(1, len(ids) // 10_000))
    return all(
        np.array_equal(first.embeddings(some.tolist()), second.embeddings(some.tolist()))
        for some in blocks
    )


def _planned(root: Path, merged: MergeReport, arguments: argparse.Namespace) -> Plan:
    """A plan for a billion chunks like these, built by workers like this process."""
    docs = root / "real"
    write_documents(docs, arguments.documents, chunks_each=3)
    built = build_index([str(docs)], root / "real-kb", BuildConfig(shard="1/1"))
    generation = open_current(root / "kb", with_stores=False).folder
    rates = Rates(
        chunks=merged.chunks,
        build_per_s=built.chunks / built.seconds,
        merge_per_s=merged.chunks / merged.seconds,
        bytes_per_chunk={p: size / merged.chunks for p, size in sizes_of(generation).items()},
        index_type=arguments.index_type,
    )
    return plan(rates, _PLANNED, nodes=arguments.nodes, price=arguments.price)


def _told(found: Plan) -> str:
    rates = found.rates
    parts = ", ".join(f"{part} {size:.0f}" for part, size in rates.bytes_per_chunk.items())
    return (
        f"A worker like this machine, with the default encoder, builds {rates.build_per_s:.0f} "
        f"chunks/s; bytes of a chunk: {parts}. So {found.chunks:,} chunks take {found.nodes} such "
        f"machines {found.build_hours:.1f} h, and the merge on one {found.merge_hours:.1f} h; "
        f"{found.shards_gib:,.0f} GiB for the shards, {found.index_gib:,.0f} GiB for the index, "
        f"{found.memory_gib:,.0f} GiB of memory for its store; {found.node_hours:,.0f} node hours, "
        f"which cost {found.price or 0:,.0f} at the given price."
    )


if __name__ == "__main__":
    main()
