"""A question of a conversation in, the passages to answer from out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.access import Reader
from app.address import Address
from app.merging import merge
from app.searching import Found, Opened, search
from indexing import Hit
from indexing.answers import HITS_READ, falls_short
from indexing.calibration import FALSE_ANSWER_RATE
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
    answering = [
        _search_one(opened, leg, reader, language) for leg in dict.fromkeys(filter(None, legs))
    ]
    own = answering[0]
    is_refused = all(_refuses(opened, found) for found in answering)
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


def _refuses(opened: Sequence[Opened], found: Found) -> bool:
    """Whether every knowledge base falls short of its own threshold."""
    return all(_falls_short(one, found) for one in opened)


def _falls_short(one: Opened, found: Found) -> bool:
    mine = [hit for hit in found.hits if found.home[hit.rank].listing.id == one.listing.id]
    calibration = one.base.index.generation.calibration
    modes = calibration.modes.get(Mode.HYBRID) if calibration is not None else None
    threshold = modes.threshold(FALSE_ANSWER_RATE) if modes is not None else None
    return not mine or falls_short(mine, threshold)
