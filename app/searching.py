"""Asks knowledge bases, and remembers what they said while their state lasts."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from app.access import Reader
from app.address import Address
from app.knowledge_base import KnowledgeBase
from app.library import Listing
from app.merging import merge
from indexing import Hit
from indexing.answers import HITS_READ, ScoredSentence
from indexing.filter_parser import parse_filter
from indexing.filters import And, FilterError, render_filter

RERANKER = "ANGLER_RERANKER"
"""Names the reranker's folder or hub id; the administrator chooses it, not the page."""
_WORD = re.compile(r"\w")
"""A rule of dashes is a sentence to a machine only."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A knowledge base that can be asked."""

    listing: Listing
    base: KnowledgeBase


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found."""

    hits: Sequence[Hit]
    """Of all knowledge bases in one order."""
    home: Mapping[int, Opened]
    """The knowledge base of each hit, by rank."""
    original: Mapping[int, Hit]
    """Each hit as its own knowledge base ranked it, by rank."""
    seconds: float
    """How long the search took when it was made."""


def search(opened: Sequence[Opened], address: Address, reader: Reader) -> Found:
    """The hits for an address, of several knowledge bases as of one.

    Raises:
        FilterError: If its filter cannot be read, or no document of any base has its field.
    """
    lists: list[list[Hit]] = []
    seconds, errors = 0.0, []
    rerank = os.environ.get(RERANKER) if address.rerank else None
    for one in opened:
        try:
            hits, took = _search(
                one.base,
                one.base.state,
                one.listing.id,
                _Asked(
                    query=address.query,
                    mode=address.mode,
                    count=address.count,
                    expression=filter_of(address, one.listing, reader),
                    rerank=rerank,
                ),
            )
        except FilterError as error:  # of a field that only other knowledge bases have
            errors.append(error)
            hits, took = [], 0.0
        lists.append(hits)
        seconds += took
    if errors and len(errors) == len(opened):
        raise errors[0]
    merged = merge(lists, address.count)
    return Found(
        hits=[replace(hit, rank=rank) for rank, (_, hit) in enumerate(merged, start=1)],
        home={rank: opened[place] for rank, (place, _) in enumerate(merged, start=1)},
        original={rank: hit for rank, (_, hit) in enumerate(merged, start=1)},
        seconds=seconds,
    )


def filter_of(address: Address, listing: Listing, reader: Reader) -> str | None:
    """The filter that a link asks for, within what the reader may see at all.

    Raises:
        FilterError: If it cannot be read.
    """
    allowed = reader.filter_for(listing)
    if not address.filter:
        return render_filter(allowed) if allowed is not None else None
    tree = parse_filter(address.filter)
    return render_filter(And((allowed, tree)) if allowed is not None else tree)


def read_hits(found: Found, query: str) -> Iterator[list[ScoredSentence]]:
    """The sentences that answer at all, best first, of a few hits at a time: it takes a while.

    Their `hit` is the rank among all hits.
    """
    for first in range(0, len(found.hits), HITS_READ):
        sentences: list[ScoredSentence] = []
        some = found.hits[first : first + HITS_READ]
        for opened in dict.fromkeys(found.home[hit.rank].listing.id for hit in some):
            mine = [hit for hit in some if found.home[hit.rank].listing.id == opened]
            base = found.home[mine[0].rank].base
            places = tuple((hit.rank, hit.chunk) for hit in mine)
            sentences += _read(base, base.state, opened, query, places, mine)
        yield sorted(sentences, key=lambda sentence: -sentence.score)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What makes one search another than the next."""

    query: str
    mode: str
    count: int
    expression: str | None
    rerank: str | None


@st.cache_data(max_entries=500, show_spinner=False)
def _search(
    _base: KnowledgeBase, state: str, base_id: str, asked: _Asked
) -> tuple[list[Hit], float]:
    started = time.perf_counter()
    hits = _base.index.search(
        asked.query, asked.count, mode=asked.mode, filter=asked.expression, rerank=asked.rerank
    )
    return hits, time.perf_counter() - started


@st.cache_data(max_entries=500, show_spinner=False)
def _read(
    _base: KnowledgeBase,
    state: str,
    base_id: str,
    query: str,
    places: tuple[tuple[int, int], ...],
    _hits: Sequence[Hit],
) -> list[ScoredSentence]:
    sentences = _base.index.sentences(query, _hits)
    return [
        sentence for sentence in sentences if sentence.score > 0 and _WORD.search(sentence.text)
    ]
