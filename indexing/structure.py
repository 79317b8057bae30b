"""Reads the structure of a text: sections under headings, and blocks within them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t\n]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_BREAK = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_CODE_INDENT = re.compile(r" {4}| {0,3}\t")
_NO_TITLE = re.compile(r"\s*(?:[-*+]\s|\d{1,9}[.)]\s|[|>])| {4}| {0,3}\t")
_ITEM_OR_ROW = re.compile(
    r"\s*(?:[-*+]\s|[•|]|\d{1,3}(?:[.)](?!\d)|、)|[（(]?[一二三四五六七八九十]{1,3}[）)、])"
)
_DELIMITERS = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\n?")
_LINK = re.compile(r"!?\[([^\[\]]{0,500})\]\([^)]{0,500}\)")


@dataclass(frozen=True, slots=True)
class Section:
    """The text between one heading and the next."""

    heading: tuple[str, ...]
    """The headings above it, outermost first."""
    heading_start: int
    """Where its own heading line starts."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list, table or code listing."""

    start: int
    end: int
    by_lines: bool
    """Whether its `items` are its natural pieces (lists, tables, code), not its sentences."""
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    text: str
    in_code: bool


def _lines(text: str, start: int, end: int) -> Iterator[_Line]:
    fence = ""
    for match in _LINE.finditer(text, start, end):
        line = match.group()
        opened = fence
        fence = fence or _opening_fence(line)
        yield _Line(match.start(), match.end(), line, bool(fence))
        if opened and _closes(line, opened):
            fence = ""


def _opening_fence(line: str) -> str:
    mark = _FENCE.match(line)
    # Backticks behind it: `code` within a line.
    is_fence = mark is not None and not (mark[1][0] == "`" and "`" in line[mark.end() :])
    return mark[1] if mark is not None and is_fence else ""


def _closes(line: str, fence: str) -> bool:
    mark = _FENCE.match(line)
    return mark is not None and mark[1].startswith(fence) and not line[mark.end() :].strip()


def sections(text: str) -> list[Section]:
    """Cut a text at its Markdown headings (`#` or underlined); together they cover the text."""
    found: list[Section] = []
    path: list[tuple[int, str]] = []
    heading_start, body_start = 0, 0
    for start, end, level, title in _headings(text):
        found.append(_section(path, heading_start, body_start, start))
        path = [entry for entry in path if entry[0] < level] + [(level, title)]
        heading_start, body_start = start, end
    found.append(_section(path, heading_start, body_start, len(text)))
    return found


def _section(path: list[tuple[int, str]], heading_start: int, start: int, end: int) -> Section:
    return Section(tuple(title for _, title in path), heading_start, start, end)


def _headings(text: str) -> Iterator[tuple[int, int, int, str]]:
    """(start, end, level, title) of each heading that has a title.

    As CommonMark, but an underlined title has one line, and HTML and containers are not looked at.
    Source: CommonMark 0.31, sections 4.1 to 4.5 (https://spec.commonmark.org/0.31.2/).
    """
    title: _Line | None = None
    in_paragraph = False
    for line in _lines(text, 0, len(text)):
        atx = None if line.in_code else _ATX.match(line.text)
        under = None if line.in_code else _UNDERLINE.match(line.text)
        if atx is not None and (plain := _plain(_unclosed(line.text[atx.end() :]))):
            yield line.start, line.end, len(atx[1]), plain
        elif under is not None and title is not None and (plain := _plain(title.text)):
            yield title.start, line.end, 1 if under[1].startswith("=") else 2, plain
        is_mark = bool(atx or under or _BREAK.match(line.text))
        is_text = bool(line.text.strip()) and not line.in_code and not is_mark
        can_be_title = is_text and not in_paragraph and not _NO_TITLE.match(line.text)
        title = line if can_be_title else None
        in_paragraph = is_text and (in_paragraph or not _CODE_INDENT.match(line.text))


def _unclosed(title: str) -> str:
    """A heading's words without the hashes that may close it, as in `# C# #`."""
    title = title.strip()
    bare = title.rstrip("#")
    return bare if not bare or bare[-1].isspace() else title


def _plain(title: str) -> str:
    """A heading's words without Markdown marks."""
    return re.sub(r"[`*]+", "", _LINK.sub(r"\1", title)).strip()


def blocks(text: str, start: int, end: int) -> list[Block]:
    """Cut `text[start:end]` at empty lines and around code; empty lines belong to no block."""
    found: list[Block] = []
    group: list[_Line] = []

    def close() -> None:
        if group:
            found.append(_block(group))
            group.clear()

    for line in _lines(text, start, end):
        if group and group[-1].in_code != line.in_code:
            close()
        if line.in_code or line.text.strip():
            group.append(line)
        else:
            close()
    close()
    return found


def _block(group: list[_Line]) -> Block:
    is_code = group[0].in_code
    by_lines = is_code or any(_ITEM_OR_ROW.match(line.text) for line in group)
    return Block(group[0].start, group[-1].end, by_lines, is_code)


def items(text: str, block: Block) -> list[tuple[int, int]]:
    """The items of a list, the rows of a table, the lines of code: touching spans.

    A line that goes on with an item belongs to it, and so does an empty one.
    """
    lines = list(_LINE.finditer(text, block.start, block.end))
    starts_one = str.strip if _opening_fence(lines[0][0]) else _ITEM_OR_ROW.match
    firsts = [line for line in lines if starts_one(line[0])] or lines
    starts = sorted({block.start, *(line.start() for line in firsts)})
    return list(zip(starts, [*starts[1:], block.end], strict=True))


def columns(text: str, block: Block) -> tuple[tuple[int, int], int] | None:
    """The row of a Markdown table that names its columns, and where its other rows start."""
    if block.is_code:
        return None
    above: re.Match[str] | None = None
    for line in _LINE.finditer(text, block.start, block.end):
        is_below_names = above is not None and "|" in above[0] and "|" in line[0]
        if above is not None and is_below_names and _DELIMITERS.fullmatch(line[0]):
            return above.span(), line.end()
        above = line
    return None


def code_sections(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Cut code where, behind an empty line, one is indented least: between functions, mostly."""
    return _cut_code(text, start, end, outermost=True)


def code_paragraphs(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Cut code behind its empty lines."""
    return _cut_code(text, start, end, outermost=False)


def code_lines(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Cut code before each line that is not empty."""
    starts = [line.start() for line in _LINE.finditer(text, start, end) if line[0].strip()]
    starts = sorted({start, *starts})
    return list(zip(starts, [*starts[1:], end], strict=True))


def _cut_code(text: str, start: int, end: int, *, outermost: bool) -> list[tuple[int, int]]:
    lines = [
        (line.start(), len(line[0]) - len(line[0].lstrip()), bool(line[0].strip()))
        for line in _LINE.finditer(text, start, end)
    ]
    least = min((indent for _, indent, is_filled in lines if is_filled), default=0)
    starts = [
        place
        for (_, _, above_is_filled), (place, indent, is_filled) in pairwise(lines)
        if is_filled and not above_is_filled and (indent == least or not outermost)
    ]
    starts = [start, *starts]
    return list(zip(starts, [*starts[1:], end], strict=True))
