"""Reads and digests files, and says where caches lie; knows nothing of what files mean."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def cache_folder() -> Path:
    """Where this user's caches lie: `ANGLER_CACHE`, or ~/.cache/angler."""
    return Path(os.environ.get("ANGLER_CACHE") or "~/.cache/angler").expanduser()


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no such file."""
    return read_json(path, dict) or {}


def read_json(path: Path, kind: type[T]) -> T | None:
    """A JSON value of a kind, or None where there is no such file.

    Raises:
        ValueError: If the file is damaged or holds another kind.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, kind):
        raise ValueError(f"{path} is damaged: it holds no {kind.__name__}.")
    return value


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_json(value: object) -> str:
    """SHA-256 of a value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
