"""Every kind of damage is found and named, and mended where that is possible."""

import json
import os
import shutil
import sqlite3

import numpy as np
import pytest

import indexing.doctor
from indexing import build_index, open_index
from indexing.examining import Level, examine
from indexing.generation import current_folder, finished_generations
from indexing.manifest import Manifest, file_facts
from indexing.mending import mend
from indexing.work import job


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(6):
        path = folder / f"{number}.md"
        path.write_text(f"# Page {number}\n\nword{number} of page {number}.\n")
        os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture
def kb(docs, tmp_path, word_encoder):
    folder = tmp_path / "kb"
    build_index([str(docs)], folder, encoder=word_encoder)
    (docs / "0.md").write_text("# Page 0\n\nchanged page.\n")
    build_index([str(docs)], folder, encoder=word_encoder)
    return folder


TEXTS = {f"word{n} of page {n}." for n in range(1, 6)} | {"changed page."}
FIRST_TEXTS = {f"word{n} of page {n}." for n in range(6)}


def texts(kb, encoder):
    index = open_index(kb, encoder=encoder)
    dense = {hit.text for hit in index.search("page", 99, mode="dense")}
    assert dense == {hit.text for hit in index.search("page", 99, mode="lexical")}
    return dense


def problems(kb):
    return {one.check: one.detail for one in examine(kb) if one.level is Level.PROBLEM}


def fixed(kb, encoder):
    with job(kb, "doctor --fix") as work:
        return mend(kb, work, lambda: encoder)


def signed(kb):
    """Let the manifest say what the files are now, as a faulty writer would."""
    folder = current_folder(kb)
    manifest = Manifest.read(folder)
    Manifest(**{**vars(manifest), "files": file_facts(folder, {})}).write(folder)


def change_array(path, change):
    rows = np.load(path)
    change(rows)
    np.save(path, rows)
    path.write_bytes(path.read_bytes())


def test_a_sound_index_is_called_sound(kb):
    found = examine(kb)

    assert {one.level for one in found} <= {Level.GOOD, Level.NOTE}
    assert {one.check for one in found} >= {
        "leftovers", "checksums of gen-000001", "checksums of gen-000002", "fingerprint", "counts",
        "vectors of base", "vectors of delta", "texts of base", "embeddings of base", "words",
        "store of base", "store of delta", "duplicates", "sources",
    }  # fmt: skip


@pytest.mark.parametrize("fault", [np.nan, np.inf, 0.0, 2.0])
def test_bad_embeddings_are_found_and_encoded_again(kb, word_encoder, fault):
    want = open_index(kb).generation.base.embeddings([3])[0].copy()
    path = current_folder(kb) / "base" / "embeddings.npy"
    place = open_index(kb).generation.base.ids.tolist().index(3)
    rows = np.load(path)
    rows[place] = rows[place] * fault if fault == 2.0 else fault
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[:128] + rows.tobytes())
    signed(kb)

    assert "(chunks 3)" in problems(kb)["embeddings"]
    after = fixed(kb, word_encoder)

    assert Level.PROBLEM not in {one.level for one in after}
    assert "embeddings" in {one.check for one in after if one.level is Level.FIXED}
    np.testing.assert_allclose(open_index(kb).generation.embeddings([3])[0], want, atol=1e-6)
    assert texts(kb, word_encoder) == TEXTS


@pytest.mark.parametrize("name", ["base/store.faiss", "delta/store.faiss"])
def test_a_damaged_store_is_made_anew(kb, word_encoder, name):
    path = current_folder(kb) / name
    data = path.read_bytes()
    path.unlink()  # the older generation shares the file
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert name in problems(kb)["checksums of gen-000002"]
    after = fixed(kb, word_encoder)

    assert Level.PROBLEM not in {one.level for one in after}
    assert texts(kb, word_encoder) == TEXTS


def test_a_damaged_word_index_is_made_anew(kb, word_encoder):
    folder = current_folder(kb) / "lexical"
    for path in folder.glob("*.idx"):
        path.unlink()

    assert "is missing" in problems(kb)["checksums of gen-000002"]
    fixed(kb, word_encoder)

    assert problems(kb) == {}
    assert texts(kb, word_encoder) == TEXTS


def test_where_the_catalogue_is_damaged_the_generation_before_is_returned_to(kb, word_encoder):
    path = current_folder(kb) / "delta" / "catalog.sqlite"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    after = fixed(kb, word_encoder)

    assert Level.PROBLEM not in {one.level for one in after}
    assert texts(kb, word_encoder) == FIRST_TEXTS
    assert [folder.name for folder in finished_generations(kb)] == ["gen-000001"]


def test_what_cannot_be_mended_is_said_and_nothing_is_deleted(kb, word_encoder):
    path = current_folder(kb) / "base" / "catalog.sqlite"
    assert path.stat().st_nlink == 2  # both generations have it
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    after = fixed(kb, word_encoder)

    (beyond,) = [one for one in after if one.level is Level.BEYOND]
    assert "Restore a backup" in beyond.detail
    assert len(finished_generations(kb)) == 2


def test_a_lost_pointer_is_found_again(kb, word_encoder):
    (kb / "CURRENT").unlink()

    assert "CURRENT is missing" in problems(kb)["generation"]
    fixed(kb, word_encoder)

    assert texts(kb, word_encoder) == TEXTS


def test_what_a_killed_writer_left_and_files_of_others_are_removed(kb, word_encoder):
    (kb / "gen-000009.unfinished").mkdir()
    (kb / "gen-000001.removed").mkdir()
    (current_folder(kb) / "base" / "stray.txt").write_text("stray")

    assert set(problems(kb)) == {"leftovers", "orphans of gen-000002"}
    fixed(kb, word_encoder)

    assert problems(kb) == {}
    assert texts(kb, word_encoder) == TEXTS


def test_a_damaged_older_generation_is_removed(kb, word_encoder):
    (kb / "gen-000001" / "manifest.json").write_text("{}")

    assert set(problems(kb)) == {"checksums of gen-000001"}
    fixed(kb, word_encoder)

    assert [folder.name for folder in finished_generations(kb)] == ["gen-000002"]
    assert texts(kb, word_encoder) == TEXTS


def edit(kb, sql, *values):
    """Change the live base catalogue as a faulty writer would."""
    path = current_folder(kb) / "base" / "catalog.sqlite"
    beside = path.with_suffix(".new")
    shutil.copy(path, beside)
    with sqlite3.connect(beside) as connection:
        connection.execute(sql, values)
    connection.close()
    beside.replace(path)
    signed(kb)


@pytest.mark.parametrize(
    ("sql", "check", "words"),
    [
        ("DELETE FROM chunks WHERE id = 3", "vectors", "1 embeddings have no chunk"),
        ("UPDATE chunks SET text = 'x' WHERE id = 3", "texts", "1 chunks are not where they say"),
        ("DELETE FROM texts WHERE id = 'docs/3.md'", "texts", "1 chunks are not where they say"),
        ("DELETE FROM documents WHERE id = 'docs/3.md'", "counts", "6 documents"),
    ],
)
def test_a_catalogue_that_does_not_agree_is_found(kb, word_encoder, sql, check, words):
    edit(kb, sql)

    assert words in problems(kb)[check]


def test_files_that_changed_or_went_are_noted(docs, kb):
    (docs / "1.md").unlink()
    (docs / "2.md").write_text("longer than it was before, by far")

    (note,) = [one for one in examine(kb) if one.check == "sources"]
    assert note.level is Level.NOTE
    assert "1 documents are gone from their sources, 1 may have changed" in note.detail


def test_uneven_lists_are_noted(kb, monkeypatch):
    monkeypatch.setattr(
        "indexing.stores.faiss.FaissStore.list_sizes",
        lambda self: np.array([97] + [1] * 3 + [0] * 60),
        raising=False,
    )

    found = [one for one in examine(kb) if one.check == "lists"]
    assert found[0].level is Level.NOTE
    # 64 lists; 64 * (97² + 3) / 100²
    assert found[0].detail.startswith("base: 64 lists, imbalance 60.2, 60 empty. Searches read")


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--fix"], ["--fix", "--json"]])
def test_the_command_reports_and_tells_by_its_exit_code(kb, monkeypatch, capsys, arguments):
    (kb / "gen-000009.unfinished").mkdir()
    monkeypatch.setattr("sys.argv", ["doctor", "--index", str(kb), *arguments])

    with pytest.raises(SystemExit) as caught:
        indexing.doctor.main()

    out = capsys.readouterr().out
    assert caught.value.code == (0 if "--fix" in arguments else 1)
    if "--json" in arguments:
        report = json.loads(out)
        assert report["sound"] is ("--fix" in arguments)
        assert {"check", "level", "detail"} == set(report["findings"][0])
    else:
        assert ("is sound." in out) is ("--fix" in arguments)


def test_a_folder_without_an_index_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["doctor", "--index", str(tmp_path), "--fix"])

    with pytest.raises(SystemExit) as caught:
        indexing.doctor.main()

    assert caught.value.code == 1
    assert "No index in" in capsys.readouterr().err
