"""Documents to chunks: along headings, paragraphs and sentences, by the encoder's own tokens."""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from data import Document, is_visible
from indexing.errors import UsageError
from indexing.sentences import Span, split_clauses, split_sentences
from indexing.structure import Block, Section, blocks, items, sections

MOST_CHUNK_TOKENS = 512
"""Longer chunks hold too many topics for one vector, even where the encoder could read them."""
DEFAULT_OVERLAP_TOKENS = 32
LEAST_CHUNK_TOKENS = 16
_LONGEST_TOKEN = 32
"""Characters. What an encoder reads as one longer token, such as a line of base64, it does not
know; every 32 characters of it count as a token, lest a chunk grow without end."""


class TokenCounter(Protocol):
    """What splitting needs of an encoder."""

    def token_spans(self, text: str) -> list[Span]:
        """The place of each token in the text."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document, instruction and special tokens included."""
        ...


@dataclass(frozen=True, kw_only=True)
class SplitterConfig:
    """How documents are split. Equal digests give equal chunks."""

    chunk_tokens: int
    """Most tokens of what is embedded: instruction, header, text and special tokens."""
    overlap_tokens: int = DEFAULT_OVERLAP_TOKENS
    """Most tokens of whole sentences that a chunk repeats of the one before."""
    header: str = "title-headings"
    """What stands before the text: `title-headings`, one line with the title and heading path."""
    version: int = 1
    """Counts changes of the splitting itself."""

    def __post_init__(self) -> None:
        if self.chunk_tokens < LEAST_CHUNK_TOKENS:
            raise ValueError(
                f"chunk_tokens must be at least {LEAST_CHUNK_TOKENS}, got {self.chunk_tokens}."
            )
        if not 0 <= self.overlap_tokens <= self.chunk_tokens // 2:
            raise ValueError(
                f"overlap_tokens must be between 0 and half of chunk_tokens ({self.chunk_tokens}), "
                f"got {self.overlap_tokens}."
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the configuration."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk before it has an id: `document.text[start:end]` is its text."""

    start: int
    end: int
    heading: tuple[str, ...]
    text: str
    embedded: str
    """What the encoder reads: the header line and the text."""
    tokens: int
    """Tokens of `embedded`, special tokens included."""


def split_document(
    document: Document, counter: TokenCounter, config: SplitterConfig
) -> list[Piece]:
    """Split a document into pieces that cover its text and fit the encoder.

    No piece crosses a heading. Heading lines stand in `heading`, not in the pieces, except where
    nothing follows them. No piece has more than `config.chunk_tokens` tokens.

    Raises:
        UsageError: If the encoder's instruction leaves no room for text.
    """
    tokens = _TokenIndex(counter.token_spans(document.text))
    pieces: list[Piece] = []
    for section in _filled_sections(document.text):
        header = _header(document.title, section.heading, counter, config)
        budget = _budget(header, counter, config)
        spans = _pack(document.text, section, tokens, budget, config.overlap_tokens)
        pieces += _fitted(_pieces(document.text, spans, section, header, counter), counter, config)
    return pieces


def _budget(header: str, counter: TokenCounter, config: SplitterConfig) -> int:
    taken = counter.count_tokens([header])[0]
    if taken >= config.chunk_tokens:
        raise UsageError(
            f"Of {config.chunk_tokens} tokens in a chunk, {taken} go to the encoder's instruction "
            "and the header; give more --chunk-tokens."
        )
    return config.chunk_tokens - taken


class _TokenIndex:
    """Counts the tokens of any part of a text that was tokenised once."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._starts = [place for span in spans for place in range(*span, _LONGEST_TOKEN)]

    def count(self, start: int, end: int) -> int:
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def cut(self, start: int, end: int, most: int) -> int:
        """The furthest place up to `end` with at most `most` tokens since `start`."""
        # Not at `start` again, where one character has more than `most` tokens.
        position = max(bisect_left(self._starts, start) + most, bisect_right(self._starts, start))
        return min(end, self._starts[position]) if position < len(self._starts) else end


def _filled_sections(text: str) -> Iterator[Section]:
    """Sections with something to embed; a heading that nothing follows stands for itself."""
    found = sections(text)
    for section, following in zip(found, [*found[1:], None], strict=True):
        if is_visible(text[section.start : section.end]):
            yield section
        elif section.heading and (following is None or not _is_below(following, section)):
            yield replace(section, start=section.heading_start)


def _is_below(section: Section, above: Section) -> bool:
    return section.heading[: len(above.heading)] == above.heading


def _header(
    title: str, heading: tuple[str, ...], counter: TokenCounter, config: SplitterConfig
) -> str:
    """Title and heading path as a line, at most a third of the chunk; empty if there are none."""
    parts = [part for part in dict.fromkeys([title, *heading]) if part]
    line = " > ".join(parts)
    most = config.chunk_tokens // 3
    # Again after each cut: one within a word can make more tokens of it.
    while (tokens := _TokenIndex(counter.token_spans(line))).count(0, len(line)) > most:
        line = line[: tokens.cut(0, len(line), most)].rstrip()
    return f"{line}\n" if line else ""


def _pack(
    text: str, section: Section, tokens: _TokenIndex, budget: int, overlap: int
) -> list[list[Span]]:
    """Fill chunks with whole units, breaking between blocks where that wastes less than half."""
    chunks: list[list[Span]] = []
    current: list[Span] = []

    def size_to(last: Span) -> int:
        return tokens.count(current[0][0], last[1])

    for block in blocks(text, section.start, section.end):
        units = _units(text, block, tokens, budget)
        if current and size_to(units[-1]) > budget and size_to(current[-1]) * 2 >= budget:
            chunks.append(current)
            current = []
        for unit in units:
            if current and size_to(unit) > budget:
                chunks.append(current)
                current = _tail(current, unit, tokens, budget, overlap)
            current.append(unit)
    return [*chunks, current] if current else chunks


def _tail(
    spans: list[Span], unit: Span, tokens: _TokenIndex, budget: int, overlap: int
) -> list[Span]:
    """The last units of a full chunk that the next one repeats."""
    start = len(spans)
    while start > 1:
        repeated = tokens.count(spans[start - 1][0], spans[-1][1])
        with_unit = tokens.count(spans[start - 1][0], unit[1])
        if repeated > overlap or with_unit > budget:
            break
        start -= 1
    return spans[start:]


def _units(text: str, block: Block, tokens: _TokenIndex, budget: int) -> list[Span]:
    """The smallest pieces that a chunk may be made of: items or sentences, cut where too long."""
    start, end = block.start, block.end
    spans = items(text, block) if block.by_lines else split_sentences(text, start, end)
    for finer in (split_sentences, split_clauses):
        spans = [
            part
            for start, end in spans
            for part in (
                [(start, end)] if tokens.count(start, end) <= budget else finer(text, start, end)
            )
        ]
    return [
        part for start, end in spans for part in _cut_by_tokens(text, start, end, tokens, budget)
    ]


def _cut_by_tokens(
    text: str, start: int, end: int, tokens: _TokenIndex, budget: int
) -> Iterator[Span]:
    while tokens.count(start, end) > budget:
        cut = tokens.cut(start, end, budget)
        while cut < end and text[cut].isspace():  # as behind a sentence
            cut += 1
        yield start, cut
        start = cut
    if end > start:
        yield start, end


def _pieces(
    text: str,
    chunks: list[list[Span]],
    section: Section,
    header: str,
    counter: TokenCounter,
) -> list[Piece]:
    trimmed = [_trimmed(text, spans[0][0], spans[-1][1]) for spans in chunks]
    embedded = [header + text[start:end] for start, end in trimmed]
    counts = counter.count_tokens(embedded)
    return [
        Piece(start, end, section.heading, text[start:end], together, count)
        for (start, end), together, count in zip(trimmed, embedded, counts, strict=True)
    ]


def _fitted(pieces: list[Piece], counter: TokenCounter, config: SplitterConfig) -> Iterator[Piece]:
    """Make pieces fit that came out too long: a cut within a word can make more tokens of it.

    What they repeat is dropped first; where that is not enough, they are halved.
    """
    end, was_cut = 0, False
    for piece in pieces:
        repeats = piece.start < end
        if repeats and (was_cut or piece.tokens > config.chunk_tokens):
            piece = _part(piece, end, piece.end, counter)
        parts = list(_halved(piece, counter, config))
        end, was_cut = piece.end, len(parts) > 1 or (repeats and piece.start >= end)
        yield from parts


def _halved(piece: Piece, counter: TokenCounter, config: SplitterConfig) -> Iterator[Piece]:
    if not is_visible(piece.text):
        return
    if piece.tokens <= config.chunk_tokens or piece.end - piece.start < 2:
        yield piece
        return
    middle = len(piece.text) // 2
    space = piece.text.rfind(" ", 1, middle)
    cut = piece.start + (space if space > 0 else middle)
    yield from _halved(_part(piece, piece.start, cut, counter), counter, config)
    yield from _halved(_part(piece, cut, piece.end, counter), counter, config)


def _part(piece: Piece, start: int, end: int, counter: TokenCounter) -> Piece:
    """The piece from `start` to `end`, both places in the document."""
    first, last = _trimmed(piece.text, start - piece.start, end - piece.start)
    text = piece.text[first:last]
    embedded = piece.embedded.removesuffix(piece.text) + text
    tokens = counter.count_tokens([embedded])[0]
    return Piece(piece.start + first, piece.start + last, piece.heading, text, embedded, tokens)


def _trimmed(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))
