"""The side-by-side benchmark of stores measures what it says, on a few rows."""

import numpy as np
import pytest

from benchmarks.stores import STORES, _lacks, _measured, _report
from tests.indexing.test_stores import unit_rows


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, rows=unit_rows(400, dim=16), queries=unit_rows(8, seed=1, dim=16))
    return path


@pytest.mark.parametrize("name", ["exact", "faiss flat", "milvus lite"])
def test_exact_stores_find_all_and_times_are_taken(rows, name):
    row = _measured(name, rows)

    assert row["recall@10"] == 1.0
    assert 0 < row["p50 ms"] <= row["p95 ms"]
    assert (row["over its client"] is None) == (name == "exact")
    assert f"| {name} | " in _report([row], [], 400, 8)


@pytest.mark.engines
@pytest.mark.parametrize("name", ["qdrant", "chroma", "pgvector", "annoy"])
def test_stores_of_langchain_find_nearly_all(rows, name):
    row = _measured(name, rows)

    assert row["recall@10"] >= (1.0 if name in {"qdrant", "pgvector"} else 0.9)
    assert row["over its client"] is not None
    assert row["over LangChain"] is not None


@pytest.mark.engines
@pytest.mark.parametrize("name", ["hnswlib", "scann"])
def test_other_libraries_indexes_find_nearly_all(rows, name):
    assert _measured(name, rows)["recall@10"] >= 0.9


@pytest.mark.parametrize("name", ["kd-tree", "ball tree"])
def test_classical_trees_find_all(rows, name):
    assert _measured(name, rows)["recall@10"] == 1.0


def test_a_store_whose_engine_is_not_there_is_named(monkeypatch):
    monkeypatch.delenv("ANGLER_MILVUS_URI", raising=False)

    assert _lacks("milvus server") == "ANGLER_MILVUS_URI names none"
    assert {name for name in STORES if not _lacks(name)} >= {"exact", "faiss flat", "milvus lite"}
