"""What readers say about hits, kept beside the knowledge base; knows no screen.

`feedback.jsonl` holds every thumb, `golden.jsonl` the questions whose right answer a reader has
shown, as `python -m indexing.evaluate --golden` reads them.
"""

import fcntl
import json
import logging
import time
from pathlib import Path
from typing import Any

from app.library import Listing
from data import load_golden
from data.golden import GoldenQuestion
from indexing import Hit
from indexing.language import language_of

FEEDBACK, GOLDEN = "feedback.jsonl", "golden.jsonl"
LONGEST_QUOTE = 300

log = logging.getLogger(__name__)


def note_thumb(listing: Listing, query: str, hit: Hit, *, is_up: bool) -> None:
    """Keep what a reader thinks of a hit: its document, place and words, which outlive an index."""
    row = {
        "time": round(time.time()),
        "query": query,
        "document": hit.document,
        "start": hit.start,
        "end": hit.end,
        "quote": hit.text[:LONGEST_QUOTE],
        "rank": hit.rank,
        "verdict": "up" if is_up else "down",
    }
    _append(listing.folder / FEEDBACK, row)


def save_golden(listing: Listing, query: str, hit: Hit, quote: str) -> bool:
    """Keep a question with the document that answers it; False if it is kept already.

    Args:
        listing: The hit's knowledge base.
        query: The question.
        hit: Where the right answer stands.
        quote: The words that answer, as far as they are known.
    """
    known = {(one.question, one.document) for one in golden(listing)}
    if (query, hit.document) in known:
        return False
    row = {"question": query, "document": hit.document}
    if hit.heading:
        row["heading"] = hit.heading[-1]
    if quote.strip():
        row["quote"] = quote[:LONGEST_QUOTE]
    language = language_of(query)
    if language is not None:
        row["language"] = language
    _append(listing.folder / GOLDEN, row)
    return True


def golden(listing: Listing) -> list[GoldenQuestion]:
    """The questions that were kept."""
    path = listing.folder / GOLDEN
    try:
        return load_golden(path) if path.is_file() else []
    except ValueError as error:
        log.warning("%s cannot be read: %s", path, error)
        return []


def _append(path: Path, row: dict[str, Any]) -> None:
    line = json.dumps(row, ensure_ascii=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line)
