"""The sentences of a text that can say something: no code, no lone marks."""

import re
from functools import lru_cache

from indexing.sentences import Span, split_sentences
from indexing.structure import blocks, items

_SHORTEST = 12
_HAN_WEIGHT = 3
"""A Chinese character says about as much as three letters."""
_KEPT_TEXTS = 1024
"""Texts whose sentences are remembered: a chunk that is found is mostly found again soon."""
_ADJACENT = re.compile(r"[\u2e80-\U0003ffff]")


@lru_cache(_KEPT_TEXTS)
def telling_sentences(text: str) -> tuple[Span, ...]:
    """The places of the sentences, list items and table rows of a text, in order."""
    return tuple((start, end) for start, end in _sentences(text) if _is_telling(text[start:end]))


def _sentences(text: str) -> list[Span]:
    spans = []
    for block in blocks(text, 0, len(text)):
        if block.is_code:  # a line torn out of a listing answers nothing
            continue
        parts = items(text, block) if block.by_lines else [(block.start, block.end)]
        for part in parts:
            for start, end in split_sentences(text, *part):
                sentence = text[start:end]
                indent = len(sentence) - len(sentence.lstrip())
                spans.append((start + indent, start + len(sentence.rstrip())))
    return spans


def _is_telling(sentence: str) -> bool:
    han = len(_ADJACENT.findall(sentence))
    is_long = len(sentence) + (_HAN_WEIGHT - 1) * han >= _SHORTEST
    return is_long and any(map(str.isalnum, sentence))
