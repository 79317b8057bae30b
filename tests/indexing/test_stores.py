import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import UsageError
from indexing.stores import build_store, make_store, open_store, store_kinds
from indexing.stores.exact import ExactStore
from indexing.stores.torch_exact import TorchStore

DIM = 8
NOTHING = np.empty(0, np.int64)


@pytest.fixture(params=store_kinds())
def kind(request):
    return request.param


def unit_rows(count, seed=0, dim=DIM):
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(kind, ids, rows):
    store = make_store(kind, rows.shape[1])
    store.add(np.asarray(ids, np.int64), rows)
    return store


def by_hand(ids, rows, queries, k, kept=lambda id_: True):
    """Scores and ids of each query, best first, padded, in double precision."""
    scores = np.full((len(queries), k), -np.inf)
    found = np.full((len(queries), k), -1)
    for i, query in enumerate(queries):
        pairs = [
            (-float(np.dot(row.astype(float), query.astype(float))), id_)
            for id_, row in zip(ids, rows, strict=True)
            if kept(id_)
        ]
        for j, (score, id_) in enumerate(sorted(pairs)[:k]):
            scores[i, j], found[i, j] = -score, id_
    return scores, found


def check(result, want):
    scores, ids = want
    assert result.ids.tolist() == np.asarray(ids).tolist()
    np.testing.assert_allclose(result.scores, scores, atol=1e-5)
    assert result.scores.dtype == np.float32
    assert result.ids.dtype == np.int64


# The contract


def test_it_finds_the_nearest_rows_best_first(kind):
    ids, rows, queries = np.arange(100, 400) * 7, unit_rows(300), unit_rows(5, seed=1)

    got = filled(kind, ids, rows).search(queries, 10)

    check(got, by_hand(ids, rows, queries, 10))
    check(got, filled("exact", ids, rows).search(queries, 10))


def test_hand_worked_scores(kind):
    rows = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)

    got = filled(kind, [5, 3, 9], rows).search(np.array([[1, 0], [0, -1]], np.float32), 2)

    check(got, ([[1, 0.6], [0, -0.8]], [[5, 9], [5, 9]]))


def test_each_row_finds_itself_with_score_one(kind):
    rows = unit_rows(50)

    got = filled(kind, range(50), rows).search(rows, 1)

    check(got, (np.ones((50, 1)), np.arange(50)[:, None]))


def test_ids_may_be_any_positive_int64(kind):
    ids, rows = [0, 2**63 - 1, 2**40], unit_rows(3)

    store = filled(kind, ids, rows)
    assert store.search(rows, 1).ids[:, 0].tolist() == ids

    store.remove(np.array([2**63 - 1]))
    assert store.search(rows[1:2], 3).ids[0].tolist() == [
        id_ for _, id_ in sorted([(-rows[1] @ rows[0], 0), (-rows[1] @ rows[2], 2**40)])
    ] + [-1]


def test_where_there_are_fewer_rows_the_rest_is_padded(kind):
    rows = unit_rows(3)

    got = filled(kind, [1, 2, 3], rows).search(rows[:2], 5)

    check(got, by_hand([1, 2, 3], rows, rows[:2], 5))
    assert got.ids[:, 3:].tolist() == [[-1, -1], [-1, -1]]
    assert np.isneginf(got.scores[:, 3:]).all()


def test_an_empty_store_finds_nothing(kind):
    store = make_store(kind, DIM)

    check(store.search(unit_rows(2), 3), (np.full((2, 3), -np.inf), np.full((2, 3), -1)))
    store.remove(np.array([1]))
    assert len(store) == 0


def test_no_queries_find_nothing(kind):
    got = filled(kind, range(3), unit_rows(3)).search(np.empty((0, DIM), np.float32), 2)

    assert (got.scores.shape, got.ids.shape) == ((0, 2), (0, 2))


def test_adding_nothing_changes_nothing(kind):
    store = make_store(kind, DIM)

    store.add(NOTHING, np.empty((0, DIM), np.float32))

    assert len(store) == 0


def test_removed_rows_are_not_found(kind):
    ids, rows, queries = list(range(30)), unit_rows(30), unit_rows(4, seed=1)
    store = filled(kind, ids, rows)

    store.remove(np.array([3, 29, 0, 500]))
    store.remove(NOTHING)

    assert len(store) == 27
    kept = [id_ for id_ in ids if id_ not in {0, 3, 29}]
    check(store.search(queries, 30), by_hand(kept, rows[kept], queries, 30))


def test_rows_can_be_added_after_removing(kind):
    rows, more = unit_rows(10), unit_rows(5, seed=1)
    store = filled(kind, range(10), rows)

    store.remove(np.arange(10))
    assert len(store) == 0
    store.add(np.arange(20, 25), more)

    check(store.search(more, 5), by_hand(range(20, 25), more, more, 5))


@pytest.mark.parametrize("allowed", [[4], [1, 5, 9, 700], [700], [], list(range(20))])
def test_only_allowed_ids_are_found(kind, allowed):
    rows, queries = unit_rows(20), unit_rows(3, seed=1)

    got = filled(kind, range(20), rows).search(queries, 4, allowed=np.array(allowed, np.int64))

    check(got, by_hand(range(20), rows, queries, 4, kept=lambda id_: id_ in allowed))


@pytest.mark.parametrize("excluded", [[4], [1, 5, 9, 700], [700], [], list(range(20))])
def test_excluded_ids_are_not_found(kind, excluded):
    rows, queries = unit_rows(20), unit_rows(3, seed=1)

    got = filled(kind, range(20), rows).search(queries, 4, excluded=np.array(excluded, np.int64))

    check(got, by_hand(range(20), rows, queries, 4, kept=lambda id_: id_ not in excluded))


def test_a_filter_ends_with_its_search(kind):
    rows = unit_rows(5)
    store = filled(kind, range(5), rows)

    store.search(rows, 5, allowed=np.array([1]))
    store.search(rows, 5, excluded=np.array([1]))

    check(store.search(rows, 5), by_hand(range(5), rows, rows, 5))


def test_duplicates_are_all_found_with_equal_scores(kind):
    row = np.array([[0.6, 0.8]], np.float32)
    store = filled(kind, range(10), np.repeat(row, 10, axis=0))
    store.add(np.array([10]), np.array([[0.8, 0.6]], np.float32))

    got = store.search(row, 11)

    assert sorted(got.ids[0, :10].tolist()) == list(range(10))
    np.testing.assert_allclose(got.scores[0], [1.0] * 10 + [0.96], atol=1e-6)
    assert set(store.search(row, 4).ids[0].tolist()) < set(range(10))


def test_what_is_saved_is_opened_again(kind, tmp_path):
    rows, queries = unit_rows(30), unit_rows(4, seed=1)
    store = filled(kind, range(30), rows)
    store.remove(np.array([7]))

    store.save(tmp_path)
    opened = open_store(kind, tmp_path)

    assert len(opened) == 29
    check(opened.search(queries, 10), store.search(queries, 10))


def test_an_empty_store_is_saved_and_opened(kind, tmp_path):
    make_store(kind, DIM).save(tmp_path)

    store = open_store(kind, tmp_path)
    store.add(np.array([1]), unit_rows(1))

    assert store.search(unit_rows(1), 1).ids.tolist() == [[1]]


def test_an_opened_store_can_be_changed_and_saved_over_itself(kind, tmp_path):
    rows, more = unit_rows(30), unit_rows(5, seed=1)
    filled(kind, range(30), rows).save(tmp_path)

    store = open_store(kind, tmp_path)
    store.save(tmp_path)
    store.remove(np.array([0, 1]))
    store.add(np.arange(30, 35), more)
    store.save(tmp_path)
    again = open_store(kind, tmp_path)

    want = by_hand(range(2, 35), np.concatenate([rows[2:], more]), rows, 33)
    check(store.search(rows, 33), want)
    check(again.search(rows, 33), want)


def test_changing_an_opened_store_leaves_its_files_alone(kind, tmp_path):
    rows = unit_rows(10)
    filled(kind, range(10), rows).save(tmp_path)

    store = open_store(kind, tmp_path)
    store.remove(np.arange(5))
    store.add(np.array([50]), unit_rows(1, seed=1))

    check(open_store(kind, tmp_path).search(rows, 10), by_hand(range(10), rows, rows, 10))


@pytest.mark.parametrize(
    ("ids", "shape", "message"),
    [
        ([1, 2], (3, DIM), r"embeddings must have shape \(2, 8\), got \(3, 8\)"),
        ([1, 2], (2, DIM + 1), r"embeddings must have shape \(2, 8\), got \(2, 9\)"),
        ([1], (DIM,), r"embeddings must have shape \(1, 8\), got \(8,\)"),
        ([[1], [2]], (2, DIM), r"ids must have shape \(n,\), got \(2, 1\)"),
    ],
)
def test_rows_of_a_wrong_shape_are_refused(kind, ids, shape, message):
    store = make_store(kind, DIM)

    with pytest.raises(ValueError, match=message):
        store.add(np.array(ids, np.int64), np.zeros(shape, np.float32))

    assert len(store) == 0


@pytest.mark.parametrize(
    ("shape", "values", "message"),
    [
        ((DIM,), {"k": 1}, r"queries must have shape \(m, 8\), got \(8,\)"),
        ((2, DIM - 1), {"k": 1}, r"queries must have shape \(m, 8\), got \(2, 7\)"),
        ((2, DIM), {"k": 0}, "k must be at least 1, got 0"),
        ((2, DIM), {"k": 1, "allowed": NOTHING, "excluded": NOTHING}, "either allowed or excluded"),
    ],
)
def test_a_wrong_search_is_refused(kind, shape, values, message):
    store = filled(kind, range(3), unit_rows(3))

    with pytest.raises(ValueError, match=message):
        store.search(np.zeros(shape, np.float32), **values)


def test_several_threads_search_at_once(kind):
    rows, queries = unit_rows(500), unit_rows(20, seed=1)
    store = filled(kind, range(500), rows)
    filters = [{}, {"allowed": np.arange(0, 500, 3)}, {"excluded": np.arange(0, 500, 2)}] * 20
    want = [store.search(queries, 9, **some) for some in filters]

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda some: store.search(queries, 9, **some), filters))

    for one, other in zip(got, want, strict=True):
        check(one, other)


def test_all_stores_so_far_are_exact_and_can_delete_and_filter(kind):
    capabilities = make_store(kind, DIM).capabilities

    assert (capabilities.exact, capabilities.delete, capabilities.filter) == (True, True, True)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 6)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 40), max_size=6)),
        st.tuples(st.just("search"), st.integers(1, 12)),
        st.tuples(st.just("allowed"), st.lists(st.integers(0, 40), max_size=6)),
        st.tuples(st.just("excluded"), st.lists(st.integers(0, 40), max_size=30)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=15,
)


@pytest.mark.parametrize("kind", store_kinds())
@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_any_sequence_of_steps_agrees_with_a_plain_list(kind, steps):
    store, held = make_store(kind, DIM), {}
    rows, queries, next_id = unit_rows(200), unit_rows(2, seed=1), 0
    for name, value in steps:
        if name == "add":
            ids = np.arange(next_id, next_id + value)
            next_id += value
            store.add(ids, rows[ids])
            held |= {int(id_): rows[id_] for id_ in ids}
        elif name == "remove":
            store.remove(np.array(value, np.int64))
            held = {id_: row for id_, row in held.items() if id_ not in value}
        elif name == "reopen":
            with TemporaryDirectory() as folder:
                store.save(Path(folder))
                store = open_store(kind, Path(folder))
        elif name == "search":
            check(store.search(queries, value), by_hand(held, held.values(), queries, value))
        else:
            got = store.search(queries, 5, **{name: np.array(value, np.int64)})
            wanted = [id_ for id_ in held if (id_ in value) == (name == "allowed")]
            check(got, by_hand(wanted, [held[id_] for id_ in wanted], queries, 5))
        assert len(store) == len(held)


# What the exact store promises beyond the contract


def test_equal_scores_come_in_the_order_of_their_ids():
    ids = np.random.default_rng(0).permutation(1000)
    rows = np.ones((1000, 4), np.float32)
    rows[ids < 3] = 0.5

    got = filled("exact", ids, rows).search(np.ones((300, 4), np.float32), 5)

    assert got.ids.tolist() == [[3, 4, 5, 6, 7]] * 300


def test_more_queries_than_one_block():
    rows, queries = unit_rows(50), unit_rows(700, seed=1)

    got = filled("exact", range(50), rows).search(queries, 3)

    check(got, by_hand(range(50), rows, queries, 3))


def test_opening_maps_the_embeddings(tmp_path):
    filled("exact", range(5), unit_rows(5)).save(tmp_path)

    store = ExactStore.open(tmp_path)

    assert isinstance(store._embeddings, np.memmap)
    assert not store._embeddings.flags.writeable


# What the torch store promises beyond the contract


def test_rows_that_half_precision_cannot_tell_apart_are_ordered_by_float32():
    rows = np.tile(unit_rows(1, dim=64), (3_000, 1))
    rows[:, 0] += np.random.default_rng(0).permutation(3_000).astype(np.float32) * 2e-7
    queries = np.eye(2, 64, dtype=np.float32) + 0.01

    got, want = (
        filled(kind, range(3_000), rows).search(queries, 12) for kind in ("torch", "exact")
    )

    np.testing.assert_allclose(got.scores, want.scores, atol=1e-6)
    assert (got.ids == want.ids).mean() > 0.9  # float32 sums differ in their last digit


def test_equal_rows_come_in_the_order_of_their_ids_from_half_precision_too():
    ids = np.random.default_rng(0).permutation(1000)

    got = filled("torch", ids, np.ones((1000, 4), np.float32)).search(
        np.ones((2, 4), np.float32), 5
    )

    assert got.ids.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_rows_of_several_blocks_and_devices_are_searched_together(monkeypatch):
    monkeypatch.setattr("indexing.stores.torch_exact._ROW_BLOCK", 70)
    rows, queries = unit_rows(500), unit_rows(6, seed=1)
    store = TorchStore(DIM, devices=("cpu", "cpu"))

    store.add(np.arange(500), rows)

    check(store.search(queries, 9), by_hand(range(500), rows, queries, 9))


# The factory


def test_an_unknown_store_is_refused(tmp_path):
    message = "Unknown store 'qdrant'. Known: faiss, exact, torch, milvus, langchain."

    with pytest.raises(UsageError) as caught:
        make_store("qdrant", DIM)
    assert str(caught.value) == message
    with pytest.raises(UsageError) as caught:
        open_store("qdrant", tmp_path)
    assert str(caught.value) == message


def test_an_unknown_index_type_is_refused(kind):
    with pytest.raises(UsageError) as caught:
        make_store(kind, DIM, index_type="hsnw")

    assert "index type 'hsnw'" in str(caught.value) or "index 'hsnw'" in str(caught.value)


_WITHOUT_FAISS = """
import sys
sys.modules["faiss"] = None  # as if it were not installed
from encoder import MissingExtraError
from indexing.stores import build_store, make_store
make_store("exact", 4)
try:
    make_store("faiss", 4)
except MissingExtraError as error:
    print(error)
"""


def test_without_faiss_its_store_names_the_line_that_installs_it():
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_FAISS], capture_output=True, text=True, check=True
    )

    assert done.stdout == "The FAISS store needs an extra: pip install -e '.[faiss]'\n"


@pytest.mark.parametrize("kind", store_kinds())
@pytest.mark.parametrize("count", [0, 1, 5, 70_000])
def test_a_store_built_from_mapped_rows_is_the_one_built_in_memory(tmp_path, kind, count):
    rows = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    ids = np.arange(count, dtype=np.int64)[::-1] * 3 + 7
    np.save(tmp_path / "rows.npy", rows)
    (tmp_path / "built").mkdir()
    (tmp_path / "saved").mkdir()

    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    build_store(kind, tmp_path / "built", ids, mapped)
    store = make_store(kind, 4)
    store.add(ids, rows)
    store.save(tmp_path / "saved")

    for path in (tmp_path / "saved").iterdir():
        assert (tmp_path / "built" / path.name).read_bytes() == path.read_bytes()
    got = open_store(kind, tmp_path / "built").search(np.ones((1, 4), np.float32), 3)
    want = store.search(np.ones((1, 4), np.float32), 3)
    assert got.ids.tolist() == want.ids.tolist()
    assert len(open_store(kind, tmp_path / "built")) == count


def test_another_layout_of_the_engine_is_built_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("indexing.stores.faiss._headers", lambda *_: None)
    rows, ids = np.eye(3, dtype=np.float32), np.array([5, 6, 7])

    build_store("faiss", tmp_path, ids, rows)

    assert open_store("faiss", tmp_path).search(rows, 1).ids.tolist() == [[5], [6], [7]]
