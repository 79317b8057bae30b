"""The documents screen: what it says and does in each state."""

import time

import pytest

from app import jobs
from app.inventory import Standing, inventory
from app.jobs import Kind, Outcome, Recorder
from app.library import Facts, Library
from app.uploads import held, remove
from tests.app.conftest import put
from tests.data.documents import zipped


def button(page, key):
    return next(one for one in page.button if one.key == key)


def keys(page):
    return {one.key for one in page.button}


def titles(page):
    """Headings of notices."""
    return [one.proto.title for kind in (page.info, page.error, page.warning) for one in kind]


def table(page):
    frame = page.dataframe[0].value
    return frame.to_dict("records")


def wait_for_end(listing):
    end = time.monotonic() + 120
    while jobs.is_running(listing) and time.monotonic() < end:
        time.sleep(0.05)
    return jobs.last(listing)


def pretend(listing, kind, **values):
    """A job that ended some way, or runs."""
    with jobs._opened(listing.folder) as connection:
        number = jobs._insert(connection, kind, {})
    if values:
        Recorder(listing.folder, number).end(values["outcome"], values.get("message", ""))
    return number


def test_without_a_knowledge_base_it_says_what_one_is_and_offers_to_make_it(open_home, library):
    page = open_home(library, "documents")

    assert not page.exception
    assert titles(page) == ["There is no knowledge base yet"]
    assert {"new_base", "first_base"} <= keys(page)


@pytest.mark.parametrize("name", ["合同与发票", "../../etc", "<img src=x onerror=alert(1)>"])
def test_a_knowledge_base_is_made_with_a_name_in_any_script(open_home, run_dialog, library, name):
    page = open_home(library, "documents")
    button(page, "first_base").click().run()
    page.text_input(key="new_name").set_value(name)
    next(one for one in page.button if one.label == "Create").click()
    run_dialog(page)

    assert not page.exception
    [made] = library.all()
    assert made.name == name
    assert page.selectbox(key="base").value == made.id
    assert titles(page) == ["There are no documents yet"]
    assert page.query_params["kb"] == made.id


def test_a_name_that_is_taken_is_refused_in_the_readers_language(
    open_home, run_dialog, library, base
):
    page = open_home(library, "documents", locale="zh-CN")
    button(page, "new_base").click().run()
    page.text_input(key="new_name").set_value("NOTES")
    next(one for one in page.button if one.label == "新建").click()
    run_dialog(page)

    assert [one.value for one in page.error] == ["已经有知识库叫“NOTES”，请换一个名称。"]
    assert len(library.all()) == 1


def test_new_documents_wait_and_are_indexed_in_the_background(open_home, library, base):
    page = open_home(library, "documents", kb=base.id)
    assert [row["Document"] for row in table(page)] == ["anglers.md", "tax.md"]
    assert [row["State"] for row in table(page)] == ["+ new", "+ new"]
    assert button(page, "update").label == "Index 2 changes"

    button(page, "update").click().run()
    assert not page.exception
    assert button(page, "update").disabled
    assert wait_for_end(base).outcome is Outcome.DONE
    page.run()

    assert [row["State"] for row in table(page)] == ["✓ indexed", "✓ indexed"]
    assert button(page, "update").label == "Update the index"
    assert any("2 added" in one.value for one in page.caption)


def test_uploads_are_kept_and_refused_ones_say_why(open_home, library, base):
    page = open_home(library, "documents", kb=base.id)
    files = [("notes.md", b"# Notes", "text/markdown"), ("virus.exe", b"MZ", "")]
    page.file_uploader[0].set_value(files).run()

    assert not page.exception
    assert "notes.md" in held(base)
    assert titles(page) == ["Not taken: 1"]
    assert "virus" in page.error[0].value
    assert r"\.exe" in page.error[0].value
    assert page.file_uploader[0].value == []


def test_web_pages_are_added_and_what_is_none_is_refused(open_home, library, base):
    page = open_home(library, "documents", kb=base.id)
    page.text_area(key="web_lines").set_value("https://example.com/\nfile:///etc/passwd\n")
    page.selectbox(key="web_links").set_value(1)
    next(one for one in page.button if one.label == "Add pages").click().run()

    found = library.get(base.id).facts
    assert (found.addresses, found.links) == (("https://example.com/",), 1)
    assert titles(page) == ["Not taken: 1"]
    assert [row["Document"] for row in table(page)][-2:] == ["https://example.com/", "tax.md"]


def test_a_file_that_cannot_be_read_says_why(open_home, library, base, do):
    put(base, "broken.docx", "this is no zip")
    do(base, Kind.UPDATE)

    page = open_home(library, "documents", kb=base.id)

    rows = {row["Document"]: row for row in table(page)}
    assert rows["broken.docx"]["State"] == "! failed"
    assert "not what its name says" in rows["broken.docx"]["Reason"]
    assert any("1 failed" in one.value for one in page.caption)


def test_a_running_job_shows_how_far_it_is_and_can_be_cancelled(
    open_home, library, base, monkeypatch
):
    number = pretend(base, Kind.UPDATE)
    with jobs._opened(base.folder) as connection:
        connection.execute(
            "UPDATE jobs SET done = 25, total = 100, current = '/x/report.pdf', moved = ?"
            " WHERE id = ?",
            [time.time() - 10, number],
        )
    monkeypatch.setattr(jobs, "_is_locked", lambda _: True)
    cancelled = []
    monkeypatch.setattr(jobs, "cancel", lambda _, job, at_once: cancelled.append((job.id, at_once)))

    page = open_home(library, "documents", kb=base.id)

    assert not page.exception
    assert "report" in " ".join(one.value for one in page.caption)
    assert button(page, "update").disabled
    assert button(page, "back_up").disabled
    button(page, "job_stop").click().run()
    assert cancelled == [(number, False)]
    button(page, "job_stop").click().run()
    assert cancelled[-1] == (number, True)


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        (Outcome.FAILED, "Updating the index: failed"),
        (Outcome.CANCELLED, "Updating the index: cancelled"),
        (Outcome.INTERRUPTED, "Updating the index: interrupted"),
    ],
)
def test_a_job_that_did_not_end_well_can_begin_again(
    open_home, library, base, monkeypatch, outcome, title
):
    pretend(base, Kind.UPDATE, outcome=outcome, message="<b>disk</b> full")
    begun = []
    monkeypatch.setattr(jobs, "start", lambda _, kind, **choices: begun.append((kind, choices)))

    page = open_home(library, "documents", kb=base.id)

    assert titles(page) == [title]
    if outcome is Outcome.FAILED:
        assert page.error[0].value == r"\<b\>disk\<\/b\> full"
    button(page, "job_again").click().run()
    assert begun == [(Kind.UPDATE, {})]


def test_versions_can_be_gone_back_to(open_home, library, base, do):
    do(base, Kind.UPDATE)
    put(base, "new.md", "# New")
    do(base, Kind.UPDATE)

    page = open_home(library, "documents", kb=base.id)

    facts = [one.value for one in page.markdown if "documents in" in one.value]
    assert ["3 documents" in facts[0], "2 documents" in facts[1]] == [True, True]
    button(page, "back_1").click().run()
    assert wait_for_end(base).outcome is Outcome.DONE
    page.run()
    rows = {row["Document"]: row["State"] for row in table(page)}
    assert rows["new.md"] == "+ new"
    assert "back_2" in keys(page)


def test_a_knowledge_base_is_renamed_and_described(open_home, library, base):
    page = open_home(library, "documents", kb=base.id)
    page.text_input(key=f"name_{base.id}").set_value("我的笔记")
    page.text_area(key=f"description_{base.id}").set_value("关于 *钓鱼*")
    next(one for one in page.button if one.label == "Save").click().run()

    found = library.get(base.id)
    assert (found.name, found.facts.description) == ("我的笔记", "关于 *钓鱼*")
    assert r"关于 \*钓鱼\*" in [one.value for one in page.caption]


def test_deleting_needs_the_name_and_leaves_nothing(open_home, run_dialog, library, base):
    page = open_home(library, "documents", kb=base.id)
    button(page, "delete").click().run()
    assert button(page, "delete_confirm").disabled
    page.text_input(key="delete_name").set_value("Notes")
    run_dialog(page)
    button(page, "delete_confirm").click()
    run_dialog(page)

    assert library.all() == []
    assert titles(page) == ["There is no knowledge base yet"]


def test_a_link_to_a_knowledge_base_that_is_not_there_says_so(open_home, library, base):
    page = open_home(library, "documents", kb="../../etc/passwd")

    assert [one.value for one in page.error] == ["There is no such knowledge base\\."]
    assert page.selectbox(key="base").value == base.id


def test_an_index_of_the_command_line_can_only_be_looked_at(open_home, handbook_index, monkeypatch):
    library = Library(None, handbook_index)
    monkeypatch.setattr(Library, "of_environment", classmethod(lambda cls: library))
    page = open_home(Library(handbook_index.parent), "documents")

    assert titles(page) == ["This index was built by command"]
    assert not keys(page) & {"update", "remove", "delete", "new_base", "back_up"}
    assert len(table(page)) > 20


def test_ten_thousand_documents_are_narrowed_down(open_home, library, base):
    from indexing.ledger import LedgerRow, write_ledger

    [first] = {row.file for id_, row in held(base).items() if id_ == "tax.md"}
    rows = {f"{n:05}.md": LedgerRow(file=first, added=1.0) for n in range(10_000)}
    write_ledger(base.sources, rows)

    page = open_home(library, "documents", kb=base.id)

    assert len(table(page)) == 5_000
    assert any("5,000 of 10,000" in one.value for one in page.caption)
    page.text_input(key="narrow_text").set_value("0777").run()
    assert [row["Document"] for row in table(page)] == [
        "00777.md",
        *(f"0777{n}.md" for n in range(10)),
    ]


def test_a_server_that_strangers_can_reach_serves_nothing(open_home, library, base, monkeypatch):
    import streamlit as st

    monkeypatch.setattr(st, "get_option", lambda name: None)
    for reach, want in ({"ANGLER_BEHIND_PROXY": "0"}, 1), ({"ANGLER_BEHIND_PROXY": "1"}, 0):
        monkeypatch.setenv(*next(iter(reach.items())))
        from streamlit.testing.v1 import AppTest

        from tests.app.conftest import ROOT

        page = AppTest.from_file(ROOT / "app" / "main.py", default_timeout=60).run()
        assert len(page.error) == want
        assert bool(page.text_input) is not bool(want)


# What stands behind the table


def test_every_document_has_a_standing(base, do):
    put(base, "same.md", "# Tax\n\nThe tax office wants the form before June.")
    put(base, "broken.docx", "no zip")
    do(base, Kind.UPDATE)
    assert {row.standing for row in inventory(base) if row.document == "tax.md"} == {
        Standing.DUPLICATE
    }
    put(base, "anglers.md", "# Anglers\n\nchanged")
    put(base, "new.md", "# New")
    remove(base, ["tax.md"])

    found = {row.document: row.standing for row in inventory(base)}

    assert found.pop("tax.md") in {Standing.LEAVING}
    assert found == {
        "anglers.md": Standing.CHANGED,
        "broken.docx": Standing.FAILED,
        "new.md": Standing.NEW,
        "same.md": Standing.INDEXED,
    }


def test_what_lies_in_an_archive_belongs_to_it(base, do):
    from io import BytesIO

    from app.uploads import Upload, add_file

    raw = zipped({"in/a.md": "# A\n\ntext", "../b.md": "out"})
    add_file(base, Upload("old/pack.zip", BytesIO(raw), len(raw)))
    do(base, Kind.UPDATE)

    rows = {row.document: row for row in inventory(base)}

    assert rows["old/pack.zip/in/a.md"].owner == "old/pack.zip"
    assert rows["old/pack.zip/in/a.md"].standing is Standing.INDEXED
    assert rows["old/pack.zip/../b.md"].standing is Standing.FAILED
    assert "old/pack.zip" not in rows
    assert str(base.folder) not in str([row.document for row in rows.values()])


def test_a_page_belongs_to_the_address_that_led_to_it(library, base, do, monkeypatch):
    from app import worker
    from app.uploads import add_address
    from tests.data.test_site import page, served

    monkeypatch.setenv(worker.HOSTS_VARIABLE, "127.0.0.1")
    with served({"/docs/": page("Start", "/docs/two"), "/docs/two": page("Two")}) as (url, _):
        base = library.change(add_address(library, base, f"{url}/docs/"), links=1)
        do(base, Kind.UPDATE)

    rows = {row.document: row for row in inventory(library.get(base.id)) if "://" in row.document}
    assert {row.owner for row in rows.values()} == {f"{url}/docs/"}
    assert {row.standing for row in rows.values()} == {Standing.INDEXED}
    assert len(rows) == 2


def test_a_preview_shows_what_a_build_makes(base, do, library):
    from app.components.preview import preview_of
    from indexing import open_index

    put(base, "long.md", "# Long\n\n" + "A sentence about rods and lines. " * 200)
    [row] = [one for one in inventory(base) if one.document == "long.md"]
    preview = preview_of(base, row)
    do(base, Kind.UPDATE)

    chunks = open_index(base.index).generation.chunks_of("long.md")
    assert [(c.start, c.end, c.text) for c in chunks] == [
        (p.start, p.end, p.text) for p in preview.pieces
    ]
    assert preview.document.title == "Long"


def test_no_page_says_where_files_lie_on_the_server(open_home, library, base, do):
    put(base, "broken.docx", "no zip")
    do(base, Kind.UPDATE)

    page = open_home(library, "documents", kb=base.id)

    drawn = str(table(page)) + " ".join(one.value for one in page.markdown)
    assert str(library.home) not in drawn


def test_facts_are_kept(library):
    made = library.create(Facts(name="a", encoder="BAAI/bge-m3"))

    assert library.get(made.id).facts.encoder == "BAAI/bge-m3"
