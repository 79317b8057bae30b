"""What each index type would cost an index on this machine, and how much it would find."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.errors import UsageError
from indexing.generation import BASE, open_current
from indexing.stores import build_store, make_store, open_store
from indexing.stores.base import EMBEDDINGS, IDS, Store
from indexing.stores.factory import read_facts
from indexing.stores.faiss import nearest_rows
from indexing.stores.index_types import DEFAULT_RECALL, FLAT, NAMED, recipe
from indexing.stores.tuning import Sample

QUICK_MS = 20.0
"""An exact search this quick needs no other type: encoding the query takes about as long."""
_NEAR_RECALL = 0.005
_LIKE_QUICK = 1.3
"""Types not slower than this many times the quickest are told apart by their memory."""
_QUERIES = 300
_MOST_S = 20.0
"""For timing one type."""
_SEED = 4711
_K = 10

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class TypeReport:
    """One index type, measured."""

    index_type: str
    factory: str
    """In FAISS's words."""
    setting: dict[str, int]
    memory_mib: float
    """What a process that searches keeps in memory; the embeddings on disk are mapped besides."""
    build_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    queries_per_s: float
    """One after the other."""
    batched_per_s: float
    """All at once."""
    recall: float
    """Share of the ten nearest; measured with mixtures of two chunks each, as `tuning.Sample`."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """All types that were measured, and what follows; the JSON of `indexing.advise`."""

    index: str
    chunks: int
    dim: int
    target: float
    now: str
    """The type that the index has."""
    types: list[TypeReport]
    left_out: dict[str, str]
    """Type → why it was not measured."""
    advised: str
    recommendation: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def advise(
    index: Path,
    *,
    types: Sequence[str] | None = None,
    recall: float | None = None,
    progress: Progress | None = None,
) -> Advice:
    """Build each index type over an index's embeddings in a folder of its own, and measure it.

    The index is only read.

    Args:
        index: The index's folder.
        types: Names or FAISS factory strings; None for all names.
        recall: Share of the ten nearest to find; None for what the index asks.
        progress: Called with types done, types in all, the current one.

    Raises:
        IndexNotFoundError: If the folder holds no index.
        UsageError: If there is no such type, or the index is empty.
    """
    live = open_current(index, with_stores=False)
    folder = live.folder / BASE
    rows: NDArray[np.float32] = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
    if len(rows) < 2:
        raise UsageError(f"{index} holds {len(rows)} chunks; there is nothing to choose for.")
    target = recall or live.manifest.recall or DEFAULT_RECALL
    wanted = list(dict.fromkeys([FLAT, *(types or NAMED)]))
    for name in wanted:
        make_store("faiss", rows.shape[1], index_type=name, recall=target)
    sample = Sample(rows, nearest_rows, seed=_SEED)
    reports, left_out = [], {}
    for done, name in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted), name)
        fewest = recipe(name, *rows.shape).fewest
        if len(rows) < fewest:
            left_out[name] = f"It needs at least {fewest:,} chunks to be of use."
        else:
            reports.append(_measured(folder, rows, sample, name, target))
    if progress is not None:
        progress(len(wanted), len(wanted), "")
    best = choose(reports, target)
    return Advice(
        index=str(index),
        chunks=len(rows),
        dim=rows.shape[1],
        target=target,
        now=live.manifest.index_type,
        types=reports,
        left_out=left_out,
        advised=best.index_type,
        recommendation=_sentence(reports[0], best, index),
    )


def _measured(
    base: Path, rows: NDArray[np.float32], sample: Sample, index_type: str, target: float
) -> TypeReport:
    places = np.arange(len(rows))
    with TemporaryDirectory(prefix="angler-advise-") as name:
        folder = Path(name)
        (folder / EMBEDDINGS).symlink_to((base / EMBEDDINGS).resolve())
        np.save(folder / IDS, places)
        started = time.perf_counter()
        build_store("faiss", folder, places, rows, index_type=index_type, recall=target)
        build_s = time.perf_counter() - started
        memory = sum(path.stat().st_size for path in folder.glob("store*"))
        made: Any = read_facts(folder).get("made", {})
        store = open_store("faiss", folder)

        def search(
            queries: NDArray[np.float32], k: int, _effort: int, _refine: int
        ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            scores, ids = store.search(queries, k)
            return scores, ids

        found, _ = sample.recall(search, 0, 0, np.arange(len(sample)))
        times, batched = time_searches(store, sample.queries[:_QUERIES])
    p50, p95, p99 = np.percentile(times, (50, 95, 99)) * 1000
    return TypeReport(
        index_type=index_type,
        factory=made.get("factory", "Flat"),
        setting=made.get("setting", {}),
        memory_mib=round(memory / 2**20, 1),
        build_s=round(build_s, 2),
        p50_ms=round(float(p50), 3),
        p95_ms=round(float(p95), 3),
        p99_ms=round(float(p99), 3),
        queries_per_s=round(1 / float(np.mean(times)), 1),
        batched_per_s=round(batched, 1),
        recall=round(found, 4),
    )


def time_searches(
    store: Store, queries: NDArray[np.float32], k: int = _K
) -> tuple[NDArray[np.float64], float]:
    """Seconds of each query alone, as many as time allows, and queries per second all at once."""
    store.search(queries[:8], k)
    times = np.fromiter(_times(store, queries, k), np.float64)
    batch = queries[: max(1, int(_MOST_S / times.mean()))]
    started = time.perf_counter()
    store.search(batch, k)
    return times, len(batch) / (time.perf_counter() - started)


def _times(store: Store, queries: NDArray[np.float32], k: int) -> Iterator[float]:
    first = time.perf_counter()
    for query in queries:
        started = time.perf_counter()
        store.search(query[None], k)
        ended = time.perf_counter()
        yield ended - started
        if ended - first > _MOST_S:
            return


def choose(reports: Sequence[TypeReport], target: float) -> TypeReport:
    """The type to have: exact if that is quick; else the smallest of the quickest that find enough.

    Args:
        reports: What was measured; the first is exact search.
        target: Share of the nearest to find.
    """
    exact = reports[0]
    if exact.p95_ms <= QUICK_MS:
        return exact
    enough = [one for one in reports if one.recall >= target - _NEAR_RECALL]
    quickest = min(one.p95_ms for one in enough)
    return min(
        (one for one in enough if one.p95_ms <= _LIKE_QUICK * quickest),
        key=lambda one: one.memory_mib,
    )


def _sentence(exact: TypeReport, best: TypeReport, index: Path) -> str:
    if best is exact:
        return (
            f"Keep to exact search (flat): it finds everything, in {exact.p95_ms:.1f} ms (95 % of "
            f"the queries) with {exact.memory_mib:,.0f} MiB."
        )
    return (
        f"Choose {best.index_type}: it finds {best.recall:.1%} of the nearest in "
        f"{best.p95_ms:.1f} ms (95 % of the queries) with {best.memory_mib:,.0f} MiB, where exact "
        f"search takes {exact.p95_ms:.1f} ms and {exact.memory_mib:,.0f} MiB: "
        f"python -m indexing.manage index-type {best.index_type} --index {index}"
    )
