"""JSON lines in, numbered and checked objects out; knows no meaning of the keys."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
_MAYBE_HALF_PAIR = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")


def read_json_lines(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the 1-based number and the object of every line that is not blank.

    Raises:
        ValueError: If a line is no JSON object; the message starts with the line's number.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _parse_object(number, line.removeprefix("\ufeff"))


def check_keys(
    number: int, given: Mapping[str, Any], required: Iterable[str], optional: Iterable[str]
) -> None:
    """Refuse an object with a missing or an unknown key, naming its line."""
    required, optional = tuple(required), tuple(optional)
    missing = [key for key in required if key not in given]
    if missing:
        raise ValueError(f"Line {number} has no {missing[0]!r}; it needs {', '.join(required)}.")
    unknown = [key for key in given if key not in (*required, *optional)]
    if unknown:
        allowed = ", ".join((*required, *optional))
        raise ValueError(f"Line {number} has the unknown key {unknown[0]!r}; allowed: {allowed}.")


def text_value(number: int, given: Mapping[str, Any], key: str) -> str:
    """Return the string under `key`, refusing anything else and naming the line."""
    value = given[key]
    if not isinstance(value, str):
        raise ValueError(
            f"Line {number}: {key!r} must be a string, got {type(value).__name__} {value!r}."
        )
    return value


def parse_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Parse JSON; lone surrogates become U+FFFD, at any depth: no file or database can hold them.

    Raises:
        ValueError: If it is no JSON or nested too deeply.
    """
    try:
        parsed = json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not _MAYBE_HALF_PAIR.search(text):
        return parsed
    return json.loads(_HALF_PAIR.sub("\ufffd", json.dumps(parsed, ensure_ascii=False)))


def _parse_object(number: int, line: str) -> dict[str, Any]:
    try:
        parsed = parse_json(line)
    except ValueError as error:
        raise ValueError(f"Line {number} is not JSON ({error}); give one object a line.") from error
    if not isinstance(parsed, dict):
        raise ValueError(
            f"Line {number} must be a JSON object, got {type(parsed).__name__}; "
            "give one object a line."
        )
    return parsed
