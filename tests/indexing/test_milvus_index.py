"""An index whose rows lie in Milvus: what is published is found, whatever breaks off."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from indexing import build_index, open_index
from indexing.backup import backup_index, restore_index
from indexing.config import BuildConfig, read_config
from indexing.errors import BuildFailedError, StoreError, UsageError
from indexing.examining import Level, examine
from indexing.generation import current_folder, open_current
from indexing.managing import keep, purge, roll_back
from indexing.manifest import Manifest
from indexing.mending import mend
from indexing.reencoding import reembed_index
from indexing.shared_reader import open_shared
from indexing.stores.milvus import release_lite
from indexing.work import job

WORDS = ["apple", "pear", "plum", "cherry", "grape", "lemon", "melon", "peach", "fig", "quince"]
WORDS += ["date", "olive", "kiwi", "mango"]
TEXTS = {f"d{n}": f"{a} {b} 水果{n}" for n, (a, b) in enumerate(pairwise(WORDS))}


def lines_of(texts):
    """One JSON line for each document, with its number as metadata."""
    return [
        json.dumps({"id": id_, "text": text, "metadata": {"n": number(id_)}}, ensure_ascii=False)
        for id_, text in texts.items()
    ]


def number(id_):
    return int(id_[1:]) if id_[1:].isdigit() else 99


class World:
    """The same documents in an index with Milvus and in one with the exact store."""

    def __init__(self, folder, uri, encoder):
        self.uri, self.encoder = uri, encoder
        self.index, self.exact = folder / "kb", folder / "exact"
        self.config = BuildConfig(store="milvus", uri=uri, index_type="flat")

    def build(self, texts, index=None, **changes):
        lines = lines_of(texts)
        chosen = replace(self.config, **changes)
        build_index(
            ["-"],
            self.exact,
            BuildConfig(store="exact"),
            encoder=self.encoder,
            lines=lines,
        )
        return build_index(["-"], index or self.index, chosen, encoder=self.encoder, lines=lines)

    def agrees(self):
        """Both find the same documents for every word."""
        got, want = (
            open_index(folder, encoder=self.encoder) for folder in (self.index, self.exact)
        )
        assert len(got) == len(want)
        for word in WORDS:
            for mode in ("dense", "hybrid"):
                shown = [
                    [(h.document, h.text) for h in i.search(word, 5, mode=mode)]
                    for i in (got, want)
                ]
                assert shown[0] == shown[1], word
                scores = [[h.score for h in i.search(word, 5, mode=mode)] for i in (got, want)]
                np.testing.assert_allclose(*scores, atol=1e-5)
        return True

    def rows(self):
        """How many rows the store has of this index, of any generation."""
        manifest = Manifest.read(current_folder(self.index))
        return len(open_shared(manifest, self.index).view(2**62))

    def problems(self):
        return [f.detail for f in examine(self.index) if f.level is Level.PROBLEM]


@pytest.fixture
def world(tmp_path, milvus_uri, word_encoder):
    return World(tmp_path, milvus_uri, word_encoder)


def without(*gone):
    return {id_: text for id_, text in TEXTS.items() if id_ not in gone}


def test_an_index_in_milvus_answers_as_the_exact_one(world):
    report = world.build(TEXTS)

    assert (report.documents, report.chunks) == (len(TEXTS), len(TEXTS))
    assert world.agrees()
    assert world.problems() == []
    assert world.rows() == len(TEXTS)


def test_updates_and_deletions_are_followed(world):
    world.build(without("d0", "d1"))
    world.build(TEXTS)
    assert world.agrees()

    world.build(without("d3") | {"d4": "plum plum plum"})

    assert world.agrees()
    assert world.problems() == []


def test_rows_go_when_no_kept_generation_holds_them(world):
    world.build(TEXTS)
    world.build(without("d3", "d5"))
    assert world.rows() == len(TEXTS)  # the generation before still holds them

    world.build(without("d3", "d5", "d7"))

    assert world.rows() == len(TEXTS) - 2
    keep(world.index, 1)
    assert world.rows() == len(TEXTS) - 3
    assert world.agrees()


def test_a_reader_stays_on_its_generation_while_others_are_published(world):
    world.build(TEXTS)
    reader = open_index(world.index, encoder=world.encoder)
    before = [(h.document, h.text) for h in reader.search("plum", 5, mode="dense")]

    world.build(without("d2") | {"new": "plum plum"})

    assert [(h.document, h.text) for h in reader.search("plum", 5, mode="dense")] == before
    assert reader.refresh()
    assert reader.search("plum", 1, mode="dense")[0].document == "new"


def test_rolling_back_brings_the_earlier_rows_to_light(world):
    world.build(TEXTS)
    world.build(without("d2") | {"new": "plum plum"})

    roll_back(world.index, None)

    shutil.rmtree(world.exact)
    build_index(
        ["-"], world.exact, BuildConfig(store="exact"), encoder=world.encoder, lines=lines_of(TEXTS)
    )
    assert world.agrees()
    world.build(without("d9"))
    assert world.agrees()
    assert world.problems() == []


def test_filters_are_asked_of_the_store_and_kept_to_by_the_catalogue(world, monkeypatch):
    monkeypatch.setattr("indexing.generation.EXACT_ALLOWED", 0)
    world.build(TEXTS)
    got, want = (open_index(folder, encoder=world.encoder) for folder in (world.index, world.exact))

    for expression in ("n < 5", "not n in (1, 2)", 'path == "d4" or n >= 10', '"d1" in path'):
        found = [
            [
                (h.document, h.text)
                for h in index.search("plum", 20, mode="dense", filter=expression)
            ]
            for index in (got, want)
        ]
        assert found[0] == found[1], expression
        assert found[0]


@pytest.mark.parametrize("failing", ["rows uploaded", "manifest written", "pointer prepared"])
def test_what_breaks_off_is_never_seen(world, monkeypatch, failing):
    world.build(without("d1"))
    reached = []

    def breaks(point):
        if point == failing and world.index.name in reached[-1:]:
            raise OSError("broken off")

    monkeypatch.setattr("indexing.points.passing", breaks)
    reached.append(world.index.name)
    lines = [json.dumps({"id": i, "text": t + " more"}) for i, t in TEXTS.items()]
    with pytest.raises(BuildFailedError):
        build_index(["-"], world.index, world.config, encoder=world.encoder, lines=lines)
    reached.clear()

    assert world.agrees()
    world.build(TEXTS)
    assert world.agrees()
    assert world.problems() == []


def test_another_encoder_gets_a_collection_of_its_own(world, make_word_encoder):
    world.build(TEXTS)
    other = make_word_encoder(dim=24, weights="v" * 64)

    reembed_index(world.index, other)
    reembed_index(world.exact, other)

    world.encoder = other
    assert world.agrees()
    assert world.rows() == len(TEXTS)
    roll_back(world.index, None)
    assert world.rows() == len(TEXTS)


def test_a_backup_becomes_a_knowledge_base_of_its_own(world, tmp_path):
    world.build(TEXTS)
    backup_index(world.index, tmp_path / "kb.zip")
    world.build(without("d1", "d2"))
    first = Manifest.read(current_folder(world.index)).store_options["knowledge_base"]
    world.index, world.exact = tmp_path / "again", tmp_path / "exact again"

    world.index.mkdir()
    restore_index(tmp_path / "kb.zip", world.index)

    assert Manifest.read(current_folder(world.index)).store_options["knowledge_base"] != first
    assert world.rows() == len(TEXTS)
    world.build(TEXTS)
    assert world.agrees()
    assert world.problems() == []


def test_purge_leaves_no_row_of_what_was_removed(world):
    world.build(TEXTS)
    world.build(without("d3", "d4"))

    purge(world.index)

    assert world.rows() == len(TEXTS) - 2
    assert world.agrees()
    assert world.problems() == []


# The doctor


def damage_missing(store):
    store.remove(store.ids()[:3])


def damage_stray(store):
    store.add(np.array([900_001]), np.eye(1, store.dim, dtype=np.float32))


def damage_wrong(store):
    ids = store.ids()
    rows = store.fetch(ids.tolist())
    store.remove(ids)
    store.add(ids, rows[::-1].copy())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, "3 chunks of the catalogue have no row."),
        (damage_stray, "1 rows belong to no generation that is kept."),
        (damage_wrong, "Of 13 rows, "),
    ],
)
def test_the_doctor_compares_catalogue_and_rows_and_mends_the_rows(world, damage, message):
    world.build(TEXTS)
    manifest = Manifest.read(current_folder(world.index))
    store = open_shared(manifest, world.index)
    damage(store)

    assert any(detail.startswith(message) for detail in world.problems())
    with job(world.index, "doctor --fix") as work:
        found = mend(world.index, work, lambda: world.encoder)

    assert [f.detail for f in found if f.level in {Level.PROBLEM, Level.BEYOND}] == []
    assert world.agrees()
    assert world.rows() == len(TEXTS)


def test_a_server_that_lost_everything_is_filled_again(tmp_path, word_encoder):
    world = World(tmp_path, str(tmp_path / "own.db"), word_encoder)
    world.build(TEXTS)
    world.build(without("d3"))
    release_lite(tmp_path / "own.db")
    shutil.rmtree(tmp_path / "own.db")

    with pytest.raises(StoreError, match=r"has no collection angler_.*doctor --fix"):
        open_index(world.index)
    with job(world.index, "doctor --fix") as work:
        mend(world.index, work, lambda: world.encoder)

    assert world.agrees()
    assert world.problems() == []
    release_lite(tmp_path / "own.db")


# What cannot be


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"uri": "milvus"}, "--uri must be an address such as http://127.0.0.1:19530"),
        ({"uri": "ftp://host/x"}, "--uri must be an address"),
        ({"uri": "http://me:secret@host:1"}, "--uri must not hold a password"),
        ({"consistency": "now"}, "Unknown consistency 'now'. Known: session, strong"),
        ({"index_type": "hnsw,M=1"}, "M must be a whole number from 2 to 2048, got '1'."),
        ({"index_type": "diskann"}, "Milvus Lite has no index type 'diskann'. Known: auto, flat"),
    ],
)
def test_a_wrong_call_is_told_and_writes_nothing(tmp_path, word_encoder, choices, message):
    chosen = BuildConfig(**{"store": "milvus", "uri": str(tmp_path / "x.db")} | choices)

    with pytest.raises(UsageError) as caught:
        build_index(
            ["-"], tmp_path / "kb", chosen, encoder=word_encoder, lines=['{"id": "a", "text": "b"}']
        )

    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not list((tmp_path / "kb").glob("gen-*"))


def test_an_address_without_milvus_is_told(tmp_path, word_encoder):
    with pytest.raises(UsageError, match="--uri is for --store milvus"):
        build_index(
            ["-"],
            tmp_path / "kb",
            BuildConfig(uri="http://127.0.0.1:1"),
            encoder=word_encoder,
            lines=['{"id": "a", "text": "b"}'],
        )


def test_another_address_than_the_index_has_is_told(tmp_path, word_encoder, lite_uri):
    world = World(tmp_path, lite_uri, word_encoder)
    world.build(TEXTS)

    with pytest.raises(UsageError, match=f"was built with --uri {lite_uri}, got http://127"):
        world.build(TEXTS, uri="http://127.0.0.1:1")


def test_what_took_effect_can_be_given_again(tmp_path, word_encoder):
    world = World(tmp_path, None, word_encoder)
    world.build(TEXTS)

    choices = read_config(world.index / "build.toml")
    lines = [json.dumps({"id": "new", "text": "plum"})]
    config = BuildConfig(**choices | {"update": "incremental", "encoder": None})
    build_index(["-"], world.index, config, encoder=word_encoder, lines=lines)

    assert choices["uri"] == str(world.index / "milvus.db")
    assert choices["index_type"] == "flat"
    assert world.rows() == len(TEXTS) + 1
    release_lite(world.index / "milvus.db")


def test_an_index_in_a_folder_takes_no_address(tmp_path, word_encoder):
    lines = ['{"id": "a", "text": "b"}']
    build_index(["-"], tmp_path, encoder=word_encoder, lines=lines)

    chosen = BuildConfig(uri="http://127.0.0.1:1")
    with pytest.raises(UsageError, match="--uri is for --store milvus"):
        build_index(["-"], tmp_path, chosen, encoder=word_encoder, lines=lines)


def test_parameters_may_be_written_in_several_ways(tmp_path, word_encoder):
    world = World(tmp_path, None, word_encoder)
    lines = ['{"id": "a", "text": "b"}']
    for text in ("HNSW, M=8", "hnsw,M=8", "auto"):
        chosen = BuildConfig(store="milvus", index_type=text)
        build_index(["-"], world.index, chosen, encoder=word_encoder, lines=lines)

    chosen = BuildConfig(store="milvus", index_type="hnsw,M=9")
    with pytest.raises(UsageError, match="was built with --index-type hnsw,M=8, got hnsw,M=9"):
        build_index(["-"], world.index, chosen, encoder=word_encoder, lines=lines)
    release_lite(world.index / "milvus.db")


def test_a_server_that_does_not_answer_is_told(tmp_path, word_encoder, monkeypatch):
    monkeypatch.setattr("indexing.stores.milvus.CONNECT_S", 1.0)
    world = World(tmp_path, "http://127.0.0.1:1", word_encoder)

    with pytest.raises(BuildFailedError) as caught:
        world.build(TEXTS)

    assert "The Milvus server at http://127.0.0.1:1 does not answer." in str(caught.value)
    assert world.encoder.encoded == list(dict.fromkeys(world.encoder.encoded))  # exact's, once


def test_a_text_longer_than_milvus_keeps_is_told(tmp_path, word_encoder, lite_uri, monkeypatch):
    monkeypatch.setattr("indexing.stores.milvus_rows.MOST_TEXT_BYTES", 20)
    world = World(tmp_path, lite_uri, word_encoder)

    with pytest.raises(BuildFailedError) as caught:
        world.build({"long": "水果水果水果水果"})

    assert (
        "In long, a chunk's text takes 24 bytes, and Milvus keeps at most 20 of a text. "
        "Build with fewer --chunk-tokens." in str(caught.value)
    )


_HOLD = """
import sys, time
from pymilvus import MilvusClient
client = MilvusClient(sys.argv[1])
print("open", flush=True)
time.sleep(60)
"""


def test_two_processes_on_one_folder_of_milvus_lite_are_told(tmp_path, word_encoder):
    world = World(tmp_path, None, word_encoder)
    world.build(TEXTS)
    assert world.agrees()
    path = world.index / "milvus.db"
    release_lite(path)
    other = subprocess.Popen([sys.executable, "-c", _HOLD, path], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "open\n"

        with pytest.raises(StoreError) as caught:
            open_current(world.index)
    finally:
        other.kill()
        other.wait()

    assert f"is open in process {other.pid}, and one process at a time" in str(caught.value)
    assert f"milvus-lite server --data-dir {path}" in str(caught.value)
    assert world.agrees()
    release_lite(path)


def test_a_file_of_the_old_milvus_lite_is_told(tmp_path, word_encoder):
    (tmp_path / "old.db").write_bytes(b"SQLite format 3\0")
    world = World(tmp_path, str(tmp_path / "old.db"), word_encoder)

    with pytest.raises(BuildFailedError, match="is a file of Milvus Lite 2"):
        world.build(TEXTS)


def test_no_password_is_written_down(tmp_path, word_encoder, lite_uri, monkeypatch):
    monkeypatch.setenv("ANGLER_MILVUS_TOKEN", "root:SecretOfMine")
    world = World(tmp_path, lite_uri, word_encoder)
    world.build(TEXTS)

    for path in world.index.rglob("*"):
        assert not path.is_file() or b"SecretOfMine" not in path.read_bytes(), path


# Killed


_KILLED = """
import json, os, signal, sys
from pathlib import Path
from indexing import points, build_index
from indexing.config import BuildConfig
import indexing.shared
from tests.conftest import WordEncoder
index, uri, texts, at, times = sys.argv[1:]
indexing.shared._AT_ONCE = 3
left = int(times)
def passing(point):
    global left
    left -= point == at
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
points.passing = passing
lines = [json.dumps({"id": i, "text": t}) for i, t in json.loads(texts).items()]
config = BuildConfig(store="milvus", uri=uri, index_type="flat")
build_index(["-"], index, config, encoder=WordEncoder(), lines=lines)
"""


@pytest.mark.parametrize(
    ("point", "times"),
    [("rows uploaded", 2), ("pointer replaced", 1), ("old generation set aside", 1)],
)
def test_a_build_killed_in_the_middle_goes_on(tmp_path, word_encoder, point, times):
    world = World(tmp_path, str(tmp_path / "own.db"), word_encoder)
    world.build(without("d1"))
    world.build(without("d2"))
    release_lite(tmp_path / "own.db")
    texts = json.dumps({id_: text + " more" for id_, text in TEXTS.items()})

    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, world.index, world.uri, texts, point, str(times)],
        cwd=Path(__file__).parents[2],
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL
    if point == "rows uploaded":
        assert world.agrees()
    world.build(TEXTS)
    assert world.agrees()
    assert world.problems() == []
    release_lite(tmp_path / "own.db")


# Measuring


def test_a_judged_set_is_searched_in_milvus_as_in_the_exact_store(word_encoder, monkeypatch):
    from data import BeirDataset
    from data.beir import BeirDocument
    from indexing.evaluation import evaluate_dataset

    monkeypatch.delenv("ANGLER_MILVUS_URI", raising=False)
    corpus = {id_: BeirDocument(title="", text=text) for id_, text in TEXTS.items()}
    dataset = BeirDataset(
        name="fruit",
        split="test",
        corpus=corpus,
        queries={"q1": "plum cherry", "q2": "fig"},
        qrels={"q1": {"d2": 1}, "q2": {"d7": 1, "d8": 2}},
    )

    got = evaluate_dataset(dataset, word_encoder, store="milvus", index_type="flat")

    want = evaluate_dataset(dataset, word_encoder, store="exact")
    assert got.as_dict() == want.as_dict()
