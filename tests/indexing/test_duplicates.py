"""Files with the same content: stored once, known all the same, and never lost."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import BuildConfig, build_index, open_index
from indexing.duplicates import read_duplicates
from indexing.work import State, file_states

OLD = 1_000_000_000
PAGE = "# Leave\n\nAsk three days ahead.\n"


def write(path, text, *, mtime=OLD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (mtime, mtime))


def documents(kb, encoder):
    return set(open_index(kb, encoder=encoder).generation.states())


def duplicates(kb, encoder):
    folder = open_index(kb, encoder=encoder).generation.folder
    return {one.id: one.of for one in read_duplicates(folder).values()}


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    for name in ("a.md", "copies/b.md", "copies/c.md"):
        write(folder / name, PAGE)
    write(folder / "other.md", "# Other\n\nSomething else.\n")
    return folder


@pytest.fixture
def kb(tmp_path):
    return tmp_path / "kb"


def test_duplicates_outlive_a_lost_work_file(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    (kb / "work.sqlite").unlink()

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.skipped, report.duplicates) == (2, 2)
    rows = {row.document: row for row in file_states(kb)}
    assert rows["docs/copies/b.md"].state == State.DUPLICATE
    assert rows["docs/copies/b.md"].source == str(docs / "copies" / "b.md")


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        ('path == "docs/copies/b.md"', {"docs/a.md"}),
        ('path == "docs/a.md"', {"docs/a.md"}),
        ('"copies/" in path', {"docs/a.md"}),
        ('path in ("docs/copies/c.md", "docs/other.md")', {"docs/a.md", "docs/other.md"}),
        ('path != "docs/copies/b.md"', {"docs/other.md"}),
        ('path == "docs/copies/gone.md"', set()),
    ],
)
def test_a_filter_finds_a_document_by_the_path_of_a_file_that_repeats_it(
    docs, kb, word_encoder, expression, want
):
    write(docs / "copies" / "gone.md", PAGE)
    build_index([str(docs)], kb, encoder=word_encoder)
    (docs / "copies" / "gone.md").unlink()
    build_index([str(docs)], kb, encoder=word_encoder)
    index = open_index(kb, encoder=word_encoder)

    assert {hit.document for hit in index.search("page", 10, filter=expression)} == want
    facts = index.generation.base.catalog.facts("docs/a.md")
    assert [fact.value for fact in facts if fact.field == "path"] == ["docs/a.md"]


def test_a_repeated_file_is_stored_and_encoded_once(docs, kb, word_encoder):
    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.documents, report.added, report.duplicates) == (2, 2, 2)
    assert duplicates(kb, word_encoder) == {
        "docs/copies/b.md": "docs/a.md",
        "docs/copies/c.md": "docs/a.md",
    }
    hits = open_index(kb, encoder=word_encoder).search("three days", 10)
    assert [hit.document for hit in hits if "three days" in hit.text] == ["docs/a.md"]
    rows = {row.document: row for row in file_states(kb)}
    assert rows["docs/a.md"].state == State.PUBLISHED
    assert rows["docs/copies/b.md"].state == State.DUPLICATE
    assert rows["docs/copies/b.md"].reason == "The same as docs/a.md."


def test_nothing_is_published_again_for_known_duplicates(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.generation, report.duplicates, report.skipped) == (1, 2, 2)


@pytest.mark.parametrize("edit", ["delete", "change"])
def test_when_the_stored_one_goes_a_duplicate_takes_its_place(docs, kb, word_encoder, edit):
    build_index([str(docs)], kb, encoder=word_encoder)
    if edit == "delete":
        (docs / "a.md").unlink()
    else:
        write(docs / "a.md", "# Leave\n\nNobody need ask.\n", mtime=OLD + 1)

    build_index([str(docs)], kb, encoder=word_encoder)

    others = {"docs/other.md"} if edit == "delete" else {"docs/other.md", "docs/a.md"}
    assert documents(kb, word_encoder) == {"docs/copies/b.md", *others}
    assert duplicates(kb, word_encoder) == {"docs/copies/c.md": "docs/copies/b.md"}


def test_a_duplicate_from_a_source_that_is_not_looked_at_takes_its_place(
    docs, tmp_path, kb, word_encoder
):
    write(tmp_path / "more" / "same.md", PAGE)
    build_index([str(docs)], kb, encoder=word_encoder)
    build_index([str(tmp_path / "more")], kb, encoder=word_encoder)
    for name in ("a.md", "copies/b.md", "copies/c.md"):
        (docs / name).unlink()
    word_encoder.encoded.clear()

    build_index([str(docs)], kb, encoder=word_encoder)

    assert documents(kb, word_encoder) == {"more/same.md", "docs/other.md"}
    assert word_encoder.encoded == []
    generation = open_index(kb, encoder=word_encoder).generation
    assert generation.document("more/same.md").source == str(tmp_path / "more" / "same.md")
    assert generation.text("more/same.md") == PAGE


def test_a_document_that_becomes_a_copy_of_another_leaves_its_place(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    write(docs / "other.md", PAGE, mtime=OLD + 1)

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert documents(kb, word_encoder) == {"docs/a.md"}
    assert (report.deleted, report.duplicates) == (1, 3)


def test_a_duplicate_that_is_deleted_or_changed_is_forgotten(docs, kb, word_encoder):
    build_index([str(docs)], kb, encoder=word_encoder)
    (docs / "copies" / "b.md").unlink()
    write(docs / "copies" / "c.md", "# New\n\nQuite new.\n", mtime=OLD + 1)

    build_index([str(docs)], kb, encoder=word_encoder)

    assert duplicates(kb, word_encoder) == {}
    assert documents(kb, word_encoder) == {"docs/a.md", "docs/copies/c.md", "docs/other.md"}
    assert {row.document for row in file_states(kb)} == documents(kb, word_encoder)


def test_copies_of_an_unreadable_file_fail_with_it(tmp_path, kb, word_encoder):
    docs = tmp_path / "docs"
    write(docs / "good.md", "Good.")
    for name in ("bad1.md", "bad2.md"):
        (docs / name).write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.documents, report.duplicates, len(report.failed)) == (1, 0, 2)
    assert duplicates(kb, word_encoder) == {}
    assert len(file_states(kb, State.FAILED)) == 2


def test_piped_records_keep_their_ids(kb, word_encoder):
    lines = ['{"id": "a", "text": "same"}', '{"id": "b", "text": "same"}']

    report = build_index(["-"], kb, encoder=word_encoder, lines=lines)

    assert (report.documents, report.duplicates) == (2, 0)
    assert word_encoder.encoded.count("same") <= 1


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["a.md", "b.md", "c.md", "d.txt"]),
        st.sampled_from(["red fox", "blue whale", None]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=15, deadline=None)
@given(rounds=st.lists(EDITS, min_size=1, max_size=4))
def test_every_file_is_stored_or_repeats_one_that_is(tmp_path_factory, make_word_encoder, rounds):
    folder = tmp_path_factory.mktemp("property")
    docs, kb, encoder = folder / "docs", folder / "kb", make_word_encoder()
    write(docs / "always.md", "grey stone")
    config = BuildConfig(allow_mass_delete=True)
    for number, edits in enumerate(rounds):
        for name, text in edits:
            if text is None:
                (docs / name).unlink(missing_ok=True)
            else:
                write(docs / name, text, mtime=OLD + number)
        build_index([str(docs)], kb, config, encoder=encoder)

    generation = open_index(kb, encoder=encoder).generation
    repeated = duplicates(kb, encoder)
    stored = {id_: generation.text(id_) for id_ in generation.states()}
    on_disk = {f"docs/{path.name}": path.read_text() for path in docs.iterdir()}
    assert stored.keys() | repeated.keys() == on_disk.keys()
    assert not stored.keys() & repeated.keys()
    for id_, text in on_disk.items():
        assert stored[repeated.get(id_, id_)] == text
    assert generation.manifest.documents == len(stored)
