"""Where sentences end, in English and Chinese; knows offsets, not tokens."""

import re

# A run of closing marks, with the quotes and brackets that close behind it.
_CHINESE_END = re.compile(r"[。！？!?…]+[」』”’）】》\"')\]]*")
_LATIN_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s)")
_CLAUSE_END = re.compile(r"[，；：、]|[,;:](?=\s)|\n")

_ABBREVIATIONS = re.compile(
    r"mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|al|figs?|eqs?|sec|nos?|vol|pp|eds?|cf|ca|approx|dept|inc|ltd"
    r"|co|corp|e\.g|i\.e|u\.s|u\.k|a\.m|p\.m|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|[a-z]",
    re.IGNORECASE,
)
_WORD_BEFORE = re.compile(r"([A-Za-z][A-Za-z.]*)$")

Span = tuple[int, int]


def split_sentences(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Cut `text[start:end]` behind each sentence.

    Returns:
        Touching spans (start, end) that cover the range; the space after a sentence belongs to it.
    """
    end = len(text) if end is None else end
    return _cut(text, start, end, sorted(_sentence_ends(text, start, end)))


def split_clauses(text: str, start: int, end: int) -> list[Span]:
    """Cut behind commas, colons and line ends, for sentences that are too long."""
    return _cut(text, start, end, [m.end() for m in _CLAUSE_END.finditer(text, start, end)])


def _sentence_ends(text: str, start: int, end: int) -> set[int]:
    chinese = {m.end() for m in _CHINESE_END.finditer(text, start, end) if _ends(text, m, end)}
    latin = {
        m.end()
        for m in _LATIN_END.finditer(text, start, end)
        if text[m.start()] != "." or _full_stop_ends(text, start, m)
    }
    return chinese | latin


def _ends(text: str, match: re.Match[str], end: int) -> bool:
    """Whether ! and ? inside a URL or between Latin letters is no end, as in `?a=1`."""
    latin = text[match.start()] in "!?"
    return not latin or match.end() >= end or not _is_latin(text[match.end()])


def _is_latin(character: str) -> bool:
    return character.isascii() and not character.isspace()


def _full_stop_ends(text: str, start: int, match: re.Match[str]) -> bool:
    before = _WORD_BEFORE.search(text, max(start, match.start() - 20), match.start())
    if before is not None and _ABBREVIATIONS.fullmatch(before.group(1)):
        return False
    return not text[match.end() : match.end() + 3].lstrip()[:1].islower()


def _cut(text: str, start: int, end: int, ends: list[int]) -> list[Span]:
    spans: list[Span] = []
    for cut in [*ends, end]:
        while cut < end and text[cut].isspace():
            cut += 1
        if cut > start:
            spans.append((start, cut))
            start = cut
    return spans
