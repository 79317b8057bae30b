"""`kill -9` at every marked point of every command that writes: the old or the new state serves."""

import random
import signal

import pytest

import indexing.embedding
import indexing.filling
from benchmarks.kill import COMMANDS, KillTester, World, build, forked, killed_at, served
from indexing import points

KILLED_AT = {
    "build": [
        "portion encoded", "segment closed", "manifest written", "files synced",
        "pointer prepared", "generation named", "pointer replaced", "old generation set aside",
        "old generation removed", "published",
    ],
    "fold": ["segment closed", "folding", "folded", "generation named"],
    "reembed": ["portion encoded", "segment closed", "pointer prepared", "published"],
    "restore": ["file restored", "files synced", "pointer prepared", "pointer replaced"],
    "purge": ["segment closed", "generation named", "pointer replaced", "old generation set aside"],
    "keep": ["old generation set aside", "old generation removed"],
}  # fmt: skip
FIRST = [point for point in KILLED_AT["build"] if not point.startswith("old")]


@pytest.fixture
def tester(tmp_path, monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE_MIB", "0")
    monkeypatch.setattr(indexing.filling, "ENCODED_AT_ONCE", 8)
    monkeypatch.setattr(indexing.embedding, "_KEPT_EVERY_S", 0.0)
    return KillTester(World(tmp_path), seed=7)


def test_every_marked_point_and_every_command_is_tried():
    # The points of a shared store and of a merge are tried in test_milvus_index.py and
    # test_merging.py.
    elsewhere = {"rows uploaded", "portion merged"}
    assert set().union(*KILLED_AT.values()) | elsewhere == set(points.POINTS)
    assert KILLED_AT.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_a_marked_point_loses_nothing(tester, name):
    tester.round("build")  # so that there is an older generation
    for point in KILLED_AT[name]:
        assert tester.round(name, point).died, point
        if name == "keep":
            tester.round("build")


def test_a_command_killed_late_in_its_encoding_loses_nothing(tester):
    assert tester.round("reembed", "portion encoded", 2).died


@pytest.mark.parametrize("point", FIRST)
def test_a_first_build_killed_at_a_marked_point_goes_on(tmp_path, monkeypatch, point):
    monkeypatch.setenv("ANGLER_CACHE_MIB", "0")
    world = World(tmp_path)
    world.edit(random.Random(1))

    code, _ = forked(killed_at(lambda: build(world), point, 1))

    assert code == -signal.SIGKILL
    assert forked(lambda: served(world)) in ((0, None), (0, world.on_disk()))
    assert forked(lambda: build(world)) == (0, None)
    assert forked(lambda: served(world)) == (0, world.on_disk())


def test_the_check_itself_notices_a_lost_document(tester, tmp_path):
    world = World(tmp_path)
    code, state = forked(lambda: served(world))
    assert (code, state) == (0, world.on_disk())
    (world.kb / "CURRENT").write_text("gen-999999")

    code, value = forked(lambda: served(world))

    assert (code, value.partition(":")[0]) == (1, "CorruptIndexError")
