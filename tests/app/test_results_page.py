"""What can be done with results: several knowledge bases, filters, reasons, thumbs, files."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exporting import COLUMNS, as_csv, as_json, rows, safe_cell
from app.feedback import FEEDBACK, GOLDEN, golden, note_thumb, save_golden
from app.jobs import Kind
from app.library import Facts
from app.merging import merge
from data import load_golden
from tests.app.conftest import put
from tests.app.test_answering import hit


def html(page):
    return "".join(one.proto.body for one in page.get("html"))


def button(page, key):
    return next(one for one in page.button if one.key == key)


def submit(page, label):
    """The button of a form."""
    return next(one for one in page.button if one.label == label and one.proto.is_form_submitter)


def titles(page):
    return [one.proto.title for kind in (page.info, page.error, page.warning) for one in kind]


@pytest.fixture
def two(library, base, do):
    """Two knowledge bases, both indexed."""
    other = library.create(Facts(name="另一个"))
    put(other, "boats.md", "# Boats\n\nA boat carries the angler and the fish across the lake.")
    put(other, "鱼.md", "# 鱼\n\n鱼在水里游泳，渔夫在岸上等待。")
    for one in (base, other):
        do(one, Kind.UPDATE)
    return base, other


def test_several_knowledge_bases_are_searched_as_one(open_home, library, two):
    page = open_home(library, "search", q="angler fish", mode="lexical")

    assert not page.exception
    found = html(page)
    assert "anglers.md" in found
    assert "boats.md" in found
    assert "另一个" in found
    assert "kb" not in page.query_params


def test_one_of_them_is_chosen_and_the_link_says_so(open_home, library, two):
    _, other = two
    page = open_home(library, "search", q="angler fish", mode="lexical", kb=other.id)

    assert "anglers.md" not in html(page)
    assert "boats.md" in html(page)
    assert page.query_params["kb"] == other.id


def test_a_link_to_a_knowledge_base_that_is_not_there_says_so(open_home, library, two):
    page = open_home(library, "search", q="fish", kb="../../etc")

    assert [one.value for one in page.error] == ["There is no such knowledge base\\."]


def test_a_filter_in_the_link_holds_and_a_bad_one_is_named(open_home, library, two):
    page = open_home(library, "search", q="angler fish", mode="lexical", filter='"boat" in path')
    assert "boats.md" in html(page)
    assert "anglers.md" not in html(page)

    page = open_home(library, "search", q="fish", filter="path ==")
    assert not page.exception
    assert titles(page) == ["The filter cannot be used"]
    page = open_home(library, "search", q="fish", filter="colour == 1")
    assert titles(page) == ["The filter cannot be used"]


def test_a_filter_is_put_together_with_controls(open_home, library, two):
    page = open_home(library, "search", q="fish 鱼", mode="lexical")
    page.pills(key="filter_languages").set_value(["zh"])
    page.text_input(key="filter_path").set_value('a"b')
    submit(page, "Apply").click().run()

    assert page.query_params["filter"] == 'language in ("zh") and "a\\"b" in path'
    button(page, "filter_clear").click().run()
    assert "filter" not in page.query_params


def test_what_stands_around_a_hit_is_shown_on_demand(open_home, library, base, do):
    put(base, "long.md", "# Long\n\n" + "".join(f"Sentence {n} is here. " for n in range(300)))
    do(base, Kind.UPDATE)
    page = open_home(library, "search", q="sentence 150", mode="lexical", k="5")
    before = len(html(page))

    button(page, "near_1").click().run()

    assert not page.exception
    assert len(html(page)) > before + 1000


def test_why_a_hit_was_found_and_why_another_was_not(open_home, library, two):
    page = open_home(library, "search", q="angler", mode="lexical")
    button(page, "why_1").click().run()
    assert not page.exception
    assert [one.label for one in page.metric] == ["By meaning", "By words", "Both"]
    assert page.metric[1].value == "rank 1"

    page.text_input(key="why_not_document").set_value("tax.md")
    submit(page, "Why?").click().run()
    assert any("tax" in one.value for one in page.markdown)
    assert page.metric[1].value == "not found"

    page.text_input(key="why_not_document").set_value("nothing.md")
    submit(page, "Why?").click().run()
    assert "holds no document" in page.error[0].value


def test_the_right_answer_becomes_a_golden_question_once(open_home, library, two):
    base, _ = two
    page = open_home(library, "search", q="who catches fish?", mode="lexical", kb=base.id)

    button(page, "golden_1").click().run()
    button(page, "golden_1").click().run()

    assert not page.exception
    [question] = load_golden(base.folder / GOLDEN)
    assert (question.question, question.document) == ("who catches fish?", "anglers.md")
    assert question.heading == "Anglers"
    assert question.quote == "An angler catches fish with a rod and a line."
    assert question.language == "en"
    assert [one.value for one in page.toast] == ["This golden question is kept already."]


def test_a_thumb_is_kept_with_what_it_was_about(open_home, library, two):
    base, _ = two
    page = open_home(library, "search", q="tax office", mode="lexical", kb=base.id)

    page.feedback[0].set_value(1).run()

    [line] = (base.folder / FEEDBACK).read_text("utf-8").splitlines()
    row = json.loads(line)
    assert (row["query"], row["document"], row["verdict"], row["rank"]) == (
        "tax office",
        "tax.md",
        "up",
        1,
    )
    assert "tax office wants" in row["quote"]


def test_feedback_on_odd_questions_is_one_line_each(base):
    for query in ("a\nb", "a\u2028b", '"}', "x" * 5000):
        note_thumb(base, query, hit(1, "text\nwith lines"), is_up=False)
        assert save_golden(base, query, hit(1, "text"), "")

    rows = (base.folder / FEEDBACK).read_text("utf-8").split("\n")[:-1]
    assert [json.loads(row)["query"] for row in rows] == ["a\nb", "a\u2028b", '"}', "x" * 5000]
    assert [one.question for one in golden(base)] == ["a\nb", "a\u2028b", '"}', "x" * 5000]


# Results as files


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("plain", "plain"),
        ("a=b", "a=b"),
        ("中文", "中文"),
        (None, ""),
        (-0.5, -0.5),
    ],
)
def test_no_cell_of_a_table_is_a_formula(text, want):
    assert safe_cell(text) == want


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_table_reads_back_what_went_in(texts):
    hits = [hit(rank, text) for rank, text in enumerate(texts, start=1)]

    table = as_csv(rows(hits, {1: "=base"})).decode("utf-8-sig", "surrogatepass")

    found = list(csv.DictReader(io.StringIO(table, newline="")))
    assert [row["text"].removeprefix("'") for row in found] == [
        text.replace("\0", "").removeprefix("'") for text in texts
    ]
    assert found[0]["base"] == "'=base"
    assert not any(
        value.lstrip(" ").startswith(("=", "+", "@", "\t", "\r")) for value in found[0].values()
    )


def test_files_are_made_when_they_are_asked_for(open_home, library, two):
    page = open_home(library, "search", q="angler fish", mode="lexical")

    buttons = [one.proto for one in page.get("download_button")]
    assert [one.label for one in buttons] == ["CSV", "JSON"]
    # A file that lay ready was looked at by the browser, and gone when the next search was quicker.
    assert all(one.HasField("deferred_file_id") and not one.url for one in buttons)


def test_json_holds_the_same_rows_and_no_place_on_the_server():
    hits = [hit(1, "text")]

    found = json.loads(as_json("问", rows(hits, {1: "笔记"})))

    assert found["query"] == "问"
    assert set(found["hits"][0]) == set(COLUMNS)
    assert found["hits"][0]["base"] == "笔记"


# Several lists in one order


def with_relevance(*values):
    from dataclasses import replace

    return [replace(hit(n, str(n)), relevance=value) for n, value in enumerate(values, start=1)]


def order(merged):
    return [(number, one.rank) for number, one in merged]


def test_the_more_relevant_list_comes_first_and_each_keeps_its_order():
    first, second = with_relevance(0.5, 0.9, 0.1), with_relevance(0.7, 0.6)

    got = order(merge([first, second], 10))

    assert got == [(0, 1), (0, 2), (1, 1), (1, 2), (0, 3)]


def test_lists_without_relevance_take_turns():
    first, second = with_relevance(None, None, None), with_relevance(0.9)

    assert order(merge([first, second], 3)) == [(0, 1), (1, 1), (0, 2)]
    assert order(merge([[], second], 3)) == [(1, 1)]
    assert merge([], 3) == []


def test_the_page_of_a_pdf_is_shown_with_the_passage_marked(open_home, library, base, do):
    from io import BytesIO

    from app.pages import pages_of
    from app.uploads import Upload, add_file
    from indexing import open_index
    from tests.data.documents import lines_of_text, pdf

    raw = pdf(
        [
            lines_of_text(72, 700, ["The annual report praises patience."]),
            lines_of_text(72, 700, ["Trout live in cold rivers."]),
        ]
    )
    add_file(base, Upload("report.pdf", BytesIO(raw), len(raw)))
    do(base, Kind.UPDATE)
    index = open_index(base.index)
    [found] = index.search("trout", k=1, mode="lexical")

    views = pages_of(base, index, found)  # one chunk over both pages
    page = open_home(library, "search", q="trout", mode="lexical")
    button(page, "page_1").click().run()

    assert [view.page for view in views] == [1, 2]
    assert all(view.boxes for view in views)
    assert not page.exception
    assert len(page.get("image")) == 2
