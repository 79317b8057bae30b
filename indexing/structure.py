"""Reads the structure of a text: sections under headings, and blocks within them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*\n?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*\n?$")
_ITEM = re.compile(r"\s*([-*+•]|\d{1,3}[.)、]|[（(]?[一二三四五六七八九十]{1,3}[）)、])\s*")
_ROW = re.compile(r"\s*\|")


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
    """Whether its lines are its natural pieces (lists, tables, code), not its sentences."""


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
        mark = _FENCE.match(line)
        in_code = bool(fence) or mark is not None
        yield _Line(match.start(), match.end(), line, in_code)
        if mark is not None and not fence:
            fence = mark.group(1)
        elif mark is not None and mark.group(1).startswith(fence):
            fence = ""


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
    return Section(tuple(title for _, title in path if title), heading_start, start, end)


def _headings(text: str) -> Iterator[tuple[int, int, int, str]]:
    """(start, end, level, title) of each heading."""
    before: _Line | None = None
    for line in _lines(text, 0, len(text)):
        atx = None if line.in_code else _ATX.match(line.text)
        under = None if line.in_code else _UNDERLINE.match(line.text)
        if atx is not None:
            yield line.start, line.end, len(atx.group(1)), _plain(atx.group(2))
        elif under is not None and before is not None and _can_be_title(before):
            level = 1 if under.group(1).startswith("=") else 2
            yield before.start, line.end, level, _plain(before.text)
        is_alone = before is None or not before.text.strip()
        before = line if is_alone or not line.text.strip() else _continued(line)


def _continued(line: _Line) -> _Line:
    # A line that goes on with a paragraph cannot be an underlined title: mark it as code is.
    return _Line(line.start, line.end, line.text, True)


def _can_be_title(line: _Line) -> bool:
    text = line.text.strip()
    is_listed = _ITEM.match(line.text) or _ROW.match(line.text) or _ATX.match(line.text)
    return bool(text) and not line.in_code and not is_listed


def _plain(title: str) -> str:
    """A heading's words without Markdown marks."""
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[`*]+", "", title).strip()


def blocks(text: str, start: int, end: int) -> list[Block]:
    """Cut `text[start:end]` at empty lines and around code; empty lines belong to no block."""
    found: list[Block] = []
    group: list[_Line] = []

    def close() -> None:
        if group:
            found.append(Block(group[0].start, group[-1].end, _is_by_lines(group)))
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


def _is_by_lines(group: list[_Line]) -> bool:
    return group[0].in_code or any(
        _ITEM.match(line.text) or _ROW.match(line.text) for line in group
    )
