"""Asks a knowledge base, and remembers what it said while its state lasts."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import streamlit as st

from app.address import Address
from app.knowledge_base import KnowledgeBase
from indexing import Hit
from indexing.answers import HITS_READ, ScoredSentence

_WORD = re.compile(r"\w")
"""A rule of dashes is a sentence to a machine only."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found."""

    hits: Sequence[Hit]
    seconds: float
    """How long the search took when it was made."""


def search(base: KnowledgeBase, address: Address) -> Found:
    """The hits for an address."""
    return _search(base, base.state, address.query, address.mode, address.count)


def read_hits(
    base: KnowledgeBase, query: str, hits: Sequence[Hit]
) -> Iterator[list[ScoredSentence]]:
    """The sentences that answer at all, best first, of a few hits at a time: it takes a while."""
    for first in range(0, len(hits), HITS_READ):
        some = hits[first : first + HITS_READ]
        places = tuple((hit.rank, hit.chunk) for hit in some)
        yield _read(base, base.state, query, places, some)


@st.cache_data(max_entries=500, show_spinner=False)
def _search(_base: KnowledgeBase, state: str, query: str, mode: str, count: int) -> Found:
    started = time.perf_counter()
    hits = _base.index.search(query, count, mode=mode)
    return Found(hits=hits, seconds=time.perf_counter() - started)


@st.cache_data(max_entries=500, show_spinner=False)
def _read(
    _base: KnowledgeBase,
    state: str,
    query: str,
    places: tuple[tuple[int, int], ...],
    _hits: Sequence[Hit],
) -> list[ScoredSentence]:
    sentences = _base.index.sentences(query, _hits)
    return [
        sentence for sentence in sentences if sentence.score > 0 and _WORD.search(sentence.text)
    ]
