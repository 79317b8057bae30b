"""Indexes written by earlier versions: each format ever published is opened, searched, updated."""

import shutil
from pathlib import Path

import pytest

from indexing import CorruptIndexError, build_index, open_index
from indexing.generation import current_folder
from indexing.manifest import READ_FORMATS, Manifest
from indexing.splitting import SplitterConfig

FIXTURES = Path(__file__).parent.parent / "fixtures"
FORMATS = sorted(path.name for path in FIXTURES.glob("index-format-*"))


@pytest.fixture(params=FORMATS)
def kb(request, tmp_path):
    """A copy of an index of /srv/handbook: a base, a delta, a deleted and a changed document."""
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / "kb"))


@pytest.fixture
def handbook(tmp_path):
    """The folder that the fixtures were built from, somewhere else."""
    folder = tmp_path / "handbook"
    (folder / "zh").mkdir(parents=True)
    (folder / "passwords.md").write_text(
        "# Passwords\n\nReset a forgotten password under Settings.\n\n"
        "## Rules\n\nA password has at least ten letters.\n"
    )
    (folder / "travel.md").write_text(
        "# Travel\n\nBook trains three weeks ahead, planes two months ahead.\n"
    )
    (folder / "zh" / "请假.md").write_text("# 请假\n\n请假需要提前三天申请。\n", "utf-8")
    return folder


def test_every_format_is_kept():
    assert [f"index-format-{number}" for number in READ_FORMATS] == FORMATS


def test_every_format_is_searched(kb, default_encoder):
    index = open_index(kb, encoder=default_encoder)

    assert len(index) == 4
    hits = index.search("planes two months ahead", 4)
    assert hits[0].document == "handbook/travel.md"
    assert hits[0].text == "Book trains three weeks ahead, planes two months ahead."
    assert {hit.document for hit in hits} <= {
        "handbook/travel.md",
        "handbook/passwords.md",
        "handbook/zh/请假.md",
    }
    assert index.search("提前三天", 1, mode="lexical")[0].document == "handbook/zh/请假.md"
    assert not index.search("canteen noon", 1, mode="lexical")
    text = index.generation.text("handbook/passwords.md")
    rules = index.search("ten letters", 1)[0]
    assert text[rules.start : rules.end] == rules.text == "A password has at least ten letters."
    assert rules.heading == ("Passwords", "Rules")


def test_every_format_is_updated_and_only_what_changed_is_encoded(kb, handbook, default_encoder):
    (handbook / "travel.md").write_text("# Travel\n\nAsk the travel desk.\n")
    before = current_folder(kb)

    report = build_index([str(handbook)], kb, encoder=default_encoder)

    assert (report.updated, report.added, report.deleted, report.skipped) == (1, 0, 0, 2)
    index = open_index(kb, encoder=default_encoder)
    assert index.search("travel desk", 1)[0].text == "Ask the travel desk."
    assert len(index) == 4
    # No two ways of splitting in one index.
    assert index.generation.manifest.splitter.version == Manifest.read(before).splitter.version


@pytest.mark.parametrize("name", [name for name in FORMATS if name >= "index-format-2"])
def test_duplicates_are_known_in_each_format_that_has_them(name, tmp_path, default_encoder):
    kb = Path(shutil.copytree(FIXTURES / name, tmp_path / "kb"))
    index = open_index(kb, encoder=default_encoder)

    hits = index.search("提前三天", 3, mode="lexical", filter='path == "handbook/zh/重复.md"')

    assert [hit.document for hit in hits] == ["handbook/zh/请假.md"]


def test_one_flipped_byte_in_any_file_of_any_format_is_noticed(kb, default_encoder):
    files = [path for path in sorted(current_folder(kb).rglob("*")) if path.stat().st_size]
    assert len([path for path in files if path.is_file()]) >= 20

    for path in filter(Path.is_file, files):
        good = path.read_bytes()
        for place in (0, len(good) // 2, len(good) - 1):
            path.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
            with pytest.raises(CorruptIndexError, match=path.name):
                open_index(kb, encoder=default_encoder)
        path.write_bytes(good)
    assert len(open_index(kb, encoder=default_encoder)) == 4


def test_a_way_of_splitting_that_came_later_is_refused(kb):
    folder = current_folder(kb)
    manifest = Manifest.read(folder)
    object.__setattr__(manifest.splitter, "version", 99)
    manifest.write(folder)

    with pytest.raises(CorruptIndexError, match="was written by another version of Angler"):
        Manifest.read(folder)
    assert SplitterConfig(chunk_tokens=64).version == 2
