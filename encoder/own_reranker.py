"""What a reranker that was trained here says of itself: `reranker.json` in its folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from encoder.files import read_object

OWN = "reranker.json"


@dataclass(frozen=True, kw_only=True)
class OwnReranker:
    """The facts that no other file of the folder has a place for."""

    max_tokens: int
    """Most tokens of a pair."""
    prior: float
    """How far the order that it is given is to be followed, in log odds from first to last."""


def read_own_reranker(folder: Path) -> OwnReranker | None:
    """What a folder's `reranker.json` says, or None where there is none.

    Raises:
        ValueError: If the file is damaged.
    """
    values = read_object(folder / OWN)
    if not values:
        return None
    try:
        return OwnReranker(max_tokens=int(values["max_tokens"]), prior=float(values["prior"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / OWN} is damaged ({error}).") from error


def write_own_reranker(folder: Path, *, max_tokens: int, prior: float) -> None:
    """Write the file."""
    values = asdict(OwnReranker(max_tokens=max_tokens, prior=prior))
    (folder / OWN).write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", "utf-8")
