"""A question of a conversation in, the passages to answer from out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.access import Reader
from app.address import Address
from app.merging import merge
from app.searching import Found, Opened, search
from indexing import Hit
from indexing.answers import HITS_READ
from indexing.hits import Mode


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an answer may rest on."""

    found: Found
    is_refused: bool
    """Whether no passage is relevant enough, by the calibration of each knowledge base."""


def gather(
    opened: Sequence[Opened], legs: Sequence[str], reader: Reader, language: str
) -> Evidence:
    """Search for every leg, the reader's own words first, and join what they find.

    Args:
        opened: The knowledge bases to ask.
        legs: The question in the reader's words, and other ways to put it.
        reader: Who asks.
        language: The page's.
    """
    asked = list(dict.fromkeys(filter(None, legs)))
    answering = [_search_one(opened, leg, reader, language) for leg in asked]
    own = answering[0]
    is_refused = all(
        _refuses(opened, leg, found, reader) for leg, found in zip(asked, answering, strict=True)
    )
    if len(answering) == 1:
        return Evidence(found=own, is_refused=is_refused)
    # Turn by turn: relevance to a rewritten question says nothing about the reader's own.
    lists = [[replace(hit, relevance=None) for hit in found.hits] for found in answering]
    order, seen = [], set()
    for place, hit in merge(lists, HITS_READ * len(lists)):
        source = answering[place]
        rank = lists[place].index(hit) + 1
        key = (source.home[rank].listing.id, hit.chunk)
        if key not in seen:
            seen.add(key)
            order.append((source, rank))
    kept = list(enumerate(order[:HITS_READ], start=1))
    hits: list[Hit] = [replace(found.hits[rank - 1], rank=new) for new, (found, rank) in kept]
    joined = Found(
        hits=hits,
        home={new: found.home[rank] for new, (found, rank) in kept},
        original={new: found.original[rank] for new, (found, rank) in kept},
        seconds=sum(found.seconds for found in answering),
    )
    return Evidence(found=joined, is_refused=is_refused)


def _search_one(opened: Sequence[Opened], query: str, reader: Reader, language: str) -> Found:
    address = Address(query=query, mode=Mode.HYBRID, count=HITS_READ, language=language)
    return search(opened, address, reader)


def _refuses(opened: Sequence[Opened], query: str, found: Found, reader: Reader) -> bool:
    """Whether every knowledge base falls short of its own threshold."""
    return not any(_answers(one, query, found, reader) for one in opened)


def _answers(one: Opened, query: str, found: Found, reader: Reader) -> bool:
    mine = [
        found.original[hit.rank]
        for hit in found.hits
        if found.home[hit.rank].listing.id == one.listing.id
    ]
    return one.base.index.is_answered_by(
        query, mine, mode=Mode.HYBRID, filter=reader.filter_for(one.listing)
    )
