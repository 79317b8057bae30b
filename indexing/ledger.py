"""A folder whose files carry made-up names, and the ledger in it that says what they are called.

Names that strangers give are thus never names on disk: a program keeps what it was handed under
names of its own, and documents still have the ids that people know them by.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from indexing.errors import BuildFailedError

LEDGER = ".ledger.json"
_STORED = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
"""What a file can be called on disk: never a path, and never hidden."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """One document of the folder."""

    file: str
    """What the file is called on disk; its ending, too, is that of the document."""
    added: float = 0.0
    """When it came, in seconds since 1970."""

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not _STORED.fullmatch(self.file):
            raise ValueError(f"{self.file!r} is no name of a file in this folder")


def has_ledger(folder: Path) -> bool:
    """Whether a folder has one."""
    return (folder / LEDGER).is_file()


def read_ledger(folder: Path) -> dict[str, LedgerRow]:
    """The documents of a folder by their id; none where there is no ledger.

    Raises:
        BuildFailedError: If the ledger is damaged.
    """
    path = folder / LEDGER
    try:
        values = json.loads(path.read_text("utf-8"))
        return {id_: LedgerRow(**row) for id_, row in values["documents"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BuildFailedError(
            f"The list of files {path} is damaged ({error}). Restore it from a backup."
        ) from error


def write_ledger(folder: Path, rows: Mapping[str, LedgerRow]) -> None:
    """Replace the ledger, whole or not at all."""
    values = {"documents": {id_: asdict(rows[id_]) for id_ in sorted(rows)}}
    beside = folder / f"{LEDGER}.new"
    with beside.open("w", encoding="utf-8") as file:
        json.dump(values, file, ensure_ascii=False, indent=0)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / LEDGER)
