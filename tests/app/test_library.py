"""Knowledge bases on disk: names are never paths, and what is damaged hurts nothing else."""

import logging
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.library import (
    LONGEST_NAME,
    Facts,
    Library,
    LibraryError,
    clean_name,
    facts_of,
    facts_text,
)


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_new_knowledge_base_has_a_folder_with_a_made_up_name(library):
    made = library.create(Facts(name="客户合同 2024", description="合同与附件", links=1))

    assert str(UUID(made.id)) == made.id
    assert files_below(library.home) == [
        made.id,
        f"{made.id}/kb.toml",
        f"{made.id}/sources",
        f"{made.id}/sources/.ledger.json",
    ]
    [found] = library.all()
    assert found == made
    assert (found.name, found.facts.description, found.facts.links) == (
        "客户合同 2024",
        "合同与附件",
        1,
    )
    assert found.is_managed
    assert not found.has_index


def test_a_knowledge_base_is_renamed_and_described_in_place(library):
    made = library.create(Facts(name="old"))

    library.change(made, name="Δοκιμή अभ्यास 🎣", description="new")

    [found] = library.all()
    assert (found.id, found.name, found.facts.description) == (made.id, "Δοκιμή अभ्यास 🎣", "new")


def test_deleting_leaves_nothing_of_it_and_all_of_the_others(library):
    doomed, other = library.create(Facts(name="a")), library.create(Facts(name="b"))
    (doomed.sources / "file").write_text("text")

    library.delete(doomed)

    assert [one.id for one in library.all()] == [other.id]
    assert not any(doomed.id in name for name in files_below(library.home))


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        "a/b",
        "C:\\kb",
        "CON",
        "kb.toml",
        "a\x00b",
        "~root",
        "x" * 80,
    ],
)
def test_a_name_that_looks_like_a_path_is_only_a_name(library, tmp_path, name):
    made = library.create(Facts(name=clean_name(name)))

    assert made.folder.parent == library.home
    assert [path.name for path in library.home.iterdir()] == [made.id]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    "number", ["../home", "", ".", "index", "x" * 36, "{id}/sources", "{id}/../{id}"]
)
def test_a_number_that_is_none_opens_nothing(library, number):
    made = library.create(Facts(name="a"))

    with pytest.raises(LibraryError, match="There is no knowledge base"):
        library.get(number.format(id=made.id))


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("  a \n b\t", "a b"),
        ("e\u0301", "é"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("\ufeff名\u0000称", "名称"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
    ],
)
def test_a_name_has_one_spelling_without_hidden_characters(name, want):
    assert clean_name(name) == want


@pytest.mark.parametrize(
    ("name", "key"),
    [("", "name_empty"), (" \u200d\u202e\n", "name_empty"), ("x" * 81, "name_long")],
)
def test_a_name_that_cannot_be_used_is_refused(name, key):
    with pytest.raises(LibraryError) as caught:
        clean_name(name)

    assert caught.value.key == key


@given(st.text(max_size=LONGEST_NAME))
def test_every_name_that_is_taken_survives_its_file(name):
    try:
        clean = clean_name(name)
    except LibraryError:
        return
    import tomllib

    facts = Facts(name=clean, description=clean, addresses=("http://a/",), created=1.5)

    assert clean_name(clean) == clean
    assert facts_of(tomllib.loads(facts_text(facts))) == facts


def test_two_knowledge_bases_never_have_the_same_name(library):
    first = library.create(Facts(name="Notes"))
    second = library.create(Facts(name=library.free_name("notes")))

    assert second.name == "notes 2"
    assert library.free_name("Notes") == "Notes 3"
    with pytest.raises(LibraryError, match="is called 'NOTES'"):
        library.create(Facts(name="NOTES"))
    library.change(second, name="NOTES 2")  # its own name in capitals
    with pytest.raises(LibraryError, match="is called 'notes 2'"):
        library.change(first, name="notes 2")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = 1",
        'name = "a"\nlinks = "x"',
        'name = "a"\naddresses = [1]',
        "name = ",
        'name = ""',
    ],
)
def test_a_damaged_knowledge_base_is_left_out_and_logged(library, caplog, text):
    damaged, whole = library.create(Facts(name="a")), library.create(Facts(name="b"))
    (damaged.folder / "kb.toml").write_text(text)

    with caplog.at_level(logging.WARNING):
        assert [one.id for one in library.all()] == [whole.id]
    assert damaged.id in caplog.text


def test_keys_of_a_later_version_are_passed_over(library):
    made = library.create(Facts(name="a"))
    with (made.folder / "kb.toml").open("a") as file:
        file.write("colour = 'red'\n")

    assert library.all() == [made]


def test_the_environment_says_where_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home, index = tmp_path / "home", tmp_path / "my index"

    both = Library.of_environment({"ANGLER_HOME": str(home), "ANGLER_INDEX": str(index)})
    alone = Library.of_environment({"ANGLER_INDEX": str(index)})
    neither = Library.of_environment({})

    assert (both.home, both.single) == (home, index)
    assert (alone.home, alone.single) == (None, index)
    assert (neither.home, neither.single) == (Path("~/.angler").expanduser(), None)
    [listing] = alone.all()
    assert (listing.id, listing.name, listing.index) == ("index", "my index", index)
    assert not listing.is_managed
    with pytest.raises(LibraryError, match="set ANGLER_HOME"):
        alone.create(Facts(name="a"))
    with pytest.raises(LibraryError, match="is not kept here"):
        alone.delete(listing)
