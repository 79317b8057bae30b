"""JSON in, text out: records as lines of `key: value`, anything else indented."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from data.loaders.base import Parsed
from data.loaders.code import fenced
from data.loaders.text import decode_text


def read_json(raw: bytes, stem: str) -> Parsed:
    """Read JSON; text that is cut off or no JSON is kept as it stands."""
    text = decode_text(raw)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Parsed(stem, fenced(text, "json"))
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return Parsed(stem, _records(value))
    return Parsed(stem, fenced(json.dumps(value, ensure_ascii=False, indent=2), "json"))


def read_json_lines(raw: bytes, stem: str) -> Parsed:
    """Read one JSON value a line; lines that are none are kept as they stand."""
    values: list[Any] = []
    for line in decode_text(raw).splitlines():
        if line.strip():
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError):
                values.append(line)
    return Parsed(stem, _records(values))


def _records(values: list[Any]) -> str:
    return "\n\n".join(filter(None, ("\n".join(_lines("", value)) for value in values)))


def _lines(key: str, value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON holds anything
    """`key.inner: value` for every value that is not null."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _lines(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        for inner in value:
            yield from _lines(key, inner)
    elif isinstance(value, list):
        yield f"{key}: {', '.join(map(_scalar, value))}" if key else ", ".join(map(_scalar, value))
    elif value is not None:
        yield f"{key}: {_scalar(value)}" if key else _scalar(value)


def _scalar(value: Any) -> str:  # noqa: ANN401
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
