"""Document text as HTML: safe, whole, and marked where it should be."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.marking import excerpt, to_html, to_markdown

SIGNS = ["**", "*", "_", "`", "``", "```", "~~~", "|", "|-", "---", "- ", "1. ", "#", "[", "]", "("]
PIECES = st.sampled_from(
    [
        *SIGNS,
        ")",
        "![",
        "](",
        "http://x",
        "<b>",
        "&",
        '"',
        "'",
        "\\",
        " ",
        "\n",
        "\n\n",
        "中文",
        "。",
    ]
)
TEXTS = st.one_of(
    st.text(), st.lists(PIECES, max_size=40).map(" ".join), st.lists(PIECES).map("".join)
)


@st.composite
def marked_texts(draw):
    text = draw(TEXTS)
    start = draw(st.integers(0, len(text)))
    return text, (start, draw(st.integers(start, len(text))))


class Reader(HTMLParser):
    """All of the text, and what of it is hidden, a bullet or marked; refuses other tags."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.text, self.marked, self.unmarked = "", "", ""
        self._open = []
        self.feed(html.replace("\r", "&#13;").replace("\0", "\ufffd"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        assert tag in {"div", "span", "mark"}
        assert {name for name, _ in attrs} <= {"class"}
        self._open.append((tag, dict(attrs).get("class", "")))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        if self._open and self._open[-1][0] == "mark":
            self.marked += data
        elif not self._open or self._open[-1][1] not in {"hidden", "bullet"}:
            self.unmarked += data


def read(text, mark=None, *, is_markdown=True):
    return Reader(to_html(text, mark, is_markdown=is_markdown))


@given(marked_texts(), st.booleans())
@example(("<script>alert(1)</script>", (0, 8)), True)
@example(("| a | <b> |\n|---|---|\n| `|` | \\| |", (4, 9)), True)
@example(("```\n<i>\n```", (0, 11)), True)
def test_without_its_tags_it_is_the_text_that_came_in(case, is_markdown):
    text, mark = case

    assert read(text, mark, is_markdown=is_markdown).text == text.replace("\0", "\ufffd")


@given(marked_texts())
def test_the_marks_of_plain_text_hold_the_marked_part_exactly(case):
    text, (start, end) = case

    got = read(text, (start, end), is_markdown=False)

    assert got.marked == text[start:end].replace("\0", "\ufffd")


@given(TEXTS)
def test_all_that_can_be_seen_of_a_marked_text_is_marked(text):
    whole = read(text, (0, len(text)))

    assert whole.unmarked.strip() == ""


@given(marked_texts(), st.integers(1, 60))
def test_an_excerpt_lies_in_the_text_and_holds_the_mark(case, most):
    text, (mark_start, mark_end) = case
    mark = (mark_start, mark_end)

    start, end = excerpt(text, mark, most)

    assert 0 <= start <= end <= len(text)
    assert text[mark_start:start].strip() == ""
    assert text[end:mark_end].strip() == ""


def test_an_excerpt_takes_whole_blocks_around_the_mark():
    text = "One one one.\n\nTwo two two.\n\nThree three.\n\nFour."
    start = text.index("Three")

    assert text[slice(*excerpt(text, (start, start + 5), 20))] == "Three three.\n\nFour."
    assert text[slice(*excerpt(text, (start, start + 5), 1))].strip() == "Three three."
    assert text[slice(*excerpt(text, None, 30))].strip() == "One one one.\n\nTwo two two."
    assert text[slice(*excerpt(text, (start, start + 5), 99))] == text


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("a **b** c", 'a <span class="hidden">**</span><span class="strong">b</span>'),
        ("a *b* c", '<span class="hidden">*</span><span class="emphasis">b</span>'),
        ("run `x < y` now", '<span class="code">x &lt; y</span>'),
        (
            "see [the page](x.md).",
            '<span class="hidden">[</span>the page<span class="hidden">](x.md)',
        ),
        ("![a cat](http://x/c.png)", 'a cat<span class="hidden">](http://x/c.png)</span>'),
        ("**a `b` c**", '<span class="strong">a </span>'),
        ("- one\n- two", '<div class="item"><span class="bullet">- </span>one'),
        ("就是*中文*的", '<span class="hidden">*</span><span class="emphasis">中文</span>'),
        ("a \\*b\\* c", 'a <span class="hidden">\\</span>*b<span class="hidden">\\</span>* c'),
        ("2*3*4, 2 * 3 and snake_case_name", "2*3*4, 2 * 3 and snake_case_name"),
    ],
)
def test_markdown_is_shown_by_its_look(text, want):
    assert want in to_html(text, is_markdown=True)


def test_a_table_has_as_many_cells_in_its_head_as_below():
    html = to_html("|  | A | B |\n|---|---|---|\n| x | 1 | 2 |\n", is_markdown=True)

    head, rule, row = re.split(r'(?=<div class="r(?:ow|ule)">)', html)[1:]
    assert head.count('class="cell"') == row.count('class="cell"') == 3
    assert rule.startswith('<div class="rule">')


def test_code_is_not_read_as_markdown():
    html = to_html("```python\na = **b\n```", is_markdown=True)

    assert '<div class="listing">' in html
    assert "a = **b" in unescape(html)


@given(TEXTS)
def test_in_a_label_no_character_means_anything(text):
    label = to_markdown(text)

    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", label) == " ".join(text.split())
    assert not re.search(r"(?<!\\)(\\\\)*[*_`\[<$:&]", label.replace("\\\\", ""))
