"""One embedding matrix, the same steps, the same answers: every store that is exact."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.samples
from data import load_golden
from indexing import build_index, open_index
from indexing.config import BuildConfig
from indexing.stores import make_store
from indexing.stores.faiss import Setting
from indexing.stores.langchain import LangChainStore
from indexing.stores.langchain_options import bridge_options
from indexing.stores.milvus import MilvusStore
from indexing.stores.milvus_options import MilvusPlace
from indexing.stores.milvus_rows import bare_rows
from tests.indexing.bridges import CONFIGS
from tests.indexing.test_stores import check

NAMES = itertools.count()
FEWEST = "indexing.stores.index_types._FEWEST"
MILVUS_TYPES = ["flat", "ivf_flat,nlist=4,nprobe=4"]
LANGUAGES = ["en", "zh"]


@pytest.fixture(scope="module")
def matrix(make_word_encoder):
    """Embeddings of real questions in two languages."""
    questions = load_golden(Path(data.samples.__file__).parent / "golden.jsonl")
    return make_word_encoder(dim=48).encode_documents([one.question for one in questions])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 12)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 60), max_size=8)),
        st.tuples(st.just("upsert"), st.lists(st.integers(0, 60), max_size=6, unique=True)),
        st.tuples(st.just("search"), st.integers(1, 20)),
        st.tuples(st.just("allowed"), st.lists(st.integers(0, 60), max_size=10)),
        st.tuples(st.just("excluded"), st.lists(st.integers(0, 60), max_size=40)),
    ),
    min_size=6,
    max_size=16,
)


class Together:
    """Several stores that do the same steps."""

    def __init__(self, stores, matrix, rows):
        self.stores, self.matrix, self.rows, self.next_id = stores, matrix, rows, 0
        self.held = set()

    def do(self, name, value):
        if name == "add":
            ids = np.arange(self.next_id, min(self.next_id + value, len(self.matrix) // 2))
            self.next_id += len(ids)
            self.note(ids, self.matrix[ids])
            for store in self.stores:
                store.add(ids, self.matrix[ids])
        elif name == "remove":
            self.held -= set(value)
            for store in self.stores:
                store.remove(np.array(value, np.int64))
        elif name == "upsert":
            ids = np.array([id_ for id_ in value if id_ < self.next_id], np.int64)
            self.note(ids, self.matrix[-1 - ids])
            for store in self.stores:
                upsert(store, ids, self.matrix[-1 - ids])
        else:
            some = {} if name == "search" else {name: np.unique(np.array(value, np.int64))}
            k = value if name == "search" else 6
            if "allowed" in some:  # as the reader of an index asks: for what its catalogue holds
                some = {"allowed": np.intersect1d(some["allowed"], sorted(self.held)).astype(int)}
            found = [store.search(self.matrix[:3] * 1, k, **some) for store in self.stores]
            for other in found[1:]:
                np.testing.assert_allclose(other.scores, found[0].scores, atol=1e-5)
                # Where scores are equal but for rounding, their order is nobody's promise.
                if len(np.unique(np.round(found[0].scores, 4))) == found[0].scores.size:
                    check(other, found[0])

    def note(self, ids, rows):
        self.held |= set(ids.tolist())
        self.rows.update(zip(ids.tolist(), rows, strict=True))

    def agree(self):
        """All hold the same rows."""
        for store in self.stores:
            if isinstance(store, LangChainStore):
                there = store.present(np.arange(self.next_id))
                assert there.tolist() == sorted(self.held)
            else:
                assert len(store) == len(self.held)


def upsert(store, ids, rows):
    if isinstance(store, MilvusStore):
        store.write(bare_rows(ids.tolist()), rows, 1, replacing=True)
    else:
        store.remove(ids)
        store.add(ids, rows)


def ivf_store(matrix):
    """FAISS with inverted lists that are all looked at, learned from rows that are gone again."""
    store = make_store("faiss", matrix.shape[1], index_type="IVF4,Flat")
    learned = np.arange(1_000_000, 1_000_000 + len(matrix))
    store.add(learned, matrix)
    store.remove(learned)
    assert store.facts.factory == "IVF4,Flat"
    store._facts = replace(store.facts, setting=Setting(nprobe=4))
    return store


def agreement(matrix, make_others, examples):
    """Check that random steps find the same in exact and FAISS stores and in some others."""

    @settings(max_examples=examples, deadline=None)
    @given(STEPS)
    def agree(steps):
        rows = {}
        dim = matrix.shape[1]
        stores = [make_store("exact", dim), make_store("faiss", dim), ivf_store(matrix)]
        together = Together([*stores, *make_others(rows)], matrix, rows)
        for step in steps:
            together.do(*step)
        together.do("search", 50)
        together.agree()

    agree()


def test_all_exact_stores_give_the_same_answers(milvus_uri, matrix, monkeypatch):
    monkeypatch.setattr(FEWEST, 0)

    def milvus(rows):
        number = next(NAMES)
        for index_type in MILVUS_TYPES:
            collection = f"congruent_{index_type.partition(',')[0]}"
            place = MilvusPlace(uri=milvus_uri, collection=collection, knowledge_base=f"kb{number}")
            yield MilvusStore(place, matrix.shape[1], index_type=index_type, create=True)

    agreement(matrix, milvus, 12)


@pytest.mark.parametrize(
    "kind",
    [
        "memory",
        pytest.param("qdrant", marks=pytest.mark.engines),
        pytest.param("pgvector", marks=pytest.mark.engines),
    ],
)
def test_stores_of_langchain_give_the_same_answers(kind, matrix, tmp_path, request, monkeypatch):
    monkeypatch.setattr(FEWEST, 0)
    if kind == "pgvector":
        request.getfixturevalue("postgres")
    store_class, config = CONFIGS[kind]
    options = bridge_options(store_class, "\n".join(x.strip() for x in config.splitlines()))

    def bridged(rows):
        yield LangChainStore(
            options,
            f"kb{next(NAMES):016x}",
            tmp_path,
            "c" * 64,
            matrix.shape[1],
            embeddings=lambda ids: np.stack([rows[id_] for id_ in ids]),
        )

    kept = list(bridged({}))  # keeps the engine open from example to example
    agreement(matrix, bridged, 12)
    assert len(kept[0].present(np.arange(60))) == 0


# Whole indexes, with filters


DOCUMENTS = st.dictionaries(
    st.sampled_from([f"d{n}" for n in range(8)]),
    st.tuples(
        st.sampled_from(["apple pear", "pear plum fig", "plum 水果", "苹果 梨", "fig fig date"]),
        st.integers(0, 3),
        st.sampled_from(LANGUAGES),
    ),
    min_size=2,
)
FILTERS = ["n < 2", 'lang == "zh" or n == 3', 'not (n in (0, 1)) and path != "d3"', '"d" in path']


def lines_of(documents):
    import json

    return [
        json.dumps({"id": id_, "text": text, "metadata": {"n": n, "lang": language}})
        for id_, (text, n, language) in documents.items()
    ]


def test_indexes_of_every_store_give_the_same_answers(
    milvus_uri, tmp_path_factory, word_encoder, monkeypatch
):
    monkeypatch.setattr("indexing.generation.EXACT_ALLOWED", 0)  # so that filters reach the stores

    @settings(max_examples=4, deadline=None)
    @given(st.lists(DOCUMENTS, min_size=2, max_size=3))
    def agree(states):
        folder = tmp_path_factory.mktemp("congruent")
        configs = {
            "exact": {"store": "exact"},
            "faiss": {"store": "faiss"},
            "milvus": {"store": "milvus", "uri": milvus_uri, "index_type": "flat"},
        }
        for documents in states:
            for name, config in configs.items():
                chosen = BuildConfig(allow_mass_delete=True, **config)
                lines = lines_of(documents)
                build_index(["-"], folder / name, chosen, encoder=word_encoder, lines=lines)
            indexes = [open_index(folder / name, encoder=word_encoder) for name in configs]
            for filter_ in [None, *FILTERS]:
                answers = [answer(index, filter_) for index in indexes]
                assert answers[0] == answers[1] == answers[2], filter_

    agree()


def answer(index, filter_):
    """What is found, with scores that rounding cannot tell apart as one."""
    hits = index.search("pear 水果", 20, mode="dense", filter=filter_)
    return sorted((round(hit.score, 4), hit.document, hit.text) for hit in hits)
