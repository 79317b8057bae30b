"""A real Milvus server: stopped, killed and started again; every index type; the wrong token."""

import json
import threading
import time

import numpy as np
import pytest

from indexing import open_index
from indexing.config import BuildConfig
from indexing.errors import BuildFailedError, StoreError
from indexing.generation import current_folder
from indexing.manifest import Manifest
from indexing.pipeline import build_index
from indexing.shared_reader import open_shared
from indexing.stores import make_store
from indexing.stores.milvus import MilvusStore
from indexing.stores.milvus_options import MilvusPlace
from tests.indexing.test_milvus_index import TEXTS, World, without
from tests.indexing.test_stores import unit_rows

pytestmark = pytest.mark.engines

TYPES = ["flat", "auto", "ivf_flat", "ivf_sq8", "ivf_pq,m=8", "scann", "hnsw"]


@pytest.fixture
def world(tmp_path, milvus_server, word_encoder):
    return World(tmp_path, milvus_server.uri, word_encoder)


@pytest.mark.parametrize("consistency", ["session", "strong"])
def test_what_is_published_is_seen_at_once_by_another_client(world, consistency):
    for number in range(5):
        texts = {**TEXTS, "new": f"plum plum {number}"}
        world.build(texts, consistency=consistency)
        hit = open_index(world.index, encoder=world.encoder).search("plum", 1, mode="dense")[0]
        assert hit.text == f"plum plum {number}"


@pytest.mark.parametrize("index_type", TYPES)
def test_every_index_type_of_a_server_finds_what_it_should(milvus_server, index_type):
    name = index_type.partition(",")[0]
    place = MilvusPlace(uri=milvus_server.uri, collection=f"t_{name}", knowledge_base="kb")
    has_lists = name in {"ivf_flat", "ivf_sq8", "ivf_pq", "scann"}
    text = f"{index_type},nlist=16,nprobe=16" if has_lists else index_type
    rows, queries = unit_rows(2_000, dim=32), unit_rows(20, seed=1, dim=32)
    store = MilvusStore(place, 32, index_type=text, create=True)
    store.add(np.arange(2_000), rows)
    store.finish(10_000)
    wait_for_index(store)

    got = store.search(queries, 10)

    exact = make_store("exact", 32)
    exact.add(np.arange(2_000), rows)
    want = exact.search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(got.ids, want.ids, strict=True)])
    least = {"ivf_pq": 0.5, "scann": 0.7}.get(name, 0.9)
    assert recall >= (1.0 if store.capabilities.exact else least), recall
    if store.capabilities.exact:
        np.testing.assert_allclose(got.scores, want.scores, atol=1e-5)


def test_an_index_type_that_the_server_lacks_is_told_and_nothing_is_left(milvus_server):
    place = MilvusPlace(uri=milvus_server.uri, collection="t_gpu", knowledge_base="kb")

    with pytest.raises(StoreError, match="could not open the collection: "):
        MilvusStore(place, 32, index_type="gpu_cagra", create=True)

    assert len(MilvusStore(place, 32, index_type="flat", create=True)) == 0


def wait_for_index(store):
    """Until no row waits for its index, so that the index answers and not a scan."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        name = store._client.describe_collection(store.place.collection)["collection_name"]
        if store._client.describe_index(name, "embedding")["pending_index_rows"] == 0:
            return
        time.sleep(0.5)


def test_a_wrong_token_is_told(world, monkeypatch):
    monkeypatch.setenv("ANGLER_MILVUS_TOKEN", "root:wrong")

    with pytest.raises(BuildFailedError) as caught:
        world.build(TEXTS)

    assert "does not accept the token. Give a valid one as ANGLER_MILVUS_TOKEN" in str(caught.value)
    assert "root:wrong" not in str(caught.value)


def test_a_server_that_starts_again_has_all_that_was_published(world, milvus_server):
    world.build(TEXTS)
    reader = open_index(world.index, encoder=world.encoder)
    assert reader.search("plum", 1, mode="dense")

    milvus_server.kill()
    milvus_server.start()

    assert world.agrees()
    assert world.problems() == []
    assert reader.search("plum", 1, mode="dense")


def test_a_server_that_goes_in_the_middle_of_a_build_loses_nothing(
    world, milvus_server, monkeypatch
):
    world.build(without("d1"))
    before = world.encoder.encoded.copy()
    monkeypatch.setattr("indexing.shared._AT_ONCE", 3)
    seen = []

    def goes(point):
        if point == "rows uploaded":
            seen.append(point)
            if len(seen) == 2:
                milvus_server.kill()

    texts = {id_: f"{text} more" for id_, text in TEXTS.items()}
    lines = [json.dumps({"id": id_, "text": text}) for id_, text in texts.items()]
    with monkeypatch.context() as patch:
        patch.setattr("indexing.stores.milvus.REQUEST_S", 3.0)  # only while it is away
        patch.setattr("indexing.points.passing", goes)
        with pytest.raises(BuildFailedError) as caught:
            build_index(["-"], world.index, world.config, encoder=world.encoder, lines=lines)
        with pytest.raises(StoreError, match="does not answer"):
            open_index(world.index, encoder=world.encoder)
    assert f"The Milvus server at {milvus_server.uri} does not answer." in str(caught.value)
    assert "the same call goes on from here" in str(caught.value)
    encoded = len(world.encoder.encoded)

    milvus_server.start()
    assert world.agrees()  # the generation before
    build_index(["-"], world.index, world.config, encoder=world.encoder, lines=lines)

    assert before
    assert len(world.encoder.encoded) == encoded  # nothing was encoded again
    build_index(["-"], world.exact, BuildConfig(store="exact"), encoder=world.encoder, lines=lines)
    assert world.agrees()
    assert world.problems() == []


def test_a_short_absence_is_waited_for(world, milvus_server):
    world.build(TEXTS)
    reader = open_index(world.index, encoder=world.encoder)
    milvus_server.stop()
    starting = threading.Thread(target=milvus_server.start)
    starting.start()

    hits = reader.search("plum", 1, mode="dense")

    starting.join()
    assert hits


def test_a_collection_is_named_by_its_alias(world):
    world.build(TEXTS)
    store = open_shared(Manifest.read(current_folder(world.index)), world.index)

    found = store._client.describe_collection(store.place.collection)

    assert found["collection_name"] == f"{store.place.collection}_1"
