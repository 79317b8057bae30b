"""Filters from text: `lang == "zh" and year >= 2020` to a tree."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from indexing.filters import (
    ALIASES,
    BUILT_IN,
    KEYWORDS,
    METADATA,
    Among,
    And,
    Comparison,
    Filter,
    FilterError,
    Holds,
    Not,
    Or,
    Value,
    metadata_field,
)

LONGEST = 10_000
"""Characters of an expression."""
DEEPEST = 50
"""Brackets and negations within each other."""

_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | “[^”]*”)
    | (?P<date>\d{4}-\d\d?-\d\d?(?![\w.-]))
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w))
    | (?P<name>[^\W\d]\w*(?:\.\w+)*)
    | (?P<sign>==|!=|<=|>=|[<>()\[\],])
    )""",
    re.VERBOSE | re.DOTALL,
)
_KIND_NAMES = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    date: "a day",
}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def parse_filter(expression: str) -> Filter:
    """Read an expression.

    Raises:
        FilterError: If it cannot be read; the message says where and what was expected.
    """
    if not expression.strip():
        raise FilterError('The filter is empty; write one like lang == "zh" and year >= 2020.', 0)
    if len(expression) > LONGEST:
        raise FilterError(
            f"The filter has {len(expression)} characters, more than {LONGEST}; make it shorter.",
            LONGEST,
        )
    return _Parser(expression).parse()


class _Token(NamedTuple):
    kind: str
    """`text`, `date`, `number`, `name`, `word`, `sign` or `end`."""
    text: str
    start: int


@dataclass
class _Parser:
    """Recursive descent over the tokens of one expression."""

    expression: str
    tokens: list[_Token] = field(default_factory=list)
    next: int = 0
    depth: int = 0

    def parse(self) -> Filter:
        self.tokens = list(self._read_tokens())
        tree = self._any()
        if self._token.kind != "end":
            raise self._error("expected and, or, or the end")
        return tree

    @property
    def _token(self) -> _Token:
        return self.tokens[self.next]

    def _error(self, wanted: str, token: _Token | None = None) -> FilterError:
        token = token or self._token
        found = f"found {token.text[:40]}" if token.kind != "end" else "but it ends there"
        return FilterError(
            f"The filter cannot be read at character {token.start + 1}: {wanted}, {found}.",
            token.start,
        )

    def _read_tokens(self) -> Iterator[_Token]:
        place, text = 0, self.expression.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise self._error_at(place + len(text[place:]) - len(text[place:].lstrip()))
            kind = match.lastgroup
            found = match[kind]
            if kind == "name" and found.lower() in KEYWORDS:
                kind, found = "word", found.lower()
            yield _Token(kind, found, match.start(match.lastgroup))
            place = match.end()
        yield _Token("end", "", len(text))

    def _error_at(self, place: int) -> FilterError:
        character = self.expression[place]
        rest = self.expression[place : place + 2]
        hints = {"=": "write == to compare", "&": "write and", "|": "write or", "!": "write not"}
        hint = hints.get(character, "no such sign")
        if character in "\"'“":
            hint = "the text's closing quote is missing"
        elif character == "-":
            hint = 'write metadata["a-b"] for a field with such a name'
        return FilterError(
            f"The filter cannot be read at character {place + 1}: {hint}, found {rest.strip()}.",
            place,
        )

    def _take(self, *texts: str) -> _Token | None:
        """The next token if it is one of these words or signs."""
        if self._token.kind in {"word", "sign"} and self._token.text in texts:
            self.next += 1
            return self.tokens[self.next - 1]
        return None

    def _need(self, text: str) -> None:
        if self._take(text) is None:
            raise self._error(f"expected {text}")

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self) -> Filter:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(f"brackets and nots stand more than {DEEPEST} deep")
        if self._take("not"):
            tree: Filter = Not(self._one())
        elif self._take("("):
            tree = self._any()
            self._need(")")
        else:
            tree = self._test()
        self.depth -= 1
        return tree

    def _test(self) -> Filter:
        if self._token.kind != "name":
            return self._value_first()
        start = self._token
        name = self._field()
        if self._take("in"):
            return Among(name, tuple(self._values(name)))
        if self._take("not"):
            self._need("in")
            return Not(Among(name, tuple(self._values(name))))
        sign = self._take(*_FLIPPED)
        if sign is None:
            raise self._error(f"expected ==, !=, <, <=, >, >=, in or not in behind {start.text}")
        return self._comparison(name, sign, self._value())

    def _value_first(self) -> Filter:
        """`"a" in tags`, or `2020 <= year`."""
        value = self._value()
        sign = self._take("in", "not", *_FLIPPED)
        if sign is None:
            raise self._error("expected in, not in, ==, !=, <, <=, > or >=")
        if sign.text == "not":
            self._need("in")
        if self._token.kind != "name":
            raise self._error("expected the name of a field")
        start = self._token
        name = self._field()
        if sign.text in _FLIPPED:
            return self._comparison(name, sign._replace(text=_FLIPPED[sign.text]), value)
        if BUILT_IN.get(name) in {int, date}:
            raise self._error(f"{name} holds one value only; compare it by ==", start)
        holds = Holds(value[0], name)
        return Not(holds) if sign.text == "not" else holds

    def _field(self) -> str:
        name = self._token.text
        self.next += 1
        if name == "metadata" and self._take("["):
            if self._token.kind != "text":
                raise self._error('expected a name in quotes, as in metadata["created by"]')
            key = _unquoted(self._token.text)
            self.next += 1
            self._need("]")
            return metadata_field(key)
        if name.startswith(METADATA):
            return metadata_field(name.removeprefix(METADATA))
        return ALIASES.get(name, name)

    def _values(self, name: str) -> Iterator[Value]:
        closing = {"(": ")", "[": "]"}
        opening = self._take(*closing)
        if opening is None:
            raise self._error('expected a list such as ("en", "zh")')
        while True:
            yield self._checked(name, *self._value())
            if self._take(",") is None:
                break
        self._need(closing[opening.text])

    def _value(self) -> tuple[Value, _Token]:
        token = self._token
        value = self._literal(token)
        self.next += 1
        return value, token

    def _literal(self, token: _Token) -> Value:
        if token.kind == "text":
            return _unquoted(token.text)
        if token.kind == "number":
            return self._number(token)
        if token.kind == "date":
            return self._day(token, token.text)
        if token.kind == "word" and token.text in {"true", "false"}:
            return token.text == "true"
        hint = "; put text in quotes" if token.kind == "name" else ""
        raise self._error(f'expected a value such as "zh", 2020, true or 2024-01-31{hint}', token)

    def _number(self, token: _Token) -> int | float:
        if re.fullmatch(r"[-+]?\d+", token.text):
            # Python refuses to read thousands of digits, and no field holds such a number.
            if len(token.text) > 100:
                raise self._error("the number has more than 100 digits", token)
            return int(token.text)
        value = float(token.text)
        if value in {float("inf"), float("-inf")}:
            raise self._error("the number is too large", token)
        return value

    def _day(self, token: _Token, text: str) -> date:
        try:
            return date(*map(int, text.split("-")))
        except (ValueError, TypeError):
            raise self._error("expected a day that exists, as 2024-01-31", token) from None

    def _comparison(self, name: str, sign: _Token, found: tuple[Value, _Token]) -> Comparison:
        value = self._checked(name, *found)
        if isinstance(value, bool) and sign.text not in {"==", "!="}:
            raise self._error("true and false have no order; use == or !=", sign)
        return Comparison(name, sign.text, value)

    def _checked(self, name: str, value: Value, token: _Token) -> Value:
        """The value as the kind that a built-in field holds."""
        wanted = BUILT_IN.get(name)
        if wanted is date and isinstance(value, str):
            return self._day(token, value)
        kinds = (int, float) if wanted is int else (wanted,)
        if wanted is not None and type(value) not in kinds:
            raise self._error(
                f"{name} is {_KIND_NAMES[wanted]}, not {_KIND_NAMES[type(value)]}", token
            )
        return value


def _unquoted(text: str) -> str:
    if text[0] == "“":
        return text[1:-1]

    def character(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPED.get(code, code)

    text = _ESCAPE.sub(character, text[1:-1])
    # A pair of surrogates is one character, as in JSON; a lone one is none and matches nothing.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
