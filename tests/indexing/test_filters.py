"""Filters as text and as trees."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.filter_parser import LONGEST, parse_filter
from indexing.filters import (
    Among,
    And,
    Comparison,
    FilterError,
    Holds,
    Not,
    Or,
    fields_of,
    render_filter,
)
from tests.indexing.filter_strategies import FILTERS

ZH = Comparison("language", "==", "zh")
NEW = Comparison("year", ">=", 2020)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('lang == "zh" and year >= 2020', And((ZH, NEW))),
        ("lang=='zh'AND(year>=2020)", And((ZH, NEW))),
        ("lang == “zh”", ZH),
        ("2020 <= year", NEW),
        ("2020 == year", Comparison("year", "==", 2020)),
        ('not lang == "zh" or year >= 2020', Or((Not(ZH), NEW))),
        ('lang == "zh" or year >= 2020 and lang == "zh"', Or((ZH, And((NEW, ZH))))),
        ('(lang == "zh" or year >= 2020) and lang == "zh"', And((Or((ZH, NEW)), ZH))),
        ('lang in ("zh", "en")', Among("language", ("zh", "en"))),
        ('lang not in ["zh"]', Not(Among("language", ("zh",)))),
        ('"hr/" in path', Holds("hr/", "path")),
        ('"a" not in tags', Not(Holds("a", "tags"))),
        ("date >= 2024-01-31", Comparison("date", ">=", date(2024, 1, 31))),
        ('date < "2024-2-1"', Comparison("date", "<", date(2024, 2, 1))),
        ("due < 2024-02-01", Comparison("due", "<", date(2024, 2, 1))),
        ('due < "2024-02-01"', Comparison("due", "<", "2024-02-01")),
        (
            "draft == false and x == True",
            And((Comparison("draft", "==", False), Comparison("x", "==", True))),
        ),
        ("a == -1.5e3", Comparison("a", "==", -1500.0)),
        ("page in (1, 2)", Among("page", (1, 2))),
        ("author.name == 'Li'", Comparison("author.name", "==", "Li")),
        ('metadata.title == "x"', Comparison("metadata.title", "==", "x")),
        ('metadata["lang"] == "x"', Comparison("metadata.lang", "==", "x")),
        ("metadata.year == 1", Comparison("year", "==", 1)),
        ('metadata["created-by"] == "x"', Comparison("created-by", "==", "x")),
        ("标签 == '中\\n\\u6587\\''", Comparison("标签", "==", "中\n文'")),
    ],
)
def test_expressions_are_read(text, want):
    got = parse_filter(text)

    assert got == want
    assert repr(got) == repr(want)  # 1, 1.0 and true are equal in Python


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "The filter is empty"),
        ("   ", 0, "The filter is empty"),
        ("lang == ", 7, 'character 8: expected a value such as "zh", 2020, true or 2024-01-31'),
        ("lang == zh", 8, "put text in quotes, found zh"),
        ('lang = "zh"', 5, "write == to compare, found ="),
        ('lang == "zh', 8, "closing quote is missing"),
        ('lang == "zh" && year > 1', 13, "write and, found &&"),
        ('lang == "zh" year > 1', 13, "expected and, or, or the end, found year"),
        ('(lang == "zh"', 13, "expected ), but it ends there"),
        ('lang == "zh")', 12, "expected and, or, or the end, found )"),
        ("lang", 4, "expected ==, !=, <, <=, >, >=, in or not in behind lang, but it ends there"),
        ("lang not 'zh'", 9, "expected in, found 'zh'"),
        ("lang in 'zh'", 8, 'expected a list such as ("en", "zh"), found'),
        ("lang in ()", 9, "expected a value such as"),
        ("lang in ('zh' 'en')", 14, "expected ), found 'en'"),
        ("lang in ['zh')", 13, "expected ], found )"),
        ("'a' in 'b'", 7, "expected the name of a field"),
        ("1 2", 2, "expected in, not in, ==, !=, <, <=, > or >=, found 2"),
        ("1 in page", 5, "page holds one value only; compare it by =="),
        ("page == 'x'", 8, "page is a number, not text"),
        ("page == true", 8, "page is a number, not true or false"),
        ("path == 3", 8, "path is text, not a number"),
        ("date > 2024-02-31", 7, "expected a day that exists, as 2024-01-31, found 2024-02-31"),
        ("date > 'soon'", 7, "expected a day that exists"),
        ("date > 2024", 7, "date is a day, not a number"),
        ("draft < true", 6, "true and false have no order"),
        ("created-by == 1", 7, 'write metadata["a-b"] for a field with such a name'),
        ("year == 1e999", 8, "too large"),
        ("year == " + "9" * 101, 8, "more than 100 digits"),
        ("metadata[3] == 1", 9, 'as in metadata["created by"]'),
        ("; DROP TABLE chunks", 0, "no such sign, found ;"),
        ("(" * 60 + "a == 1" + ")" * 60, 50, "more than 50 deep"),
        ("not " * 5000, LONGEST, "has 20000 characters, more than 10000"),
        ("1 < year < 3", 9, "expected and, or, or the end, found <"),
    ],
)
def test_a_filter_that_cannot_be_read_says_where_and_why(text, position, message):
    with pytest.raises(FilterError) as caught:
        parse_filter(text)

    assert message in str(caught.value)
    assert caught.value.position == position
    assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(FILTERS)
def test_what_is_rendered_is_read_as_the_same_tree(tree):
    got = parse_filter(render_filter(tree))

    assert repr(got) == repr(tree)


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                "lang",
                "==",
                "<",
                "(",
                ")",
                "and",
                "not",
                "in",
                "'a'",
                "1",
                ",",
                "2024-01-31",
                "metadata",
                "[",
            ]
        ),
        max_size=12,
    ).map(" ".join)
)
def test_any_text_is_read_or_refused_in_one_sentence(text):
    tree = error = None
    try:
        tree = parse_filter(text)
    except FilterError as found:
        error = found

    if error is None:
        assert repr(parse_filter(render_filter(tree))) == repr(tree)
    else:
        assert 0 <= error.position <= len(text)
        assert str(error).endswith(".")


def test_fields_are_named_in_order():
    assert list(fields_of(parse_filter("a == 1 and (not b < 2 or 'x' in c or d in (1, 2))"))) == [
        "a",
        "b",
        "c",
        "d",
    ]
