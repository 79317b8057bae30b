"""Where sentences end, in English and Chinese; knows offsets, not tokens."""

import re
from bisect import bisect_left
from collections.abc import Iterable

# A run of closing marks, with the quotes and brackets that close behind it.
_CHINESE_END = re.compile(r"[。！？!?…]+[」』”’）】》\"')\]]*")
# Possessive: a long run of dots must not be tried again from each of its dots.
_LATIN_END = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]]*+(?=\s)")
_CLAUSE_END = re.compile(r"[，；：、]|[,;:](?=\s)|\n")

_ABBREVIATIONS = re.compile(
    r"mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|al|figs?|eqs?|vol|pp|eds?|cf|ca|approx|dept|inc|ltd"
    r"|co|corp|e\.g|i\.e|u\.s|u\.k|a\.m|p\.m|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|[a-z]",
    re.IGNORECASE,
)
_BEFORE_NUMBERS = re.compile(r"nos?|sec", re.IGNORECASE)
# A whole word: neither the t of "don't" nor the D of "3D". Chinese puts no space before it.
_WORD_BEFORE = re.compile(r"(?:(?<![\w'’])|(?<=[\u2e80-\uffff]))([A-Za-z][A-Za-z.]*)$")

_WHOLE = re.compile(
    r"《[^《》\n]{1,100}》"
    r"|(?<![A-Za-z])[A-Za-z]{2,10}://[^\s<>\"'，。；：！？、（）《》「」“”]+"
    r"|(?<!\d)\d++(?:[.,:]\d++)+"
)
_BEHIND_ADDRESS = ".,;:!?)]"

Span = tuple[int, int]


class Unbroken:
    """What is never cut inside: 《titles》, web addresses, numbers such as 3.14, clause labels."""

    def __init__(self, text: str, labels: Iterable[Span] = ()) -> None:
        found = [
            (match.start(), match.start() + len(match[0].rstrip(_BEHIND_ADDRESS)))
            for match in _WHOLE.finditer(text)
        ]
        # Longest first where several start together; those within another have no say.
        self._spans: list[Span] = []
        for start, end in sorted([*found, *labels], key=lambda span: (span[0], -span[1])):
            if not self._spans or start >= self._spans[-1][1]:
                self._spans.append((start, end))
        self._starts = [start for start, _ in self._spans]

    def around(self, cut: int) -> Span | None:
        """The one that a cut would break."""
        place = bisect_left(self._starts, cut) - 1
        return self._spans[place] if place >= 0 and cut < self._spans[place][1] else None

    def ends_sentence(self, mark_end: int) -> bool:
        """Whether a mark that ends here is one of a sentence, not of a title or a label."""
        place = bisect_left(self._starts, mark_end) - 1
        return place < 0 or mark_end > self._spans[place][1]


NOTHING_UNBROKEN = Unbroken("")


def split_sentences(
    text: str, start: int = 0, end: int | None = None, unbroken: Unbroken = NOTHING_UNBROKEN
) -> list[Span]:
    """Cut `text[start:end]` behind each sentence.

    Returns:
        Touching spans (start, end) that cover the range; the space after a sentence belongs to it.
    """
    end = len(text) if end is None else end
    ends = filter(unbroken.ends_sentence, sorted(_sentence_ends(text, start, end)))
    return _cut(text, start, end, list(ends))


def split_clauses(
    text: str, start: int, end: int, unbroken: Unbroken = NOTHING_UNBROKEN
) -> list[Span]:
    """Cut behind commas, colons and line ends, for sentences that are too long."""
    ends = [m.end() for m in _CLAUSE_END.finditer(text, start, end)]
    return _cut(text, start, end, list(filter(unbroken.ends_sentence, ends)))


def _sentence_ends(text: str, start: int, end: int) -> set[int]:
    chinese = {m.end() for m in _CHINESE_END.finditer(text, start, end) if _mark_ends(text, m, end)}
    latin = {
        m.end()
        for m in _LATIN_END.finditer(text, start, end)
        if (_full_stop_ends(text, start, m) if m[0][0] == "." else _mark_ends(text, m, end))
    }
    return chinese | latin


def _mark_ends(text: str, match: re.Match[str], end: int) -> bool:
    """Whether a mark ends a sentence.

    It does not in `?a=1`, `"What?" he asked`, `well… maybe` and `“什么？”，他问`.
    """
    mark = match[0]
    if match.end() < end and text[match.end()] in "，、；：。！？":
        return False
    if mark[0] in "。！？" or match.end() >= end:
        return True
    if mark[0] in "!?" and _is_latin(text[match.end()]):
        return False
    return mark[-1] in "!?" or not _following(text, match).islower()


def _is_latin(character: str) -> bool:
    return character.isascii() and not character.isspace()


def _full_stop_ends(text: str, start: int, match: re.Match[str]) -> bool:
    before = _WORD_BEFORE.search(text, max(start, match.start() - 20), match.start())
    word = before[1] if before is not None else ""
    following = _following(text, match)
    if _ABBREVIATIONS.fullmatch(word) or (_BEFORE_NUMBERS.fullmatch(word) and following.isdigit()):
        return False
    return not following.islower()


def _following(text: str, match: re.Match[str]) -> str:
    return text[match.end() : match.end() + 3].lstrip()[:1]


def _cut(text: str, start: int, end: int, ends: list[int]) -> list[Span]:
    spans: list[Span] = []
    for cut in [*ends, end]:
        cut = max(cut, start)
        while cut < end and text[cut].isspace():
            cut += 1
        if cut > start:
            spans.append((start, cut))
            start = cut
    return spans
