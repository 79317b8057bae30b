import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import SUFFIXES, Document, UnreadableDocumentError, load_document

TEXT = "第一行：重置密码。\nSecond line.\n"


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_text_file_becomes_a_document(tmp_path):
    path = write(tmp_path, "notes.txt", TEXT)

    got = load_document(path, id="kb/notes.txt")

    assert got == Document(id="kb/notes.txt", title="notes", text=TEXT, source=str(path))


def test_the_source_is_absolute_for_a_relative_path(tmp_path, monkeypatch):
    write(tmp_path, "notes.txt", TEXT)
    monkeypatch.chdir(tmp_path)

    got = load_document(type(tmp_path)("notes.txt"), id="x")

    assert got.source == str(tmp_path / "notes.txt")


TEXT_SUFFIXES = [
    suffix
    for suffix, format_ in SUFFIXES.items()
    if format_.name in {"Markdown", "plain text", "HTML", "XML"}
]


@pytest.mark.parametrize("suffix", [*TEXT_SUFFIXES, ".MD", ".Txt", ".HTML"])
def test_every_suffix_is_read_in_any_case(tmp_path, suffix):
    path = write(tmp_path, f"page{suffix}", "Reset the password.")

    got = load_document(path, id="x")

    assert (got.title, got.text) == ("page", "Reset the password.")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("suffix", [".md", ".txt", ".html"])
def test_every_family_reads_every_encoding(tmp_path, suffix, encoding):
    path = write(tmp_path, f"page{suffix}", "重置密码需要管理员的帮助。".encode(encoding))

    assert load_document(path, id="x").text == "重置密码需要管理员的帮助。"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_text_without_line_breaks_and_invisible_characters_is_kept_exactly(tmp_path_factory, text):
    text = "x" + text.replace("\u200b", "").replace("\ufeff", "")
    path = write(tmp_path_factory.mktemp("round"), "a.txt", text)

    assert load_document(path, id="x").text == text


@pytest.mark.parametrize("suffix", [".md", ".txt", ".html"])
def test_line_ends_become_newlines(tmp_path, suffix):
    path = write(tmp_path, f"a{suffix}", b"one\r\ntwo\rthree\n" if suffix != ".html" else b"a\r\nb")

    got = load_document(path, id="x").text

    assert got == ("one\ntwo\nthree\n" if suffix != ".html" else "a\nb")


def test_an_unknown_suffix_is_refused_naming_it_and_the_supported_ones(tmp_path):
    path = write(tmp_path, "setup.exe", TEXT)

    with pytest.raises(UnreadableDocumentError, match=r"'\.exe' are not supported; .*\.md.*\.pdf"):
        load_document(path, id="x")


def test_a_file_without_a_suffix_is_refused(tmp_path):
    path = write(tmp_path, "README", TEXT)

    with pytest.raises(UnreadableDocumentError, match="suffix '' are not supported"):
        load_document(path, id="x")


@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.html"])
def test_a_binary_file_with_a_text_suffix_is_refused(tmp_path, name):
    path = write(tmp_path, name, b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")

    with pytest.raises(UnreadableDocumentError, match="binary content"):
        load_document(path, id="x")


@pytest.mark.parametrize("content", [b"", b" \r\n\t\n", "\ufeff\u3000\n".encode(), b"\x1a"])
@pytest.mark.parametrize("name", ["a.md", "a.txt", "a.html"])
def test_a_file_without_text_is_refused(tmp_path, name, content):
    path = write(tmp_path, name, content)

    with pytest.raises(UnreadableDocumentError, match="holds no text"):
        load_document(path, id="x")


def test_a_missing_file_is_refused_in_the_words_of_the_system(tmp_path):
    with pytest.raises(UnreadableDocumentError, match="cannot be read: No such file or directory"):
        load_document(tmp_path / "gone.md", id="x")


def test_a_folder_named_like_a_file_is_refused(tmp_path):
    (tmp_path / "notes.md").mkdir()

    with pytest.raises(UnreadableDocumentError, match=r"cannot be read: "):
        load_document(tmp_path / "notes.md", id="x")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_a_file_name_in_gbk_is_spelt_as_its_author_wrote_it(tmp_path):
    raw_name = os.fsencode(tmp_path) + b"/" + "密码说明".encode("gbk") + b".txt"
    path = type(tmp_path)(os.fsdecode(raw_name))
    path.write_text(TEXT, encoding="utf-8")

    got = load_document(path, id="x")

    assert got.title == "密码说明"
    assert got.source.encode()
