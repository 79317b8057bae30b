"""Ruled lines and words in, the tables that the lines frame out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from data.loaders.lines import Line, Run, join, to_lines
from data.pdfium import Rule, Word

_SNAP = 3.0
"""Points within which lines count as touching, or as one."""
_LEAST_LENGTH = 6.0
_MOST_RULES = 1500
"""A page with more lines than this shows a drawing."""
_FORM_LINES = 3
_SHARED_ROWS = 3
"""Columns that must agree on more rows than lines are drawn for."""
_LEAST_FILLED = 0.3
"""Share of a table's cells that hold text; a chart's squares hold none."""


@dataclass
class Grid:
    """A table framed by lines."""

    x0: float
    top: float
    x1: float
    bottom: float
    rows: list[list[str]]
    words: list[Word]
    """In the order of the rows."""


def find_grids(words: Sequence[Word], rules: Iterable[Rule]) -> tuple[list[Grid], list[Word]]:
    """Find the ruled tables of a page.

    Returns:
        The tables, and the words outside of them.
    """
    grids: list[Grid] = []
    rest = list(words)
    long = [rule for rule in rules if _length(rule) > _LEAST_LENGTH]
    if len(long) > _MOST_RULES:
        return grids, rest
    for frame in map(_Frame, _connected(long)):
        inside = [word for word in rest if frame.holds(word)]
        cells = frame.cells(inside)
        rows = [[_Cell(cell) for cell in row] for row in cells]
        told = [runs for row in rows for runs in _rows(row)]
        texts = [[join(run.text for run in runs) for runs in row] for row in told]
        if _is_table(texts) and not any(cell.is_form for row in rows for cell in row):
            order = [word for row in told for runs in row for run in runs for word in run.words]
            place = (frame.xs[0], frame.ys[0], frame.xs[-1], frame.ys[-1])
            grids.append(Grid(*place, texts, order))
            taken = set(map(id, inside))
            rest = [word for word in rest if id(word) not in taken]
    return grids, rest


class _Cell:
    """The lines within a frame's cell."""

    def __init__(self, words: Sequence[Word]) -> None:
        self.lines = to_lines(words)

    @property
    def is_form(self) -> bool:
        """Whether several lines have gaps: a box around other things, not a cell."""
        return sum(len(line.runs) > 1 for line in self.lines) >= _FORM_LINES


def _rows(row: Sequence[_Cell]) -> list[list[list[Run]]]:
    """A framed row's cells: several rows where most cells have as many lines, at equal heights."""
    filled = [cell.lines for cell in row if cell.lines]
    most = max(map(len, filled), default=0)
    full = [lines for lines in filled if len(lines) == most]
    if most < 2 or len(full) < max(_SHARED_ROWS, 0.6 * len(filled)):
        return [[[run for line in cell.lines for run in line.runs] for cell in row]]
    rows: list[list[list[Run]]] = [[[] for _ in row] for _ in full[0]]
    for column, cell in enumerate(row):
        for line in cell.lines:
            rows[_nearest(line, full[0])][column] += line.runs
    return rows


def _nearest(line: Line, lines: Sequence[Line]) -> int:
    middle = line.top + line.bottom
    return min(range(len(lines)), key=lambda at: abs(lines[at].top + lines[at].bottom - middle))


def _length(rule: Rule) -> float:
    return max(rule.x1 - rule.x0, rule.bottom - rule.top)


def _connected(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Lines that touch each other, directly or through others."""
    groups: list[list[Rule]] = []
    for rule in rules:
        touching = [group for group in groups if any(_touch(rule, other) for other in group)]
        merged = [rule, *(other for group in touching for other in group)]
        groups = [group for group in groups if all(group is not one for one in touching)]
        groups.append(merged)
    return groups


def _touch(one: Rule, other: Rule) -> bool:
    return (
        one.x0 - _SNAP <= other.x1
        and other.x0 - _SNAP <= one.x1
        and one.top - _SNAP <= other.bottom
        and other.top - _SNAP <= one.bottom
    )


def _is_table(rows: Sequence[Sequence[str]]) -> bool:
    columns = max(map(len, rows), default=0)
    filled = [sum(bool(cell) for cell in row) for row in rows]
    used = [any(row[column] for row in rows) for column in range(columns)]
    return (
        sum(map(bool, filled)) > 1
        and sum(used) > 1
        and max(filled, default=0) > 1
        and sum(filled) >= _LEAST_FILLED * len(rows) * columns / 2
    )


class _Frame:
    """The cells between connected lines."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._upright = [rule for rule in rules if rule.is_vertical]
        self._level = [rule for rule in rules if not rule.is_vertical]
        # Tables without lines at their sides end where their level lines do.
        self.xs = _snapped(
            [rule.x0 for rule in self._upright]
            + [end for rule in self._level for end in (rule.x0, rule.x1)]
            if self._upright
            else []
        )
        self.ys = _snapped(
            [rule.top for rule in self._level]
            + [end for rule in self._upright for end in (rule.top, rule.bottom)]
        )

    def holds(self, word: Word) -> bool:
        """Whether a word's middle lies in the frame."""
        x, y = (word.x0 + word.x1) / 2, (word.top + word.bottom) / 2
        return (
            len(self.xs) > 2
            and len(self.ys) > 2
            and self.xs[0] <= x <= self.xs[-1]
            and self.ys[0] <= y <= self.ys[-1]
        )

    def cells(self, words: Iterable[Word]) -> list[list[list[Word]]]:
        """The words of each cell; what a cell spans besides its first place is empty."""
        cells: list[list[list[Word]]] = [[[] for _ in self.xs[1:]] for _ in self.ys[1:]]
        owners = self._owners() if cells and cells[0] else {}
        for word in words:
            column = _place(self.xs, (word.x0 + word.x1) / 2)
            row = _place(self.ys, (word.top + word.bottom) / 2)
            row, column = owners[row, column]
            cells[row][column].append(word)
        for row, line in enumerate(cells):
            for column in range(len(line)):
                places = [at for at in range(len(line)) if owners.get((row, at)) == (row, column)]
                for at, part in _by_columns(line[column], self.xs, places).items():
                    line[at] = part
        return cells

    def _owners(self) -> dict[tuple[int, int], tuple[int, int]]:
        """The first place of the cell that each place belongs to."""
        owners: dict[tuple[int, int], tuple[int, int]] = {}
        for row in range(len(self.ys) - 1):
            for column in range(len(self.xs) - 1):
                if row and not self._has_level(row, column):
                    owners[row, column] = owners[row - 1, column]
                elif column and not self._has_upright(row, column):
                    owners[row, column] = owners[row, column - 1]
                else:
                    owners[row, column] = (row, column)
        return owners

    def _has_level(self, row: int, column: int) -> bool:
        """Whether a line parts a place from the one above."""
        y, x = self.ys[row], (self.xs[column] + self.xs[column + 1]) / 2
        return any(abs(rule.top - y) <= _SNAP and rule.x0 <= x <= rule.x1 for rule in self._level)

    def _has_upright(self, row: int, column: int) -> bool:
        """Whether a line parts a place from the one on its left."""
        x, y = self.xs[column], (self.ys[row] + self.ys[row + 1]) / 2
        return any(
            abs(rule.x0 - x) <= _SNAP and rule.top <= y <= rule.bottom for rule in self._upright
        )


def _by_columns(
    words: Sequence[Word], edges: Sequence[float], places: Sequence[int]
) -> dict[int, list[Word]]:
    """The words of a cell that spans columns, by column where they plainly stand one in each.

    Coloured boxes often frame several names of columns together; no line parts these.
    """
    last = max((word.top for word in words), default=0.0)
    above = [word for word in words if word.top < last - word.size / 2]  # a name for all of them
    ordered = sorted(set(words) - set(above), key=lambda word: word.x0)
    parts: dict[int, list[Word]] = {place: [] for place in places}
    for word in ordered:
        place = _place(edges, (word.x0 + word.x1) / 2)
        if place not in parts or word.x0 < edges[place] - 1 or word.x1 > edges[place + 1] + 1:
            return {}
        parts[place].append(word)
    if len(places) < 2 or not all(parts.values()):
        return {}
    gaps: dict[bool, list[float]] = {True: [], False: []}
    for one, other in pairwise(ordered):
        is_within = _place(edges, (one.x0 + one.x1) / 2) == _place(edges, (other.x0 + other.x1) / 2)
        gaps[is_within].append(other.x0 - one.x1)
    if min(gaps[False]) <= max(gaps[True], default=0.0):
        return {}
    parts[places[0]] = above + parts[places[0]]
    return parts


def _snapped(places: Iterable[float]) -> list[float]:
    snapped: list[float] = []
    for place in sorted(places):
        if not snapped or place - snapped[-1] > _SNAP:
            snapped.append(place)
    return snapped


def _place(edges: Sequence[float], at: float) -> int:
    return max(0, min(len(edges) - 2, sum(edge <= at for edge in edges) - 1))
