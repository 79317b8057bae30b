"""Documents to chunks: along headings, paragraphs and sentences, by the encoder's own tokens."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple, Protocol, Self, cast
from unicodedata import normalize

from data import Document, is_visible
from indexing.errors import UsageError
from indexing.foreign import ForeignSplitter, foreign_spans, name_of
from indexing.packing import Packed, Packer, TokenIndex
from indexing.sentences import Span, Unbroken
from indexing.structure import Section, sections

MOST_CHUNK_TOKENS = 512
"""Longer chunks hold too many topics for one vector, even where the encoder could read them."""
DEFAULT_OVERLAP_TOKENS = 32
LEAST_CHUNK_TOKENS = 16
_APART = frozenset(" \t\n\r.,;:!?\"')]([。，、；：！？…「」『』《》（）【】“”‘’")
"""Spaces, and marks that are always words of their own."""
VERSIONS = (1, 2)
"""Ways of splitting. An index keeps to the one that it was built with."""


class TokenCounter(Protocol):
    """What splitting needs of an encoder."""

    @property
    def counts_by_words(self) -> bool:
        """Whether a part of a text, cut at spaces or marks, has the tokens that it has in it."""
        ...

    def token_spans(self, text: str) -> list[Span]:
        """The place of each token in the text."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document, instruction and special tokens included."""
        ...


class WordCounter(TokenCounter, Protocol):
    """An encoder that `counts_by_words`: its tokens need not be made anew for each piece."""

    def token_ids(self, text: str) -> tuple[list[int], list[Span]]:
        """The text's tokens and their places, without special tokens."""
        ...

    def document_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text as a document, between one mark before it and one behind it."""
        ...


@dataclass(frozen=True, kw_only=True)
class SplitterConfig:
    """How documents are split. Equal digests give equal chunks."""

    chunk_tokens: int
    """Most tokens of what is embedded: instruction, header, text and special tokens."""
    overlap_tokens: int = DEFAULT_OVERLAP_TOKENS
    """Most tokens of whole sentences that a chunk repeats of the one before."""
    header: str = "title-headings"
    """What stands before the text: `title-headings`, one line with the title and heading path, and
    from version 2 on, where a chunk begins further down in a table, the row that names its
    columns."""
    version: int = VERSIONS[-1]
    """Counts changes of the splitting itself."""
    foreign: str | None = None
    """Another library's splitter in place of ours, as `name_of` names it."""

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(
                f"Splitting of version {self.version} is not known here, only of "
                f"{', '.join(map(str, VERSIONS))}. Use the Angler that built the index."
            )
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
    ids: Sequence[int] | None = field(default=None, compare=False, repr=False)
    """These tokens, where splitting knows them."""


def split_document(
    document: Document,
    counter: TokenCounter,
    config: SplitterConfig,
    foreign: ForeignSplitter | None = None,
) -> list[Piece]:
    """Split a document into pieces that cover its text and fit the encoder.

    No piece crosses a heading. Heading lines stand in `heading`, not in the pieces, except where
    nothing follows them. No piece has more than `config.chunk_tokens` tokens.

    Args:
        document: What to split.
        counter: Counts the encoder's tokens.
        config: How.
        foreign: The splitter that `config.foreign` names, if it names one. It decides what the
            pieces are; only those that are too long are split further.

    Raises:
        UsageError: If the encoder's instruction leaves no room for text, or the foreign splitter
            is not the one named, or it changes the text.
    """
    check_foreign(config, foreign)
    text, title = document.text, document.title
    known: list[int] = []
    if counter.counts_by_words:
        known, spans = cast("WordCounter", counter).token_ids(text)
    else:
        spans = counter.token_spans(text)
    tokens = TokenIndex(spans)
    packer = Packer(text, tokens, config.overlap_tokens, config.version)
    if foreign is None:
        filled = _filled_sections(text)
    else:
        filled = _foreign_sections(text, foreign_spans(text, foreign, document.id))
    headed = [(section, _header(title, section.heading, counter, config)) for section in filled]
    drafts = []
    # All at once, here and below: asking a tokenizer costs more than its work on a short text.
    taken = _Headers.read([header for _, header in headed], counter)
    for place, (section, header) in enumerate(headed):
        budget = _budget(taken.counts[place], config)
        if foreign is not None and tokens.count(section.start, section.end) <= budget:
            chunks = [Packed(section.start, section.end)]
        else:
            chunks = packer.pack(section, budget, _cost(header, counter))
        drafts.append([_Draft.of(text, chunk, section, header) for chunk in chunks])
        if counter.counts_by_words:
            ids = taken.ids[place]
            drafts[-1] = [one.read_in(text, tokens, known, header, ids) for one in drafts[-1]]
    unknown = [one.embedded for some in drafts for one in some if one.ids is None]
    counts = iter(counter.count_tokens(unknown) if unknown else [])
    of_sections = ([one.piece(counts) for one in some] for some in drafts)
    return [
        piece
        for pieces in of_sections
        for piece in _fitted(pieces, counter, config, packer.unbroken)
    ]


class _Headers(NamedTuple):
    """What the lines before the pieces take; each with the marks around a document."""

    counts: list[int]
    ids: list[list[int]]
    """Empty where the encoder does not count by words."""

    @classmethod
    def read(cls, headers: Sequence[str], counter: TokenCounter) -> Self:
        if not counter.counts_by_words:
            return cls(counter.count_tokens(headers), [])
        ids = cast("WordCounter", counter).document_ids(headers)
        return cls(list(map(len, ids)), ids)


class _Draft(NamedTuple):
    """A piece whose tokens may not be known yet."""

    start: int
    end: int
    heading: tuple[str, ...]
    text: str
    embedded: str
    ids: list[int] | None = None

    @classmethod
    def of(cls, text: str, chunk: Packed, section: Section, header: str) -> Self:
        start, end = _trimmed(text, chunk.start, chunk.end)
        own = text[start:end]
        return cls(start, end, section.heading, own, header + chunk.columns + own)

    def read_in(
        self, text: str, tokens: TokenIndex, known: list[int], header: str, header_ids: list[int]
    ) -> Self:
        """With its tokens, out of those `known` of the whole text, if only the header is before."""
        is_plain = len(self.embedded) == len(header) + len(self.text)
        if not (is_plain and _parts_words(text, self.start) and _parts_words(text, self.end)):
            return self
        own = known[tokens.words(self.start, self.end)]
        return self._replace(ids=[*header_ids[:-1], *own, header_ids[-1]])

    def piece(self, counts: Iterator[int]) -> Piece:
        """With its tokens, the next of these if they are not known."""
        if self.ids is None:
            return Piece(*self[:5], next(counts))
        return Piece(*self[:5], len(self.ids), self.ids)


def _parts_words(text: str, cut: int) -> bool:
    """Whether no word can stand on both sides of a cut."""
    return not 0 < cut < len(text) or text[cut - 1] in _APART or text[cut] in _APART


def check_foreign(config: SplitterConfig, foreign: ForeignSplitter | None) -> None:
    """Raise UsageError unless this is the splitter that the configuration names."""
    given = name_of(foreign) if foreign is not None else None
    if given != config.foreign:
        raise UsageError(
            f"The index was built with {config.foreign or 'the splitter of Angler'}, got "
            f"{given or 'no other splitter'}. Give the same, as in build_index(..., splitter=...), "
            "or build a new index."
        )


def _foreign_sections(text: str, spans: Sequence[Span]) -> Iterator[Section]:
    """Each span under the heading that it stands below, or that it begins with."""
    found = sections(text)
    starts = [section.heading_start for section in found]
    for start, end in spans:
        heading = found[max(0, bisect_right(starts, start) - 1)].heading
        yield Section(heading, start, start, end)


def _cost(header: str, counter: TokenCounter) -> Callable[[str], int]:
    def cost(line: str) -> int:
        with_line, without = counter.count_tokens([header + line, header])
        return with_line - without

    return cost


def _budget(taken: int, config: SplitterConfig) -> int:
    if taken >= config.chunk_tokens:
        raise UsageError(
            f"Of {config.chunk_tokens} tokens in a chunk, {taken} go to the encoder's instruction "
            "and the header; give more --chunk-tokens."
        )
    return config.chunk_tokens - taken


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
    if len(normalize("NFKC", line).encode()) <= most:  # no token stands for less than a byte
        return f"{line}\n" if line else ""
    # Again after each cut: one within a word can make more tokens of it.
    while (tokens := TokenIndex(counter.token_spans(line))).count(0, len(line)) > most:
        line = line[: tokens.cut(0, len(line), most)].rstrip()
    return f"{line}\n" if line else ""


def _fitted(
    pieces: Iterable[Piece], counter: TokenCounter, config: SplitterConfig, unbroken: Unbroken
) -> Iterator[Piece]:
    """Make pieces fit that came out too long: a cut within a word can make more tokens of it.

    What they repeat is dropped first; where that is not enough, they are halved.
    """
    end, was_cut = 0, False
    for piece in pieces:
        repeats = piece.start < end
        if repeats and (was_cut or piece.tokens > config.chunk_tokens):
            piece = _part(piece, end, piece.end, counter)
        parts = list(_halved(piece, counter, config, unbroken))
        end, was_cut = piece.end, len(parts) > 1 or (repeats and piece.start >= end)
        yield from parts


def _halved(
    piece: Piece, counter: TokenCounter, config: SplitterConfig, unbroken: Unbroken
) -> Iterator[Piece]:
    if not is_visible(piece.text):
        return
    if piece.tokens <= config.chunk_tokens or piece.end - piece.start < 2:
        yield piece
        return
    middle = len(piece.text) // 2
    space = piece.text.rfind(" ", 1, middle)
    cut = piece.start + (space if space > 0 else middle)
    broken = unbroken.around(cut)
    if broken is not None and broken[0] > piece.start:
        cut = broken[0]
    for start, end in ((piece.start, cut), (cut, piece.end)):
        yield from _halved(_part(piece, start, end, counter), counter, config, unbroken)


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
