"""Words with boxes in, the text of a page in reading order out, with headings and Markdown tables.

Knows no PDF: what comes from a recogniser of scanned pages is laid out in the same way.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from data.loaders.grids import Grid, find_grids
from data.loaders.lines import MARK, WIDE, Line, Run, join, lines_of, runs_of, touch
from data.loaders.tables import markdown_table
from data.pdfium import Rule, Word

_HEADING_SIZE = 1.15
_TITLE_SIZE = 1.6
"""Times the height of the page's most frequent font."""
_HEADING_WORDS = 16
_LEAST_COLUMN_LINES = 4
_LEAST_GUTTER = 0.7
"""Heights of the font between two columns of text."""
_PROSE_WORDS = 4
"""Words in the middle line of a column of text; a table's cells have fewer."""
_TABLE_ROWS = 0.4
"""Share of lines at the same height from which two sides are a table and not two columns."""
_RAGGED = 2.5
"""Heights of the font that lines which break by themselves may leave free."""
_CROSSING = (0.0, 0.05, 0.1, 0.2)
"""Shares of the lines that may run over both columns, as titles do; the least comes first."""
_TABLE_PAUSE = 3
"""Lines in a row without a second cell that end a table."""

_JUSTIFIED_LINES = 4
_JUSTIFIED_SHARE = 0.6
"""So many lines with both edges in common, over so much of the column, break by themselves."""

_HYPHENATED = re.compile(r"[a-z]-$")
"""A word cut at a line's end."""
_SECTION_NUMBER = re.compile(r"(?:\d{1,2}|[A-Z])(?:\.\d{1,2})*\.?")
_CUT = "\u00ad"
"""Stands for the hyphen of a cut word until the whole page is known."""
_CUT_WORD = re.compile(rf"(\w+){_CUT}(\w+)")


class Block(NamedTuple):
    """A paragraph, heading, table or piece of code."""

    text: str
    words: list[Word]
    """In the order in which they stand in the text."""


def page_text(words: Sequence[Word], rules: Sequence[Rule] = ()) -> str:
    """The text of one page: its blocks, parted by empty lines; see `page_blocks`."""
    return "\n\n".join(block.text for block in page_blocks(words, rules))


def page_blocks(words: Sequence[Word], rules: Sequence[Rule] = ()) -> list[Block]:
    """Lay out one page.

    Args:
        words: In any order.
        rules: The page's ruled lines, by which tables are found.

    Returns:
        What the page holds, in reading order; headings, tables and code as Markdown.
    """
    level = [word for word in words if not word.is_turned]
    grids, rest = find_grids(level, rules)
    if _is_mostly_code(level):
        rest = [word._replace(is_code=False) for word in rest]
    body = _body_size(rest or level)
    blocks = list(_region_text([*runs_of(rest), *grids], body))
    turned = [word for word in words if word.is_turned]
    blocks.append(Block(join(word.text for word in turned), turned))
    together = " ".join(block.text for block in blocks).lower()
    return [
        block._replace(text=_made_whole(block.text, together)) for block in blocks if block.text
    ]


def _made_whole(text: str, page: str) -> str:
    """Join words that were cut at a line's end; the page tells which have a hyphen anyway."""

    def whole(cut: re.Match[str]) -> str:
        has_hyphen = re.search(rf"\b{cut[1]}-{cut[2]}\b".lower(), page)
        return f"{cut[1]}-{cut[2]}" if has_hyphen else cut[1] + cut[2]

    return _CUT_WORD.sub(whole, text).replace(_CUT, "") if _CUT in text else text


def _is_mostly_code(words: Sequence[Word]) -> bool:
    """Whether a page is set in a monospaced font, as receipts are: then it marks no code."""
    code = sum(len(word.text) for word in words if word.is_code)
    return 2 * code > sum(len(word.text) for word in words)


def _body_size(words: Sequence[Word]) -> float:
    """The height of the font that most of the page is set in."""
    letters: dict[float, int] = {}
    for word in words:
        key = round(word.size * 2) / 2
        letters[key] = letters.get(key, 0) + len(word.text)
    return max(letters, key=letters.__getitem__, default=10.0) or 10.0


# Columns


def _region_text(items: Sequence[Run | Grid], body: float) -> Iterator[Block]:
    """The blocks of a region: columns one after the other, what runs over them in between."""
    gutter = _gutter(items, body)
    if gutter is None:
        yield from _column_text(items, body)
        return
    band: list[Run | Grid] = []
    for item in sorted(items, key=lambda item: item.top):
        if item.x0 < gutter < item.x1:
            yield from _sides(band, gutter, body)
            yield from _column_text([item], body)
            band = []
        else:
            band.append(item)
    yield from _sides(band, gutter, body)


def _sides(band: Sequence[Run | Grid], gutter: float, body: float) -> Iterator[Block]:
    left = [item for item in band if item.x1 <= gutter]
    right = [item for item in band if item.x1 > gutter]
    for side in (left, right):
        if side:
            yield from _region_text(side, body)


def _gutter(items: Sequence[Run | Grid], body: float) -> float | None:
    """Where two columns of running text part, if there are two."""
    runs = [item for item in items if isinstance(item, Run)]
    if len(runs) < 2 * _LEAST_COLUMN_LINES:
        return None
    left, right = min(run.x0 for run in runs), max(run.x1 for run in runs)
    crossed = [0] * (int(right - left) + 2)
    for run in runs:
        for place in range(int(run.x0 - left), int(run.x1 - left) + 1):
            crossed[place] += 1
    for share in _CROSSING:
        for start, end in _low_stretches(crossed, share * len(runs)):
            least = _least(crossed, start, end)
            if end - start >= _LEAST_GUTTER * body and _part_columns(
                runs, left + least, clean=not share
            ):
                return left + least
    return None


def _least(crossed: Sequence[int], start: int, end: int) -> int:
    """The place of a stretch that the fewest lines cross, the middle one of several."""
    return min(range(start, end), key=lambda at: (crossed[at], abs(2 * at - start - end)))


def _low_stretches(crossed: Sequence[int], most: float) -> list[tuple[int, int]]:
    """Stretches that few lines cross, those in the middle first; not those at the edges."""
    stretches, start = [], None
    for place, count in enumerate([*crossed, len(crossed)]):
        if count <= most and start is None:
            start = place
        elif count > most and start is not None:
            stretches.append((start, place))
            start = None
    inner = [pair for pair in stretches if pair[0] > 0 and pair[1] < len(crossed) - 1]
    return sorted(inner, key=lambda pair: abs(pair[0] + pair[1] - len(crossed)))


def _part_columns(runs: Sequence[Run], gutter: float, *, clean: bool) -> bool:
    """Whether a gutter parts columns: of running text, or `clean` ones that no rows run through."""
    sides = [
        [run for run in runs if run.x1 <= gutter],
        [run for run in runs if run.x0 >= gutter],
    ]
    if min(map(len, sides)) < _LEAST_COLUMN_LINES:
        return False
    tops = max(min(run.top for run in side) for side in sides)
    bottoms = min(max(run.bottom for run in side) for side in sides)
    if bottoms <= tops:
        return False
    return all(map(_is_prose, sides)) or (clean and _shared_rows(*sides) < _TABLE_ROWS)


def _shared_rows(left: Sequence[Run], right: Sequence[Run]) -> float:
    """Share of the shorter side's lines that stand at the height of one of the other's."""
    few, many = sorted((left, right), key=len)
    heights = [run.top + run.bottom for run in many]
    level = [
        run
        for run in few
        if any(abs(run.top + run.bottom - height) < 0.4 * run.size for height in heights)
    ]
    return len(level) / len(few)


def _is_prose(runs: Sequence[Run]) -> bool:
    width = max(run.x1 for run in runs) - min(run.x0 for run in runs)
    middle = median(run.x1 - run.x0 for run in runs)
    return middle >= 0.5 * width and median(run.weight for run in runs) >= _PROSE_WORDS


# Paragraphs and tables within a column


def _column_text(items: Sequence[Run | Grid], body: float) -> Iterator[Block]:
    lines = lines_of(item for item in items if isinstance(item, Run))
    grids = sorted((item for item in items if isinstance(item, Grid)), key=lambda grid: grid.top)
    group: list[Line] = []
    for line in lines:
        while grids and grids[0].top < line.top:
            yield from _blocks(group, body)
            group = []
            yield _framed(grids.pop(0))
        group.append(line)
    yield from _blocks(group, body)
    for grid in grids:
        yield _framed(grid)


def _framed(grid: Grid) -> Block:
    return Block(markdown_table(grid.rows), grid.words)


def _words(lines: Sequence[Line]) -> list[Word]:
    return [word for line in lines for run in line.runs for word in run.words]


def _blocks(lines: Sequence[Line], body: float) -> Iterator[Block]:
    start = 0
    for first, end in _table_places(lines):
        rows = _table_rows(lines[first:end])
        if rows is None:
            continue
        yield from _paragraphs(lines[start:first], body)
        yield Block(markdown_table(rows), _words(lines[first:end]))
        start = end
    yield from _paragraphs(lines[start:], body)


def _table_places(lines: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """Stretches of lines with several cells, with single lines in between."""
    start = last = -1
    for number, line in enumerate(lines):
        far = last >= 0 and (
            number - last > _TABLE_PAUSE
            or line.top - lines[number - 1].bottom > 3 * line.size
            or (len(line.runs) == 1 and line.runs[0].weight > 2 * _HEADING_WORDS)
        )
        if start >= 0 and far:
            yield start, last + 1
            start = last = -1
        if len(line.runs) > 1:
            start, last = (number if start < 0 else start), number
    if start >= 0:
        yield start, last + 1


def _table_rows(lines: Sequence[Line]) -> list[list[str]] | None:
    """Cells under each other as a table's columns; None where they are not aligned like one."""
    many = [line for line in lines if len(line.runs) > 1]
    most = max(len(line.runs) for line in many)
    if len(many) < 2 or (most < 3 and len(many) < 3):
        return None
    cells = [run for line in many for run in line.runs]
    if median(run.weight for run in cells) > 2 * _PROSE_WORDS:
        return None
    full = [line for line in many if len(line.runs) >= 0.6 * most]
    columns = _columns([run for line in full for run in line.runs])
    if len(columns) < 2:
        return None
    return [_row(line, columns) for line in lines]


def _columns(runs: Iterable[Run]) -> list[tuple[float, float]]:
    """The stretches that cells cover, from left to right."""
    columns: list[tuple[float, float]] = []
    for run in sorted(runs, key=lambda run: run.x0):
        if columns and run.x0 < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], run.x1))
        else:
            columns.append((run.x0, run.x1))
    return columns


def _row(line: Line, columns: Sequence[tuple[float, float]]) -> list[str]:
    cells = [""] * len(columns)
    for run in line.runs:
        place = max(
            range(len(columns)),
            key=lambda column: min(run.x1, columns[column][1]) - max(run.x0, columns[column][0]),
        )
        cells[place] = f"{cells[place]} {run.text}".strip()
    return cells


def _paragraphs(lines: Sequence[Line], body: float) -> Iterator[Block]:
    """Paragraphs, headings and code, from where lines break by themselves and where by intent."""
    if not lines:
        return
    right = max(line.x1 for line in lines)
    left = min(line.x0 for line in lines)
    gaps = [max(0.0, below.top - above.bottom) for above, below in pairwise(lines)]
    usual = median(gaps) if gaps else 0.0
    group: list[Line] = []
    for line in lines:
        if group and _parts(group[-1], line, usual):
            yield Block(_paragraph(group, left, right, body), _words(group))
            group = []
        group.append(line)
    yield Block(_paragraph(group, left, right, body), _words(group))


def _parts(above: Line, below: Line, usual: float) -> bool:
    size = max(above.size, below.size)
    return (
        below.top - above.bottom > usual + 0.4 * size
        or abs(above.size - below.size) > 0.12 * size
        or (above.is_bold != below.is_bold and above.first.is_bold != below.first.is_bold)
        or above.is_code != below.is_code
    )


def _paragraph(lines: Sequence[Line], left: float, right: float, body: float) -> str:
    if all(line.is_code for line in lines) and len(lines) > 1:
        return _code(lines)
    if _is_justified(lines, right - left):
        left, right = min(line.x0 for line in lines), max(line.x1 for line in lines)
    text = lines[0].text
    for above, below in pairwise(lines):
        text = _continued(text, below.text, is_broken=_breaks(above, below, left, right))
    level = _heading_level(lines, text, body)
    return f"{'#' * level} {' '.join(text.split())}" if level else text


def _is_justified(lines: Sequence[Line], width: float) -> bool:
    """Whether lines fill a block of their own within the column, as an abstract does."""
    if len(lines) < _JUSTIFIED_LINES:
        return False
    left, right = min(line.x0 for line in lines), max(line.x1 for line in lines)
    ragged = max(
        median(line.x0 - left for line in lines), median(right - line.x1 for line in lines)
    )
    return right - left >= _JUSTIFIED_SHARE * width and ragged < 0.5 * lines[0].size


def _breaks(above: Line, below: Line, left: float, right: float) -> bool:
    """Whether a line ends by intent: the next word had room on it, or a mark or indent follows."""
    first = below.first
    room, before = right - above.x1, above.x0 - left
    if abs(room - before) < above.size < before:
        room += before  # centred
    needed = min(first.x1 - first.x0, 2 * first.size if WIDE.search(first.text) else 1e9)
    indented = below.x0 - max(left, above.x0) > 1.2 * below.size and len(above.text) > 1
    return (
        room > max(needed, _RAGGED * above.size) + 0.5 * above.size
        or indented
        or bool(MARK.fullmatch(first.text.split()[0]))
    )


def _heading_level(lines: Sequence[Line], text: str, body: float) -> int:
    size = max(line.size for line in lines)
    weight = sum(run.weight for line in lines for run in line.runs)
    if weight > _HEADING_WORDS or len(lines) > 3 or not re.search(r"[^\W\d_]{2}", text):
        return 0
    is_numbered = len(lines[0].runs) == 2 and _SECTION_NUMBER.fullmatch(lines[0].first.text)
    if (len(lines[0].runs) > 1 and not is_numbered) or MARK.fullmatch(text.split()[0][:1]):
        return 0
    if size >= _TITLE_SIZE * body:
        return 1
    if size >= _HEADING_SIZE * body:
        return 2
    is_sentence = text.rstrip().endswith((".", "。", "，", ",", ";", "；", ":", "："))
    return 3 if all(line.is_bold for line in lines) and not is_sentence and len(lines) < 3 else 0


def _code(lines: Sequence[Line]) -> str:
    left = min(line.x0 for line in lines)
    width = median(
        (word.x1 - word.x0) / len(word.text)
        for line in lines
        for run in line.runs
        for word in run.words
    )
    rows = [" " * round((line.x0 - left) / max(width, 1.0)) + line.text for line in lines]
    return "\n".join(["```", *rows, "```"])


def _continued(text: str, more: str, *, is_broken: bool) -> str:
    if is_broken:
        return f"{text}\n{more}"
    if _HYPHENATED.search(text) and more[:1].islower():
        return f"{text[:-1]}{_CUT}{more}"
    return text + more if touch(text, more) else f"{text} {more}"
