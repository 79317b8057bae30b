"""Words with boxes in, the runs and lines that they stand in out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from data.pdfium import Word

_CELL_GAP = 1.1
"""Heights of the font; a wider gap within a line parts two cells or columns."""
_WORD_GAP = 0.35
"""Heights of the font; from here on a gap is a blank, in Chinese too."""
_LEVEL = 0.5
"""Share of the height that words of one line have in common, at least."""

WIDE = re.compile(
    r"[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef]"
)
_UNSPACED = re.compile(r"[\u2e80-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef]")
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
MARK = re.compile(
    r"[•●○▪▫■□◦‣➢➤►▶✓✔❖◆◇\uf000-\uf0ff*·–—-]"
    r"|[(（]?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5}|[IVX]{1,5})[.)）、]"
)
"""A bullet or a number before an item."""
_OPENS = re.compile(r"[$€£¥￥(]+")
_CLOSES = re.compile(r"[)%]+")


@dataclass
class Run:
    """Words of one line without a wide gap between them."""

    words: list[Word]

    def __post_init__(self) -> None:
        self.x0 = min(word.x0 for word in self.words)
        self.x1 = max(word.x1 for word in self.words)
        self.top = min(word.top for word in self.words)
        self.bottom = max(word.bottom for word in self.words)
        self.size = max(word.size for word in self.words)

    @property
    def text(self) -> str:
        """The words, spaced as their script is."""
        text = self.words[0].text
        for last, word in pairwise(self.words):
            parted = word.x0 - last.x1 > _WORD_GAP * word.size or not touch(text, word.text)
            text += f" {word.text}" if parted else word.text
        return text

    @property
    def weight(self) -> float:
        """How many words it reads like: a character of Chinese counts as half a word."""
        wide = len(WIDE.findall(self.text))
        return wide / 2 if wide else float(len(self.words))


@dataclass
class Line:
    """Runs side by side, from left to right."""

    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.x0 = min(run.x0 for run in self.runs)
        self.x1 = max(run.x1 for run in self.runs)
        self.top = min(run.top for run in self.runs)
        self.bottom = max(run.bottom for run in self.runs)
        self.size = max(run.size for run in self.runs)
        words = [word for run in self.runs for word in run.words]
        self.is_bold = all(word.is_bold for word in words)
        self.is_code = all(word.is_code for word in words)
        self.first = words[0]

    @property
    def text(self) -> str:
        """Its runs, with the gaps between them."""
        return "  ".join(run.text for run in self.runs)


def to_lines(words: Iterable[Word]) -> list[Line]:
    """The lines of a block, from the top one to the bottom one."""
    return lines_of(runs_of(words))


def runs_of(words: Iterable[Word]) -> list[Run]:
    """Join words to runs, each word to the run that ends closely before it on its line."""
    open_runs: dict[int, list[list[Word]]] = {}
    found: list[list[Word]] = []
    for word in sorted(words, key=lambda word: (word.x0, word.x1)):
        band = int((word.top + word.bottom) / 16)
        near = (run for step in (-1, 0, 1) for run in open_runs.get(band + step, ()))
        followed = [run for run in near if _follows(run[-1], word)]
        if followed:
            min(followed, key=lambda run: word.x0 - run[-1].x1).append(word)
        else:
            found.append([word])
            open_runs.setdefault(band, []).append(found[-1])
    return [Run(_in_script_order(run)) for run in found]


def _follows(last: Word, word: Word) -> bool:
    size = max(last.size, word.size, 1.0)
    gap = word.x0 - last.x1
    if not -size < gap <= _CELL_GAP * size or (_OPENS.fullmatch(word.text) and gap > size / 2):
        return False
    return _overlap(last.top, last.bottom, word.top, word.bottom) > _LEVEL


def _overlap(top: float, bottom: float, other_top: float, other_bottom: float) -> float:
    """How much two lines share of the height of the lower one, 0 to 1."""
    shared = min(bottom, other_bottom) - max(top, other_top)
    return max(0.0, shared) / max(min(bottom - top, other_bottom - other_top), 0.1)


def _in_script_order(words: list[Word]) -> list[Word]:
    if 2 * sum(bool(_RIGHT_TO_LEFT.search(word.text)) for word in words) > len(words):
        return sorted(words, key=lambda word: -word.x1)
    return words


def lines_of(runs: Iterable[Run]) -> list[Line]:
    """Put runs of the same height side by side, from the top line to the bottom one."""
    rows: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: run.top + run.bottom):
        row = rows[-1] if rows else []
        if row and _overlap(row[0].top, row[0].bottom, run.top, run.bottom) > _LEVEL:
            row.append(run)
        else:
            rows.append([run])
    return [Line(_with_marks(sorted(row, key=lambda run: run.x0))) for row in rows]


def _with_marks(runs: list[Run]) -> list[Run]:
    """Join bullets, numbers and currency signs to what they stand before, `%` to what is before."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1].words[-1].text if joined and len(joined[-1].words) == 1 else ""
        opens = _OPENS.fullmatch(last) or (len(joined) == 1 and MARK.fullmatch(last))
        if joined and (opens or _CLOSES.fullmatch(run.text)):
            joined[-1] = Run([*joined[-1].words, *run.words])
        else:
            joined.append(run)
    return joined


def join(texts: Iterable[str]) -> str:
    """Put texts behind each other, with blanks where their script has them."""
    joined = ""
    for text in texts:
        joined += text if not joined or touch(joined, text) else f" {text}"
    return joined


def touch(before: str, after: str) -> bool:
    """Whether no blank stands between: Chinese and Japanese have none."""
    return bool(_UNSPACED.match(before[-1:]) and _UNSPACED.match(after[:1]))
