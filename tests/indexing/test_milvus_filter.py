"""Filters as Milvus reads them agree with the catalogue, whatever they hold."""

import itertools
import json
from datetime import date

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from indexing.facts import Fact
from indexing.filter_parser import parse_filter
from indexing.filters import BUILT_IN, Comparison, FilterError
from indexing.stores.milvus import MilvusStore
from indexing.stores.milvus_filter import LONGEST_TEXT, escaped, facts_field, render
from indexing.stores.milvus_options import MilvusPlace
from indexing.stores.milvus_rows import rows_of
from tests.indexing.filter_strategies import FILTERS, KEYS
from tests.indexing.test_filter_sql import corpora, record, write

KNOWN = {*BUILT_IN, *KEYS}
NAMES = itertools.count()
NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]
"""Minutes with an engine that answers in milliseconds; a failing case is small enough."""


def rendered(expression):
    found = render(parse_filter(expression), {*KNOWN, "n", "lang", "a"})
    return found and found.text.removeprefix("(whole == false or (").removesuffix("))")


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        ("n == 3", '(json_contains(facts["n_n"], "3.0"))'),
        ("n != 3", 'not (json_contains(facts["n_n"], "3.0"))'),
        ('a == "3"', '(json_contains(facts["t_a"], "3"))'),
        ("n < 3", '((exists facts["n_nMIN"]) and facts["n_nMIN"] < 3.0)'),
        ("n >= -1.5", '((exists facts["n_nMAX"]) and facts["n_nMAX"] >= -1.5)'),
        (
            "n in (1, 2)",
            '(json_contains(facts["n_n"], "1.0") or json_contains(facts["n_n"], "2.0"))',
        ),
        (
            "date > 2024-01-31",
            '((exists facts["d_dateMAX"]) and facts["d_dateMAX"] > "2024-01-31")',
        ),
        ("n == true", '(json_contains(facts["b_n"], "1.0"))'),
        ('"x" in heading', '(json_contains(facts["t_headingLISTED"], "x"))'),
        (
            "not (n == 1 and a < 2)",
            '(not (json_contains(facts["n_n"], "1.0")) or '
            'not ((exists facts["n_aMIN"]) and facts["n_aMIN"] < 2.0))',
        ),
        ('metadata["a-b"] == 1', '(json_contains(facts["n_X612d62"], "1.0"))'),
        ('metadata["q\\"\\\\"] == 1', '(json_contains(facts["n_X71225c"], "1.0"))'),
        ('title == "a\\"b\\\\c\\nd"', '(json_contains(facts["t_title"], "a\\"b\\\\c\\nd"))'),
    ],
)
def test_hand_written_expressions(expression, want):
    assert rendered(expression) == want


@pytest.mark.parametrize(
    "expression",
    [
        f"n == {10**20}",  # no float of its own
        f'title == "{"x" * (LONGEST_TEXT + 1)}"',
        'title == "\\b"',
        'not ("x" in title)',
        f"n == {10**20} or n == 1",
    ],
)
def test_what_milvus_cannot_ask_is_left_to_the_catalogue(expression):
    assert rendered(expression) is None


def test_a_part_that_cannot_be_asked_is_left_out_of_what_must_all_hold():
    found = render(parse_filter(f"n == 1 and n == {10**20}"), {"n"})

    assert not found.is_exact
    assert found.text == '(whole == false or (((json_contains(facts["n_n"], "1.0")))))'


def test_a_field_that_may_not_be_asked_for_is_refused():
    with pytest.raises(FilterError, match="No document has the field 'secret'"):
        render(parse_filter("n == 1 or not secret == 2"), {"n"})


@given(st.text())
def test_no_text_ends_its_literal(text):
    literal = escaped(text)

    if literal is not None:
        inside = literal[1:-1]
        assert literal[0] == literal[-1] == '"'
        assert "\n" not in inside
        assert "\r" not in inside
        assert '"' not in inside.replace("\\\\", "").replace('\\"', "")
        assert json.loads(literal.replace("\\'", "'")) == text


def test_facts_of_a_row():
    facts = [
        Fact("n", "number", 3, False),
        Fact("tags", "text", "b", True),
        Fact("tags", "text", "a", True),
        Fact("a-b", "bool", 1, False),
    ]

    found, is_whole = facts_field(facts, ("H",), 7)

    assert is_whole
    assert found == {
        "n_nSINGLE": ["3.0"], "n_n": ["3.0"], "n_nMIN": 3.0, "n_nMAX": 3.0,
        "t_tagsLISTED": ["b", "a"], "t_tags": ["b", "a"], "t_tagsMIN": "a", "t_tagsMAX": "b",
        "b_X612d62SINGLE": ["1.0"], "b_X612d62": ["1.0"], "b_X612d62MIN": 1.0, "b_X612d62MAX": 1.0,
        "t_headingLISTED": ["H"], "t_heading": ["H"], "t_headingMIN": "H", "t_headingMAX": "H",
        "n_pageSINGLE": ["7.0"], "n_page": ["7.0"], "n_pageMIN": 7.0, "n_pageMAX": 7.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "fact",
    [
        Fact("a", "text", "x" * (LONGEST_TEXT + 1), False),
        Fact("a", "text", "\0", False),
        Fact("a", "number", 2**53 + 1, False),
        Fact("a", "number", float("inf"), False),
    ],
)
def test_a_fact_that_no_row_can_keep_is_noted(fact):
    assert facts_field([fact], (), None) == ({}, False)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=6), st.text(max_size=6))
def test_two_fields_never_share_a_name(one, other):
    names = [
        set(facts_field([Fact(field, "text", "x", False)], (), None)[0]) for field in (one, other)
    ]

    assert (one.encode("utf-8", "replace") == other.encode("utf-8", "replace")) == bool(
        names[0] & names[1]
    )


# The engines themselves


def store_of(uri, records):
    """The rows of a catalogue, all with one embedding."""
    place = MilvusPlace(uri=uri, collection="filters", knowledge_base=f"kb{next(NAMES)}")
    store = MilvusStore(place, 4, index_type="flat", create=True)
    sources = [row for found in records for row in rows_of(found)]
    store.write(sources, np.tile(np.eye(1, 4, dtype=np.float32), (len(sources), 1)), 1)
    return store, sources


def passed(store, sources, found):
    query = np.eye(1, 4, dtype=np.float32)
    ids = store.search(query, len(sources), where=found.text).ids[0]
    return set(ids[ids >= 0].tolist())


def test_the_engine_agrees_with_the_catalogue(tmp_path_factory, milvus_uri):
    @settings(max_examples=25, deadline=None, phases=NO_SHRINKING)
    @given(records=corpora(), trees=st.lists(FILTERS, min_size=8, max_size=8))
    def agree(records, trees):
        catalog = write(tmp_path_factory.mktemp("catalog") / "catalog.sqlite", records)
        store, sources = store_of(milvus_uri, catalog.records(catalog.states()))
        whole = {row.id for row in sources if row.fields["whole"]}
        for tree in trees:
            found = render(tree, KNOWN)
            want = set(catalog.matching(tree).tolist())
            if found is None:
                continue
            got = passed(store, sources, found)
            assert want <= got, tree
            assert not found.is_exact or got & whole == want & whole, (tree, found)

    agree()


HOSTILE = [
    '" or knowledge_base != "', '") or (chunk >= 0', "\\", '\\"', "\\\\", "'", "%", "_", "{x}",
    "$meta", "json_contains", "--", "/*", "；", "“", "\u2028", "\U0001f34e", "\n\r\t", "a\\nb",
    "\ufeff", "é",
]  # fmt: skip


def test_hostile_texts_are_texts(tmp_path, milvus_uri):
    catalog = write(
        tmp_path / "catalog.sqlite",
        [record(f"d{n}", n, {"a": text}) for n, text in enumerate(HOSTILE)],
    )
    store, sources = store_of(milvus_uri, catalog.records(catalog.states()))
    assert all(row.fields["whole"] for row in sources)

    for number, text in enumerate(HOSTILE):
        for operator, count in (("==", 1), ("!=", len(HOSTILE) - 1)):
            found = render(Comparison("a", operator, text), {"a"})
            got = passed(store, sources, found)
            assert (number in got) == (operator == "==")
            assert len(got) == count, text


def test_days_and_numbers_at_their_edges(tmp_path, milvus_uri):
    days = ["0001-01-01", "0999-12-31", "2024-01-31", "9999-12-31"]
    numbers = [-(2**53), -1e-300, 0, 5e-324, 0.1, 2**53]
    rows = zip([*days, *days[:2]], numbers, strict=True)
    catalog = write(
        tmp_path / "catalog.sqlite",
        [record(f"d{n}", n, {"date": day, "n": number}) for n, (day, number) in enumerate(rows)],
    )
    store, sources = store_of(milvus_uri, catalog.records(catalog.states()))

    for value in [*map(date.fromisoformat, days), *numbers]:
        field = "date" if isinstance(value, date) else "n"
        for operator in ("==", "!=", "<", "<=", ">", ">="):
            tree = Comparison(field, operator, value)
            want = set(catalog.matching(tree).tolist())
            assert passed(store, sources, render(tree, {"n", "date"})) == want, tree
