"""When something goes wrong with an index: the old or the new state, or an error that names it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import indexing.publishing
import indexing.verification
import indexing.writing
from indexing import (
    BuildFailedError,
    CorruptIndexError,
    IndexLockedError,
    IndexNotFoundError,
    build_index,
    open_index,
)
from indexing.generation import current_folder
from indexing.manifest import Manifest
from indexing.publishing import writer_lock
from indexing.verification import VERIFIED_NAME, verify_files

TESTS = Path(__file__).parent.parent
PRELUDE = f"""
import itertools, os, resource, signal, sys
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]
from conftest import WordEncoder
import indexing.publishing
from indexing import BuildFailedError, build_index
docs, kb = sys.argv[1:]
"""


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.md").write_text(f"# Page {number}\n\nword{number} of page {number}.\n")
    return folder


@pytest.fixture
def kb(docs, tmp_path, word_encoder):
    folder = tmp_path / "kb"
    build_index([str(docs)], folder, encoder=word_encoder)
    return folder


def texts(kb, encoder):
    return {hit.text for hit in open_index(kb, encoder=encoder).search("page", 100, mode="lexical")}


OLD_TEXTS = {f"word{number} of page {number}." for number in range(5)}
NEW_TEXTS = OLD_TEXTS - {"word0 of page 0."} | {"changed page."}


def in_child(code, docs, kb):
    """Run code in a process of its own, after the prelude."""
    command = [sys.executable, "-c", PRELUDE + code, str(docs), str(kb)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


BUILD_AND_DIE = """
sync, calls = indexing.publishing._sync, itertools.count(1)
def deadly_sync(path):
    if next(calls) == {nth}:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)
indexing.publishing._sync = deadly_sync
build_index([docs], kb, encoder=WordEncoder())
"""


@pytest.mark.parametrize("nth", [1, 3, 6, 10, 13, 14, 15, 16, 17, 18, 19, 20])
def test_a_build_killed_at_any_sync_leaves_the_old_or_the_new_state(docs, kb, word_encoder, nth):
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")

    done = in_child(BUILD_AND_DIE.format(nth=nth), docs, kb)

    died = done.returncode == -signal.SIGKILL
    assert died or done.returncode == 0, done.stderr
    assert texts(kb, word_encoder) in ([OLD_TEXTS, NEW_TEXTS] if died else [NEW_TEXTS])
    build_index([str(docs)], kb, encoder=word_encoder)
    assert texts(kb, word_encoder) == NEW_TEXTS
    assert not list(kb.glob("*.unfinished"))


def test_the_syncs_at_which_the_build_is_killed_reach_past_the_last_one(
    docs, kb, word_encoder, monkeypatch
):
    calls = []
    monkeypatch.setattr(indexing.publishing, "_sync", calls.append)
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")

    build_index([str(docs)], kb, encoder=word_encoder)

    assert 15 <= len(calls) <= 40
    assert calls[-1] == calls[-2] == calls[-3] == kb
    assert calls[-4].name == "CURRENT.new"


def every_file(kb):
    folder = current_folder(kb)
    return [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_one_flipped_byte_in_any_file_is_noticed_and_the_file_named(kb, word_encoder):
    folder = current_folder(kb)
    assert len(every_file(kb)) >= 10

    for name in every_file(kb):
        path = folder / name
        if path.suffix == ".lock" or not path.stat().st_size:
            continue
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        path.write_bytes(bad)
        with pytest.raises(CorruptIndexError, match=path.name):
            open_index(kb, encoder=word_encoder)
        path.write_bytes(good)
    assert texts(kb, word_encoder) == OLD_TEXTS


def test_one_flipped_byte_beside_the_generations_never_gives_a_wrong_answer(docs, kb, word_encoder):
    make_old(kb)
    texts(kb, word_encoder)  # so that verified.json is there
    beside = [path for path in sorted(kb.iterdir()) if path.is_file()]
    assert {path.name for path in beside} == {
        "CURRENT", "LOCK", "build.toml", "verified.json", "work.sqlite",
    }  # fmt: skip

    for path in beside:
        good = path.read_bytes()
        for place in range(0, len(good), max(1, len(good) // 7)):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            if path.name == "CURRENT" and place < len(good) - 1:
                with pytest.raises(CorruptIndexError, match="CURRENT"):
                    open_index(kb, encoder=word_encoder)
            else:
                assert texts(kb, word_encoder) == OLD_TEXTS
                assert build_index([str(docs)], kb, encoder=word_encoder).skipped == 5
        path.write_bytes(good)


def test_any_missing_file_is_noticed_and_named(kb, word_encoder, tmp_path):
    folder = current_folder(kb)

    for name in every_file(kb):
        if name.suffix == ".lock":
            continue
        (folder / name).rename(tmp_path / "aside")
        with pytest.raises(CorruptIndexError, match=re.escape(f"{name.name} is missing")):
            open_index(kb, encoder=word_encoder)
        (tmp_path / "aside").rename(folder / name)


def test_a_cut_file_is_noticed(kb, word_encoder):
    path = current_folder(kb) / "base" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-4])

    with pytest.raises(CorruptIndexError, match=r"embeddings.npy has \d+ bytes instead of \d+"):
        open_index(kb, encoder=word_encoder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"sha256": 1}', "\udcff"])
def test_a_damaged_manifest_is_noticed(kb, word_encoder, text):
    path = current_folder(kb) / "manifest.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(CorruptIndexError, match=r"manifest.json"):
        open_index(kb, encoder=word_encoder)


@pytest.mark.parametrize("text", ["", "gen-999999", "../secret", "gen-000001/base", "\x00"])
def test_a_damaged_pointer_is_noticed(kb, word_encoder, text):
    (kb / "CURRENT").write_text(text)

    with pytest.raises(CorruptIndexError, match=r"CURRENT names no generation"):
        open_index(kb, encoder=word_encoder)


def test_a_missing_pointer_beside_generations_is_damage_and_not_a_new_index(docs, kb, word_encoder):
    (kb / "CURRENT").unlink()

    with pytest.raises(CorruptIndexError, match=r"CURRENT is missing"):
        open_index(kb, encoder=word_encoder)
    with pytest.raises(CorruptIndexError):
        build_index([str(docs)], kb, encoder=word_encoder)


def test_a_folder_without_an_index_says_how_to_build_one(tmp_path):
    with pytest.raises(IndexNotFoundError, match=r"python -m indexing.build SOURCE --index"):
        open_index(tmp_path)


def test_a_damaged_index_is_not_built_upon(docs, kb, word_encoder):
    path = current_folder(kb) / "base" / "store.faiss"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (docs / "new.md").write_text("new page")

    with pytest.raises(CorruptIndexError, match="store"):
        build_index([str(docs)], kb, encoder=word_encoder)


def hashed_by(monkeypatch, folder, **choices):
    """The files that a check of a generation reads."""
    hashed = []
    digest = indexing.verification.digest_of_file
    with monkeypatch.context() as patch:
        patch.setattr(
            indexing.verification,
            "digest_of_file",
            lambda path: hashed.append(path) or digest(path),
        )
        verify_files(folder, Manifest.read(folder), **choices)
    return {path.relative_to(folder).as_posix() for path in hashed}


def make_old(folder):
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))


def test_a_file_is_hashed_once_and_no_later_process_hashes_it_again(kb, monkeypatch):
    folder = current_folder(kb)
    every = set(Manifest.read(folder).files)
    make_old(folder)

    assert hashed_by(monkeypatch, folder) == every
    monkeypatch.setattr(indexing.verification, "_verified", {})  # as in another process
    assert hashed_by(monkeypatch, folder) == set()
    assert hashed_by(monkeypatch, folder, again=True) == every


def test_a_file_that_was_just_written_is_not_trusted_by_its_time(kb, monkeypatch):
    folder = current_folder(kb)

    assert hashed_by(monkeypatch, folder) == hashed_by(monkeypatch, folder) != set()


def test_files_that_a_new_generation_shares_are_not_hashed_again(
    docs, kb, word_encoder, monkeypatch
):
    make_old(kb / "gen-000001")
    open_index(kb, encoder=word_encoder)
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")
    build_index([str(docs)], kb, encoder=word_encoder)

    hashed = hashed_by(monkeypatch, current_folder(kb))

    assert "delta/embeddings.npy" in hashed
    assert not [name for name in hashed if name.startswith("base/")]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"1-2-3": 4}', "\x00"])
def test_a_damaged_memory_of_what_was_hashed_costs_only_time(kb, word_encoder, text):
    make_old(current_folder(kb))
    (kb / VERIFIED_NAME).write_text(text)

    assert texts(kb, word_encoder) == OLD_TEXTS
    path = current_folder(kb) / "base" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CorruptIndexError, match="embeddings"):
        open_index(kb, encoder=word_encoder)


def test_a_second_writer_is_told_which_process_writes(docs, kb, word_encoder):
    with writer_lock(kb), pytest.raises(IndexLockedError, match=f"process {os.getpid()} on "):
        build_index([str(docs)], kb, encoder=word_encoder)
    build_index([str(docs)], kb, encoder=word_encoder)


def test_the_lock_of_a_killed_writer_does_not_stay(docs, kb, word_encoder):
    code = (
        "import sys, time; from pathlib import Path; from indexing.publishing import writer_lock\n"
        f"with writer_lock(Path({str(kb)!r})):\n    print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(IndexLockedError, match=f"process {holder.pid}"):
            build_index([str(docs)], kb, encoder=word_encoder)
        holder.kill()

    build_index([str(docs)], kb, encoder=word_encoder)


BUILD_WITHOUT_ROOM = """
# No file may grow past this: to the writer it looks like a disk that is full.
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    build_index([docs], kb, encoder=WordEncoder())
except BuildFailedError as error:
    print(error)
"""


def test_a_full_disk_while_building_leaves_the_old_state(docs, kb, word_encoder):
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")
    (docs / "long.md").write_text("word " * 20_000)

    done = in_child(BUILD_WITHOUT_ROOM, docs, kb)

    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"Writing the index in .* failed: .* It is as it was before.*\n", done.stdout
    )
    assert texts(kb, word_encoder) == OLD_TEXTS
    assert not list(kb.glob("*.unfinished"))
    build_index([str(docs)], kb, encoder=word_encoder)
    assert "changed page." in texts(kb, word_encoder)


def test_a_configuration_that_cannot_be_written_leaves_the_old_state(docs, kb, word_encoder):
    (kb / "build.toml").unlink()
    (kb / "build.toml").mkdir()
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")

    with pytest.raises(BuildFailedError, match="It is as it was before"):
        build_index([str(docs)], kb, encoder=word_encoder)
    assert texts(kb, word_encoder) == OLD_TEXTS


def test_readers_stay_on_their_generation_until_they_refresh(docs, kb, word_encoder):
    reader = open_index(kb, encoder=word_encoder)
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")
    build_index([str(docs)], kb, encoder=word_encoder)

    before = {hit.text for hit in reader.search("page", 100)}
    moved = reader.refresh()
    after = {hit.text for hit in reader.search("page", 100)}

    assert (before, moved, after) == (OLD_TEXTS, True, NEW_TEXTS)
    assert reader.refresh() is False


def test_searches_go_on_while_generations_are_published(docs, kb, word_encoder):
    reader = open_index(kb, encoder=word_encoder)
    stop, wrong = threading.Event(), []

    def search():
        while not stop.is_set():
            found = {hit.text for hit in reader.search("page", 100)}
            if len(found) != 5:
                wrong.append(found)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        (docs / "0.md").write_text(f"# Page 0\n\nround {number} of the page.\n")
        build_index([str(docs)], kb, encoder=word_encoder)
        reader.refresh()
    stop.set()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert "round 5 of the page." in {hit.text for hit in reader.search("page", 100)}


def test_only_the_live_generation_and_the_one_before_it_are_kept(docs, kb, word_encoder):
    for number in range(4):
        (docs / "0.md").write_text(f"# Page 0\n\nround {number}.\n")
        build_index([str(docs)], kb, encoder=word_encoder)

    names = sorted(path.name for path in kb.glob("gen-*"))
    assert names == ["gen-000004", "gen-000005"]


def test_a_copied_index_answers_like_the_original(kb, word_encoder, tmp_path):
    shutil.copytree(kb, tmp_path / "copy")

    assert texts(tmp_path / "copy", word_encoder) == OLD_TEXTS


def test_published_files_are_never_written_again(docs, kb, word_encoder):
    def state():
        folder = kb / "gen-000001"
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    open_index(kb, encoder=word_encoder).search("page", 3)
    time.sleep(0.01)
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")
    build_index([str(docs)], kb, encoder=word_encoder)

    assert state() == before


def test_an_index_holds_no_pickle(kb):
    for path in current_folder(kb).rglob("*"):
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".bin", ".joblib"}
        if path.suffix == ".npy":
            assert b"'|O'" not in path.read_bytes()[:128]


def test_what_a_build_hashed_the_first_reader_does_not_hash_again(
    docs, kb, word_encoder, monkeypatch
):
    make_old(current_folder(kb))
    open_index(kb, encoder=word_encoder)
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")
    monkeypatch.setattr(indexing.writing, "_LARGE_BYTES", 0)
    monkeypatch.setattr(indexing.verification, "_SETTLED_NS", -(10**18))
    build_index([str(docs)], kb, encoder=word_encoder)
    monkeypatch.setattr(indexing.verification, "_verified", {})  # as in another process

    assert hashed_by(monkeypatch, current_folder(kb)) == set()
    path = current_folder(kb) / "delta" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CorruptIndexError, match="embeddings"):
        open_index(kb, encoder=word_encoder)
