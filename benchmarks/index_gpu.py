"""`python -m benchmarks.index_gpu`: building and searching on a GPU, beside the CPU and the limit.

Building: cells and codes by FAISS on the CPU, by torch on the GPU, and by FAISS's own GPU build
where that is installed. Exact search: FAISS on the CPU and the torch store on the GPU, beside the
queries per second that reading every row once for each batch would allow at the bandwidth of
copying memory. Without a GPU its columns stay empty. The rows are synthetic: unit vectors around
centres that chance drew.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import write_result
from indexing.stores.base import EMBEDDINGS, IDS
from indexing.stores.faiss import FaissIndex, Setting, nearest_rows
from indexing.stores.faiss_gpu import GpuSearcher, count_gpus, filled_on_gpu
from indexing.stores.index_types import recipe
from indexing.stores.torch_engine import TorchEngine
from indexing.stores.torch_exact import TorchStore

RESULT = "index_gpu.md"
TYPES = ("ivf_flat", "ivf_sq8", "ivf_pq", "scann")
K, NPROBE = 10, 32
_BLOCK = 65_536
_CENTRES = 4_096
_COPIED = 2**28
"""Bytes of one copy that measures the bandwidth."""
_EMPTY = ""

Rows = NDArray[np.float32]


def main() -> None:
    """Measure, print, and write what was measured."""
    arguments = _parser().parse_args()
    device = "cuda" if torch.cuda.is_available() else None
    with TemporaryDirectory(dir=arguments.folder) as name:
        rows = _made(Path(name), arguments.rows, arguments.dim)
        queries = _around(np.random.default_rng(2), arguments.queries, arguments.dim)
        text = "\n\n".join(
            [
                _named(rows, queries, device),
                _builds(rows, queries, arguments.types, device),
                _searches(Path(name), rows, queries, arguments.batches, device),
            ]
        )
    print(text)
    if arguments.write:
        command = " ".join(["python -m benchmarks.index_gpu", *sys.argv[1:]])
        write_result(RESULT, "Building and searching on a GPU", command, text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index_gpu", description=__doc__)
    option = parser.add_argument
    option("--rows", type=int, default=10_000_000, help="default: 10000000")
    option("--dim", type=int, default=384, help="default: 384")
    option("--queries", type=int, default=1_000, help="default: 1000")
    option("--types", nargs="+", default=TYPES, help=f"default: {' '.join(TYPES)}")
    option("--batches", nargs="+", type=int, default=(1, 32, 256), help="default: 1 32 256")
    option("--folder", type=Path, help="where to work (default: a temporary folder)")
    option("--write", action="store_true", help=f"write {RESULT}")
    return parser


def _made(folder: Path, count: int, dim: int) -> Rows:
    """The rows, as an index maps them; their ids beside them."""
    rows = np.lib.format.open_memmap(folder / EMBEDDINGS, "w+", np.float32, (count, dim))
    chance = np.random.default_rng(1)
    for start in range(0, count, _BLOCK):
        rows[start : start + _BLOCK] = _around(chance, min(_BLOCK, count - start), dim)
    rows.flush()
    np.save(folder / IDS, np.arange(count))
    found: Rows = np.load(folder / EMBEDDINGS, mmap_mode="r")
    return found


def _around(chance: np.random.Generator, count: int, dim: int) -> Rows:
    """Unit vectors, each near one of the centres."""
    centres = np.random.default_rng(7).standard_normal((_CENTRES, dim), np.float32)
    made = centres[chance.integers(0, _CENTRES, count)]
    made = made + 0.7 * chance.standard_normal((count, dim), np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def _named(rows: Rows, queries: Rows, device: str | None) -> str:
    name = torch.cuda.get_device_name() if device else "no GPU on this machine"
    speeds = [f"CPU {bandwidth('cpu') / 1e9:.0f} GB/s"]
    speeds += [f"GPU {bandwidth(device) / 1e9:.0f} GB/s"] if device else []
    return (
        f"{len(rows):,} rows of {rows.shape[1]} values, {len(queries)} queries; GPU: {name}; FAISS "
        f"sees {count_gpus()} GPUs; memory is read while it is copied at {', '.join(speeds)}"
    )


def bandwidth(device: str) -> float:
    """Bytes that are read from the memory of a device in a second while they are copied."""
    source = torch.ones(_COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return _COPIED / min(_timed(lambda: target.copy_(source), device) for _ in range(5))


def _timed(work: Callable[[], object], device: str | None) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _builds(rows: Rows, queries: Rows, types: Sequence[str], device: str | None) -> str:
    lines = [
        "| type | FAISS | CPU, FAISS: s | recall@10 | GPU, torch: s | recall@10 "
        "| GPU, FAISS: s | recall@10 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    _, nearest = nearest_rows(queries, rows, K)
    for name in types:
        found = recipe(name, *rows.shape)
        some = np.random.default_rng(99).choice(len(rows), min(len(rows), found.training), False)
        sample = np.asarray(rows[np.sort(some)])
        cells = [_built(found.factory, sample, rows, queries, nearest, None)]
        cells += [
            _built(found.factory, sample, rows, queries, nearest, TorchEngine(device))
            if device
            else _EMPTY_PAIR
        ]
        cells += [_built_by_faiss(found.factory, sample, rows, queries, nearest)]
        flat = " | ".join(value for pair in cells for value in pair)
        lines.append(f"| {name} | {found.factory} | {flat} |")
    return "\n".join(lines)


_EMPTY_PAIR = (_EMPTY, _EMPTY)


def _built(
    factory: str,
    sample: Rows,
    rows: Rows,
    queries: Rows,
    nearest: NDArray[np.int64],
    engine: TorchEngine | None,
) -> tuple[str, str]:
    """Seconds and recall of an index, as table cells."""
    index = FaissIndex.make(factory, rows.shape[1])
    started = time.perf_counter()
    index.train(sample, engine)
    index.add(rows, engine)
    seconds = time.perf_counter() - started
    return f"{seconds:.1f}", f"{_recall(index, queries, nearest):.3f}"


def _built_by_faiss(
    factory: str, sample: Rows, rows: Rows, queries: Rows, nearest: NDArray[np.int64]
) -> tuple[str, str]:
    """The same by FAISS's own GPU build; empty where it is not, or knows no such index."""
    if not count_gpus() or "x4fs" in factory:
        return _EMPTY_PAIR
    started = time.perf_counter()
    index = filled_on_gpu(FaissIndex.make(factory, rows.shape[1]), sample, rows)
    seconds = time.perf_counter() - started
    return f"{seconds:.1f}", f"{_recall(index, queries, nearest):.3f}"


def _recall(index: FaissIndex, queries: Rows, nearest: NDArray[np.int64]) -> float:
    _, found = index.search(queries, K, Setting(nprobe=min(NPROBE, index.cells)))
    return float((found[:, :, None] == nearest[:, None, :]).any(axis=2).mean())


def _searches(
    folder: Path, rows: Rows, queries: Rows, batches: Sequence[int], device: str | None
) -> str:
    lines = [
        "| exact search, queries at a time | CPU, FAISS: queries/s | GPU, torch: queries/s "
        "| the limit of its memory | share of it | GPU, FAISS: queries/s |",
        "|---|---|---|---|---|---|",
    ]
    store = TorchStore.open(folder) if device else None
    flat = None
    if count_gpus():
        cpu = FaissIndex.make("Flat", rows.shape[1])
        cpu.add(rows)
        flat = GpuSearcher(cpu, half=True)
    for batch in batches:
        some = queries[:batch]
        cells = [f"{_per_s(partial(nearest_rows, some, rows, K), some, None):.1f}"]
        if store is None or device is None:
            cells += [_EMPTY, _EMPTY, _EMPTY]
        else:
            reached = _per_s(partial(store.search, some, K), some, device)
            # Half precision: each row is two bytes for each of its values, read once a batch.
            limit = bandwidth(device) / (2 * rows.size) * batch
            cells += [f"{reached:.0f}", f"{limit:.0f}", f"{reached / limit:.0%}"]
        if flat is None:
            cells.append(_EMPTY)
        else:
            found = _per_s(partial(flat.search, some, K, Setting()), some, device)
            cells.append(f"{found:.0f}")
        lines.append(f"| {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _per_s(work: Callable[[], object], queries: Rows, device: str | None) -> float:
    """Queries per second, the best of some rounds after one that warms up."""
    work()
    return len(queries) / min(_timed(work, device) for _ in range(3))


if __name__ == "__main__":
    main()
