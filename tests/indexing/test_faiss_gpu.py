"""FAISS's own GPU indexes against its CPU ones, where both are; what is refused, everywhere."""

import faiss
import numpy as np
import pytest

from encoder import MissingExtraError
from indexing.errors import UsageError
from indexing.stores import faiss_gpu
from indexing.stores.faiss import FaissIndex, Setting
from indexing.stores.faiss_gpu import GpuSearcher, count_gpus, filled_on_gpu, set_cells

DIM = 32
ROWS = np.random.default_rng(1).standard_normal((6_000, DIM)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
QUERIES = ROWS[:200] + 0.1 * np.random.default_rng(2).standard_normal((200, DIM)).astype(np.float32)
on_gpu = pytest.mark.skipif(
    not count_gpus(), reason="no FAISS with GPUs, or no GPU, on this machine"
)


def on_cpu(factory):
    index = FaissIndex.make(factory, DIM)
    index.train(ROWS)
    index.add(ROWS)
    return index


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("factory", ["Flat", "IVF64,Flat", "IVF64,SQ8", "IVF64,PQ8np"])
@pytest.mark.parametrize("shards", [False, True])
def test_copies_on_gpus_find_what_the_index_finds(factory, shards):
    index = on_cpu(factory)

    scores, found = GpuSearcher(index, shards=shards).search(QUERIES, 10, Setting(nprobe=8))

    want_scores, want = index.search(QUERIES, 10, Setting(nprobe=8))
    assert (found == want).mean() > 0.99  # but for ties
    np.testing.assert_allclose(scores, want_scores, atol=1e-3)


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("factory", ["IVF64,Flat", "IVF64,SQ8", "IVF64,PQ8np"])
def test_an_index_filled_on_a_gpu_finds_as_much_as_one_of_the_cpu(factory):
    want = np.argpartition(-(QUERIES @ ROWS.T), 10, axis=1)[:, :10]

    ours = filled_on_gpu(FaissIndex.make(factory, DIM), ROWS, ROWS)

    def recall(index):
        _, found = index.search(QUERIES, 10, Setting(nprobe=16))
        return (found[:, :, None] == want[:, None, :]).any(axis=2).mean()

    assert len(ours) == len(ROWS)
    assert recall(ours) >= recall(on_cpu(factory)) - 0.02


@on_gpu
@pytest.mark.gpu
def test_what_faiss_cannot_do_on_a_gpu_is_refused():
    with pytest.raises(UsageError, match="FAISS cannot do this on a GPU"):
        GpuSearcher(on_cpu("HNSW8"))
    searcher = GpuSearcher(on_cpu("Flat"))
    with pytest.raises(UsageError, match="at most 2048 results"):
        searcher.search(QUERIES, 3_000, Setting())
    with pytest.raises(UsageError, match=r"got the devices \[99\]"):
        GpuSearcher(on_cpu("Flat"), devices=[99])


@pytest.mark.skipif(faiss_gpu._knows_gpus(), reason="this FAISS knows GPUs")
def test_a_build_without_gpus_is_named_with_the_one_that_has_them():
    assert count_gpus() == 0
    with pytest.raises(MissingExtraError, match="faiss-gpu"):
        GpuSearcher(on_cpu("Flat"))
    with pytest.raises(MissingExtraError, match="faiss-gpu"):
        filled_on_gpu(FaissIndex.make("IVF64,Flat", DIM), ROWS, ROWS)


def test_every_copy_and_every_part_visits_as_many_cells():
    parts = [on_cpu("OPQ8,IVF64,Flat").raw, on_cpu("IVF64,SQ8").raw]
    replicas, shards = faiss.IndexReplicas(DIM), faiss.IndexShards(DIM)
    for part in parts:
        replicas.add_replica(part)
        shards.add_shard(part)

    for index, nprobe in ((replicas, 7), (shards, 9)):
        set_cells(index, nprobe)

        assert faiss.downcast_index(parts[0].index).nprobe == nprobe
        assert parts[1].nprobe == nprobe
    set_cells(on_cpu("Flat").raw, 3)  # which has none
