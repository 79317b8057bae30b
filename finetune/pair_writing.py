"""Records in, a file of training pairs out, in the JSON lines of FlagEmbedding that all read."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.pairs import PairRecord
from encoder.errors import UsageError


def as_row(record: PairRecord) -> dict[str, Any]:
    """A pair or triplet as `{"query", "pos", "neg", "pos_scores"?, "neg_scores"?, "prompt"?}`."""
    row: dict[str, Any] = {
        "query": record.queries[0] if len(record.queries) == 1 else list(record.queries),
        "pos": list(record.positives),
        "neg": list(record.negatives),
    }
    if record.positive_scores and len(record.negative_scores) == len(record.negatives):
        row["pos_scores"] = list(record.positive_scores)
        row["neg_scores"] = list(record.negative_scores)
    if record.instruction is not None:
        row["prompt"] = record.instruction
    if record.kind is not None:
        row["type"] = record.kind
    return row


def check_output(path: Path, *, force: bool = False) -> None:
    """Refuse to write over a file, before any work is done.

    Raises:
        UsageError: If the file is there and `force` was not given, or its folder is not.
    """
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; choose another --out, or give --force.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}; make it first.")


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write JSON lines, all or nothing: the file is there when it is whole.

    Returns:
        How many.

    Raises:
        OSError: If the disk is full, say; an older file of that name stays as it was.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    count = 0
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count
