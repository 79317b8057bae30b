from datetime import date

import pytest

from data import Document
from indexing.facts import Fact, document_facts, read_day


def facts(metadata, *, text="", mtime_ns=0):
    document = Document(
        id="docs/a.md", title="T", text=text, source="/docs/a.md", metadata=metadata
    )
    found = document_facts(document, mtime_ns)
    assert found[:2] == (
        Fact("path", "text", "docs/a.md", False),
        Fact("title", "text", "T", False),
    )
    return {tuple(fact) for fact in found[2:]}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("2024-01-31", date(2024, 1, 31)),
        ("2024-01-31T10:00:00Z", date(2024, 1, 31)),
        (" 2024/1/31 10:00", date(2024, 1, 31)),
        ("2024年1月31日，星期三", date(2024, 1, 31)),
        ("2024-02-31", None),
        ("2024-1", None),
        ("2024-01-311", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_days_are_read_in_the_usual_forms(text, want):
    assert read_day(text) == want


def test_each_value_is_a_fact_of_its_kind():
    got = facts(
        {
            "year": 2020,
            "score": 0.5,
            "draft": True,
            "due": "2024-01-31",
            "tags": ["a", 1, None, ["nested"]],
            "author": {"name": "李雷"},
            "title": "own",
            "none": None,
            "nan": float("nan"),
            "huge": 10**400,
        }
    )

    assert got == {
        ("year", "number", 2020, False),
        ("score", "number", 0.5, False),
        ("draft", "bool", 1, False),
        ("due", "text", "2024-01-31", False),
        ("due", "day", "2024-01-31", False),
        ("tags", "text", "a", True),
        ("tags", "number", 1, True),
        ("author.name", "text", "李雷", False),
        ("metadata.title", "text", "own", False),
        ("huge", "number", float("inf"), False),
    }


def test_a_stated_language_and_date_go_before_what_is_found_out():
    got = facts({"lang": "ZH_Hans", "published": "2020/5/1"}, text="English text.", mtime_ns=10**18)

    assert ("language", "text", "zh", False) in got
    assert ("date", "day", "2020-05-01", False) in got
    assert ("metadata.lang", "text", "ZH_Hans", False) in got


def test_language_and_date_are_found_out_from_text_and_file():
    assert facts({}, text="这是中文。", mtime_ns=10**18) == {
        ("language", "text", "zh", False),
        ("date", "day", "2001-09-09", False),
    }


def test_what_is_not_known_is_no_fact():
    assert facts({"date": "soon", "language": " "}) == {
        ("metadata.date", "text", "soon", False),
        ("metadata.language", "text", " ", False),
    }
