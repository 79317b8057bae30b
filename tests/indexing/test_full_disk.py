"""A disk that fills up at any moment of any command: the old or the new state, and one sentence."""

import re
import resource

import pytest

from benchmarks.kill import COMMANDS, KillTester, World, forked, served
from indexing.backup import backup_index

LIMITS = (1, 9_000, 40_000)
"""Bytes that a file may grow to: to the writer it looks like a disk that is full."""


def with_room_for(limit, work):
    def run():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        work()

    return run


@pytest.fixture
def tester(tmp_path, monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE_MIB", "0")
    found = KillTester(World(tmp_path), seed=7)
    found.round("build")  # so that there is an older generation
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_room_leaves_the_old_state_and_says_so(tester, tmp_path, name):
    world, outcomes = World(tmp_path), []
    before = forked(lambda: served(world))[1]
    after = tester.prepare(name, before)

    for limit in LIMITS:
        code, value = forked(with_room_for(limit, lambda: COMMANDS[name](world)))
        outcomes.append(code)
        found = forked(lambda: served(world))
        assert found[0] == 0, found
        if code == 0:
            assert found[1] == after
            break
        assert found[1] == before
        assert re.fullmatch(
            r"BuildFailedError: (Writing the index in|\S+work.sqlite cannot be written).*", value
        )
    assert forked(lambda: COMMANDS[name](world)) == (0, None)
    assert forked(lambda: served(world)) == (0, after)
    assert not list(world.kb.glob("*.unfinished"))
    assert outcomes[0] != 0 or name == "keep"


def test_a_backup_without_room_says_so_and_leaves_nothing(tester, tmp_path):
    world, target = World(tmp_path), tmp_path / "new.zip"

    code, value = forked(with_room_for(9_000, lambda: backup_index(world.kb, target) and None))

    assert code != 0
    assert re.fullmatch(r"BuildFailedError: Writing .*new\.zip failed: .* untouched\.", value)
    assert not list(tmp_path.glob("new*"))
