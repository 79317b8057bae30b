"""Index types of Milvus by name, and where a store lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.errors import UsageError
from indexing.stores.milvus_options import (
    MilvusPlace,
    check_uri,
    opened_uri,
    place_of,
    stored_uri,
)
from indexing.stores.milvus_types import _KINDS, MilvusType


@pytest.mark.parametrize(
    ("text", "name", "build", "search"),
    [
        ("flat", "FLAT", {}, {}),
        ("auto", "AUTOINDEX", {}, {}),
        ("HNSW", "HNSW", {"M": 16, "efConstruction": 200}, {"ef": 128}),
        ("hnsw, M=32 ,ef=5", "HNSW", {"M": 32, "efConstruction": 200}, {"ef": 10}),
        ("ivf_flat,nlist=8,nprobe=20", "IVF_FLAT", {"nlist": 8}, {"nprobe": 8}),
        ("ivf_sq8", "IVF_SQ8", {"nlist": 1024}, {"nprobe": 32}),
        ("ivf_pq,nlist=4", "IVF_PQ", {"nlist": 4, "m": 96, "nbits": 8}, {"nprobe": 4}),
        (
            "scann,with_raw_data=false,reorder_k=3",
            "SCANN",
            {"nlist": 1024, "with_raw_data": False},
            {"nprobe": 32, "reorder_k": 10},
        ),
        ("diskann", "DISKANN", {}, {"search_list": 100}),
        ("gpu_brute_force", "GPU_BRUTE_FORCE", {}, {}),
        (
            "gpu_cagra,build_algo=NN_DESCENT,search_width=4",
            "GPU_CAGRA",
            {"intermediate_graph_degree": 128, "graph_degree": 64, "build_algo": "NN_DESCENT"},
            {"itopk_size": 128, "search_width": 4},
        ),
        ("gpu_ivf_flat", "GPU_IVF_FLAT", {"nlist": 1024}, {"nprobe": 32}),
        ("gpu_ivf_pq,m=48", "GPU_IVF_PQ", {"nlist": 1024, "m": 48, "nbits": 8}, {"nprobe": 32}),
    ],
)
def test_an_index_type_with_its_parameters(text, name, build, search):
    found = MilvusType.parse(text, dim=384)

    assert (found.milvus_name, found.build, found.search(10)) == (name, build, search)
    assert MilvusType.parse(str(found), dim=384) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hsnw", "The milvus store has no index type 'hsnw'. Known: auto, flat, ivf_flat,"),
        ("hnsw,m=4", "The index type hnsw takes M, efConstruction, ef; got 'm=4'."),
        ("hnsw,M", "The index type hnsw takes M, efConstruction, ef; got 'M'."),
        ("flat,x=1", "The index type flat takes no parameters; got 'x=1'."),
        ("hnsw,M=1", "M must be a whole number from 2 to 2048, got '1'."),
        ("ivf_flat,nlist=-4", "nlist must be a whole number from 1 to 65536, got '-4'."),
        ("scann,with_raw_data=yes", "with_raw_data must be one of true, false, got 'yes'."),
        ("ivf_pq,m=7", "ivf_pq needs an m that divides the embeddings' 384 values, got 7."),
    ],
)
def test_a_wrong_index_type_is_told(text, message):
    with pytest.raises(UsageError) as caught:
        MilvusType.parse(text, dim=384)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["ivf_pq", "scann", "diskann", "gpu_cagra"])
def test_milvus_lite_has_fewer_types(name):
    with pytest.raises(UsageError, match=f"Milvus Lite has no index type '{name}'"):
        MilvusType.parse(name, is_lite=True)


@given(st.sampled_from(sorted(_KINDS)), st.integers(1, 4096), st.integers(1, 20_000))
def test_what_is_searched_with_is_wide_enough(name, dim, k):
    found = MilvusType.parse(name, dim=dim)

    widened = {"ef", "reorder_k", "search_list", "itopk_size"}
    assert all(value >= k for key, value in found.search(k).items() if key in widened)
    if "m" in found.build:
        assert dim % found.build["m"] == 0


def test_probing_all_lists_is_exact():
    assert MilvusType.parse("ivf_flat,nlist=8,nprobe=8").exact
    assert MilvusType.parse("flat").exact
    assert not MilvusType.parse("ivf_flat,nlist=8,nprobe=7").exact
    assert not MilvusType.parse("ivf_sq8,nlist=8,nprobe=8").exact
    assert not MilvusType.parse("hnsw").exact


# Where it lies


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:19530",
        "https://host.example:443/database",
        "tcp://host:19530",
        "unix:/run/milvus.sock",
        "folder/x.db",
        "/abs/x.db",
    ],
)
def test_addresses(uri):
    check_uri(uri)


@pytest.mark.parametrize("uri", ["", "milvus", "host:19530", "http://", "file:///x.db", "x.sqlite"])
def test_what_is_no_address_is_told(uri):
    with pytest.raises(UsageError, match="--uri must be an address such as"):
        check_uri(uri)


def test_a_folder_in_the_index_moves_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert stored_uri(None, tmp_path / "kb") == "milvus.db"
    assert stored_uri("kb/own.db", tmp_path / "kb") == "own.db"
    assert stored_uri("other/own.db", tmp_path / "kb") == str(tmp_path / "other/own.db")
    assert stored_uri("http://a:1", tmp_path / "kb") == "http://a:1"
    assert opened_uri("own.db", tmp_path / "moved") == str(tmp_path / "moved/own.db")
    assert opened_uri("/abs/own.db", tmp_path) == "/abs/own.db"


def test_a_machine_may_have_another_address(tmp_path, monkeypatch):
    monkeypatch.setenv("ANGLER_MILVUS_URI", "https://inside:1")

    assert opened_uri("http://outside:1", tmp_path) == "https://inside:1"
    assert stored_uri("http://outside:1", tmp_path) == "http://outside:1"


def test_a_place_is_one_collection_for_each_encoder(tmp_path):
    options = {"uri": "http://a:1", "knowledge_base": "kb1", "written": "17"}

    one = place_of(options, "f" * 64, tmp_path)

    assert one.collection == "angler_" + "f" * 32
    assert (one.consistency, one.written) == ("session", 17)
    assert place_of(options, "e" * 64, tmp_path).collection != one.collection


@pytest.mark.parametrize("name", ["", 'kb" or 1 == 1', "a b", "x" * 65])
def test_a_name_that_could_end_its_literal_is_refused(name):
    with pytest.raises(UsageError, match="is no name for Milvus"):
        MilvusPlace(uri="http://a:1", collection="c", knowledge_base=name)


def test_secrets_and_certificates_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("ANGLER_MILVUS_TOKEN", "me:secret")
    monkeypatch.setenv("ANGLER_MILVUS_CA", "/etc/ca.pem")
    secure = MilvusPlace(uri="https://a:1", collection="c", knowledge_base="k")
    plain = MilvusPlace(uri="http://a:1", collection="c", knowledge_base="k")

    assert secure.connection() == {
        "uri": "https://a:1",
        "token": "me:secret",
        "secure": True,
        "ca_pem_path": "/etc/ca.pem",
    }
    assert plain.connection() == {"uri": "http://a:1", "token": "me:secret"}
    assert "secret" not in repr(secure)
