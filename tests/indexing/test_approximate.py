"""Every index type against exact search, over rows that lie in clusters as texts' embeddings do."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import UsageError
from indexing.stores import approximate, build_store, make_store, open_store
from indexing.stores.approximate import ApproximateStore
from indexing.stores.exact import ExactStore
from indexing.stores.factory import read_facts
from indexing.stores.faiss import Chosen, FaissIndex, Setting, inner_products
from indexing.stores.index_types import NAMED

COUNT, DIM = 10_000, 32
TYPES = [name for name in NAMED if name != "flat"]
OWN_TYPES = ["IVF64,PQ16x4fs,RFlat", "PCA16,IVF64,SQ8", "HNSW16", "PQ16x4fs", "IVF32_HNSW8,Flat"]


def clustered(count, seed, dim=DIM):
    chance = np.random.default_rng(7)
    centres = chance.standard_normal((60, dim))
    chance = np.random.default_rng(seed)
    rows = centres[chance.integers(0, 60, count)] + 0.7 * chance.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS, QUERIES = clustered(COUNT, 1), clustered(100, 2)
IDS = np.random.default_rng(3).permutation(COUNT) * 5 + 11
EXACT = ExactStore(DIM)
EXACT.add(IDS, ROWS)
BY_ID = dict(zip(IDS.tolist(), ROWS, strict=True))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Builds each type once; gives its folder."""
    made = {}

    def folder_of(index_type):
        if index_type not in made:
            made[index_type] = tmp_path_factory.mktemp("store")
            build_store("faiss", made[index_type], IDS, ROWS, index_type=index_type)
        return made[index_type]

    return folder_of


@pytest.fixture(params=[*TYPES, *OWN_TYPES])
def store(request, folders):
    return open_store("faiss", folders(request.param))


@pytest.fixture
def nothing_compared(monkeypatch):
    """A filter is never answered by comparing all that it lets through."""
    monkeypatch.setattr(approximate, "COMPARED_ROWS", 0)
    monkeypatch.setattr(approximate, "COMPARED_SHARE", 0.0)


def recall(got, want):
    shares = [
        len(set(a) & set(b[b >= 0])) / max(1, (b >= 0).sum())
        for a, b in zip(got.ids, want.ids, strict=True)
    ]
    return float(np.mean(shares))


def check_scores(got):
    """Every score is the inner product with the row of its id, best first."""
    for query, scores, ids in zip(QUERIES, got.scores, got.ids, strict=False):
        own = [float(np.dot(query.astype(float), BY_ID[id_])) for id_ in ids.tolist() if id_ >= 0]
        np.testing.assert_allclose(scores[ids >= 0], own, atol=1e-5)
        assert (np.diff(scores[ids >= 0]) <= 1e-6).all()
        assert np.isneginf(scores[ids < 0]).all()


def test_it_finds_the_share_of_the_nearest_that_was_asked_for_with_exact_scores(store):
    got = store.search(QUERIES, 10)

    check_scores(got)
    assert recall(got, EXACT.search(QUERIES, 10)) >= 0.93
    assert store.facts.recall >= 0.93
    assert store.facts.target == 0.95
    assert len(store) == COUNT
    assert not store.capabilities.exact
    assert (got.scores.dtype, got.ids.dtype) == (np.float32, np.int64)


def test_one_result_is_the_nearest_as_often(store):
    got, want = store.search(QUERIES, 1), EXACT.search(QUERIES, 1)

    assert recall(got, want) >= 0.93


def test_a_hundred_results_are_found_as_well(store):
    assert recall(store.search(QUERIES, 100), EXACT.search(QUERIES, 100)) >= 0.85


def test_few_allowed_rows_are_searched_exactly(store):
    allowed = IDS[:500]

    got, want = store.search(QUERIES, 7, allowed=allowed), EXACT.search(QUERIES, 7, allowed=allowed)

    assert got.ids.tolist() == want.ids.tolist()
    np.testing.assert_allclose(got.scores, want.scores, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_only_allowed_rows_are_found_by_the_index(store, share, nothing_compared):
    allowed = IDS[: int(share * COUNT)]

    got = store.search(QUERIES, 10, allowed=allowed)

    check_scores(got)
    assert set(got.ids.ravel().tolist()) <= {*allowed.tolist()}
    assert recall(got, EXACT.search(QUERIES, 10, allowed=allowed)) >= 0.9


def test_excluded_rows_are_not_found(store):
    first = EXACT.search(QUERIES, 10).ids
    excluded = np.unique(first[:, ::2])

    got = store.search(QUERIES, 10, excluded=excluded)

    check_scores(got)
    assert not np.isin(got.ids, excluded).any()
    assert recall(got, EXACT.search(QUERIES, 10, excluded=excluded)) >= 0.93


def test_removed_rows_are_not_found_and_stay_away_after_saving(store, tmp_path):
    doomed = np.unique(EXACT.search(QUERIES, 3).ids)

    store.remove(np.concatenate([doomed, [3]]))
    store.save(tmp_path)
    opened = open_store("faiss", tmp_path)

    for one in (store, opened):
        got = one.search(QUERIES, 10)
        assert len(one) == COUNT - len(doomed)
        assert not np.isin(got.ids, doomed).any()
        assert recall(got, EXACT.search(QUERIES, 10, excluded=doomed)) >= 0.93


def test_rows_added_to_a_made_index_are_found(store):
    more = clustered(50, 9)

    store.add(np.arange(50) + 10**12, more)

    assert len(store) == COUNT + 50
    found = store.search(more, 1)
    assert (found.ids[:, 0] >= 10**12).mean() >= 0.9


def test_no_rows_allowed_or_no_queries_find_nothing(store):
    nothing = store.search(QUERIES[:2], 3, allowed=np.array([4], np.int64))

    assert (nothing.ids == -1).all()
    assert np.isneginf(nothing.scores).all()
    assert store.search(QUERIES[:0], 3).ids.shape == (0, 3)


def test_more_results_than_rows_are_padded(store):
    got = store.search(QUERIES[:1], 30, allowed=IDS[:20])

    assert sorted(got.ids[0, :20].tolist()) == sorted(IDS[:20].tolist())
    assert (got.ids[0, 20:] == -1).all()


@pytest.mark.parametrize("name", ["ivf_sq8", "hnsw", "lsh"])
def test_several_threads_search_at_once(folders, name):
    store = open_store("faiss", folders(name))
    frozen = IDS[::3].copy()
    frozen.flags.writeable = False
    filters = [{}, {"allowed": frozen}, {"excluded": IDS[:4000]}] * 10
    want = [store.search(QUERIES, 9, **some) for some in filters]

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda some: store.search(QUERIES, 9, **some), filters))

    for one, other in zip(got, want, strict=True):
        assert one.ids.tolist() == other.ids.tolist()


def test_ids_that_nobody_can_change_are_looked_up_once(folders, monkeypatch):
    store = open_store("faiss", folders("ivf_flat"))
    frozen, free = IDS[:9_000].copy(), IDS[:9_000].copy()
    frozen.flags.writeable = False
    looked_up = []
    places = store._places
    monkeypatch.setattr(store, "_places", lambda ids: looked_up.append(1) or places(ids))

    for _ in range(3):
        store.search(QUERIES[:1], 3, excluded=frozen)
    assert len(looked_up) == 1
    for _ in range(3):
        store.search(QUERIES[:1], 3, excluded=free)
    assert len(looked_up) == 4
    store.remove(frozen[:1])
    assert not np.isin(store.search(QUERIES, 9, excluded=frozen).ids, frozen).any()


@pytest.mark.parametrize("name", ["ivf_flat", "ivf_sq8", "scann", "rabitq", "sq8"])
def test_the_same_rows_make_the_same_files(folders, tmp_path, name):
    build_store("faiss", tmp_path, IDS, ROWS, index_type=name)

    for path in folders(name).iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", ["ivf_sq8", "scann", "rabitq"])
def test_a_store_built_by_torch_finds_as_much_and_grows_by_faiss(tmp_path, name):
    folders = [tmp_path / part for part in ("whole", "most", "grown")]
    for folder in folders:
        folder.mkdir()
    whole, most, grown = folders

    build_store("faiss", whole, IDS, ROWS, index_type=name, device="torch-cpu")
    build_store("faiss", most, IDS[:8_000], ROWS[:8_000], index_type=name, device="torch-cpu")
    build_store("faiss", grown, IDS, ROWS, index_type=name, grown_from=most)

    want = EXACT.search(QUERIES, 10)
    for folder in (whole, grown):
        got = open_store("faiss", folder).search(QUERIES, 10)
        check_scores(got)
        assert recall(got, want) >= 0.93
        assert read_facts(folder)["made"]["recall"] >= 0.95


@pytest.mark.parametrize("name", ["ivf_sq8", "scann"])
def test_a_higher_recall_costs_more_and_is_reached(tmp_path, folders, name):
    build_store("faiss", tmp_path, IDS, ROWS, index_type=name, recall=0.99)
    usual, higher = (open_store("faiss", folder) for folder in (folders(name), tmp_path))

    assert higher.facts.setting.nprobe > usual.facts.setting.nprobe
    assert recall(higher.search(QUERIES, 10), EXACT.search(QUERIES, 10)) >= 0.98
    assert read_facts(tmp_path)["made"]["target"] == 0.99


def test_a_recall_that_cannot_be_reached_is_said(tmp_path, caplog):
    build_store("faiss", tmp_path, IDS, ROWS, index_type="PCA2,SQ4", recall=0.999)

    facts = read_facts(tmp_path)["made"]
    assert facts["recall"] < 0.999
    assert "The index type PCA2,SQ4 finds" in caplog.text
    assert "not the 99.9 % asked for" in caplog.text


@pytest.mark.parametrize("name", [*TYPES, "auto", "IVF64,PQ16x4fs,RFlat"])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_few_rows_are_compared_one_by_one(tmp_path, name, count):
    build_store("faiss", tmp_path, IDS[:count], ROWS[:count], index_type=name)
    built = open_store("faiss", tmp_path)
    grown = make_store("faiss", DIM, index_type=name)
    grown.add(IDS[:count], ROWS[:count])
    want = ExactStore(DIM)
    want.add(IDS[:count], ROWS[:count])

    for one in (built, grown):
        assert len(one) == count
        got = one.search(QUERIES, 5)
        assert got.ids.tolist() == want.search(QUERIES, 5).ids.tolist()


def test_a_store_in_memory_makes_its_index_when_there_are_enough_rows():
    store = make_store("faiss", DIM, index_type="ivf_flat")

    store.add(IDS[:900], ROWS[:900])
    assert store.facts is None
    store.add(IDS[900:], ROWS[900:])

    assert store.facts.factory == "IVF256,Flat"
    assert recall(store.search(QUERIES, 10), EXACT.search(QUERIES, 10)) >= 0.93


@pytest.mark.parametrize("name", [n for n in TYPES if n != "ivf_pq"])
def test_any_dimension_has_every_type(name):
    rows = clustered(1_500, 4, dim=7)
    store = make_store("faiss", 7, index_type=name)
    exact = ExactStore(7)

    store.add(np.arange(1_500), rows)
    exact.add(np.arange(1_500), rows)

    assert recall(store.search(rows[:50], 10), exact.search(rows[:50], 10)) >= 0.9


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 6)),
        st.tuples(st.just("remove"), st.lists(st.integers(0, 1_040), max_size=6)),
        st.tuples(st.just("search"), st.integers(1, 12)),
        st.tuples(st.just("allowed"), st.lists(st.integers(0, 1_040), max_size=40)),
        st.tuples(st.just("excluded"), st.lists(st.integers(0, 1_040), max_size=40)),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def all_cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    build_store("faiss", folder, np.arange(1_000), ROWS[:1_000], index_type="IVF16,Flat")
    facts = json.loads((folder / "store.json").read_text())
    facts["made"]["setting"] = {"nprobe": 16, "refine": 1}
    (folder / "store.json").write_text(json.dumps(facts))
    return folder


@settings(max_examples=40, deadline=None)
@given(_STEPS)
def test_with_all_cells_visited_any_steps_agree_with_exact_search(all_cells, steps):
    store, exact, next_id = ApproximateStore.open(all_cells), ExactStore(DIM), 1_000
    exact.add(np.arange(1_000), ROWS[:1_000])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approximate, "COMPARED_ROWS", 5)
        patch.setattr(approximate, "COMPARED_SHARE", 0.0)
        for name, value in steps:
            if name == "add":
                ids = np.arange(next_id, next_id + value)
                next_id += value
                for one in (store, exact):
                    one.add(ids, ROWS[ids])
            elif name == "remove":
                for one in (store, exact):
                    one.remove(np.array(value, np.int64))
            else:
                k = value if name == "search" else 5
                given_ids = {} if name == "search" else {name: np.array(value, np.int64)}
                got, want = (one.search(QUERIES[:3], k, **given_ids) for one in (store, exact))
                assert got.ids.tolist() == want.ids.tolist()
                np.testing.assert_allclose(got.scores, want.scores, atol=1e-5)
            assert len(store) == len(exact)


def test_a_factory_string_that_faiss_cannot_read_is_refused():
    with pytest.raises(UsageError, match=r"FAISS makes no index 'ivf_sq9' for 32 dimensions") as e:
        make_store("faiss", DIM, index_type="ivf_sq9")

    assert "Known: auto, flat, fp16, sq8, ivf_flat" in str(e.value)


def test_a_factory_string_with_a_map_of_ids_is_refused():
    with pytest.raises(UsageError, match=r"Leave IDMap out"):
        make_store("faiss", DIM, index_type="IDMap,IVF64,Flat")


def test_a_factory_string_that_does_not_fit_the_dimension_is_refused():
    with pytest.raises(UsageError, match=r"FAISS makes no index 'IVF8,PQ7' for 32 dimensions"):
        make_store("faiss", DIM, index_type="IVF8,PQ7")


def test_wrong_rows_and_searches_are_refused(store):
    with pytest.raises(ValueError, match=r"embeddings must have shape \(1, 32\), got \(1, 31\)"):
        store.add(np.array([1]), np.zeros((1, 31), np.float32))
    with pytest.raises(ValueError, match=r"queries must have shape \(m, 32\), got \(2, 3\)"):
        store.search(np.zeros((2, 3), np.float32), 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        store.search(QUERIES, 0)
    with pytest.raises(ValueError, match="either allowed or excluded"):
        store.search(QUERIES, 1, allowed=IDS, excluded=IDS)


def test_inner_products_are_those_of_the_named_rows():
    places = np.array([[5, -1, 0], [2, 2, 9]])

    got = inner_products(QUERIES[:2], ROWS, places)

    want = [
        [QUERIES[i] @ ROWS[p] if p >= 0 else -np.inf for p in row] for i, row in enumerate(places)
    ]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_inner_products_refuse_rows_that_are_not_of_one_piece():
    with pytest.raises(ValueError, match="of one piece"):
        inner_products(QUERIES[:1], ROWS[:, ::2], np.array([[0]]))


@pytest.fixture(
    params=["IVF64,PQ16x4fs", "HNSW16", "SQ4", "LSH", "IVF64,SQ8,RFlat", "PCA16,IVF64,SQ8"]
)
def index(request):
    made = FaissIndex.make(request.param, DIM)
    made.train(ROWS)
    made.add(ROWS)
    return made


@pytest.mark.parametrize("k", [1, 3, 10, 40])
@pytest.mark.parametrize("few", [None, 30, 5000])
def test_what_is_found_is_scored_by_the_rows_where_they_lie(index, tmp_path, k, few):
    np.save(tmp_path / "rows.npy", ROWS)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    chosen = None if few is None else Chosen(np.arange(COUNT) < few)
    setting = Setting(nprobe=8, ef=64)

    scores, places = index.search_and_score(QUERIES, k, 40, setting, mapped, chosen)

    _, candidates = index.search(QUERIES, 40, setting, chosen)
    exact = inner_products(QUERIES, ROWS, candidates)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    want, there = np.take_along_axis(exact, order, axis=1), places >= 0
    np.testing.assert_array_equal(there, np.isfinite(want))
    np.testing.assert_allclose(scores[there], want[there], atol=1e-6)
    found = np.take_along_axis(candidates, order, axis=1)
    assert (places == found).mean() > 0.999  # equal scores may change places
    assert few is None or (places < few).all()


def test_other_rows_are_scored_by_themselves():
    index = FaissIndex.make("SQ4", DIM)
    index.train(ROWS)
    index.add(ROWS)
    index.search_and_score(QUERIES, 3, 30, Setting(), ROWS)

    scores, places = index.search_and_score(QUERIES, 3, 30, Setting(), ROWS / 2)

    want = np.einsum("qd,qkd->qk", QUERIES, ROWS[places]) / 2
    np.testing.assert_allclose(scores, want, atol=1e-6)


def test_rows_that_are_not_of_one_piece_score_nothing():
    index = FaissIndex.make("SQ4", DIM // 2)
    index.train(ROWS[:, ::2])
    index.add(ROWS[:, ::2])

    with pytest.raises(ValueError, match="of one piece"):
        index.search_and_score(QUERIES[:, ::2], 3, 30, Setting(), ROWS[:, ::2])


def test_a_setting_shows_what_it_uses():
    assert Setting(nprobe=4, refine=2).as_dict() == {"nprobe": 4, "refine": 2}
    assert Setting().as_dict() == {"refine": 1}


# Growing: what was learned from the rows before is kept


@pytest.mark.parametrize("name", ["ivf_flat", "ivf_sq8", "ivf_pq", "scann", "rabitq"])
def test_a_store_grown_from_another_holds_the_new_rows_and_none_of_the_old(folders, tmp_path, name):
    kept = np.random.default_rng(5).permutation(np.arange(300, COUNT))
    more = clustered(700, 8)
    ids = np.concatenate([IDS[kept], np.arange(700) + 10**9])
    rows = np.concatenate([ROWS[kept], more])
    exact = ExactStore(DIM)
    exact.add(ids, rows)

    build_store("faiss", tmp_path, ids, rows, index_type=name, grown_from=folders(name))
    store = open_store("faiss", tmp_path)

    before = open_store("faiss", folders(name)).facts
    assert (store.facts.trained, store.facts.rows) == (COUNT, COUNT + 400)
    assert store.facts.factory == before.factory
    assert store.list_sizes().sum() == len(store) == COUNT + 400
    got = store.search(QUERIES, 10)
    assert not np.isin(got.ids, IDS[:300]).any()
    assert recall(got, exact.search(QUERIES, 10)) >= 0.93
    assert (store.search(more, 1).ids[:, 0] >= 10**9).mean() >= 0.95
    for query, scores, found in zip(QUERIES, got.scores, got.ids, strict=True):
        own = rows[[int(np.flatnonzero(ids == id_)[0]) for id_ in found]] @ query
        np.testing.assert_allclose(scores, own, atol=1e-5)


@pytest.mark.parametrize("name", ["hnsw", "lsh", "sq8"])
def test_types_without_cells_are_made_anew(folders, tmp_path, name):
    build_store(
        "faiss", tmp_path, IDS[:5_000], ROWS[:5_000], index_type=name, grown_from=folders(name)
    )

    assert open_store("faiss", tmp_path).facts.trained == 5_000


def test_cells_are_learned_anew_when_the_rows_have_doubled(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    build_store("faiss", tmp_path / "old", IDS[:2_000], ROWS[:2_000], index_type="ivf_flat")

    build_store(
        "faiss", tmp_path / "new", IDS, ROWS, index_type="ivf_flat", grown_from=tmp_path / "old"
    )

    assert open_store("faiss", tmp_path / "new").facts.trained == COUNT


@pytest.mark.parametrize("changed", [{"index_type": "ivf_sq8"}, {"recall": 0.8}])
def test_another_type_or_recall_is_made_anew(folders, tmp_path, changed):
    choices = {"index_type": "ivf_flat"} | changed

    build_store("faiss", tmp_path, IDS[100:], ROWS[100:], grown_from=folders("ivf_flat"), **choices)

    assert open_store("faiss", tmp_path).facts.trained == COUNT - 100


@pytest.mark.parametrize("name", ["ivf_sq8", "hnsw", "scann"])
def test_a_search_forgets_the_selection_of_the_one_before(folders, name):
    store = open_store("faiss", folders(name))
    few = np.sort(IDS[:4_000])
    few.flags.writeable = False  # so that what is made of it is kept
    asked = [None, few, None, few, few[::2], None]

    found = [store.search(QUERIES, 10, allowed=allowed) for allowed in asked]

    for place, allowed in enumerate(asked):
        alone = open_store("faiss", folders(name)).search(QUERIES, 10, allowed=allowed)
        np.testing.assert_array_equal(found[place].ids, alone.ids)
        if allowed is not None:
            assert set(found[place].ids.ravel().tolist()) - {-1} <= set(allowed.tolist())
    store.remove(few[:100])
    left = store.search(QUERIES, 10)
    assert not set(left.ids.ravel().tolist()) & set(few[:100].tolist())
    assert len(store) == COUNT - 100


def test_bits_of_rabitq_are_scored_again_twice_over(folders):
    made = read_facts(folders("rabitq"))["made"]

    assert made["setting"]["refine"] % 2 == 0
    assert made["recall"] >= made["target"]  # with as many candidates as it then takes
