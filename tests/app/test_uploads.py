"""What a browser hands over: kept by content, named in a ledger, refused where it plays tricks."""

import hashlib
import io
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from app import uploads
from app.library import Facts, LibraryError
from app.uploads import (
    Upload,
    add_address,
    add_file,
    document_id,
    held,
    remove,
    remove_addresses,
    sweep,
)
from indexing.sources import scan_sources


@pytest.fixture
def base(library):
    return library.create(Facts(name="Notes"))


def upload(name, content=b"# Title\n\ntext"):
    return Upload(name, io.BytesIO(content), len(content))


def stored(base):
    return sorted(path.name for path in base.sources.iterdir() if not path.name.startswith("."))


def test_a_file_is_kept_under_its_digest_and_read_under_its_name(base):
    content = "# 标题\n\n内容".encode()

    assert add_file(base, upload("报告/2024 年.MD", content)) == "报告/2024 年.MD"

    assert stored(base) == [f"{hashlib.sha256(content).hexdigest()}.md"]
    [item] = scan_sources([str(base.sources)]).items
    document = item.load()
    assert (document.id, document.title, document.text) == (
        "报告/2024 年.MD",
        "标题",
        "# 标题\n\n内容",
    )
    assert document.source == str(base.sources / stored(base)[0])


def test_a_title_is_taken_from_the_name_that_people_know(base):
    add_file(base, upload("folder/Annual report.txt", b"some words"))

    [item] = scan_sources([str(base.sources)]).items
    assert item.load().title == "Annual report"


def test_the_same_name_again_takes_the_place_and_keeps_the_old_bytes_for_older_versions(base):
    add_file(base, upload("a.txt", b"one"))
    add_file(base, upload("a.txt", b"two"))

    assert list(held(base)) == ["a.txt"]
    assert len(stored(base)) == 2
    [item] = scan_sources([str(base.sources)]).items
    assert item.load().text == "two"


def test_the_same_bytes_are_kept_once(base):
    add_file(base, upload("a.txt"))
    add_file(base, upload("b.txt"))

    assert sorted(held(base)) == ["a.txt", "b.txt"]
    assert len(stored(base)) == 1


def test_what_is_removed_is_gone_from_the_list_and_swept_from_disk(base):
    add_file(base, upload("a.txt", b"one"))
    add_file(base, upload("b.txt", b"two"))
    (base.sources / ".unfinished-x").write_text("cut")

    assert remove(base, ["a.txt", "never there"]) == 1
    assert [item.id for item in scan_sources([str(base.sources)]).items] == ["b.txt"]
    assert sweep(base) == 2
    assert stored(base) == [f"{hashlib.sha256(b'two').hexdigest()}.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/cron.d/x.txt",
        "/etc/passwd.txt",
        "a/../../b.txt",
        "a\\..\\..\\b.txt",
        "C:\\Windows\\x.txt",
        "C:x.txt",
        "\\\\server\\share\\x.txt",
        "http://example.com/x.txt",
        "./x.txt",
        "..",
        "",
        "a/..txt/..",
        "a\x00.txt",
        "a\nb.txt",
        "invoice\u202etxt.exe",
        "x" * 401 + ".txt",
    ],
)
def test_a_name_that_plays_tricks_is_refused_and_logged_and_nothing_is_written(base, caplog, name):
    add_file(base, upload("good.txt"))
    before = sorted(base.folder.rglob("*"))

    with caplog.at_level(logging.WARNING), pytest.raises(LibraryError) as caught:
        add_file(base, upload(name))

    assert caught.value.key == "bad_file_name"
    assert base.id in caplog.text
    assert sorted(base.folder.rglob("*")) == before
    assert list(held(base)) == ["good.txt"]


@pytest.mark.parametrize(
    "name",
    [
        "CON.txt",
        "%2e%2e%2fx.txt",
        "...txt",
        "-rf.txt",
        "$(id).txt",
        "a b.txt",
        "con/ε.md",
        "at 10:30.md",
    ],
)
def test_a_name_that_is_merely_odd_is_kept_as_it_is(base, name):
    assert add_file(base, upload(name)) == name
    assert all(set(one) <= set("0123456789abcdef.mtxd") for one in stored(base))


@pytest.mark.parametrize(
    ("name", "ending"), [("x.exe", ".exe"), ("x", "x"), ("x.doc", ".doc"), (".txt", ".txt")]
)
def test_a_format_that_is_not_read_is_refused_with_its_ending(base, name, ending):
    with pytest.raises(LibraryError) as caught:
        add_file(base, upload(name))

    assert caught.value.key in {"bad_format", "bad_file_name"}
    assert stored(base) == []


def test_archives_are_kept_under_their_whole_ending(base):
    add_file(base, upload("a.TAR.GZ", b"x"))
    add_file(base, upload("b.zip", b"y"))

    assert sorted(name[64:] for name in stored(base)) == [".tar.gz", ".zip"]


def test_an_upload_over_the_limit_is_refused_also_if_it_lies_about_its_size(base, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_UPLOAD_MIB", 1)
    large = bytes(2**20 + 1)

    for size in (len(large), 10):
        with pytest.raises(LibraryError) as caught:
            add_file(base, Upload("a.txt", io.BytesIO(large), size))
        assert caught.value.key == "too_large"

    assert stored(base) == []
    assert [path.name for path in base.sources.glob(".unfinished*")] == []


def test_a_browser_is_told_the_same_limit():
    import tomllib
    from pathlib import Path

    config = Path(__file__).parent.parent.parent / ".streamlit" / "config.toml"

    assert tomllib.loads(config.read_text())["server"]["maxUploadSize"] == uploads.MOST_UPLOAD_MIB


def test_many_uploads_at_once_are_all_kept(base):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add_file(base, upload(f"{n}.txt", str(n).encode())), range(40)))

    assert len(held(base)) == len(stored(base)) == 40


def test_web_pages_come_and_go(library, base):
    base = add_address(library, base, " HTTPS://Example.com/a b ")
    base = add_address(library, base, "https://example.com/a%20b")
    base = add_address(library, base, "http://other.example/")
    assert base.facts.addresses == ("https://example.com/a%20b", "http://other.example/")

    base = remove_addresses(library, base, {"https://example.com/a%20b"})
    assert library.get(base.id).facts.addresses == ("http://other.example/",)


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://a/", "gopher://a/", "x", "http://u:p@h/", "http://[::1"],
)
def test_what_is_no_web_page_is_refused(library, base, address):
    with pytest.raises(LibraryError) as caught:
        add_address(library, base, address)

    assert caught.value.key == "bad_address"
    assert library.get(base.id).facts.addresses == ()


def test_ids_keep_folders_and_one_spelling():
    assert document_id("a\\b/e\u0301.md") == "a/b/é.md"
    assert document_id("a//b.md") == "a/b.md"
