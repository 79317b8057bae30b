"""Filters and documents for the tests of filters, made by hypothesis."""

from datetime import date

from hypothesis import strategies as st

from indexing.filters import BUILT_IN, Among, And, Comparison, Holds, Not, Or

KEYS = ("year", "tags", "author.name", "a-b", "标签", "and", 'q"\\', "metadata.title")
WORDS = ("", "a", "ab", "zh", "en", "2020", "中文", 'q"\\\n', "2024-01-31", "docs/a.md", "Kap. 1")
DAYS = (date(2024, 1, 31), date(999, 12, 1), date(2024, 2, 1))
NUMBERS = st.integers(-3, 3) | st.sampled_from([2020, 2**63, -(10**40), 0.5, 1e300, -2.0])
VALUES = st.sampled_from(WORDS) | NUMBERS | st.booleans() | st.sampled_from(DAYS)


def values_of(field):
    """Values that a field may be compared with."""
    kinds = {str: st.sampled_from(WORDS), date: st.sampled_from(DAYS), int: NUMBERS}
    return kinds[BUILT_IN[field]] if field in BUILT_IN else VALUES


def comparisons(field):
    def operators(value):
        known = ["==", "!="] if isinstance(value, bool) else ["==", "!=", "<", "<=", ">", ">="]
        return st.sampled_from(known).map(lambda operator: Comparison(field, operator, value))

    among = st.lists(values_of(field), min_size=1, max_size=3).map(
        lambda values: Among(field, tuple(values))
    )
    tests = values_of(field).flatmap(operators) | among
    if BUILT_IN.get(field) in {int, date}:
        return tests
    return tests | VALUES.map(lambda value: Holds(value, field))


LEAVES = st.sampled_from([*BUILT_IN, *KEYS]).flatmap(comparisons)


def _joined(parts):
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return parts.map(Not) | several.map(And) | several.map(Or)


FILTERS = st.recursive(LEAVES, _joined, max_leaves=8)
