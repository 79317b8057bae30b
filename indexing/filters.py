"""Filters as a tree, and the tree as text; it knows no catalogue and no store.

`indexing/filter_parser.py` reads a tree from text, `indexing/filter_sql.py` says what it means.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from indexing.errors import UsageError

Value = str | int | float | bool | date

BUILT_IN = {
    "path": str,
    "title": str,
    "language": str,
    "date": date,
    "heading": str,
    "page": int,
}
"""Fields that every document or chunk may have, with the kind of their values."""
ALIASES = {"lang": "language"}
METADATA = "metadata."
"""Stands before a metadata field that is called like a built-in one."""
KEYWORDS = ("and", "or", "not", "in", "true", "false")
"""Names with a meaning of their own, in any case."""
_NAME = re.compile(r"[^\W\d]\w*(?:\.\w+)*")


class FilterError(UsageError):
    """A filter that cannot be read, or that asks for a field which no document has."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position
        """0-based place in the expression, where there is one."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field operator value`; of a field with several values, one must compare so."""

    field: str
    operator: str
    """`==`, `<`, `<=`, `>`, `>=`, or `!=`, which is the opposite of `==`."""
    value: Value


@dataclass(frozen=True, slots=True)
class Among:
    """`field in (value, …)`: the field, or one of its values, is one of these."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Holds:
    """`value in field`: a field with several values has this one, a text contains this text."""

    value: Value
    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    part: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    """All parts are true; two at least."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One part is true; two at least."""

    parts: tuple["Filter", ...]


Filter = Comparison | Among | Holds | Not | And | Or


def render_filter(tree: Filter) -> str:
    """The expression that `parse_filter` reads as this tree."""
    if isinstance(tree, Comparison):
        return f"{_field_text(tree.field)} {tree.operator} {_value_text(tree.value)}"
    if isinstance(tree, Among):
        return f"{_field_text(tree.field)} in ({', '.join(map(_value_text, tree.values))})"
    if isinstance(tree, Holds):
        return f"{_value_text(tree.value)} in {_field_text(tree.field)}"
    if isinstance(tree, Not):
        return f"not ({render_filter(tree.part)})"
    word = " and " if isinstance(tree, And) else " or "
    joined = (And, Or)
    texts = [
        f"({render_filter(part)})" if isinstance(part, joined) else render_filter(part)
        for part in tree.parts
    ]
    return word.join(texts)


def fields_of(tree: Filter) -> Iterator[str]:
    """The fields that a filter asks for, in order."""
    if isinstance(tree, Not):
        yield from fields_of(tree.part)
    elif isinstance(tree, And | Or):
        for part in tree.parts:
            yield from fields_of(part)
    else:
        yield tree.field


def metadata_field(key: str) -> str:
    """What a metadata key is called in a filter: itself, unless a built-in field is called so."""
    return METADATA + key if key in BUILT_IN or key in ALIASES else key


def _field_text(name: str) -> str:
    bare = name.removeprefix(METADATA)
    if _NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    return f"metadata[{_value_text(bare)}]"


def _value_text(value: Value) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else repr(value)
