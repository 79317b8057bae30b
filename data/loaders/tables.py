"""Rows of cells in, Markdown out: tables, or records where the cells are long."""

from collections.abc import Sequence

_GROUP_CHARACTERS = 800
"""Rows up to this length share one header, so that a chunk that holds them names its columns."""
_RECORD_CHARACTERS = 300
"""Rows that are longer in the middle are told as records."""


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """One table, its first row the header; empty columns and rows are left out."""
    cells = _filled([[_cell(cell) for cell in row] for row in rows])
    if not cells:
        return ""
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(cells[0]), *lines[1:]])


def grouped_table(rows: Sequence[Sequence[str]]) -> str:
    """A long table as several, each with the header again, or as records of `column: value`."""
    cells = _filled([[_cell(cell) for cell in row] for row in rows])
    if len(cells) < 2:
        return markdown_table(cells)
    lengths = sorted(sum(map(len, row)) for row in cells[1:])
    if lengths[len(lengths) // 2] > _RECORD_CHARACTERS:
        return _records(cells[0], cells[1:])
    groups, size = [[cells[0]]], 0
    for row in cells[1:]:
        length = sum(map(len, row)) + 3 * len(row)
        if len(groups[-1]) > 1 and size + length > _GROUP_CHARACTERS:
            groups.append([cells[0]])
            size = 0
        groups[-1].append(row)
        size += length
    return "\n\n".join(_as_given(group) for group in groups)


def _as_given(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _records(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n\n".join(
        "\n".join(
            f"{name}: {value}" if name else value
            for name, value in zip(header, row, strict=True)
            if value
        )
        for row in rows
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _filled(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows that hold something, all as wide as the widest, without columns that hold none."""
    width = max(map(len, rows), default=0)
    full = [[*row, *[""] * (width - len(row))] for row in rows if any(row)]
    kept = [column for column in range(width) if any(row[column] for row in full)]
    return [[row[column] for column in kept] for row in full]
