"""Indexes built by torch beside those of FAISS: the same cells and codes, as good a recall."""

import faiss
import numpy as np
import pytest
import torch

from indexing.errors import UsageError
from indexing.stores.faiss import Chosen, FaissIndex, Setting, _in_pairs
from indexing.stores.torch_engine import TorchEngine, engine_for

COUNT, DIM = 12_000, 32
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def clustered(count, seed):
    centres = np.random.default_rng(7).standard_normal((60, DIM))
    chance = np.random.default_rng(seed)
    rows = centres[chance.integers(0, 60, count)] + 0.7 * chance.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS, QUERIES = clustered(COUNT, 1), clustered(300, 2)
ASKED = clustered(2_000, 3)
"""So many that chance moves the recall by less than is allowed for."""
NEAREST = np.argpartition(-(ASKED @ ROWS.T), 10, axis=1)[:, :10]


@pytest.fixture(params=DEVICES)
def engine(request):
    return TorchEngine(request.param)


def recall(index, setting):
    _, found = index.search(ASKED, 10, setting)
    return (found[:, :, None] == NEAREST[:, None, :]).any(axis=2).mean()


def test_rows_come_into_the_cell_that_faiss_finds_nearest(engine):
    centroids = engine.cells(ROWS, 64, rounds=4, seed=1, is_round=True)
    index = faiss.IndexFlatIP(DIM)
    index.add(centroids)

    got = engine.nearest_cells(ROWS, centroids, is_round=True)

    scores, want = index.search(ROWS, 1)
    own = np.einsum("ij,ij->i", ROWS, centroids[got])
    np.testing.assert_allclose(own, scores[:, 0], atol=1e-5)  # equal but for ties
    assert (got == want[:, 0]).mean() > 0.999
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)


def test_the_codes_are_those_of_faiss(engine):
    rest = ROWS - ROWS.mean(axis=0)
    pq = faiss.ProductQuantizer(DIM, 4, 8)
    books = engine.codebooks(rest[:5_000], 4, 256, rounds=5, seed=3)
    faiss.copy_array_to_vector(books.ravel(), pq.centroids)

    got = engine.codes(rest, books)

    want = pq.compute_codes(rest)
    assert (got == want).mean() > 0.999
    error = ((pq.decode(got) - rest) ** 2).sum(axis=1)
    np.testing.assert_allclose(error, ((pq.decode(want) - rest) ** 2).sum(axis=1), atol=1e-5)


def test_the_codes_lose_no_more_of_a_row_than_those_that_faiss_learns(engine):
    rest = ROWS - ROWS.mean(axis=0)
    ours, theirs = (faiss.ProductQuantizer(DIM, 4, 8) for _ in range(2))
    theirs.train(rest)

    books = engine.codebooks(rest, 4, 256, rounds=25, seed=1234)
    faiss.copy_array_to_vector(books.ravel(), ours.centroids)

    lost = [((pq.decode(pq.compute_codes(rest)) - rest) ** 2).sum() for pq in (ours, theirs)]
    assert lost[0] <= 1.005 * lost[1]


@pytest.mark.parametrize("is_round", [True, False])
def test_k_means_fits_as_well_as_that_of_faiss(engine, is_round):
    kmeans = faiss.Kmeans(DIM, 100, niter=10, seed=5, spherical=is_round)
    kmeans.train(ROWS)

    ours = engine.cells(ROWS, 100, rounds=10, seed=5, is_round=is_round)

    def misfit(centroids):
        nearest = faiss.knn(ROWS, centroids, 1)[0]
        return float(nearest.mean())

    assert misfit(ours) <= 1.02 * misfit(kmeans.centroids)


def test_no_cell_stays_empty_where_many_rows_are_equal(engine):
    rows = np.concatenate([np.repeat(ROWS[:1], 900, axis=0), ROWS[:100]])

    centroids = engine.cells(rows, 50, rounds=8, seed=0, is_round=False)

    assert np.isfinite(centroids).all()
    assert len(np.unique(centroids.round(4), axis=0)) > 30


def test_the_same_seed_gives_the_same_cells():
    engine = TorchEngine("cpu")

    one, other = (engine.cells(ROWS, 40, rounds=3, seed=9, is_round=True) for _ in range(2))

    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "factory",
    [
        "IVF128,Flat",
        "IVF128,SQ8",
        "IVF128,PQ8np",
        "OPQ8,IVF128,PQ8np",
        "IVF128,PQ16x4fs",
        "RR32,IVF128,RaBitQ",
        "RR32,IVF128,RaBitQfs",
        "IVF128_HNSW8,SQ8",
    ],
)
def test_an_index_built_by_torch_finds_as_much_as_one_built_by_faiss(engine, factory):
    ours, theirs = (FaissIndex.make(factory, DIM) for _ in range(2))

    ours.train(ROWS, engine)
    ours.add(ROWS[:7_000], engine)
    ours.add(ROWS[7_000:], engine)
    theirs.train(ROWS)
    theirs.add(ROWS)

    assert len(ours) == ours.list_sizes().sum() == COUNT
    for nprobe in (8, 128):
        setting = Setting(nprobe=nprobe)
        # Codes of a byte that FAISS itself learns from another seed move it by as much.
        assert recall(ours, setting) >= recall(theirs, setting) - 0.015
    if factory == "IVF128,Flat":
        assert recall(ours, Setting(nprobe=128)) == 1.0


@pytest.mark.parametrize("factory", ["IVF64,PQ16x4fs", "OPQ16,IVF64,PQ16x4fs", "IVF64,PQ16x4"])
def test_codes_of_four_bits_are_packed_as_faiss_packs_them(engine, factory):
    index = FaissIndex.make(factory, DIM)
    index.train(ROWS)
    other = FaissIndex(faiss.clone_index(index._index))

    index.add(ROWS, engine)
    other.add(ROWS)

    setting = Setting(nprobe=12)
    assert len(index) == COUNT
    assert (index.list_sizes() == other.list_sizes()).mean() > 0.95  # but for ties
    (scores, got), (want_scores, want) = (i.search(QUERIES, 10, setting) for i in (index, other))
    assert (got == want).mean() > 0.999
    np.testing.assert_allclose(scores, want_scores, atol=1e-4)
    chosen = Chosen(np.arange(COUNT) % 3 == 0)  # packed or not, rows can be passed over
    assert set(index.search(QUERIES, 10, setting, chosen)[1].ravel() % 3) == {0}
    index.add(ROWS[:100], engine)  # onto what is there, FAISS packs alone
    assert len(index) == index.list_sizes().sum() == COUNT + 100


@pytest.mark.parametrize("factory", ["IVF64,SQ4,RFlat", "OPQ16,IVF64,PQ16x4fs,RFlat"])
def test_an_index_that_keeps_the_rows_besides_is_left_to_faiss(engine, factory):
    ours, theirs = (FaissIndex.make(factory, DIM) for _ in range(2))

    for index, by in ((ours, engine), (theirs, None)):
        index.train(ROWS, by)
        index.add(ROWS, by)

    for one, other in zip(
        *(index.search(QUERIES, 5, Setting(nprobe=9)) for index in (ours, theirs)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_an_odd_number_of_four_bit_codes_fills_half_of_the_last_byte():
    rows = np.random.default_rng(4).standard_normal((400, 33)).astype(np.float32)
    pq = faiss.ProductQuantizer(33, 11, 4)
    pq.train(rows)
    books = faiss.vector_to_array(pq.centroids).reshape(11, 16, 3)

    got = _in_pairs(TorchEngine("cpu").codes(rows, books))

    np.testing.assert_array_equal(got, pq.compute_codes(rows))


def test_what_torch_built_is_saved_and_opened_by_faiss_alone(engine, tmp_path):
    index = FaissIndex.make("IVF64,PQ8np", DIM)
    index.train(ROWS, engine)
    index.add(ROWS, engine)

    index.save(tmp_path / "x.faiss")
    opened = FaissIndex.open(tmp_path / "x.faiss")

    for one, other in zip(
        index.search(QUERIES, 5, Setting(nprobe=9)),
        opened.search(QUERIES, 5, Setting(nprobe=9)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_fewer_rows_than_cells_are_refused():
    with pytest.raises(ValueError, match="a row for each of 50 cells, got 49"):
        TorchEngine("cpu").cells(ROWS[:49], 50, rounds=1, seed=0, is_round=True)


def test_no_rows_have_no_cells_and_no_codes():
    engine = TorchEngine("cpu")

    assert engine.nearest_cells(ROWS[:0], ROWS[:5], is_round=True).shape == (0,)
    assert engine.codes(ROWS[:0], ROWS[:16].reshape(4, 4, 32)[:, :, :8]).shape == (0, 4)


def test_the_device_says_who_builds():
    assert engine_for("cpu") is None
    assert engine_for("cpu,cpu") is None
    assert isinstance(engine_for("torch-cpu"), TorchEngine)
    with pytest.raises(UsageError, match="Unknown device 'tpu'"):
        engine_for("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:0,cuda:1"])
def test_a_gpu_that_is_not_there_is_refused(device):
    assert engine_for("auto") is None
    with pytest.raises(UsageError, match="no CUDA device to build the index on; use --device cpu"):
        engine_for(device)
