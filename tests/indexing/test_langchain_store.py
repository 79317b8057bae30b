"""The bridge to LangChain's stores, over the one that LangChain itself brings."""

import json
from weakref import WeakValueDictionary

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from indexing import build_index, open_index
from indexing.build import main
from indexing.config import BuildConfig, read_config
from indexing.errors import BuildFailedError, StoreError, UsageError
from indexing.managing import roll_back
from indexing.stores.langchain import LangChainStore
from indexing.stores.langchain_options import bridge_options
from indexing.stores.milvus_rows import RowSource
from tests.indexing.bridges import CONFIGS, IN_MEMORY, BridgeWorld, config_file
from tests.indexing.test_milvus_index import TEXTS, WORDS, lines_of, without
from tests.indexing.test_stores import by_hand, check, unit_rows

DIM = 8
KB = "kb00000000000000ab"


class Requests(InMemoryVectorStore):
    """Notes what it is asked."""

    def __init__(self, embedding):
        super().__init__(embedding)
        self.requests = []

    def add_texts(self, texts, metadatas=None, *, ids=None, **kwargs):
        self.requests.append(list(texts))
        return super().add_texts(texts, metadatas, ids=ids, **kwargs)


class NoVectors(InMemoryVectorStore):
    """Cannot be asked with a vector, as Redis before it could."""

    similarity_search_by_vector = VectorStore.similarity_search_by_vector


class Stripping(InMemoryVectorStore):
    """Changes the texts, as some classes do."""

    def add_texts(self, texts, metadatas=None, *, ids=None, **kwargs):
        return super().add_texts([text.replace("\n", " ") for text in texts], metadatas, ids=ids)


class Failing(InMemoryVectorStore):
    """Its server is gone."""

    def add_texts(self, *_, **__):
        raise RuntimeError("http://me:secret@host failed: [Errno 111] Connection refused\nmore")

    def delete(self, ids=None, **_):
        raise ValueError("bad ids\nand more of it")


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch):
    monkeypatch.setenv("ANGLER_STORE_MODULES", "tests")
    # Each test is a process of its own: nothing is open yet.
    monkeypatch.setattr("indexing.stores.langchain._OPEN", WeakValueDictionary())


def store_of(tmp_path, rows=None, name=IN_MEMORY, config="", kb=KB):
    kept = {} if rows is None else rows
    return LangChainStore(
        bridge_options(name, config),
        kb,
        tmp_path,
        "f" * 64,
        DIM,
        embeddings=lambda ids: np.stack([kept[id_] for id_ in ids]),
    )


def own(name):
    return f"tests.indexing.test_langchain_store:{name}"


@pytest.mark.parametrize("name", [IN_MEMORY, "NoVectors"])
def test_what_is_found_is_what_exact_search_finds(tmp_path, name):
    rows, queries = unit_rows(60), unit_rows(5, seed=1)
    store = store_of(tmp_path, rows, name if ":" in name else own(name))
    store.add(np.arange(60), rows)

    check(store.search(queries, 7), by_hand(range(60), rows, queries, 7))

    gone = np.arange(0, 60, 3)
    store.remove(gone)
    want = by_hand(range(60), rows, queries, 50, lambda id_: id_ % 3)
    check(store.search(queries, 50), want)
    assert store.present(np.arange(60)).tolist() == [id_ for id_ in range(60) if id_ % 3]


def test_only_what_is_allowed_is_found_and_nothing_that_is_excluded(tmp_path):
    rows, queries = unit_rows(60), unit_rows(3, seed=1)
    store = store_of(tmp_path, rows)
    store.add(np.arange(60), rows)
    some = np.arange(0, 60, 7)

    got = store.search(queries, 12, allowed=some)
    check(got, by_hand(range(60), rows, queries, 12, lambda id_: id_ in some))
    got = store.search(queries, 12, excluded=some)
    check(got, by_hand(range(60), rows, queries, 12, lambda id_: id_ not in some))
    nothing = store.search(queries, 2, allowed=np.empty(0, np.int64))
    assert nothing.ids.tolist() == [[-1, -1]] * 3


def test_more_than_the_store_gives_is_compared_one_by_one(tmp_path):
    rows, queries = unit_rows(90), unit_rows(3, seed=1)
    store = store_of(tmp_path, rows, config="most-k = 30")
    store.add(np.arange(90), rows)

    got = store.search(queries, 40, allowed=np.arange(90))

    check(got, by_hand(range(90), rows, queries, 40))


def test_two_knowledge_bases_of_one_store_do_not_see_each_other(tmp_path):
    rows = unit_rows(20)
    first, second = (store_of(tmp_path, rows, kb=f"kb{n:016x}") for n in (1, 2))
    assert first._engine is second._engine
    first.add(np.arange(10), rows[:10])
    second.add(np.arange(20), rows)

    assert set(first.search(rows[15:16], 12).ids[0].tolist()) == {*range(10), -1}
    first.remove(np.arange(10))
    assert len(second.present(np.arange(20))) == 20


def test_requests_are_bounded_and_texts_that_repeat_keep_their_embeddings(tmp_path):
    rows = unit_rows(9)
    store = store_of(tmp_path, rows, own("Requests"), "most-rows = 4\nmost-bytes = 2000")
    texts = ["a", "b", "a", "c", "d", "e", "f", "x" * 1900, "a"]
    sources = [RowSource(n, {"text": t, "metadata": {}}, len(t)) for n, t in enumerate(texts)]

    store.write(sources, rows, 1)

    requests = store._engine.store.requests
    assert requests == [["a", "b"], ["a", "c", "d", "e"], ["f"], ["x" * 1900], ["a"]]
    assert store.search(rows, 1).ids[:, 0].tolist() == list(range(9))


def test_a_class_that_changes_texts_is_told_and_not_trusted(tmp_path):
    store = store_of(tmp_path, name=own("Stripping"))
    sources = [RowSource(1, {"text": "one\nline", "metadata": {}}, 8)]

    with pytest.raises(StoreError, match="does not ask for the embeddings of the texts"):
        store.write(sources, unit_rows(1), 1)


def test_errors_of_an_engine_are_one_sentence_without_passwords(tmp_path):
    store = store_of(tmp_path, name=own("Failing"))

    with pytest.raises(StoreError) as lost:
        store.add(np.arange(1), unit_rows(1))
    with pytest.raises(StoreError) as refused:
        store.remove(np.arange(1))

    name = own("Failing")
    assert str(lost.value) == (
        f"The store {name} does not answer (http://...@host failed: [Errno 111] Connection "
        "refused). Check that its server runs and that the address in its configuration is right."
    )
    assert str(refused.value) == f"The store {name} could not delete rows: bad ids."


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("langchain_nowhere:Some", "", "langchain_nowhere is none of the packages"),
        ("langchain_aws:Some", "", "needs the package langchain-aws, which is not installed .*pip"),
        (
            "langchain_core.vectorstores:InMemory",
            "",
            "There is no InMemory in langchain_core.vectorstores. It has .*InMemoryVectorStore",
        ),
        ("langchain_core.documents:Document", "", "is no VectorStore of LangChain."),
        (own("np"), "", "is not a class or function of the package tests."),
        (IN_MEMORY, 'make = "load_it"', "InMemoryVectorStore has no method 'load_it'"),
        (IN_MEMORY, "[arguments]\nhost = 1", "got an unexpected keyword argument 'host'"),
        (IN_MEMORY, 'make = "dump"', "does not show which argument takes the embeddings"),
    ],
)
def test_a_class_that_cannot_be_made_is_told(tmp_path, name, config, message):
    with pytest.raises(UsageError, match=message):
        store_of(tmp_path, name=name, config=config)


# Whole indexes


@pytest.fixture
def world(tmp_path, word_encoder):
    world = BridgeWorld(tmp_path, "memory", word_encoder)
    # The process is the server here: the store lives as long as somebody holds it.
    world.server = store_of(tmp_path)
    return world


def test_an_index_answers_as_the_exact_one_through_updates_and_rollback(world):
    world.build(without("d0", "d1"))
    assert world.agrees()
    world.build(without("d3") | {"d4": "plum plum plum"})
    assert world.agrees()
    assert world.problems() == []

    reader = open_index(world.index, encoder=world.encoder)
    before = [(h.document, h.text) for h in reader.search("plum", 5, mode="dense")]
    world.build(TEXTS)
    assert [(h.document, h.text) for h in reader.search("plum", 5, mode="dense")] == before

    roll_back(world.index, None)
    again = open_index(world.index, encoder=world.encoder)
    assert [(h.document, h.text) for h in again.search("plum", 5, mode="dense")] == before
    assert world.problems() == []


@pytest.mark.parametrize("failing", ["rows uploaded", "manifest written", "pointer prepared"])
def test_what_breaks_off_is_never_seen_and_leaves_no_row(world, monkeypatch, failing):
    world.build(without("d1"))
    count = world.rows()

    def breaks(point):
        if point == failing:
            raise OSError("broken off")

    lines = [json.dumps({"id": i, "text": t + " more"}) for i, t in TEXTS.items()]
    with monkeypatch.context() as patch:
        patch.setattr("indexing.points.passing", breaks)
        with pytest.raises(BuildFailedError):
            build_index(["-"], world.index, world.config, encoder=world.encoder, lines=lines)
    assert world.agrees()

    world.build(without("d1", "d2"))

    assert world.agrees()
    assert world.rows() == count  # that of d2, too: the generation before still holds it
    assert world.problems() == []


def test_a_store_in_memory_is_made_when_the_index_is_opened(tmp_path, word_encoder):
    world = BridgeWorld(tmp_path, "memory", word_encoder)
    text = "in-memory = true"
    config = BuildConfig(
        store="langchain", store_class=IN_MEMORY, store_config=config_file(tmp_path, text)
    )
    world.config = config
    world.build(without("d1"))
    world.build(TEXTS)

    assert world.agrees()
    assert world.problems() == []


def test_filters_are_kept_to(world, monkeypatch):
    monkeypatch.setattr("indexing.generation.EXACT_ALLOWED", 0)
    world.build(TEXTS)
    got, want = (open_index(folder, encoder=world.encoder) for folder in (world.index, world.exact))

    for expression in ("n < 5", "not n in (1, 2)", 'path == "d4" or n >= 10', '"d1" in path'):
        for word in WORDS[:4]:
            found = [
                [(h.document, h.text) for h in one.search(word, 20, filter=expression)]
                for one in (got, want)
            ]
            assert found[0] == found[1]
            assert found[0]


def test_the_doctor_sees_missing_and_wrong_rows_and_brings_them_back(world):
    from indexing.examining import Level
    from indexing.mending import mend
    from indexing.work import job

    world.build(TEXTS)
    store = world.store()
    for damage, message in (
        (lambda: store.remove(np.arange(1, 4)), "3 chunks of the catalogue have no row."),
        (lambda: wrong(store), f"Of {len(TEXTS)} embeddings it finds 0."),
    ):
        damage()
        assert world.problems() == [message]

        with job(world.index, "doctor --fix") as work:
            found = mend(world.index, work, lambda: world.encoder)

        assert [f.detail for f in found if f.level in {Level.PROBLEM, Level.BEYOND}] == []
        assert world.agrees()


def wrong(store):
    """Rows that are far from all texts."""
    ids = np.arange(1, len(TEXTS) + 1)
    rows = np.stack([-store._embeddings([id_])[0] for id_ in ids.tolist()])
    store.remove(ids)
    store.add(ids, rows)


def test_rows_carry_what_other_programs_can_read(world):
    world.build({"d1": "apple \0pear"})

    rows = world.store()._engine.store.store.values()

    found = next(row for row in rows if row["metadata"])
    assert found["text"] == "apple pear"
    assert found["metadata"].keys() == {"document", "title", "heading", "chunk"}


# What is asked of the command


def test_what_took_effect_is_written_as_a_configuration(tmp_path, word_encoder):
    config = BuildConfig(
        store="langchain",
        store_class=IN_MEMORY,
        store_config=config_file(tmp_path, "in-memory = true"),
    )
    build_index(["-"], tmp_path / "kb", config, encoder=word_encoder, lines=lines_of(TEXTS))
    (tmp_path / "given.toml").unlink()

    written = read_config(tmp_path / "kb/build.toml")
    assert (written["store"], written["store_class"]) == ("langchain", IN_MEMORY)
    assert "in-memory = true" in (tmp_path / "kb/store.toml").read_text("utf-8")
    for folder in ("kb", "kb2"):
        choices = BuildConfig(**written | {"encoder": None})
        report = build_index(
            ["-"], tmp_path / folder, choices, encoder=word_encoder, lines=lines_of(TEXTS)
        )
        assert report.documents == len(TEXTS)


def test_the_command_says_in_one_sentence_what_is_wrong(tmp_path, monkeypatch, capsys):
    call = ["build", str(tmp_path), "--index", str(tmp_path / "kb"), "--store", "langchain"]
    monkeypatch.setattr("sys.argv", [*call, "--store-class", "langchain_nowhere:Some"])

    with pytest.raises(SystemExit) as caught:
        main()

    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "error: langchain_nowhere is none of the packages that a store may be loaded from. If you "
        "trust it, name it in the environment: ANGLER_STORE_MODULES=langchain_nowhere.\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"store": "langchain"}, "--store langchain needs --store-class module:Class"),
        ({"store_class": IN_MEMORY}, "--store-class is for --store langchain; give that too"),
        ({"store": "milvus", "store_config": "x"}, "--store-config is for --store langchain"),
        (
            {"store": "langchain", "store_class": IN_MEMORY, "uri": "http://h"},
            "--uri is for --store milvus",
        ),
        (
            {"store": "langchain", "store_class": IN_MEMORY, "store_config": "/no/such.toml"},
            "Cannot read the --store-config /no/such.toml: ",
        ),
        (
            {"store": "langchain", "store_class": IN_MEMORY, "index_type": "hnsw"},
            "The langchain store has no --index-type, got 'hnsw'",
        ),
        ({"store": "langchain", "store_class": "os:system"}, "os is none of the packages"),
    ],
)
def test_a_wrong_call_is_told_before_anything_is_written(tmp_path, word_encoder, options, message):
    with pytest.raises(UsageError, match=message):
        build_index(
            ["-"],
            tmp_path / "kb",
            BuildConfig(**options),
            encoder=word_encoder,
            lines=lines_of(TEXTS),
        )

    assert not list((tmp_path / "kb").glob("gen-*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"store_class": own("Requests")}, "was built with --store-class langchain_core"),
        ({"store_config": "other"}, "was built with another --store-config, which lies in"),
        ({"uri": "http://h:1"}, "--uri is for --store milvus"),
    ],
)
def test_an_index_keeps_its_class_and_configuration(world, tmp_path, changes, message):
    world.build(TEXTS)
    if "store_config" in changes:
        (tmp_path / "other.toml").write_text("most-k = 5")
        changes = {"store_config": str(tmp_path / "other.toml")}

    with pytest.raises(UsageError, match=message):
        world.build(TEXTS, **changes)


def test_an_index_from_elsewhere_runs_nothing_that_is_not_known(world, monkeypatch):
    world.config = BuildConfig(store="langchain", store_class=own("Requests"))
    world.build(TEXTS)
    monkeypatch.delenv("ANGLER_STORE_MODULES")

    with pytest.raises(UsageError, match="tests is none of the packages that a store may be"):
        open_index(world.index, encoder=world.encoder)


def test_every_configuration_of_the_tests_is_valid():
    for store_class, config in CONFIGS.values():
        assert bridge_options(store_class, "\n".join(x.strip() for x in config.splitlines()))
