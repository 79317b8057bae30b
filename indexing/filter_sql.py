"""What a filter means: a condition in SQL over the catalogue's chunks and facts.

The user's text reaches SQLite as parameters only. A comparison holds if one of the field's values
compares so; a document without the field fulfils none. `!=`, `not in` and `not` are the plain
opposites, so that they hold for documents without the field. Values of different kinds never
compare: the text "2020" is not the number 2020.
"""

from datetime import date
from typing import Any

from indexing.facts import BOOL, DAY, NUMBER, TEXT
from indexing.filters import Among, And, Comparison, Filter, Holds, Not, Or, Value

Condition = tuple[str, list[Any]]
"""SQL about a row `c` of `chunks`, and its parameters."""

FACTS = "facts_asked"
"""Facts of documents, and the paths of files that repeat them; the catalogue makes this view."""
_SIGNS = {"==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_MOST_INT = 2**63


def condition(tree: Filter) -> Condition:
    """The condition that a chunk must meet."""
    if isinstance(tree, And | Or):
        word = " AND " if isinstance(tree, And) else " OR "
        parts = [condition(part) for part in tree.parts]
        sql = word.join(f"({sql})" for sql, _ in parts)
        return sql, [value for _, values in parts for value in values]
    if isinstance(tree, Not):
        return _opposite(condition(tree.part))
    if isinstance(tree, Comparison):
        return _comparison(tree)
    if isinstance(tree, Among):
        parts = [_comparison(Comparison(tree.field, "==", value)) for value in tree.values]
        sql = " OR ".join(sql for sql, _ in parts)
        return f"({sql})", [value for _, values in parts for value in values]
    return _holds(tree)


def _opposite(found: Condition) -> Condition:
    return f"NOT ({found[0]})", found[1]


def _comparison(tree: Comparison) -> Condition:
    if tree.operator == "!=":
        return _opposite(_comparison(Comparison(tree.field, "==", tree.value)))
    kind, value = _plain(tree.value)
    sign = _SIGNS[tree.operator]
    if tree.field == "page":
        return f"(c.page IS NOT NULL AND c.page {sign} ?)", [value]
    if tree.field == "heading":
        return _any_heading(f"h.value {sign} ?"), [value]
    return _any_fact(f"kind = ? AND value {sign} ?"), [tree.field, kind, value]


def _holds(tree: Holds) -> Condition:
    kind, value = _plain(tree.value)
    if tree.field == "heading":
        return (_any_heading("h.value = ?"), [value]) if kind == TEXT else ("0", [])
    if kind != TEXT:
        return _any_fact("kind = ? AND value = ? AND is_listed"), [tree.field, kind, value]
    sql = "kind = ? AND ((is_listed AND value = ?) OR (NOT is_listed AND instr(value, ?) > 0))"
    return _any_fact(sql), [tree.field, kind, value, value]


def _any_fact(sql: str) -> str:
    return f"c.document IN (SELECT document FROM {FACTS} WHERE field = ? AND {sql})"


def _any_heading(sql: str) -> str:
    return f"EXISTS (SELECT 1 FROM json_each(c.heading) AS h WHERE {sql})"


def _plain(value: Value) -> tuple[str, str | int | float]:
    """The kind of a value, and the value as SQLite holds it."""
    if isinstance(value, bool):
        return BOOL, int(value)
    if isinstance(value, date):
        return DAY, value.isoformat()
    if isinstance(value, str):
        return TEXT, value
    if isinstance(value, int) and not -_MOST_INT <= value < _MOST_INT:
        return NUMBER, float(value)
    return NUMBER, value
