"""What the parts of Angler hand each other: documents, chunks and their places."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One thing that the user gave, parsed to text.

    Offsets everywhere in Angler are Python string positions in `text`.
    """

    id: str
    """Root name + relative POSIX path, or the id given by the user."""
    title: str
    text: str
    source: str
    """Where it came from: an absolute path, or the id for piped records."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    page_starts: tuple[int, ...] = ()
    """Offset of the first character of each page; empty where there are no pages."""

    def page_at(self, offset: int) -> int | None:
        """The 1-based page that holds the character at `offset`, if the document has pages."""
        if not self.page_starts:
            return None
        return max(1, bisect_right(self.page_starts, offset))


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """The piece of a document that is embedded, stored and found: `document.text[start:end]`."""

    id: int
    """Ever-growing int64, unique in its index and never used twice."""
    document: str
    start: int
    end: int
    page: int | None
    heading: tuple[str, ...]
    """The headings above the chunk, outermost first."""
    text: str
