"""Milvus keeps the contract of a store, in a folder and on a server."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import StoreError, UsageError
from indexing.stores import make_store
from indexing.stores.factory import is_shared
from indexing.stores.milvus import MilvusStore
from indexing.stores.milvus_options import MilvusPlace
from indexing.stores.milvus_rows import RowSource, bare_rows, portions
from tests.indexing.test_stores import DIM, NOTHING, by_hand, check, unit_rows

NAMES = itertools.count()


@pytest.fixture
def new_store(milvus_uri):
    """Makes a store with nothing in it: a knowledge base of its own in a shared collection."""

    def make(dim=DIM, index_type="flat", collection="", **choices):
        place = MilvusPlace(
            uri=milvus_uri,
            collection=f"contract_{dim}_{index_type.partition(',')[0]}{collection}",
            knowledge_base=f"kb{next(NAMES)}",
        )
        return MilvusStore(place, dim, index_type=index_type, create=True, **choices)

    return make


def filled(store, ids, rows):
    store.add(np.asarray(list(ids), np.int64), rows)
    return store


def test_it_finds_the_nearest_rows_best_first(new_store):
    ids, rows, queries = np.arange(100, 400) * 7, unit_rows(300), unit_rows(5, seed=1)

    got = filled(new_store(), ids, rows).search(queries, 10)

    check(got, by_hand(ids, rows, queries, 10))


def test_each_row_finds_itself_with_score_one(new_store):
    rows = unit_rows(50)

    got = filled(new_store(), range(50), rows).search(rows, 1)

    check(got, (np.ones((50, 1)), np.arange(50)[:, None]))


def test_ids_may_be_any_positive_int64(new_store):
    ids, rows = [0, 2**63 - 1, 2**40], unit_rows(3)
    store = filled(new_store(), ids, rows)

    assert store.search(rows, 1).ids[:, 0].tolist() == ids
    store.remove(np.array([2**63 - 1]))

    assert sorted(store.search(rows[1:2], 3).ids[0].tolist()) == [-1, 0, 2**40]
    assert store.ids().tolist() == [0, 2**40]


def test_where_there_are_fewer_rows_the_rest_is_padded(new_store):
    rows = unit_rows(3)

    got = filled(new_store(), [1, 2, 3], rows).search(rows[:2], 5)

    check(got, by_hand([1, 2, 3], rows, rows[:2], 5))


def test_an_empty_store_finds_nothing(new_store):
    store = new_store()

    check(store.search(unit_rows(2), 3), (np.full((2, 3), -np.inf), np.full((2, 3), -1)))
    store.remove(np.array([1]))
    store.add(NOTHING, np.empty((0, DIM), np.float32))

    assert len(store) == 0
    assert store.ids().tolist() == []
    assert store.search(np.empty((0, DIM), np.float32), 2).ids.shape == (0, 2)


def test_removed_rows_are_not_found_and_others_can_follow(new_store):
    rows, more, queries = unit_rows(30), unit_rows(5, seed=2), unit_rows(4, seed=1)
    store = filled(new_store(), range(30), rows)

    store.remove(np.array([3, 29, 0, 500]))
    store.remove(NOTHING)
    assert len(store) == 27
    filled(store, range(40, 45), more)

    kept = [id_ for id_ in range(30) if id_ not in {0, 3, 29}]
    want = by_hand([*kept, *range(40, 45)], np.concatenate([rows[kept], more]), queries, 32)
    check(store.search(queries, 32), want)


@pytest.mark.parametrize("some", [[4], [1, 5, 9, 700], [700], [], list(range(20))])
def test_allowed_and_excluded_ids(new_store, some):
    rows, queries = unit_rows(20), unit_rows(3, seed=1)
    store = filled(new_store(), range(20), rows)

    allowed = store.search(queries, 4, allowed=np.array(some, np.int64))
    excluded = store.search(queries, 4, excluded=np.array(some, np.int64))

    check(allowed, by_hand(range(20), rows, queries, 4, kept=lambda id_: id_ in some))
    check(excluded, by_hand(range(20), rows, queries, 4, kept=lambda id_: id_ not in some))


def test_equal_scores_come_in_the_order_of_their_ids(new_store):
    rows = np.repeat(np.array([[0.6, 0.8]], np.float32), 10, axis=0)

    got = filled(new_store(dim=2), range(10), rows).search(rows[:1], 10)

    assert got.ids[0].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("ids", "shape", "message"),
    [
        ([1, 2], (3, DIM), r"embeddings must have shape \(2, 8\), got \(3, 8\)"),
        ([1, 2], (2, DIM + 1), r"embeddings must have shape \(2, 8\), got \(2, 9\)"),
        ([[1], [2]], (2, DIM), r"ids must have shape \(n,\), got \(2, 1\)"),
    ],
)
def test_rows_of_a_wrong_shape_are_refused(new_store, ids, shape, message):
    store = new_store()

    with pytest.raises(ValueError, match=message):
        store.add(np.array(ids, np.int64), np.zeros(shape, np.float32))

    assert len(store) == 0


@pytest.mark.parametrize(
    ("shape", "values", "message"),
    [
        ((DIM,), {"k": 1}, r"queries must have shape \(m, 8\), got \(8,\)"),
        ((2, DIM), {"k": 0}, "k must be at least 1, got 0"),
        ((2, DIM), {"k": 16_385}, "at most 16384 hits of a search, got k=16385"),
        ((2, DIM), {"k": 1, "allowed": NOTHING, "excluded": NOTHING}, "either allowed or excluded"),
    ],
)
def test_a_wrong_search_is_refused(new_store, shape, values, message):
    with pytest.raises(ValueError, match=message):
        new_store().search(np.zeros(shape, np.float32), **values)


def test_several_threads_search_at_once(new_store):
    rows, queries = unit_rows(200), unit_rows(20, seed=1)
    store = filled(new_store(), range(200), rows)
    filters = [{}, {"allowed": np.arange(0, 200, 3)}, {"excluded": np.arange(0, 200, 2)}] * 6
    want = [store.search(queries, 9, **some) for some in filters]

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda some: store.search(queries, 9, **some), filters))

    for one, other in zip(got, want, strict=True):
        check(one, other)


async def test_a_search_without_a_waiting_thread_finds_the_same(new_store):
    rows, queries = unit_rows(50), unit_rows(5, seed=1)
    store = filled(new_store(), range(50), rows)

    got = await store.search_async(queries, 4)

    check(got, store.search(queries, 4))


# Knowledge bases and generations


def test_knowledge_bases_of_one_collection_do_not_see_each_other(new_store):
    one, other = filled(new_store(), range(5), unit_rows(5)), new_store()

    assert (len(one), len(other)) == (5, 0)
    assert other.search(unit_rows(5), 1).ids.tolist() == [[-1]] * 5
    other.add(np.arange(5), unit_rows(5, seed=3))
    other.remove(np.arange(5))
    assert one.search(unit_rows(5), 1).ids[:, 0].tolist() == list(range(5))
    one.drop()
    assert len(one) == 0


def test_rows_of_a_later_generation_are_not_seen(new_store):
    rows = unit_rows(6)
    store = new_store(generation=1)
    store.write(bare_rows([0, 1, 2]), rows[:3], 1)
    store.write(bare_rows([3, 4, 5]), rows[3:], 2)

    first, second = store.view(1), store.view(2)
    assert (len(first), len(second)) == (3, 6)
    check(first.search(rows, 6), by_hand(range(3), rows[:3], rows, 6))
    check(second.search(rows, 6), by_hand(range(6), rows, rows, 6))

    store.remove_since(2)
    assert store.view(2).ids().tolist() == [0, 1, 2]


def test_a_row_takes_the_place_of_the_one_with_its_id(new_store):
    rows = unit_rows(4)
    store = filled(new_store(), [0, 1], rows[:2])

    store.write(bare_rows([1, 2]), rows[2:], 1, replacing=True)

    check(store.search(rows, 3), by_hand([0, 1, 2], rows[[0, 2, 3]], rows, 3))
    np.testing.assert_allclose(store.fetch([2, 7, 1]), [rows[3], np.full(DIM, np.nan), rows[2]])


def test_all_rows_are_read_in_portions(new_store, monkeypatch):
    monkeypatch.setattr("indexing.stores.milvus._READ", 7)
    rows = unit_rows(50)
    store = filled(new_store(), range(50), rows)

    parts = list(store.embeddings())

    ids = np.concatenate([ids for ids, _ in parts])
    assert max(len(ids) for ids, _ in parts) <= 7
    assert sorted(ids.tolist()) == list(range(50))
    np.testing.assert_array_equal(np.concatenate([found for _, found in parts]), rows[ids])


# Requests


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 60))
def test_rows_go_in_requests_below_the_limit(sizes, most):
    sources = [RowSource(id_, {}, size) for id_, size in enumerate(sizes)]

    parts = list(portions(sources, 1, most))

    assert [row for part in parts for row in sources[part]] == sources
    for part in parts:
        filling = [source.size + 4 for source in sources[part]]
        assert sum(filling) <= most or len(filling) == 1


def test_more_rows_and_queries_than_one_request(new_store, monkeypatch):
    monkeypatch.setattr("indexing.stores.milvus._QUERIES", 3)
    monkeypatch.setattr("indexing.stores.milvus_rows.REQUEST_BYTES", 5_000)
    rows, queries = unit_rows(60), unit_rows(10, seed=1)

    store = filled(new_store(), range(60), rows)
    store.remove(np.arange(0, 60, 7))

    kept = [id_ for id_ in range(60) if id_ % 7]
    check(store.search(queries, 5), by_hand(kept, rows[kept], queries, 5))


# Any steps


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 6)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 40), max_size=6)),
        st.tuples(st.just("replace"), st.lists(st.integers(0, 40), max_size=6, unique=True)),
        st.tuples(st.just("search"), st.integers(1, 12)),
        st.tuples(st.just("allowed"), st.lists(st.integers(0, 40), max_size=6)),
        st.tuples(st.just("excluded"), st.lists(st.integers(0, 40), max_size=30)),
    ),
    min_size=4,
    max_size=15,
)


def take(store, held, steps):
    """Do some steps with a store, and compare each search with the exact store."""
    rows, queries, next_id = unit_rows(200), unit_rows(2, seed=1), 0
    for name, value in steps:
        if name == "add":
            ids = np.arange(next_id, next_id + value)
            next_id += value
            store.add(ids, rows[ids])
            held.add(ids, rows[ids])
        elif name == "remove":
            store.remove(np.array(value, np.int64))
            held.remove(np.array(value, np.int64))
        elif name == "replace":
            ids = np.array([id_ for id_ in value if id_ < next_id], np.int64)
            store.write(bare_rows(ids.tolist()), rows[100 + ids], 1, replacing=True)
            held.remove(ids)
            held.add(ids, rows[100 + ids])
        else:
            some = {} if name == "search" else {name: np.array(value, np.int64)}
            k = value if name == "search" else 5
            check(store.search(queries, k, **some), held.search(queries, k, **some))


@pytest.mark.parametrize("index_type", ["flat", "ivf_flat,nlist=4,nprobe=4"])
def test_any_sequence_of_steps_agrees_with_the_exact_store(new_store, index_type):
    @settings(max_examples=15, deadline=None)
    @given(_STEPS)
    def agree(steps):
        take(new_store(index_type=index_type), make_store("exact", DIM), steps)

    agree()


# What does not fit


def test_a_collection_with_another_dimension_is_refused(new_store):
    place = new_store(collection="_narrow").place

    with pytest.raises(StoreError) as caught:
        MilvusStore(place, DIM + 1, index_type="flat", create=True)

    assert f"holds embeddings of {DIM} values, and this encoder gives {DIM + 1}" in str(
        caught.value
    )


def test_a_collection_with_another_index_type_is_refused_to_a_writer(new_store):
    place = new_store(collection="_typed").place

    with pytest.raises(UsageError) as caught:
        MilvusStore(place, DIM, index_type="hnsw", create=True)

    assert "has the index type flat, which its knowledge bases share; got hnsw." in str(
        caught.value
    )
    assert len(MilvusStore(place, DIM, create=True)) == 0


def test_a_collection_that_is_not_there_is_named(milvus_uri):
    place = MilvusPlace(uri=milvus_uri, collection="nowhere", knowledge_base="kb")

    with pytest.raises(StoreError, match="has no collection nowhere, which this index is in"):
        MilvusStore(place, DIM)


def test_milvus_is_a_shared_store():
    assert is_shared("milvus")
    assert not is_shared("faiss")


def test_an_idle_folder_is_not_pinged(tmp_path):
    # Milvus Lite ends a connection that was pinged for some minutes while nobody asked anything.
    place = MilvusPlace(uri=str(tmp_path / "milvus.db"), collection="c", knowledge_base="kb")
    store = MilvusStore(place, DIM, create=True)

    connection = store._client._get_connection()

    assert connection._grpc_options["grpc.keepalive_time_ms"] == 2**31 - 1
