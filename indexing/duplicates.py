"""Files with the same content as a stored document: known, and not stored again."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from indexing.catalog import FileState

DUPLICATES = "duplicates.json"
"""In a generation's folder, where there are any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """A file that repeats a stored document."""

    id: str
    source: str
    state: FileState
    of: str
    """The document that holds the content."""


def read_duplicates(generation: Path) -> dict[str, Duplicate]:
    """The duplicates of a generation, by id."""
    path = generation / DUPLICATES
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text("utf-8"))
    return {row["id"]: Duplicate(**(row | {"state": FileState(**row["state"])})) for row in rows}


def write_duplicates(generation: Path, duplicates: Iterable[Duplicate]) -> None:
    """Write the duplicates into an unfinished generation's folder."""
    rows = [asdict(duplicate) for duplicate in duplicates]
    if rows:
        text = json.dumps(rows, ensure_ascii=False, indent=0)
        (generation / DUPLICATES).write_text(text, "utf-8")
