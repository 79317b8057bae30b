"""Real engines behind LangChain's stores: Qdrant, Chroma, PostgreSQL with pgvector, Annoy."""

import gc
import json
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest

from indexing import build_index, open_index
from indexing.backup import backup_index, restore_index
from indexing.config import BuildConfig
from indexing.errors import BuildFailedError, StoreError, UsageError
from indexing.examining import Level
from indexing.managing import keep, purge, roll_back
from indexing.mending import mend
from indexing.reencoding import reembed_index
from indexing.stores.factory import open_bridge
from indexing.work import job
from tests.indexing.bridges import CONFIGS, POSTGRES, BridgeWorld, closed_port, config_file
from tests.indexing.test_milvus_index import TEXTS, lines_of, without
from tests.indexing.test_stores import by_hand, check, unit_rows

pytestmark = pytest.mark.engines

KB = "kb00000000000000ab"


@pytest.fixture(autouse=True)
def _their_warnings():
    """What the engines deprecate of themselves is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    gc.collect()  # an engine that a failed test left open would keep its folder


@pytest.fixture(params=["qdrant", "chroma", "pgvector"])
def kind(request):
    if request.param == "pgvector":
        request.getfixturevalue("postgres")
    return request.param


@pytest.fixture
def world(tmp_path, kind, word_encoder):
    return BridgeWorld(tmp_path, kind, word_encoder)


def opened(kind, folder, dim, rows=None, kb=KB):
    """A store of some kind, which takes its embeddings from `rows`."""
    store_class, config = CONFIGS[kind]
    text = "\n".join(line.strip() for line in config.splitlines())
    return open_bridge(
        {"class": store_class, "config": text, "knowledge_base": kb},
        folder.name.encode().hex().ljust(64, "0"),
        folder,
        dim,
        embeddings=None if rows is None else lambda ids: np.stack([rows[id_] for id_ in ids]),
    )


def test_what_is_found_is_what_exact_search_finds(kind, tmp_path):
    rows, queries = unit_rows(300, dim=24), unit_rows(5, seed=1, dim=24)
    store = opened(kind, tmp_path, 24, rows)
    store.add(np.arange(300), rows)
    gone = np.arange(0, 300, 3)
    store.remove(gone)

    got = store.search(queries, 20)

    check(got, by_hand(range(300), rows, queries, 20, lambda id_: id_ % 3))
    some = np.arange(1, 300, 29)
    got = store.search(queries, 8, allowed=some[some % 3 != 0])
    check(got, by_hand(range(300), rows, queries, 8, lambda id_: id_ in some and id_ % 3))
    assert store.present(np.arange(300)).tolist() == [id_ for id_ in range(300) if id_ % 3]


def test_an_index_follows_updates_deletions_and_rollback(world):
    world.build(without("d0", "d1"))
    world.build(TEXTS)
    assert world.agrees()
    world.build(without("d3") | {"d4": "plum plum plum"})
    assert world.agrees()
    assert world.problems() == []

    roll_back(world.index, None)

    assert world.problems() == []
    hits = open_index(world.index, encoder=world.encoder).search("plum cherry", 20, mode="dense")
    assert {(h.document, h.text) for h in hits} == set(TEXTS.items())


def test_rows_go_when_no_kept_generation_holds_them(world):
    world.build(TEXTS)
    world.build(without("d3", "d5"))
    assert world.rows() == len(TEXTS)
    keep(world.index, 1)
    assert world.rows() == len(TEXTS) - 2

    world.build(without("d3", "d5", "d6"))
    purge(world.index)

    assert world.rows() == len(TEXTS) - 3
    assert world.agrees()
    assert world.problems() == []


def test_what_breaks_off_is_never_seen_and_goes_with_the_next_build(world, monkeypatch):
    world.build(without("d1"))

    def breaks(point):
        if point == "manifest written":
            raise OSError("broken off")

    lines = [json.dumps({"id": i, "text": t + " more"}) for i, t in TEXTS.items()]
    with monkeypatch.context() as patch:
        patch.setattr("indexing.points.passing", breaks)
        with pytest.raises(BuildFailedError):
            build_index(["-"], world.index, world.config, encoder=world.encoder, lines=lines)
    assert world.agrees()

    world.build(TEXTS)

    assert world.agrees()
    assert world.rows() == len(TEXTS)
    assert world.problems() == []


def test_another_encoder_a_backup_and_the_doctor(world, tmp_path, make_word_encoder):
    world.build(TEXTS)
    backup_index(world.index, tmp_path / "kb.zip")
    other = make_word_encoder(dim=24, weights="v" * 64)
    for folder in (world.index, world.exact):
        reembed_index(folder, other)
    world.encoder = other
    assert world.agrees()

    world.index, world.encoder = tmp_path / "again", make_word_encoder()
    world.index.mkdir()
    restore_index(tmp_path / "kb.zip", world.index)
    found = open_index(world.index, encoder=world.encoder).search("plum cherry", 20, mode="dense")
    assert {h.document for h in found} == set(TEXTS)

    world.store().remove(np.arange(1, 4))
    assert world.problems() == ["3 chunks of the catalogue have no row."]
    with job(world.index, "doctor --fix") as work:
        mended = mend(world.index, work, lambda: world.encoder)
    assert [f.detail for f in mended if f.level in {Level.PROBLEM, Level.BEYOND}] == []
    assert world.rows() == len(TEXTS)


def test_texts_of_every_kind_are_kept(world):
    texts = {
        "d1": "apple \0pear 苹果🍎",
        "d2": "same text",
        "d3": "line\none 'quoted' \"x\" %s {y}",
    }

    world.build(texts)

    assert world.agrees()
    assert world.problems() == []


def test_another_process_finds_what_a_command_built(tmp_path):
    source = tmp_path / "notes.txt"
    source.write_text("Apples keep in a cool cellar.")
    store_class, config = CONFIGS["qdrant"]
    given = config_file(tmp_path, config)
    options = ["--store", "langchain", "--store-class", store_class, "--store-config", given]
    index = ["--index", str(tmp_path / "kb")]
    for module, rest in (
        ("indexing.build", [str(source), *options]),
        ("indexing.search", ["where do apples keep", "--mode", "dense"]),
    ):
        call = [sys.executable, "-m", module, *rest, *index, "--json"]
        done = subprocess.run(call, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    assert json.loads(done.stdout)["hits"][0]["text"] == "Apples keep in a cool cellar."


# Approximate ones


@pytest.mark.parametrize("name", ["chroma", "annoy"])
def test_an_approximate_engine_finds_most_of_the_nearest(name, tmp_path):
    rows, queries = unit_rows(3_000, dim=32), unit_rows(50, seed=1, dim=32)
    store = opened(name, tmp_path, 32, rows)
    if store.options.in_memory:
        store.fill(np.arange(3_000), rows)
    else:
        store.add(np.arange(3_000), rows)

    got = store.search(queries, 10)

    want = by_hand(range(3_000), rows, queries, 10)[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(got.ids, want, strict=True)])
    assert recall > 0.9, f"{name}: recall@10 {recall:.3f}"


def test_an_index_with_annoy_is_filled_when_it_is_opened(tmp_path, word_encoder):
    world = BridgeWorld(tmp_path, "annoy", word_encoder)
    world.build(without("d2"))
    world.build(TEXTS)

    assert world.agrees()
    assert world.problems() == []


# What can be wrong


def test_a_server_that_is_down_is_told_at_the_start_and_in_the_middle(
    postgres, tmp_path, word_encoder, monkeypatch
):
    world = BridgeWorld(tmp_path, "pgvector", word_encoder)
    world.build(without("d1"))
    address = f"postgresql+psycopg://me@127.0.0.1:{closed_port()}/db"
    gc.collect()
    with monkeypatch.context() as patch:
        patch.setenv(POSTGRES, address)
        with pytest.raises(
            BuildFailedError, match=r"does not answer .* Check that its server runs"
        ):
            build_index(
                ["-"],
                tmp_path / "other",
                world.config,
                encoder=word_encoder,
                lines=lines_of(TEXTS),
            )
        with pytest.raises(StoreError, match="does not answer"):
            open_index(world.index, encoder=word_encoder)
    monkeypatch.setattr("indexing.shared._AT_ONCE", 3)

    def goes(point):
        if point == "rows uploaded":
            postgres.psql("alter database angler allow_connections false")
            postgres.psql(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'angler'"
            )

    lines = lines_of({id_: f"{text} more" for id_, text in TEXTS.items()})
    try:
        with monkeypatch.context() as patch:
            patch.setattr("indexing.points.passing", goes)
            with pytest.raises(BuildFailedError) as caught:
                build_index(["-"], world.index, world.config, encoder=word_encoder, lines=lines)
    finally:
        postgres.psql("alter database angler allow_connections true")
    assert "The store langchain_postgres:PGVector" in str(caught.value)
    assert "the same call goes on from here" in str(caught.value)

    assert world.agrees()
    world.build(TEXTS)
    assert world.agrees()
    assert world.problems() == []


def test_a_wrong_password_is_told_and_not_shown(postgres, tmp_path, word_encoder, monkeypatch):
    monkeypatch.setenv(POSTGRES, f"postgresql+psycopg://me:secret@127.0.0.1:{closed_port()}/db")
    world = BridgeWorld(tmp_path, "pgvector", word_encoder)

    with pytest.raises(BuildFailedError) as caught:
        world.build(TEXTS)

    assert "secret" not in str(caught.value)


def test_a_collection_with_another_dimension_is_told(tmp_path, kind, word_encoder):
    world = BridgeWorld(tmp_path, kind, word_encoder)
    text = CONFIGS[kind][1].replace("{fingerprint}", tmp_path.name.replace("_", "-")[:40] + "x")
    world.config = replace(world.config, store_config=config_file(tmp_path, text))
    store = open_bridge(
        {
            "class": world.store_class,
            "config": (tmp_path / "given.toml").read_text("utf-8"),
            "knowledge_base": KB,
        },
        "f" * 64,
        world.index,
        8,
    )
    world.index.mkdir(exist_ok=True)
    store.add(np.arange(3), unit_rows(3))

    def build_and_search():
        world.build(TEXTS)
        open_index(world.index, encoder=word_encoder).search("plum", 3, mode="dense")

    with pytest.raises((BuildFailedError, StoreError), match=r"(?i)dimension"):
        build_and_search()


def test_two_processes_on_one_qdrant_folder_are_told(tmp_path, word_encoder):
    world = BridgeWorld(tmp_path, "qdrant", word_encoder)
    world.build(TEXTS)
    reader = open_index(world.index, encoder=word_encoder)
    assert reader.search("plum", 1, mode="dense")
    call = [sys.executable, "-m", "indexing.doctor", "--index", str(world.index)]

    done = subprocess.run(call, capture_output=True, text=True)

    assert done.returncode == 1
    assert "is already accessed by another instance of Qdrant client" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("store_class", "config", "message"),
    [
        (
            "langchain_qdrant:QdrantStore",
            "",
            "There is no QdrantStore in langchain_qdrant. It has .*QdrantVectorStore",
        ),
        ("langchain_qdrant:FastEmbedSparse", "", "is no VectorStore of LangChain."),
        ("langchain_redis:RedisVectorStore", "", "needs the package langchain-redis, which is not"),
        (
            "langchain_chroma:Chroma",
            '[arguments]\ncolection = "x"',
            "langchain_chroma:Chroma: got an unexpected keyword argument 'colection'.",
        ),
        (
            "langchain_postgres:PGVector",
            '[arguments]\nconnection = { env = "ANGLER_NOT_SET" }',
            "asks for ANGLER_NOT_SET in the environment. Set it.",
        ),
    ],
)
def test_a_wrong_class_or_configuration_is_told(
    tmp_path, word_encoder, store_class, config, message
):
    chosen = BuildConfig(
        store="langchain", store_class=store_class, store_config=config_file(tmp_path, config)
    )

    with pytest.raises(UsageError, match=message):
        build_index(["-"], tmp_path / "kb", chosen, encoder=word_encoder, lines=lines_of(TEXTS))
