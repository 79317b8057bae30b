"""The terms of a text, as lexical search compares them: folded words, characters and pairs."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import pairwise

_HAN = (
    r"\u2e80-\u2fdf\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    r"\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Chinese, Japanese and Korean characters: scripts that do not part their words."""
_RUN = re.compile(rf"(?P<han>[{_HAN}]+)|(?P<word>[^\W_{_HAN}]+)")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_LONGEST_WORD = 64


def words(text: str, *, fold_traditional: bool = True) -> Iterator[str]:
    """The terms of a text: lower-cased words, and each Chinese character and pair of characters.

    Full-width forms are folded to half-width (NFKC) and traditional characters to simplified
    ones; accents and case do not count.

    Args:
        text: Any text.
        fold_traditional: False for the terms as indexes hold them that were built before
            characters were folded.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    if folded.isascii():
        yield from (word[:_LONGEST_WORD] for word in _ASCII_WORD.findall(folded))
        return
    if fold_traditional:
        folded = folded.translate(_simplified())
    for run in _RUN.finditer(folded):
        if run["word"] is not None:
            yield _without_accents(run["word"])[:_LONGEST_WORD]
        else:
            yield from run["han"]
            yield from map("".join, pairwise(run["han"]))


def _without_accents(word: str) -> str:
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFD", word)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


@cache
def common_words() -> frozenset[str]:
    """Words that say how a question is put and little of what it asks for."""
    return frozenset(word for line in _lines("common_words.txt") for word in line.split())


@cache
def _simplified() -> dict[int, str]:
    """Traditional character → simplified character."""
    return {ord(line[0]): line[1] for line in _lines("simplified.txt")}


def _lines(name: str) -> list[str]:
    lines = files("indexing").joinpath(name).read_text("utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]
