"""Document text to safe HTML with one sentence marked; the text stays whole, only its look changes.

Nothing of a document becomes a tag, an address or a script: all of it is escaped, and Markdown's
own characters are put into spans that the style sheet hides. So the text of the HTML, hidden
characters included, is the text that came in.
"""

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby, pairwise

from indexing.structure import Block, blocks

Span = tuple[int, int]
"""Where something starts and ends in a text."""

_HIDDEN, _BULLET_LOOK = "hidden", "bullet"
_INLINE = re.compile(
    r"(?P<escape>\\(?P<in_escape>[!-/:-@\[-`{-~]))"
    r"|(?P<code>(?<!`)(?P<ticks>`{1,2})(?!`)(?P<in_code>[^`].*?)(?<!`)(?P=ticks)(?!`))"
    r"|(?P<link>!?\[(?P<in_link>[^\[\]]+)\]\([^()\s]*\))"
    r"|(?P<strong>(?P<stars>\*\*|__)(?=\S)(?P<in_strong>.+?)(?<=\S)(?P=stars))"
    r"|(?P<star>(?<![A-Za-z0-9*])\*(?=[^\s*])(?P<in_star>[^*]+)(?<=\S)\*(?![A-Za-z0-9*]))"
    r"|(?P<line>(?<!\w)_(?=[^\s_])(?P<in_line>[^_]+)(?<=\S)_(?!\w))",
    re.DOTALL,
)
_LOOKS = {"escape": "", "code": "code", "link": "", "strong": "strong"}
_LOOKS |= {"star": "emphasis", "line": "emphasis"}
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n]*\n?", re.MULTILINE)
_ITEM = re.compile(r"(?=^[ \t]*(?:[-*+•]|\d{1,3}[.)、])[ \t])", re.MULTILINE)
_BULLET = re.compile(r"[ \t]*[-*+•][ \t]+")
_RULE = re.compile(r"[\s|:-]*-[\s|:-]*")
_BAR = re.compile(r"(?<!\\)\|")


def to_html(text: str, mark: Span | None = None, *, is_markdown: bool) -> str:
    """Show a text.

    Args:
        text: Of a document.
        mark: What to mark in it.
        is_markdown: Whether its line ends are soft and its Markdown is to be shown as such;
            otherwise every character stands for itself.
    """
    page = _Page(text, mark)
    if not is_markdown:
        return f'<div class="plain">{page.html(0, len(text))}</div>'
    parts, end = [], 0
    for block in blocks(text, 0, len(text)):
        parts += [page.html(end, block.start), page.block(block)]
        end = block.end
    return "".join(parts) + page.html(end, len(text))


def excerpt(text: str, mark: Span | None, most: int) -> Span:
    """The blocks around a mark that are worth showing first: whole ones, about `most` characters.

    The block with the mark comes first, then those behind it, then those before it.
    """
    found = blocks(text, 0, len(text))
    if not found:
        return 0, len(text)
    start, end = mark or (0, 0)
    first = max((i for i, block in enumerate(found) if block.start <= start), default=0)
    last = min((i for i, block in enumerate(found) if block.end >= end), default=len(found) - 1)
    last = max(first, last)
    while last + 1 < len(found) and found[last + 1].end - found[first].start <= most:
        last += 1
    while first > 0 and found[last].end - found[first - 1].start <= most:
        first -= 1
    return found[first].start, found[last].end


def to_markdown(text: str) -> str:
    """A text for a Markdown label in which every character stands for itself."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


class _Page:
    """A text with the look of each of its characters."""

    def __init__(self, text: str, mark: Span | None) -> None:
        self.text = text
        self._looks = [""] * len(text)
        self._mark = mark or (0, 0)

    def html(self, start: int, end: int) -> str:
        """A part of the text as runs of characters that look alike."""
        runs = groupby(range(start, end), key=lambda i: (self._looks[i], self._is_marked(i)))
        return "".join(self._run(look, marked, list(places)) for (look, marked), places in runs)

    def _is_marked(self, place: int) -> bool:
        return self._mark[0] <= place < self._mark[1]

    def _run(self, look: str, is_marked: bool, places: list[int]) -> str:
        text = escape(self.text[places[0] : places[-1] + 1])
        name = f' class="{look}"' if look else ""
        if is_marked and look not in {_HIDDEN, _BULLET_LOOK}:
            return f"<mark{name}>{text}</mark>"
        return f"<span{name}>{text}</span>" if look else text

    def _paint(self, look: str, start: int, end: int) -> None:
        for place in range(start, end):
            self._looks[place] = look

    def block(self, block: Block) -> str:
        """A paragraph, list, table or code listing."""
        text = self.text[block.start : block.end]
        if _FENCE.match(text):
            return self._code(block)
        self._paint_inline("", block.start, block.end)
        if all(line.lstrip().startswith("|") for line in text.splitlines()):
            return f'<div class="table"><div class="rows">{self._rows(block)}</div></div>'
        if block.by_lines:
            return f'<div class="list">{self._items(block)}</div>'
        return f'<div class="paragraph">{self.html(block.start, block.end)}</div>'

    def _code(self, block: Block) -> str:
        fences = list(_FENCE.finditer(self.text, block.start, block.end))
        for fence in (fences[0], fences[-1]):
            self._paint(_HIDDEN, *fence.span())
        return f'<div class="listing">{self.html(block.start, block.end)}</div>'

    def _items(self, block: Block) -> str:
        parts = []
        for start, end in _cut(_ITEM, self.text, block.start, block.end):
            bullet = _BULLET.match(self.text, start, end)
            if bullet:
                self._paint(_BULLET_LOOK, *bullet.span())
            name = "item" if _ITEM.match(self.text, start) else "paragraph"
            parts.append(f'<div class="{name}">{self.html(start, end)}</div>')
        return "".join(parts)

    def _rows(self, block: Block) -> str:
        parts = []
        for start, end in _lines(self.text, block.start, block.end):
            is_rule = _RULE.fullmatch(self.text, start, end)
            name = "rule" if is_rule else "row"
            parts.append(f'<div class="{name}">{self._cells(start, end)}</div>')
        return "".join(parts)

    def _cells(self, start: int, end: int) -> str:
        bars = [bar.start() for bar in _BAR.finditer(self.text, start, end)]
        parts = [self.html(start, bars[0])]
        for bar, next_bar in pairwise([*bars, end]):
            self._paint(_HIDDEN, bar, bar + 1)
            inner = self.html(bar + 1, next_bar)
            is_cell = next_bar < end or inner.strip()
            parts += [
                self.html(bar, bar + 1),
                f'<div class="cell">{inner}</div>' if is_cell else inner,
            ]
        return "".join(parts)

    def _paint_inline(self, look: str, start: int, end: int) -> None:
        """Give code, links and emphasis their look, and hide the characters that make them."""
        for match in _INLINE.finditer(self.text, start, end):
            kind = match.lastgroup or ""  # the outermost group of those that matched
            inner = match.span(f"in_{kind}")
            self._paint(_HIDDEN, *match.span())
            own = f"{look} {_LOOKS[kind]}".strip()
            self._paint(own, *inner)
            if kind not in {"code", "escape"}:
                self._paint_inline(own, *inner)


def _lines(text: str, start: int, end: int) -> Iterator[Span]:
    return _cut(re.compile(r"(?<=\n)"), text, start, end)


def _cut(before: re.Pattern[str], text: str, start: int, end: int) -> Iterator[Span]:
    """Touching spans of `text[start:end]`, cut where the pattern matches."""
    for match in before.finditer(text, start, end):
        if match.start() > start:
            yield start, match.start()
            start = match.start()
    if start < end:
        yield start, end
