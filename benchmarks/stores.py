"""`python -m benchmarks.stores`: every store on the same real embeddings, and what our layer adds.

The rows are sentences of the judged sets' documents, encoded by the default model and kept in a
temporary folder; the queries are the sets' own. Each store is built and asked in a process of its
own, by our layer and by the engine's own client in turn. Stores whose engine is not installed are
passed over and named. ANGLER_DATA names the sets; ANGLER_MILVUS_URI a Milvus server.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import judged_sets, write_result
from data import load_beir
from encoder import load_encoder
from indexing.stores import make_store
from indexing.stores.base import SearchResult

SETS = ("scifact", "squad11_dev", "policyqa", "pubmedqa", "nfcorpus_filtered", "cacm", "medquad")
K, MOST_OVERHEAD, MOST_S = 10, 0.10, 20.0
_AT_ONCE = 2_000
_KB = "kb00000000000000ab"
_HEAD = (
    *("store", "build s", "recall@10", "p50 ms", "p95 ms", "memory MiB"),
    *("over its client", "over LangChain"),
)
_QDRANT = """make = "construct_instance"
[arguments]
collection_name = "stores"
client_options = { location = ":memory:" }"""
_CHROMA = """[arguments]
collection_name = "stores"
collection_metadata = { "hnsw:space" = "ip" }
persist_directory = "{index}/store" """
_PGVECTOR = """[arguments]
collection_name = "stores"
connection = { env = "ANGLER_BENCH_POSTGRES" }"""
_ANNOY = """in-memory = true
[arguments]
metric = "dot"
trees = 100
[search]
search_k = 10000"""

Rows = NDArray[np.float32]
Ask = Callable[[Rows], object]


class Searchable(Protocol):
    """What is asked by our layer."""

    def search(self, queries: Rows, k: int) -> SearchResult:
        """The `k` best rows of each query."""
        ...


@dataclass
class Opened:
    """A store that holds all rows, and the engine's own way to ask for the same."""

    store: Searchable
    raw: Ask | None
    """Asks for the `K` best of one query of shape (1, dim)."""
    class_: Ask | None = None
    """Asks LangChain's class for the same."""
    server: int | None = None
    """The process that holds the rows, where it is another one."""


def main() -> None:
    """Measure all stores that are installed, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stores", description=__doc__)
    option = parser.add_argument
    option("--count", type=int, default=100_000, help="rows (default: 100000)")
    option("--queries", type=int, default=500, help="real ones (default: 500)")
    option("--stores", nargs="+", choices=STORES, default=list(STORES), help="default: all")
    option("--folder", type=Path, help="keeps the rows (default: in the temporary folder)")
    option("--one", choices=STORES, help=argparse.SUPPRESS)
    option("--write", action="store_true", help="write results/stores.md")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.gettempdir()) / "angler-stores"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rows-{arguments.count}-{arguments.queries}.npz"
    if arguments.one:
        print(json.dumps(_measured(arguments.one, path)))
        return
    if not path.is_file():
        rows, queries = _encoded(arguments.count, arguments.queries)
        np.savez(path, rows=rows, queries=queries)
    table, missing = [], []
    for name in arguments.stores:
        reason = _lacks(name)
        if reason:
            missing.append(f"{name} ({reason})")
            continue
        print(f"{name} ...", file=sys.stderr)
        table.append(_in_a_process(name, arguments, folder))
    text = _report(table, missing, arguments.count, arguments.queries)
    print(text)
    if arguments.write:
        command = f"python -m benchmarks.stores --count {arguments.count} --write"
        write_result("stores.md", "Stores side by side", command, text)


def _encoded(count: int, queries: int) -> tuple[Rows, Rows]:
    encoder, sets = load_encoder(), judged_sets()
    texts: dict[str, None] = {}
    asked: list[str] = []
    for name in SETS:
        judged = load_beir(sets / name)
        for document in judged.corpus.values():
            texts |= dict.fromkeys(_sentences(document.text))
        asked += islice(judged.queries.values(), queries // len(SETS) + 1)
    if len(texts) < count:
        sys.exit(f"The judged sets hold {len(texts):,} sentences; --count asks {count:,}.")
    # From all sets alike, not from the first of them.
    chosen = np.random.default_rng(0).choice(len(texts), count, replace=False)
    every = list(texts)
    print(f"encoding {count:,} sentences", file=sys.stderr)
    rows = encoder.encode_documents([every[place] for place in np.sort(chosen)])
    return rows, encoder.encode_queries(asked[:queries])


def _sentences(text: str) -> Iterator[str]:
    for one in re.split(r"(?<=[.!?])\s+", text):
        if 5 <= len(one.split()) <= 60:
            yield one


def _in_a_process(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    call = [sys.executable, "-m", "benchmarks.stores", "--one", name, "--folder", str(folder)]
    call += ["--count", str(arguments.count), "--queries", str(arguments.queries)]
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed; what it said stands above.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(name: str, path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as found:
        rows, queries = found["rows"], found["queries"]
    exact = make_store("exact", rows.shape[1])
    exact.add(np.arange(len(rows)), rows)
    truth = exact.search(queries, K).scores[:, -1]
    del exact
    with TemporaryDirectory() as made_in:
        before, started = _resident_mib(os.getpid()), time.perf_counter()
        with STORES[name](Path(made_in), rows) as opened:
            built_s = time.perf_counter() - started
            scores = np.concatenate([opened.store.search(one[None], K).scores for one in queries])
            memory = _resident_mib(os.getpid()) - before
            if opened.server is not None:
                memory = _tree_mib(opened.server)
            ours, theirs, of_class = _one_by_one(opened, queries)
    return {
        "store": name,
        "build s": built_s,
        "recall@10": float((scores >= truth[:, None] - 1e-5).mean()),
        "p50 ms": float(np.percentile(ours, 50)) * 1000,
        "p95 ms": float(np.percentile(ours, 95)) * 1000,
        "memory MiB": memory,
        "over its client": _over(ours, theirs),
        "over LangChain": _over(ours, of_class),
    }


def _over(ours: list[float], theirs: list[float]) -> float | None:
    return float(np.median(ours) / np.median(theirs) - 1) if theirs else None


def _one_by_one(opened: Opened, queries: Rows) -> list[list[float]]:
    """Seconds of each query by our layer, the engine's own client and LangChain's class, in turn.

    Empty for those that there are not.
    """
    ways: list[Ask | None] = [lambda query: opened.store.search(query, K)]
    ways += [opened.raw, opened.class_]
    times: list[list[float]] = [[] for _ in ways]
    began = time.perf_counter()
    for place, query in enumerate(queries):
        for turn in range(len(ways)):
            number = (place + turn) % len(ways)
            ask = ways[number]
            if ask is not None:
                started = time.perf_counter()
                ask(query[None])
                times[number].append(time.perf_counter() - started)
        if time.perf_counter() - began > MOST_S:
            break
    return times


# The stores


@contextmanager
def _exact(_: Path, rows: Rows) -> Iterator[Opened]:
    store = make_store("exact", rows.shape[1])
    store.add(np.arange(len(rows)), rows)
    yield Opened(store, None)


def _faiss(index_type: str) -> "Maker":
    @contextmanager
    def opened(_: Path, rows: Rows) -> Iterator[Opened]:
        store = make_store("faiss", rows.shape[1], index_type=index_type)
        store.add(np.arange(len(rows)), rows)
        raw = None
        if index_type == "flat":
            flat: Any = importlib.import_module("faiss").IndexFlatIP(rows.shape[1])
            flat.add(rows)
            raw = lambda query: flat.search(query, K)  # noqa: E731
        yield Opened(store, raw)

    return opened


def _milvus(*, is_lite: bool) -> "Maker":
    @contextmanager
    def opened(folder: Path, rows: Rows) -> Iterator[Opened]:
        from indexing.stores.milvus import MilvusStore
        from indexing.stores.milvus_options import MilvusPlace

        uri = str(folder / "milvus.db") if is_lite else os.environ["ANGLER_MILVUS_URI"]
        place = MilvusPlace(uri=uri, collection="angler_bench_stores", knowledge_base="bench")
        store = MilvusStore(place, rows.shape[1], index_type="flat", create=True)
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            store.add(np.arange(start, start + len(part)), part)
        store.finish(len(rows))
        client: Any = store._client

        def raw(query: Rows) -> object:
            return client.search(
                place.collection,
                data=[query[0]],
                anns_field="embedding",
                limit=K,
                search_params={"metric_type": "IP"},
                output_fields=["chunk"],
                consistency_level="Bounded",
            )

        try:
            yield Opened(store, raw)
        finally:
            store.destroy()

    return opened


class _Bridged:
    """A store of LangChain as the reader of an index asks it: for rows that are all held."""

    def __init__(self, store_class: str, config: str, folder: Path, rows: Rows) -> None:
        from indexing.stores.langchain import LangChainStore
        from indexing.stores.langchain_options import bridge_options

        self._held = np.arange(len(rows))
        self._store = LangChainStore(
            bridge_options(store_class, config),
            _KB,
            folder,
            "f" * 64,
            rows.shape[1],
            embeddings=lambda ids: rows[np.asarray(ids, np.int64)],
        )
        if self._store.options.in_memory:
            self._store.fill(self._held, rows)
            return
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            self._store.add(np.arange(start, start + len(part)), part)

    @property
    def engine(self) -> Any:  # noqa: ANN401 - of whatever package
        """The object of LangChain, which has the engine's own client."""
        return self._store._engine.store if self._store._engine is not None else None

    def search(self, queries: Rows, k: int) -> SearchResult:
        """The `k` best rows of each query."""
        return self._store.search(queries, k, allowed=self._held)

    def opened(self, raw: Ask, server: int | None = None) -> Opened:
        """With the engine's own client, and with LangChain's class."""
        engine, more = self.engine, self._store.options.search

        def class_(query: Rows) -> object:
            return engine.similarity_search_by_vector(query[0].tolist(), k=K, **more)

        return Opened(self, raw, class_, server)


@contextmanager
def _qdrant(folder: Path, rows: Rows) -> Iterator[Opened]:
    store = _Bridged("langchain_qdrant:QdrantVectorStore", _QDRANT, folder, rows)
    client = store.engine.client

    def raw(query: Rows) -> object:
        return client.query_points("stores", query=query[0].tolist(), limit=K, with_payload=True)

    yield store.opened(raw)
    client.close()


@contextmanager
def _chroma(folder: Path, rows: Rows) -> Iterator[Opened]:
    store = _Bridged("langchain_chroma:Chroma", _CHROMA, folder, rows)
    collection = store.engine._collection
    yield store.opened(lambda query: collection.query(query_embeddings=query, n_results=K))


@contextmanager
def _pgvector(_: Path, rows: Rows) -> Iterator[Opened]:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # started by root, the server runs as a user of its own
        server = importlib.import_module("pgserver").get_server(Path(folder) / "data")
        uri = server.get_uri()
        os.environ["ANGLER_BENCH_POSTGRES"] = uri.replace("postgresql:", "postgresql+psycopg:")
        store = _Bridged("langchain_postgres:PGVector", _PGVECTOR, Path(folder), rows)
        connection = importlib.import_module("psycopg").connect(uri, autocommit=True)

        def raw(query: Rows) -> object:
            return connection.execute(
                "select id, document, cmetadata from langchain_pg_embedding "
                "order by embedding <=> %s::vector limit %s",
                [str(query[0].tolist()), K],
            ).fetchall()

        pid = int((Path(folder) / "data/postmaster.pid").read_text("utf-8").split()[0])
        try:
            yield store.opened(raw, pid)
        finally:
            connection.close()
            store.engine._engine.dispose()
            server.cleanup()


@contextmanager
def _annoy(folder: Path, rows: Rows) -> Iterator[Opened]:
    store = _Bridged("langchain_community.vectorstores:Annoy", _ANNOY, folder, rows)
    index = store.engine.index
    yield store.opened(lambda query: index.get_nns_by_vector(query[0].tolist(), K, 10_000))


def _tree(kind: str) -> "Maker":
    """A classical tree of scikit-learn; of unit rows, the nearest are the most alike."""

    @contextmanager
    def opened(_: Path, rows: Rows) -> Iterator[Opened]:
        tree: Any = getattr(importlib.import_module("sklearn.neighbors"), kind)(rows)

        def search(queries: Rows, k: int) -> tuple[Any, Any]:
            distances, places = tree.query(queries, k=k)
            return 1 - distances**2 / 2, places

        yield Opened(_Called(search), None)

    return opened


class _Called:
    """An index of another library, as a function from queries and k to scores and places."""

    def __init__(self, search: Callable[[Rows, int], tuple[Any, Any]]) -> None:
        self._search = search

    def search(self, queries: Rows, k: int) -> SearchResult:
        """The `k` best rows of each query."""
        scores, places = self._search(queries, k)
        return SearchResult(np.asarray(scores, np.float32), np.asarray(places, np.int64))


@contextmanager
def _hnswlib(_: Path, rows: Rows) -> Iterator[Opened]:
    """With the graph's width and the depths of our own `hnsw`."""
    graph: Any = importlib.import_module("hnswlib").Index(space="ip", dim=rows.shape[1])
    graph.init_index(max_elements=len(rows), M=32, ef_construction=200)
    graph.add_items(rows)
    graph.set_ef(64)

    def search(queries: Rows, k: int) -> tuple[Any, Any]:
        places, distances = graph.knn_query(queries, k=k)
        return 1 - distances, places

    yield Opened(_Called(search), None)


@contextmanager
def _scann(_: Path, rows: Rows) -> Iterator[Opened]:
    """As its guide builds it, and a quarter of the leaves read, at least twenty.

    Source: https://github.com/google-research/google-research/blob/master/scann/docs/algorithms.md.
    """
    leaves = int(len(rows) ** 0.5)
    library: Any = importlib.import_module("scann").scann_ops_pybind
    builder = library.builder(rows, K, "dot_product")
    builder = builder.tree(
        leaves, min(leaves, max(20, leaves // 4)), training_sample_size=len(rows)
    )
    builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
    index = builder.reorder(100).build()

    def search(queries: Rows, k: int) -> tuple[Any, Any]:
        places, scores = index.search_batched(queries, final_num_neighbors=k)
        return scores, places

    yield Opened(_Called(search), None)


Maker = Callable[[Path, Rows], Any]
STORES: dict[str, Maker] = {
    "exact": _exact,
    "faiss flat": _faiss("flat"),
    "faiss ivf_flat": _faiss("ivf_flat"),
    "faiss hnsw": _faiss("hnsw"),
    "milvus lite": _milvus(is_lite=True),
    "milvus server": _milvus(is_lite=False),
    "qdrant": _qdrant,
    "chroma": _chroma,
    "pgvector": _pgvector,
    "annoy": _annoy,
    "hnswlib": _hnswlib,
    "scann": _scann,
    "kd-tree": _tree("KDTree"),
    "ball tree": _tree("BallTree"),
}
_NEEDS = {
    "milvus lite": ("milvus_lite",),
    "qdrant": ("langchain_qdrant",),
    "chroma": ("langchain_chroma",),
    "pgvector": ("langchain_postgres", "pgserver"),
    "annoy": ("langchain_community", "annoy"),
    "hnswlib": ("hnswlib",),
    "scann": ("scann",),
    "kd-tree": ("sklearn",),
    "ball tree": ("sklearn",),
}


def _lacks(name: str) -> str:
    """What a store needs and is not there; empty if all is."""
    if name == "milvus server" and "ANGLER_MILVUS_URI" not in os.environ:
        return "ANGLER_MILVUS_URI names none"
    missing = [one for one in _NEEDS.get(name, ()) if find_spec(one) is None]
    return f"{missing[0]} is not installed" if missing else ""


# Memory


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    (kib,) = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(kib) / 1024


def _tree_mib(root: int) -> float:
    """Of a process and its children; what they share counts once."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text("utf-8", errors="replace")
        except OSError:  # gone meanwhile
            continue
        parents[int(status.parent.name)] = int(text.rpartition(")")[2].split()[1])
    family = {root} | {pid for pid, parent in parents.items() if parent == root}
    total = 0
    for pid in family:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _report(table: Sequence[dict[str, Any]], missing: list[str], count: int, queries: int) -> str:
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    for row in table:
        overs = [row["over its client"], row["over LangChain"]]
        cells = [
            row["store"],
            f"{row['build s']:.1f}",
            f"{row['recall@10']:.4f}",
            f"{row['p50 ms']:.2f}",
            f"{row['p95 ms']:.2f}",
            f"{row['memory MiB']:,.0f}",
            *("" if over is None else f"{over:+.1%}" for over in overs),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"{count:,} sentences of the judged sets ({', '.join(SETS)}), encoded by the default "
        f"model; {queries:,} of the sets' own queries, one at a time. Build is filling the store "
        "from embeddings that are there. Memory is what the process grew by while the store was "
        "filled and asked, the benchmark's own rows not counted; of pgvector, the server's "
        "processes. *Over its client* is the median time of a query by our layer against the "
        "engine's own client, in turn in one process, asking for the same ten with their "
        f"payload; the aim is at most {MOST_OVERHEAD:.0%}. *Over LangChain* is the same against "
        "LangChain's class. Our layer scores what such a store finds once more. Annoy looks at "
        "10,000 rows. Qdrant is its local mode, in memory.",
    ]
    if missing:
        lines += ["", f"Not measured: {', '.join(missing)}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
