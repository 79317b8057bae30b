"""A sentence in, a query that it answers out; without a model, and made to vary."""

import random

from indexing.words import common_words

_PUNCTUATION = ".,;:!?()[]\"'"
_PHRASE = (2, 6)
_CLAUSE = (6, 16)
"""Fewest and most words."""
_OF_NUMBERS = ("When", "How many", "How much", "What year")
_OF_NAMES = ("Who", "What", "Where", "Which")
_OF_OTHERS = ("What", "What is", "Which", "How", "Why")


def phrase(sentence: str, drawn: random.Random) -> str:
    """Some words of a sentence in their order, without common ones, as people type them."""
    found = [word for word in _bare(sentence.split()) if word and not _is_common(word)]
    return " ".join(_part(found, _PHRASE, drawn))


def asked(sentence: str, drawn: random.Random) -> str:
    """A part of a sentence with a number, a name or a word taken out and asked for instead.

    English is asked about; of a sentence without spaces nothing is made.

    Source: the noisy clozes of Lewis et al. 2019, section 2.3 (https://arxiv.org/abs/1906.04980).
    """
    clause = _part(sentence.split(), _CLAUSE, drawn)
    if len(clause) < _CLAUSE[0]:
        return ""
    numbers = [n for n, word in enumerate(clause) if any(map(str.isdigit, word))]
    # The first word of a sentence is written large whatever it is.
    names = [n for n, word in enumerate(clause) if n and word[:1].isupper()]
    others = [n for n, word in enumerate(_bare(clause)) if len(word) > 3 and not _is_common(word)]
    kinds = [(numbers, _OF_NUMBERS), (names, _OF_NAMES), (others, _OF_OTHERS)]
    possible = [kind for kind in kinds if kind[0]]
    if not possible:
        return ""
    places, openings = drawn.choice(possible)
    first = drawn.choice(places)
    last = first + 1
    if places is names:  # a name of several words goes as a whole
        while first - 1 in names:
            first -= 1
        while last in names:
            last += 1
    rest = _bare(clause[:first] + clause[last:])
    return f"{drawn.choice(openings)} {' '.join(word for word in rest if word)}?"


def _part(words: list[str], size: tuple[int, int], drawn: random.Random) -> list[str]:
    """So many words in a row, or all of them where they are fewer."""
    count = drawn.randint(*size)
    start = drawn.randint(0, max(0, len(words) - count))
    return words[start : start + count]


def _bare(words: list[str]) -> list[str]:
    return [word.strip(_PUNCTUATION) for word in words]


def _is_common(word: str) -> bool:
    return word.casefold() in common_words()
