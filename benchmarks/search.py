"""`python -m benchmarks.search`: a million chunks by every index type, and what our layer adds.

The rows grow from real ones: the documents of the judged sets and the sets' own queries, encoded by
the default model. A million real encodings take hours, so the rest are mixtures: each is the unit
vector along (1 - w) a + w b of two real rows, a in turn and b by chance, w between 0.3 and 0.5, so
that every document has neighbours as a large collection has. Queries are real and unmixed; recall
is counted against exact search over all rows. ANGLER_DATA names the sets.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import judged_sets, write_result
from data import load_beir
from encoder import load_encoder
from indexing.stores import Store, build_store, open_store
from indexing.stores.approximate import ApproximateStore
from indexing.stores.base import EMBEDDINGS, IDS
from indexing.stores.factory import read_facts
from indexing.stores.faiss import nearest_rows

SETS = ("scifact", "squad11_dev", "policyqa", "pubmedqa", "nfcorpus_filtered", "cacm", "medquad")
TYPES = ("flat", "fp16", "ivf_flat", "ivf_sq8", "scann", "rabitq", "ivf_pq", "hnsw")
K, TARGET, MOST_OVERHEAD = 10, 0.95, 0.10
_MOST_S = 8.0
"""For timing one type one query at a time, both ways together."""
_BATCHES = 3
_BLOCK = 65_536
_HEAD = (
    "type",
    "FAISS",
    "recall@10",
    "memory MiB",
    "build s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "queries/s",
    "batched/s",
    "over raw",
    "batched over raw",
)

Rows = NDArray[np.float32]


def main() -> None:
    """Make the rows, build and ask each type, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    option = parser.add_argument
    option("--count", type=int, default=1_000_000, help="rows (default: 1000000)")
    option("--documents", type=int, default=24_000, help="real ones (default: 24000)")
    option("--queries", type=int, default=1_000, help="real ones (default: 1000)")
    option("--types", nargs="+", default=TYPES, metavar="T", help=f"default: {' '.join(TYPES)}")
    option("--folder", type=Path, help="keeps the real rows (default: in the temporary folder)")
    option("--write", action="store_true", help="write results/search.md")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.gettempdir()) / "angler-search"
    folder.mkdir(parents=True, exist_ok=True)
    documents, queries = _encoded(folder, arguments.documents, arguments.queries)
    with TemporaryDirectory(dir=folder) as name:
        rows = _grown(documents, Path(name) / EMBEDDINGS, arguments.count)
        np.save(Path(name) / IDS, np.arange(len(rows)))
        truth, _ = nearest_rows(queries, rows, K)
        exact = _raw_flat(rows)
        table = [
            _measured(kind, Path(name), rows, queries, truth, exact) for kind in arguments.types
        ]
    text = _report(table, rows.shape, len(documents), len(queries))
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.search --count {arguments.count} --write"
        write_result("search.md", "Search at size, by index type", command, text)


def _encoded(folder: Path, documents: int, queries: int) -> tuple[Rows, Rows]:
    """Embeddings of real documents and queries, kept in the folder for the next time."""
    path = folder / f"real-{documents}-{queries}.npz"
    if not path.is_file():
        encoder, sets = load_encoder(), judged_sets()
        texts: list[str] = []
        asked: list[str] = []
        for name in SETS:
            judged = load_beir(sets / name)
            texts += [f"{d.title} {d.text}".strip() for d in judged.corpus.values()]
            asked += islice(judged.queries.values(), max(1, queries // len(SETS)))
        if len(texts) < documents:
            sys.exit(f"The judged sets hold {len(texts)} documents; --documents asks {documents}.")
        print(f"encoding {documents} documents", file=sys.stderr)
        np.savez(
            path,
            documents=encoder.encode_documents(texts[:documents]),
            queries=encoder.encode_queries(asked[:queries]),
        )
    with np.load(path, allow_pickle=False) as found:
        return found["documents"], found["queries"]


def _grown(real: Rows, path: Path, count: int) -> Rows:
    """So many rows in a file, mapped: the real ones first, then mixtures of two of them."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (count, real.shape[1]))
    chance = np.random.default_rng(0)
    for start in range(0, count, _BLOCK):
        places = np.arange(start, min(start + _BLOCK, count))
        other = real[chance.integers(0, len(real), len(places))]
        weight = chance.uniform(0.3, 0.5, (len(places), 1)).astype(np.float32)
        weight[places < len(real)] = 0
        mixed = (1 - weight) * real[places % len(real)] + weight * other
        rows[places] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    rows.flush()
    mapped: Rows = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _raw_flat(rows: Rows) -> Any:  # noqa: ANN401 - faiss is untyped
    """FAISS's own exact index, which also scores the candidates of others again."""
    index = faiss.IndexFlatIP(rows.shape[1])
    for start in range(0, len(rows), _BLOCK):
        index.add(np.ascontiguousarray(rows[start : start + _BLOCK]))
    return index


def _measured(
    kind: str,
    made_in: Path,
    rows: Rows,
    queries: Rows,
    truth: Rows,
    exact: Any,  # noqa: ANN401
) -> dict[str, object]:
    print(f"{kind}: building", file=sys.stderr)
    with TemporaryDirectory(dir=made_in) as name:
        folder = Path(name)
        for file in (EMBEDDINGS, IDS):
            (folder / file).symlink_to(made_in / file)
        started = time.perf_counter()
        build_store("faiss", folder, np.arange(len(rows)), rows, index_type=kind, recall=TARGET)
        built_s = time.perf_counter() - started
        memory = sum(path.stat().st_size for path in folder.glob("store*")) / 2**20
        made: Any = read_facts(folder).get("made", {})
        store = open_store("faiss", folder)
        raw = _Raw(store, made, exact)
    scores, _ = store.search(queries, K)
    raw_scores, _ = raw.search(queries, K)
    ours, theirs = _one_by_one(store, raw, queries)
    batch_ours, batch_theirs = _at_once(store, raw, queries)
    p50, p95, p99 = np.percentile(ours, (50, 95, 99)) * 1000
    row: dict[str, object] = {
        "type": kind,
        "FAISS": f"{made.get('factory', 'Flat')} {_words(made.get('setting', {}))}".strip(),
        "recall@10": f"{_recall(scores, truth):.4f} (raw {_recall(raw_scores, truth):.4f})",
        "memory MiB": f"{memory:,.0f}",
        "build s": f"{built_s:.1f}",
        "p50 ms": f"{p50:.2f}",
        "p95 ms": f"{p95:.2f}",
        "p99 ms": f"{p99:.2f}",
        "queries/s": f"{len(ours) / sum(ours):,.0f}",
        "batched/s": f"{len(queries) / min(batch_ours):,.0f}",
        "over raw": f"{np.median(ours) / np.median(theirs) - 1:+.1%}",
        "batched over raw": f"{min(batch_ours) / min(batch_theirs) - 1:+.1%}",
    }
    print("  ".join(f"{value}" for value in row.values()), file=sys.stderr)
    return row


class _Raw:
    """The same index searched by FAISS alone, with the same setting, so to the same recall.

    It is the very object that our layer searches: of two copies in memory, one may be a quarter
    slower than the other, by where they happen to lie.
    """

    def __init__(self, store: Store, made: dict[str, Any], exact: Any) -> None:  # noqa: ANN401
        setting = made.get("setting", {})
        self._kept: list[Any] = [exact]
        if not made:
            self._index = exact
            return
        assert isinstance(store, ApproximateStore)
        assert store._index is not None
        self._index = store._index.raw
        core = faiss.try_extract_index_ivf(self._index)
        if core is not None:
            core.nprobe = setting["nprobe"]
        elif "ef" in setting:
            # What the layer's candidates make of it: a walk keeps as many as are fetched.
            self._index.hnsw.efSearch = max(setting["ef"], K * setting["refine"])
        if made["index_type"] != "ivf_flat":
            self._kept.append(self._index)
            self._index = faiss.IndexRefine(self._index, exact)
            self._index.k_factor = setting["refine"]

    def search(self, queries: Rows, k: int) -> tuple[Rows, NDArray[np.int64]]:
        """Scores and numbers of the best."""
        scores, places = self._index.search(queries, k)
        return scores, places


def _one_by_one(store: Store, raw: _Raw, queries: Rows) -> tuple[list[float], list[float]]:
    """Seconds of each query by our layer and by FAISS alone, in turn.

    They do not ask the same one after the other: the second would find its rows in the cache.
    """
    ours: list[float] = []
    theirs: list[float] = []
    began = time.perf_counter()
    for place, query in enumerate(queries):
        other = queries[(place + len(queries) // 2) % len(queries)]
        both = [(store.search, query, ours), (raw.search, other, theirs)]
        for search, asked, times in both[:: 1 if place % 2 else -1]:
            started = time.perf_counter()
            search(asked[None], K)
            times.append(time.perf_counter() - started)
        if time.perf_counter() - began > _MOST_S:
            break
    return ours, theirs


def _at_once(store: Store, raw: _Raw, queries: Rows) -> tuple[list[float], list[float]]:
    ours, theirs = [], []
    for _ in range(_BATCHES):
        t0 = time.perf_counter()
        store.search(queries, K)
        t1 = time.perf_counter()
        raw.search(queries, K)
        ours.append(t1 - t0)
        theirs.append(time.perf_counter() - t1)
    return ours, theirs


def _recall(scores: Rows, truth: Rows) -> float:
    """The share of the ten nearest that was found; rows as near as the tenth count for it."""
    return float((scores >= truth[:, -1:] - 1e-5).mean())


def _words(setting: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def _report(
    table: Sequence[dict[str, object]], shape: tuple[int, ...], documents: int, queries: int
) -> str:
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    lines += [f"| {' | '.join(str(row[name]) for name in _HEAD)} |" for row in table]
    lines += [
        "",
        f"{shape[0]:,} rows of {shape[1]} dimensions: {documents:,} documents of the judged sets "
        f"({', '.join(SETS)}), encoded by the default model, and mixtures of two of them each "
        f"((1 - w) a + w b, w between 0.3 and 0.5, made unit length); {queries:,} real queries, "
        f"unmixed. Types are tuned by `auto`'s own means to a recall of {TARGET} on rows of the "
        "index, not on these queries. Memory is the index in memory; types with codes also map "
        f"the embeddings ({shape[0] * shape[1] * 4 / 2**20:,.0f} MiB on disk) to score what they "
        "find exactly. *Over raw* is the median time of a query by `Store.search` against FAISS's "
        "own call with the same index, setting and second scoring (IndexRefine, over a copy of the "
        f"embeddings in memory), in turn; the aim is at most {MOST_OVERHEAD:.0%}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
