import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from indexing.structure import Block, blocks, items, sections

HANDBOOK = sorted((Path(__file__).parents[2] / "docs").glob("??/*.md"))


def headings(text):
    """(place of the heading, path) of every section but the first."""
    return [(section.heading_start, section.heading) for section in sections(text)[1:]]


def paths(text):
    return [path for _, path in headings(text)]


def commonmark_headings(text):
    """(line, level, raw title) of every top-level heading, by an independent implementation."""
    tokens = MarkdownIt("commonmark").parse(text)
    return [
        (token.map[0], int(token.tag[1]), tokens[place + 1].content)
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0
    ]


def our_headings(text):
    """(line, depth of the path, title) of every heading."""
    return [(text.count("\n", 0, start), path[-1]) for start, path in headings(text)]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Title\n", "Title"),
        ("# Title", "Title"),
        ("###### Deep\n", "Deep"),
        ("   # Three spaces\n", "Three spaces"),
        ("#\tTab\n", "Tab"),
        ("# Closed ##  \n", "Closed"),
        ("# Not closed#\n", "Not closed#"),
        ("# C# and F#\n", "C# and F#"),
        ("# C# #\n", "C#"),
        ('# **Bold**, `code` and [a link](https://x.y "t")\n', "Bold, code and a link"),
        ("# 重置密码\n", "重置密码"),
        ("Underlined\n===\n", "Underlined"),
        ("Underlined\n---", "Underlined"),
        ("   Underlined\n   --  \n", "Underlined"),
        ("一、概述\n====\n", "一、概述"),
        ("3.14 is out\n---\n", "3.14 is out"),
        ("**Bold** title\n---\n", "Bold title"),
        ("text goes\non here\n# Title\n", "Title"),
        ("```sh\ncode\n```\nTitle\n===\n", "Title"),
        ("***\nTitle\n===\n", "Title"),
        ("=====\nTitle\n=====\n", "Title"),
    ],
)
def test_a_heading_is_found_and_freed_of_its_marks(text, title):
    assert paths(text) == [(title,)]


@pytest.mark.parametrize(
    "text",
    [
        "no heading\n",
        "#Title\n",
        "####### Seven\n",
        "    # code by indentation\n",
        "\t# code by indentation\n",
        "#\n\n## \n\n# #\n",
        "text\n\n---\n\ntext\n",
        "---\ntext\n",
        "text\n\n===\n",
        "- item\n---\n",
        "* item\n===\n",
        "1. item\n---\n",
        "> quote\n---\n",
        "    code\n---\n",
        "two lines\nof text\n---\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "| a |\n---\n",
        "a | b\n--- | ---\n1 | 2\n",
        "text\n- - -\n",
        "text\n***\n",
        "\\# escaped\n",
        "",
        "\n\n",
    ],
)
def test_what_is_no_heading_is_left_in_the_text(text):
    [section] = sections(text)

    assert (section.heading, section.start, section.end) == ((), 0, len(text))


@pytest.mark.parametrize(
    "code",
    [
        "```\n# comment\n```\n",
        "```sh\n# comment\n```\n",
        "   ~~~\n# comment\n~~~\n",
        "````\n```\n# comment\n```\n````\n",
        "```\n# comment\n``````\n",
        "```\n# comment\n~~~\n# comment\n```\n",
        "~~~\n# comment\n```\n# comment\n~~~~\n",
        "~~~ with `ticks` ~~~\n# comment\n~~~\n",
        "```\n```python\n# comment\n```\n",
        "```\n    ```\n# comment\n```\n",
        "```\nTitle\n===\n```\n",
    ],
)
def test_headings_in_fenced_code_are_none(code):
    text = f"# Before\n\n{code}\n# After\n"

    assert paths(text) == [("Before",), ("After",)]


def test_a_fence_that_never_closes_holds_the_rest():
    assert paths("# Before\n```\n# comment\n\n# comment\n") == [("Before",)]


def test_ticks_around_code_within_a_line_are_no_fence():
    assert paths("```code``` in a line\n\n# After\n") == [("After",)]


def test_a_path_holds_the_headings_above():
    text = "intro\n# A\n## B\n#### C\n### D\n## E\n# F\n### G\n"

    assert paths(text) == [
        ("A",),
        ("A", "B"),
        ("A", "B", "C"),
        ("A", "B", "D"),
        ("A", "E"),
        ("F",),
        ("F", "G"),
    ]


def test_sections_know_where_their_heading_and_their_text_are():
    text = "intro\n# A\none\nB\n===\ntwo\n\nC\n---\nthree"

    got = [
        (text[s.heading_start : s.start], text[s.start : s.end], s.heading) for s in sections(text)
    ]

    assert got == [
        ("", "intro\n", ()),
        ("# A\n", "one\nB\n===\ntwo\n\n", ("A",)),
        ("C\n---\n", "three", ("A", "C")),
    ]


_LINES = st.sampled_from(
    [
        "",
        "",
        "# One",
        "## Two ##",
        "   ### Three",
        "    # code",
        "#no",
        "#",
        "text",
        "文字。",
        "===",
        "---",
        "--",
        "***",
        "```",
        "```py",
        "````",
        "~~~",
        "  ```",
        "``` `x`",
        "- item",
        "1. item",
        "> quote",
        "| a | b |",
        "|---|---|",
        "    indented",
        "\u200b",
        "\u3000",
    ]
)
_DOCUMENTS = st.lists(_LINES, max_size=25).map("\n".join)


@given(_DOCUMENTS | st.text(max_size=80), st.booleans())
def test_sections_touch_and_cover_the_text(text, ends_line):
    text += "\n" * ends_line

    found = sections(text)

    assert (found[0].heading_start, found[-1].end) == (0, len(text))
    assert [s.end for s in found[:-1]] == [s.heading_start for s in found[1:]]
    assert all(s.heading_start <= s.start <= s.end for s in found)
    assert all(text[s.heading_start : s.start].strip() for s in found[1:])


# Without what CommonMark and we read differently on purpose: underlined titles of several lines,
# headings without a title, and what may stand within lists and quotes.
_AGREED = st.sampled_from(
    [
        ["# One", ""],
        ["## Two ##"],
        ["   ### Three#"],
        ["", "Title", "==="],
        ["", "Title", "  ---", ""],
        ["", "Title", "--"],
        ["", "    # indented", ""],
        ["#no", ""],
        ["", "text", "more text", ""],
        ["", "---", ""],
        ["", "***"],
        ["", "- item", "---", ""],
        ["", "> quote", "---", ""],
        ["", "1. item", "", "text", ""],
        ["```", "# comment", "```"],
        ["~~~ `", "Title", "===", "```", "~~~~"],
        ["````", "```", "# comment", "```", "````"],
        ["```py"],
        ["", "``` `x` ```", ""],
        ["", "| a | b |", "|---|---|", "| 1 | 2 |", ""],
    ]
)


@given(st.lists(_AGREED, max_size=12))
def test_headings_agree_with_commonmark(parts):
    text = "\n".join(line for part in parts for line in part) + "\n"

    want = [(line, title) for line, _, title in commonmark_headings(text)]

    assert our_headings(text) == want


@pytest.mark.parametrize("path", HANDBOOK, ids=lambda path: "/".join(path.parts[-2:]))
def test_headings_of_the_handbook_agree_with_commonmark(path):
    text = path.read_text("utf-8")

    got = [(line, title) for line, title in our_headings(text)]
    want = [
        (line, level, title.replace("`", "")) for line, level, title in commonmark_headings(text)
    ]

    assert got == [(line, title) for line, _, title in want]
    assert [len(path) for _, path in headings(text)] == [level for _, level, _ in want]


def kinds(text):
    return [(text[b.start : b.end], b.by_lines) for b in blocks(text, 0, len(text))]


def test_blocks_end_at_empty_lines_and_around_code():
    text = "\n\nOne.\nTwo.\n \nThree.\n```\nx\n\ny\n```\nFour.\n\n"

    assert kinds(text) == [
        ("One.\nTwo.\n", False),
        ("Three.\n", False),
        ("```\nx\n\ny\n```\n", True),
        ("Four.\n", False),
    ]


def test_blocks_keep_to_their_range():
    text = "One.\n\nTwo.\n\nThree."

    assert blocks(text, 2, 9) == [Block(2, 5, False), Block(6, 9, False)]
    assert blocks(text, 5, 6) == []
    assert blocks(text, 3, 3) == []


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b",
        "Intro:\n* a\n* b",
        "1. a\n2) b",
        "1、第一\n2、第二",
        "1.第一步\n2.第二步",
        "一、概述\n二、安装",
        "（一）概述\n（二）安装",
        "• a",
        "| a | b |\n|---|---|",
        "```\ncode",
    ],
)
def test_lists_tables_and_code_go_by_lines(text):
    assert [by_lines for _, by_lines in kinds(text)] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Plain text.\nMore.",
        "*Emphasis* comes first.",
        "**Note** that",
        "-5 degrees",
        "3.14 is a number",
        "+1 555 0100 is the number",
        "2024. That year",
        "a | b",
        "一天、两天",
    ],
)
def test_prose_goes_by_sentences(text):
    assert [by_lines for _, by_lines in kinds(text)] == [False]


def its_items(text):
    [block] = blocks(text, 0, len(text))
    return [text[start:end] for start, end in items(text, block)]


def test_items_are_cut_at_their_marks():
    text = "Steps:\n- one\n  goes on\n- two\n  1. deep\n| a | b |\n|---|---|\n"

    assert its_items(text) == [
        "Steps:\n",
        "- one\n  goes on\n",
        "- two\n",
        "  1. deep\n",
        "| a | b |\n",
        "|---|---|\n",
    ]


def test_one_item_is_whole():
    assert its_items("- one\n  goes on\n  to its end") == ["- one\n  goes on\n  to its end"]


def test_code_is_cut_at_every_line_with_words():
    assert its_items("```yaml\n- a\n  b\n\n```\n") == ["```yaml\n", "- a\n", "  b\n\n", "```\n"]


@given(_DOCUMENTS)
def test_blocks_and_items_hold_all_but_white_space(text):
    found = blocks(text, 0, len(text))

    for block in found:
        spans = items(text, block)
        assert [start for start, _ in spans] == [block.start, *(end for _, end in spans[:-1])]
        assert spans[-1][1] == block.end
    outside = set(range(len(text))).difference(*(range(b.start, b.end) for b in found))
    assert all(text[place].isspace() for place in outside)


@pytest.mark.parametrize(
    "line",
    [
        "# a" + " " * 200_000 + "b",
        "# " + "[" * 200_000,
        "# a" + " #" * 100_000 + "b",
        "- " * 100_000 + "x",
        "=" * 200_000 + "x",
        "`" * 200_000,
        "[a](" * 50_000,
    ],
)
def test_long_lines_are_read_in_linear_time(line):
    text = f"text\n{line}\n===\n# {line}\n"
    started = time.perf_counter()

    sections(text)
    blocks(text, 0, len(text))

    assert time.perf_counter() - started < 5
