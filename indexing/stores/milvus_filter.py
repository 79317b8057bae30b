"""Filters for Milvus: facts as a JSON field of each row, and the expression that asks for them.

The catalogue says what a filter means. An expression here lets at least those rows through that the
catalogue would, and says whether it lets through exactly those; what is too many, the reader drops.
"""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from indexing.facts import BOOL, DAY, NUMBER, TEXT, Fact
from indexing.filters import Among, And, Comparison, Filter, FilterError, Holds, Not, Or, Value

FACTS, WHOLE = "facts", "whole"
"""The field with the facts, and the one that tells whether they are all there."""
LISTS = ("heading",)
"""Built-in fields that always hold several values."""
LONGEST_TEXT = 1024
"""Characters of a text that is kept among the facts."""
_MOST_INT = 2**53
"""Up to here every whole number is a float of its own."""
_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KINDS = {TEXT: "t", NUMBER: "n", BOOL: "b", DAY: "d"}
_UNESCAPABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Rendered:
    """An expression over a row's facts."""

    text: str
    is_exact: bool
    """Whether it lets through just what the catalogue does, of rows whose facts are all there."""


def facts_field(
    facts: Iterable[Fact], heading: Iterable[str], page: int | None
) -> tuple[dict[str, Any], bool]:
    """A row's facts as JSON, and whether they are all there.

    For each kind and field: its values, and the least and the greatest, so that "one of the values
    is less" can be asked.
    """
    found: dict[str, Any] = {}
    listed: dict[tuple[str, str], list[Any]] = {}
    is_whole = True
    extra = [Fact("heading", TEXT, part, True) for part in heading]
    if page is not None:
        extra.append(Fact("page", NUMBER, page, False))
    for fact in (*facts, *extra):
        value = _kept(fact.value)
        if value is None:
            is_whole = False
            continue
        listed.setdefault((fact.kind, fact.field), []).append(value)
        where = "LISTED" if fact.is_listed else "SINGLE"
        listed_key = _key(fact.kind, fact.field) + where
        found.setdefault(listed_key, []).append(_member(value))
    for (kind, field), values in listed.items():
        key, members = _key(kind, field), list(map(_member, values))
        found |= {key: members, key + "MIN": min(values), key + "MAX": max(values)}
    return found, is_whole


def render(tree: Filter, known: Collection[str]) -> Rendered | None:
    """The expression of a filter; None if it would let everything through.

    Args:
        tree: The filter.
        known: The fields that may be asked for.

    Raises:
        FilterError: If the filter asks for another field.
    """
    found = _render(tree, known, negated=False)
    return found and Rendered(f"({WHOLE} == false or ({found.text}))", found.is_exact)


def escaped(text: str) -> str | None:
    """A text as a literal of Milvus, None if it has a character that no literal can hold."""
    if _UNESCAPABLE.search(text):
        return None
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def _render(tree: Filter, known: Collection[str], *, negated: bool) -> Rendered | None:
    if isinstance(tree, Not):
        return _render(tree.part, known, negated=not negated)
    if isinstance(tree, And | Or):
        parts = [_render(part, known, negated=negated) for part in tree.parts]
        return _all(parts) if isinstance(tree, And) != negated else _any(parts)
    if tree.field not in known:
        raise FilterError(f"No document has the field {tree.field!r} that the filter asks for.")
    if isinstance(tree, Comparison) and tree.operator == "!=":
        return _render(Comparison(tree.field, "==", tree.value), known, negated=not negated)
    text = _test(tree, negated=negated)
    if text is None:
        return None
    is_exact = not (isinstance(tree, Holds) and isinstance(tree.value, str)) or tree.field in LISTS
    return Rendered(f"not ({text})" if negated else f"({text})", is_exact)


def _all(parts: list[Rendered | None]) -> Rendered | None:
    """All parts; one that lets everything through may be left out."""
    kept = [part for part in parts if part is not None]
    if not kept:
        return None
    is_exact = len(kept) == len(parts) and all(part.is_exact for part in kept)
    return Rendered("(" + " and ".join(part.text for part in kept) + ")", is_exact)


def _any(parts: list[Rendered | None]) -> Rendered | None:
    """One of the parts; if one of them lets everything through, so does the whole."""
    kept = [part for part in parts if part is not None]
    if len(kept) < len(parts):
        return None
    text = "(" + " or ".join(part.text for part in kept) + ")"
    return Rendered(text, all(part.is_exact for part in kept))


def _test(tree: Comparison | Among | Holds, *, negated: bool) -> str | None:
    """A test of one field; None if Milvus cannot make it."""
    if isinstance(tree, Among):
        tests = [_comparison(tree.field, "==", value) for value in tree.values]
        known = [test for test in tests if test is not None]
        return " or ".join(known) if len(known) == len(tests) else None
    if isinstance(tree, Comparison):
        return _comparison(tree.field, tree.operator, tree.value)
    return _holds(tree, negated=negated)


def _comparison(field: str, operator: str, value: Value) -> str | None:
    kind, plain = _plain(value)
    if plain is None:
        return None
    key = _key(kind, field)
    if operator == "==":
        return f'json_contains({FACTS}["{key}"], {escaped(_member(plain))})'
    literal = escaped(plain) if isinstance(plain, str) else repr(plain)
    # One of the values is less, if the least of them is.
    edge = f'{FACTS}["{key}{"MIN" if operator.startswith("<") else "MAX"}"]'
    # In brackets of its own: server 2.3 reads `exists a and b` as `exists (a and b)`. Without it,
    # rows that lack the field are neither in the test nor in its opposite for Milvus Lite.
    return f"(exists {edge}) and {edge} {operator} {literal}"


def _holds(tree: Holds, *, negated: bool) -> str | None:
    kind, plain = _plain(tree.value)
    if plain is None:
        return None
    key = _key(kind, tree.field)
    among = f'json_contains({FACTS}["{key}LISTED"], {escaped(_member(plain))})'
    if kind != TEXT or tree.field in LISTS:
        return among
    # A text that contains another: older servers cannot look inside, so all such rows pass.
    return None if negated else f'{among} or (exists {FACTS}["{key}SINGLE"])'


def _plain(value: Value) -> tuple[str, str | float | None]:
    """The kind of a value, and the value as a row keeps it, None if no row can."""
    if isinstance(value, bool):
        return BOOL, float(value)
    if isinstance(value, date):
        return DAY, value.isoformat()
    kind = TEXT if isinstance(value, str) else NUMBER
    return kind, _kept(value)


def _kept(value: str | float) -> str | float | None:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT and escaped(value) is not None else None
    is_kept = math.isfinite(value) and abs(value) <= _MOST_INT
    return float(value) + 0.0 if is_kept else None  # which makes -0.0 plain


def _member(value: str | float) -> str:
    """A value in a list, as a text: Milvus Lite finds no negative number in one."""
    return value if isinstance(value, str) else repr(value)


def _key(kind: str, field: str) -> str:
    """A field's name among the facts: no two are equal, and none needs a quote.

    Endings in capitals stand for more of the same field; no name itself has one but the X before
    the digits of a name that is not plain.
    """
    name = field if _PLAIN_NAME.fullmatch(field) else f"X{field.encode('utf-8', 'replace').hex()}"
    return f"{_KINDS[kind]}_{name}"
