"""What a training did and proved, on one page: report.html and the curves as report.png."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_SIZE = (720, 260)
_EDGE = (56, 24, 16, 34)
"""Left, top, right, bottom."""
_INK, _GRID, _LINE = "#333333", "#dddddd", "#1f5fbf"

Points = Sequence[tuple[float, float]]

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:780px;margin:2em auto;padding:0 1em;
color:#222}}table{{border-collapse:collapse;margin:1em 0}}td,th{{padding:.25em .8em;
border-bottom:1px solid #ddd;text-align:right}}td:first-child,th:first-child{{text-align:left}}
.verdict{{font-size:1.2em;padding:.6em .8em;border-left:5px solid {colour};background:#f6f6f6}}
svg{{width:100%;height:auto}}code{{background:#f3f3f3}}</style>
<h1>{title}</h1><p class="verdict">{verdict}</p>
{tables}<h2>Training</h2>{curves}<h2>What was chosen</h2>{config}</html>
"""


def write_report(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the page and the picture.

    Args:
        folder: The run's.
        facts: The run's manifest.
    """
    curves = [
        ("Loss", [(float(step), value) for step, value in facts["losses"]]),
        (
            f"{facts['metric']} on the hold-out's first half",
            [(float(s), v) for s, v in facts["scores"]],
        ),
    ]
    curves = [(name, points) for name, points in curves if points]
    page = _PAGE.format(
        title=escape(f"Training of {facts['base_model']}"),
        colour="#2a7d2a" if facts["verdict"] == "better" else "#b3261e",
        verdict=escape(facts["sentence"]),
        tables=_tables(facts),
        curves="".join(f"<h3>{escape(name)}</h3>{_svg(points)}" for name, points in curves),
        config=_rows(("choice", "value"), sorted(facts["config"].items())),
    )
    (folder / "report.html").write_text(page, "utf-8")
    _write_png(folder / "report.png", curves)


def _tables(facts: Mapping[str, Any]) -> str:
    head = ("measured on", "metric", "base", "tuned", "difference", "95 % interval", "p")
    rows = [
        (
            f"{row['name']} ({row['kind']}, {row['items']})",
            row["metric"],
            f"{row['base']:.4f}",
            f"{row['tuned']:.4f}",
            f"{row['difference']:+.4f}",
            f"{row['interval'][0]:+.4f} .. {row['interval'][1]:+.4f}",
            f"{row['p']:.4f}",
        )
        for row in facts["measured"]
    ]
    tables = f"<h2>Base against tuned</h2>{_rows(head, rows)}" if rows else ""
    shares = [(f"{share:g}", f"{figure:.4f}") for share, figure in facts["averages"]]
    if shares:
        tables += "<h2>Averages with the base</h2>"
        tables += _rows(("share of the tuned model", facts["metric"]), shares)
    priors = [(f"{prior:g}", f"{figure:.4f}") for prior, figure in facts.get("priors", ())]
    if priors:
        tables += "<h2>How far the order before is followed</h2>"
        tables += _rows(("log odds from its first hit to its last", facts["metric"]), priors)
    return tables


def _rows(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(str(cell))}</{kind}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


class _Frame:
    """Turns values into places of a picture."""

    def __init__(self, points: Points) -> None:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        self.x = (min(0.0, *xs), max(1.0, *xs))
        low, high = min(ys), max(ys)
        room = (high - low) * 0.08 or abs(high) * 0.05 or 0.05
        self.y = (low - room, high + room)

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = _EDGE
        wide, tall = _SIZE[0] - left - right, _SIZE[1] - top - bottom
        return (
            left + wide * (x - self.x[0]) / (self.x[1] - self.x[0]),
            top + tall * (1 - (y - self.y[0]) / (self.y[1] - self.y[0])),
        )

    def ticks(self) -> list[float]:
        return [
            self.y[0] + (self.y[1] - self.y[0]) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]


def _svg(points: Points) -> str:
    frame = _Frame(points)
    parts = []
    for value in frame.ticks():
        left, height = frame.place(frame.x[0], value)
        right, _ = frame.place(frame.x[1], value)
        parts.append(f'<path d="M{left:.0f} {height:.1f}H{right:.0f}" stroke="{_GRID}"/>')
        parts.append(
            f'<text x="{left - 6:.0f}" y="{height + 4:.1f}" text-anchor="end">{value:.3f}</text>'
        )
    for x, anchor in ((frame.x[0], "start"), (frame.x[1], "end")):
        at, _ = frame.place(x, frame.y[0])
        parts.append(
            f'<text x="{at:.0f}" y="{_SIZE[1] - 10}" text-anchor="{anchor}">step {x:.0f}</text>'
        )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame.place(*point) for point in points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2"/>')
    for point in points if len(points) < 30 else ():
        x, y = frame.place(*point)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_LINE}"/>')
    size = f'viewBox="0 0 {_SIZE[0]} {_SIZE[1]}" font-size="12" font-family="sans-serif"'
    return f'<svg {size} fill="{_INK}">{"".join(parts)}</svg>'


def _write_png(path: Path, curves: Sequence[tuple[str, Points]]) -> None:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (_SIZE[0], _SIZE[1] * max(1, len(curves))), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(12)
    for number, (name, points) in enumerate(curves):
        down = number * _SIZE[1]
        frame = _Frame(points)
        draw.text((_EDGE[0], down + 4), name, _INK, font)
        for value in frame.ticks():
            left, height = frame.place(frame.x[0], value)
            right, _ = frame.place(frame.x[1], value)
            draw.line((left, down + height, right, down + height), _GRID)
            draw.text((left - 6, down + height), f"{value:.3f}", _INK, font, anchor="rm")
        for x, anchor in ((frame.x[0], "ls"), (frame.x[1], "rs")):
            at, _ = frame.place(x, frame.y[0])
            draw.text((at, down + _SIZE[1] - 10), f"step {x:.0f}", _INK, font, anchor=anchor)
        line = [(x, down + y) for x, y in (frame.place(*point) for point in points)]
        if len(line) > 1:
            draw.line(line, _LINE, 2)
        for x, y in line if len(line) < 30 else ():
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), _LINE)
    picture.save(path)
