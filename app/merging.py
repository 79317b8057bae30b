"""Hits of several knowledge bases in one order; knows no screen."""

from collections.abc import Sequence

from indexing import Hit

Placed = tuple[int, Hit]
"""The number of the list that a hit comes from, and the hit."""


def merge(lists: Sequence[Sequence[Hit]], count: int) -> list[Placed]:
    """The first hits of several lists, each of which keeps its own order.

    Scores of different encoders and collections say nothing about each other. Calibrated relevance
    does: the list whose next hit is the more relevant comes first. Where a list has none, the lists
    take turns, in their order.
    """
    is_calibrated = all(hit.relevance is not None for hits in lists for hit in hits)
    merged: list[Placed] = []
    places = [0] * len(lists)
    while len(merged) < count:
        heads = [
            (_urgency(hits, place, is_calibrated=is_calibrated), -number)
            for number, (hits, place) in enumerate(zip(lists, places, strict=True))
            if place < len(hits)
        ]
        if not heads:
            break
        number = -max(heads)[1]
        merged.append((number, lists[number][places[number]]))
        places[number] += 1
    return merged


def _urgency(hits: Sequence[Hit], place: int, *, is_calibrated: bool) -> float:
    """How much a list's next hit asks to be the next of all.

    A hit may be less relevant than those behind it; what it holds back counts, too.
    """
    if not is_calibrated:
        return -float(place)
    return max(hit.relevance or 0.0 for hit in hits[place:])
