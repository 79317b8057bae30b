"""Builds and updates: what is read, encoded, published and removed."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import indexing.writing
from indexing import (
    BuildConfig,
    BuildFailedError,
    IndexMismatchError,
    UsageError,
    build_index,
    open_index,
)
from indexing.generation import current_folder

OLD = 1_000_000_000
"""A modification time long ago, so that size and time alone show that nothing changed."""


def write(folder, name, text, *, mtime=OLD):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (mtime, mtime))
    return path


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    write(
        folder,
        "passwords.md",
        "# Passwords\n\nReset it under settings.\n\n## Rules\n\nTen letters.\n",
    )
    write(folder, "travel.md", "# Travel\n\nBook trains with the office.\n")
    write(folder, "zh/请假.md", "# 请假\n\n请假需要提前三天申请。\n")
    write(folder, "notes.txt", "The canteen opens at noon.")
    return folder


@pytest.fixture
def kb(tmp_path):
    return tmp_path / "kb"


def contents(index):
    """Every chunk of an index as (document, heading, text)."""
    generation = index.generation
    ids = [
        *generation.base.ids.tolist(),
        *(generation.delta.ids.tolist() if generation.delta else []),
    ]
    live = [id_ for id_ in ids if id_ not in set(generation.deleted.tolist())]
    chunks = generation.chunks(live).values()
    return sorted((chunk.document, chunk.heading, chunk.text) for chunk in chunks)


def test_a_first_build_makes_every_document_searchable(docs, kb, word_encoder):
    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.documents, report.added, report.failed) == (4, 4, [])
    assert report.chunks == 5
    index = open_index(kb, encoder=word_encoder)
    assert contents(index) == [
        ("docs/notes.txt", (), "The canteen opens at noon."),
        ("docs/passwords.md", ("Passwords",), "Reset it under settings."),
        ("docs/passwords.md", ("Passwords", "Rules"), "Ten letters."),
        ("docs/travel.md", ("Travel",), "Book trains with the office."),
        ("docs/zh/请假.md", ("请假",), "请假需要提前三天申请。"),
    ]
    for mode in ("dense", "lexical", "hybrid"):
        assert index.search("请假 申请", 1, mode=mode)[0].document == "docs/zh/请假.md"


def test_offsets_of_a_hit_reproduce_its_text(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    index = open_index(kb, encoder=word_encoder)

    for hit in index.search("letters settings 申请", 10):
        assert index.generation.text(hit.document)[hit.start : hit.end] == hit.text
        assert Path(hit.source).is_file()


def test_an_unchanged_folder_is_neither_encoded_nor_published_again(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    word_encoder.encoded.clear()

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.skipped, report.added, report.updated, report.tokens) == (4, 0, 0, 0)
    assert report.generation == 1
    assert word_encoder.encoded == []


def test_an_unchanged_folder_does_not_load_the_model(docs, kb):
    build_index([str(docs)], kb)
    code = (
        "import sys; from indexing import build_index;"
        f"report = build_index([{str(docs)!r}], {str(kb)!r});"
        "print(report.skipped, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["4", "False", "False"]


def test_a_touched_file_with_the_same_content_is_unchanged(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    os.utime(docs / "travel.md", (OLD + 5, OLD + 5))

    assert build_index([str(docs)], kb, encoder=word_encoder).skipped == 4


def test_a_file_edited_within_its_time_stamp_is_noticed(docs, kb, word_encoder):
    path = docs / "travel.md"
    path.write_text("# Travel\n\nBook trains with the office.\n", "utf-8")
    now = path.stat().st_mtime_ns
    build_index([str(docs)], kb, encoder=word_encoder)
    path.write_text("# Travel\n\nBook planes with the office.\n", "utf-8")
    os.utime(path, ns=(now, now))

    assert build_index([str(docs)], kb, encoder=word_encoder).updated == 1


def test_an_edit_encodes_only_what_changed_and_shares_the_rest(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    word_encoder.encoded.clear()
    write(
        docs,
        "passwords.md",
        "# Passwords\n\nReset it under settings.\n\n## Rules\n\nTwelve letters.\n",
        mtime=OLD + 9,
    )

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.updated, report.skipped, report.generation) == (1, 3, 2)
    assert [text.splitlines()[-1] for text in word_encoder.encoded] == ["Twelve letters."]
    first, second = kb / "gen-000001", kb / "gen-000002"
    shared = "base/embeddings.npy"
    assert (first / shared).stat().st_ino == (second / shared).stat().st_ino
    index = open_index(kb, encoder=word_encoder)
    for mode in ("dense", "lexical", "hybrid"):
        found = [hit.text for hit in index.search("letters", 10, mode=mode)]
        assert "Twelve letters." in found
        assert "Ten letters." not in found


def test_a_removed_file_leaves_the_index(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    (docs / "travel.md").unlink()

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.deleted, report.documents, report.chunks) == (1, 3, 4)
    index = open_index(kb, encoder=word_encoder)
    assert index.generation.text("docs/travel.md") is None
    for mode in ("dense", "lexical", "hybrid"):
        documents = {hit.document for hit in index.search("Book trains", 10, mode=mode)}
        assert "docs/travel.md" not in documents


def test_a_file_that_comes_back_is_found_again(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    text = (docs / "travel.md").read_text()
    (docs / "travel.md").unlink()
    build_index([str(docs)], kb, encoder=word_encoder)
    word_encoder.encoded.clear()
    write(docs, "travel.md", text)

    assert build_index([str(docs)], kb, encoder=word_encoder).added == 1
    index = open_index(kb, encoder=word_encoder)
    assert index.generation.text("docs/travel.md") == text
    assert [h.document for h in index.search("Book trains", 1)] == ["docs/travel.md"]
    assert word_encoder.encoded == []


@pytest.mark.parametrize(
    ("update", "left"),
    [
        ("sync", {"b/b1.md", "a/a1.md"}),
        ("full", {"a/a1.md"}),
        ("incremental", {"b/b1.md", "a/a1.md", "a/a2.md"}),
        ("scoped_full", {"b/b1.md", "a/a1.md", "a/a2.md"}),
    ],
)
def test_update_modes_decide_about_documents_that_are_gone(
    tmp_path, kb, word_encoder, update, left
):
    for name in ("a/a1.md", "a/a2.md", "b/b1.md"):
        write(tmp_path, name, f"text of {name}")
    build_index([str(tmp_path / "a"), str(tmp_path / "b")], kb, encoder=word_encoder)
    (tmp_path / "a/a2.md").unlink()
    write(tmp_path, "a/a1.md", "new text", mtime=OLD + 9)

    config = BuildConfig(update=update, allow_mass_delete=True)
    build_index([str(tmp_path / "a")], kb, config, encoder=word_encoder)

    assert set(open_index(kb, encoder=word_encoder).generation.states()) == left


def test_a_run_that_would_delete_more_than_half_stops(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    for name in ("travel.md", "notes.txt", "passwords.md"):
        (docs / name).unlink()

    with pytest.raises(BuildFailedError, match="3 of the index's 4 documents are gone"):
        build_index([str(docs)], kb, encoder=word_encoder)
    assert open_index(kb, encoder=word_encoder).generation.manifest.documents == 4

    config = BuildConfig(allow_mass_delete=True)
    assert build_index([str(docs)], kb, config, encoder=word_encoder).deleted == 3


def test_an_emptied_source_stops_the_run(tmp_path, kb, word_encoder):
    for name in ("a/1.md", "b/1.md", "b/2.md", "b/3.md"):
        write(tmp_path, name, f"text {name}")
    sources = [str(tmp_path / "a"), str(tmp_path / "b")]
    build_index(sources, kb, encoder=word_encoder)
    (tmp_path / "a/1.md").unlink()

    with pytest.raises(BuildFailedError, match="/a holds no documents now"):
        build_index(sources, kb, encoder=word_encoder)


def test_a_file_that_became_unreadable_keeps_its_earlier_version(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    (docs / "travel.md").write_bytes(b"\x00\x01\x02" * 50)

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert len(report.failed) == 1
    assert "binary" in report.failed[0].reason
    assert "earlier version stays" in report.failed[0].reason
    assert (
        open_index(kb, encoder=word_encoder).search("Book trains", 1)[0].document
        == "docs/travel.md"
    )


def test_a_file_of_invisible_characters_is_refused_and_nothing_else_is(docs, kb, word_encoder):
    write(docs, "invisible.txt", "\u2060\u2060")

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.added, report.documents) == (4, 4)
    assert [failure.reason for failure in report.failed] == ["The file holds no text."]


def test_a_build_of_only_invisible_characters_makes_no_index(tmp_path, kb, word_encoder):
    write(tmp_path / "docs", "invisible.txt", "\u2060\u2060")

    with pytest.raises(BuildFailedError, match="holds no text"):
        build_index([str(tmp_path / "docs")], kb, encoder=word_encoder)
    assert not list(kb.glob("gen-*"))


def test_strict_publishes_nothing_when_a_file_fails(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    (docs / "bad.md").write_bytes(b"\x00" * 50)
    write(docs, "good.md", "Good news.")

    with pytest.raises(BuildFailedError, match="--strict"):
        build_index([str(docs)], kb, BuildConfig(strict=True), encoder=word_encoder)

    assert current_folder(kb).name == "gen-000001"
    assert not list(kb.glob("*.unfinished"))


def test_piped_records_are_indexed_with_their_metadata(kb, word_encoder):
    lines = io.StringIO(
        json.dumps(
            {"id": "faq-1", "text": "Ask the desk.", "title": "Help", "metadata": {"year": 2024}}
        )
        + "\n"
    )

    build_index(["-"], kb, encoder=word_encoder, lines=lines)

    hit = open_index(kb, encoder=word_encoder).search("desk", 1)[0]
    assert (hit.document, hit.title, hit.metadata) == ("faq-1", "Help", {"year": 2024})


def test_a_bad_record_stops_the_build_so_that_nothing_is_taken_for_deleted(kb, word_encoder):
    good = '{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n{"id": "c", "text": "three"}\n'
    build_index(["-"], kb, encoder=word_encoder, lines=io.StringIO(good))

    with pytest.raises(BuildFailedError, match="Line 2 is not JSON"):
        build_index(["-"], kb, encoder=word_encoder, lines=['{"id": "a", "text": "one"}', "{oops"])

    assert open_index(kb, encoder=word_encoder).generation.manifest.documents == 3


def test_an_unlistable_folder_does_not_delete_what_was_in_it(docs, kb, word_encoder, monkeypatch):
    build_index([str(docs)], kb, encoder=word_encoder)
    real_scandir = os.scandir

    def scandir(path):
        if str(path).endswith("/zh"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    # Tests run as root, who may list everything; so the refusal itself is the one thing made up.
    monkeypatch.setattr(os, "scandir", scandir)
    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert report.deleted == 0
    assert "cannot be listed: Permission denied" in report.failed[0].reason
    assert "docs/zh/请假.md" in open_index(kb, encoder=word_encoder).generation.states()


def test_another_encoder_is_refused_and_the_differences_named(
    docs, kb, word_encoder, make_word_encoder
):
    build_index([str(docs)], kb, encoder=word_encoder)
    other = make_word_encoder(name="other", pooling="cls", max_tokens=32)

    with pytest.raises(IndexMismatchError) as caught:
        build_index([str(docs)], kb, encoder=other)
    assert 'pooling "cls" instead of "mean"' in str(caught.value)
    assert "max_tokens 32 instead of 64" in str(caught.value)
    with pytest.raises(IndexMismatchError):
        open_index(kb, encoder=other)


def test_an_encoder_of_another_name_with_the_same_vectors_is_welcome(
    docs, kb, word_encoder, make_word_encoder
):
    build_index([str(docs)], kb, encoder=word_encoder)

    assert open_index(kb, encoder=make_word_encoder(name="copy")).search("canteen", 1)


@pytest.mark.parametrize(
    "choice", [{"chunk_tokens": 32}, {"overlap_tokens": 0}, {"store": "exact"}]
)
def test_choices_that_the_index_fixes_cannot_change(docs, kb, word_encoder, choice):
    build_index([str(docs)], kb, encoder=word_encoder)

    with pytest.raises(UsageError, match="was built with"):
        build_index([str(docs)], kb, BuildConfig(**choice), encoder=word_encoder)


def test_chunk_tokens_beyond_the_encoder_are_refused(docs, kb, word_encoder):
    with pytest.raises(UsageError, match="more than words reads"):
        build_index([str(docs)], kb, BuildConfig(chunk_tokens=65), encoder=word_encoder)


@pytest.mark.parametrize("store", ["faiss", "exact"])
def test_every_store_finds_the_same(docs, tmp_path, word_encoder, store):
    kb = tmp_path / store
    build_index([str(docs)], kb, BuildConfig(store=store), encoder=word_encoder)

    hits = open_index(kb, encoder=word_encoder).search("settings letters", 5, mode="dense")

    headers = [" > ".join(dict.fromkeys([hit.title, *hit.heading])) for hit in hits]
    embedded = [f"{header}\n{hit.text}" for header, hit in zip(headers, hits, strict=True)]
    query = word_encoder.encode_queries(["settings letters"])[0]
    want = sorted((word_encoder.encode_documents(embedded) @ query).tolist(), reverse=True)
    np.testing.assert_allclose([hit.score for hit in hits], want, atol=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]


NAMES = ("a.md", "b.md", "sub/c.md", "d.txt", "e.md")
EDITS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["red fox", "blue whale\n\n# Deep\n\nsea", "绿 树", None]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25, deadline=None)
@given(rounds=st.lists(EDITS, min_size=1, max_size=4), fold=st.sampled_from([0, 2, 20_000]))
def test_any_sequence_of_updates_equals_a_fresh_build(
    tmp_path_factory, make_word_encoder, rounds, fold
):
    folder = tmp_path_factory.mktemp("property")
    docs, kb, encoder = folder / "docs", folder / "kb", make_word_encoder()
    write(docs, "always.md", "grey stone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing.writing, "FOLD_CHUNKS", fold)
        config = BuildConfig(allow_mass_delete=True)
        for number, edits in enumerate(rounds):
            for name, text in edits:
                if text is None:
                    (docs / name).unlink(missing_ok=True)
                else:
                    write(docs, name, f"{text} of {name}", mtime=OLD + number)
            build_index([str(docs)], kb, config, encoder=encoder)
        fresh_kb = folder / "fresh"
        build_index([str(docs)], fresh_kb, config, encoder=encoder)

    updated, fresh = open_index(kb, encoder=encoder), open_index(fresh_kb, encoder=encoder)
    assert contents(updated) == contents(fresh)
    assert updated.generation.manifest.chunks == fresh.generation.manifest.chunks
    assert updated.generation.manifest.documents == fresh.generation.manifest.documents
    for query in ("red whale", "树 sea", "stone"):
        for mode in ("dense", "lexical"):
            found = [found_by(index, query, mode) for index in (updated, fresh)]
            assert found[0].keys() == found[1].keys()
            if mode == "dense":
                scores = [np.array([one[key] for key in sorted(found[0])]) for one in found]
                np.testing.assert_allclose(*scores, atol=1e-5)


def found_by(index, query, mode):
    return {(hit.document, hit.start): hit.score for hit in index.search(query, 100, mode=mode)}
