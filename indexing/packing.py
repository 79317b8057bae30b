"""A section's text to the spans of its chunks: whole units, as many as there is room for."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from zlib import crc32

from indexing.numbered import LABEL, Part, parts
from indexing.sentences import (
    NOTHING_UNBROKEN,
    Span,
    Unbroken,
    split_clauses,
    split_sentences,
)
from indexing.structure import (
    Block,
    Section,
    blocks,
    code_lines,
    code_paragraphs,
    code_sections,
    columns,
    items,
)

_LONGEST_TOKEN = 32
"""Characters. What an encoder reads as one longer token, such as a line of base64, it does not
know; every 32 characters of it count as a token, lest a chunk grow without end."""
_ANCHORS = 8
"""One block in so many breaks a chunk that is half full, by its own words alone. Behind it, chunks
are the same again however the text before it was edited."""

Cut = Callable[[str, int, int], list[Span]]


class TokenIndex:
    """Counts the tokens of any part of a text that was tokenised once."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._words = [start for start, _ in spans]
        self._starts = self._words
        if not all(0 < end - start <= _LONGEST_TOKEN for start, end in spans):
            self._starts = [place for span in spans for place in range(*span, _LONGEST_TOKEN)]

    def count(self, start: int, end: int) -> int:
        """Tokens of the text from `start` to `end`."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def words(self, start: int, end: int) -> slice:
        """Which of the tokens begin from `start` to `end`."""
        return slice(bisect_left(self._words, start), bisect_left(self._words, end))

    def cut(self, start: int, end: int, most: int) -> int:
        """The furthest place up to `end` with at most `most` tokens since `start`."""
        # Not at `start` again, where one character has more than `most` tokens.
        position = max(bisect_left(self._starts, start) + most, bisect_right(self._starts, start))
        return min(end, self._starts[position]) if position < len(self._starts) else end


@dataclass(frozen=True, slots=True)
class Packed:
    """The place of a chunk, and what it needs besides to be understood."""

    start: int
    end: int
    columns: str = ""
    """The row with the column names, where the chunk begins further down in a table."""


@dataclass(frozen=True, slots=True)
class _Columns:
    row: str
    row_start: int
    body: int
    """Where the rows below the names start."""
    tokens: int


class Packer:
    """Packs the sections of one text.

    Args:
        text: The document's text.
        tokens: Its tokens.
        overlap: Most tokens of whole units that a chunk repeats of the one before.
        version: The way of splitting: 1 knows no columns, numbered clauses, blocks of code, parts
            that are never cut and anchors.
    """

    def __init__(self, text: str, tokens: TokenIndex, overlap: int, version: int) -> None:
        self._text = text
        self._tokens = tokens
        self._overlap = overlap
        self._is_first_version = version == 1
        labels = [match.span() for match in LABEL.finditer(text)] if version > 1 else []
        self.unbroken = Unbroken(text, labels) if version > 1 else NOTHING_UNBROKEN

    def pack(self, section: Section, budget: int, cost: Callable[[str], int]) -> list[Packed]:
        """Fill chunks with whole units, breaking between blocks where that wastes less than half.

        Args:
            section: What to pack.
            budget: Most tokens of a chunk.
            cost: Tokens that a line between the header and the text takes.
        """
        found = blocks(self._text, section.start, section.end)
        filling = _Filling(self._tokens, budget, self._overlap)
        kept_until = 0
        for part in self._parts(found):
            block = part.block
            names = self._columns(block, budget, cost)
            units = self._units(block, budget - (names.tokens if names else 0), names)
            whole = part.end if self._tokens.count(block.start, part.end) <= budget else block.end
            is_kept = part.is_clause and self._tokens.count(block.start, whole) <= budget
            is_anchor = block.start >= kept_until and self._is_anchor(block.start, block.end)
            has_room = filling.has_room(whole)
            if (is_kept and not has_room) or (
                filling.is_half_full() and (is_anchor or not has_room)
            ):
                filling.close()
            kept_until = max(kept_until, whole if is_kept else 0)
            is_long = self._tokens.count(block.start, block.end) > budget
            for unit in units:
                is_anchor = is_long and unit[0] > block.start and self._is_anchor(*unit)
                if not filling.has_room(unit[1]) or (is_anchor and filling.is_half_full()):
                    filling.close(unit, names)
                filling.add(unit)
        filling.close()
        return filling.chunks

    def _parts(self, found: list[Block]) -> list[Part]:
        if self._is_first_version:
            return [Part(block, block.end, is_clause=False) for block in found]
        return parts(self._text, found)

    def _columns(self, block: Block, budget: int, cost: Callable[[str], int]) -> _Columns | None:
        found = None if self._is_first_version else columns(self._text, block)
        if found is None:
            return None
        (start, end), body = found
        row = self._text[start:end].strip() + "\n"
        tokens = cost(row)
        # Names that take more than half of each chunk leave too little for the values.
        return _Columns(row, start, body, tokens) if tokens * 2 <= budget else None

    def _is_anchor(self, start: int, end: int) -> bool:
        words = self._text[start:end].strip().encode("utf-8", "surrogatepass")
        return not self._is_first_version and crc32(words) % _ANCHORS == 0

    def _units(self, block: Block, budget: int, names: _Columns | None) -> list[Span]:
        """The smallest pieces that a chunk may be made of; cut finer where they are too long."""
        text = self._text
        sentences = partial(split_sentences, unbroken=self.unbroken)
        clauses = partial(split_clauses, unbroken=self.unbroken)
        finer: tuple[Cut, ...] = (sentences, clauses)
        if block.is_code and not self._is_first_version:
            spans = [(block.start, block.end)]
            finer = (code_sections, code_paragraphs, code_lines, *finer)
        elif names is not None:
            spans = _rows(items(text, block), names)
        elif block.by_lines:
            spans = items(text, block)
        else:
            spans = sentences(text, block.start, block.end)
        for cut in finer:
            spans = [
                part
                for start, end in spans
                for part in (
                    [(start, end)]
                    if self._tokens.count(start, end) <= budget
                    else cut(text, start, end)
                )
            ]
        return [part for start, end in spans for part in self._cut_by_tokens(start, end, budget)]

    def _cut_by_tokens(self, start: int, end: int, budget: int) -> Iterator[Span]:
        while self._tokens.count(start, end) > budget:
            cut = self._tokens.cut(start, end, budget)
            broken = self.unbroken.around(cut)
            if broken is not None and broken[0] > start:
                cut = broken[0]
            while cut < end and self._text[cut].isspace():  # as behind a sentence
                cut += 1
            yield start, cut
            start = cut
        if end > start:
            yield start, end


def _rows(spans: list[Span], names: _Columns) -> list[Span]:
    """A table's rows; the names stay with the line below them and the first of the values."""
    above = [span for span in spans if span[1] <= names.row_start]
    below = [span for span in spans if span[0] >= names.body]
    end = below[0][1] if below else spans[-1][1]
    start = above[-1][1] if above else spans[0][0]
    return [*above, (start, end), *below[1:]]


class _Filling:
    """The chunks of a section, the last of them still open."""

    def __init__(self, tokens: TokenIndex, budget: int, overlap: int) -> None:
        self.chunks: list[Packed] = []
        self._tokens = tokens
        self._budget = budget
        self._overlap = overlap
        self._units: list[Span] = []
        self._columns: _Columns | None = None

    def has_room(self, end: int) -> bool:
        """Whether the chunk can go on to `end`; one that holds nothing always can."""
        return not self._units or self._size(self._units[0][0], end) <= self._budget

    def is_half_full(self) -> bool:
        """Whether at most half is wasted if it ends here."""
        if not self._units:
            return False
        return self._size(self._units[0][0], self._units[-1][1]) * 2 >= self._budget

    def add(self, unit: Span) -> None:
        """Put a unit into the chunk."""
        self._units.append(unit)

    def close(self, unit: Span | None = None, names: _Columns | None = None) -> None:
        """End the chunk.

        Args:
            unit: What comes next, if it belongs with what ends here: some of it is repeated.
            names: The columns of the table that `unit` is in; below them, they are repeated.
        """
        if self._units:
            row = self._columns.row if self._columns else ""
            self.chunks.append(Packed(self._units[0][0], self._units[-1][1], row))
        is_below = unit is not None and names is not None and unit[0] >= names.body
        self._columns = names if is_below else None
        self._units = [] if unit is None or is_below else self._tail(unit)

    def _size(self, start: int, end: int) -> int:
        return self._tokens.count(start, end) + (self._columns.tokens if self._columns else 0)

    def _tail(self, unit: Span) -> list[Span]:
        """The last units of a full chunk that the next one repeats."""
        spans = self._units
        start = len(spans)
        while start > 1:
            repeated = self._tokens.count(spans[start - 1][0], spans[-1][1])
            with_unit = self._tokens.count(spans[start - 1][0], unit[1])
            if repeated > self._overlap or with_unit > self._budget:
                break
            start -= 1
        return spans[start:]
