"""Documents that are nearly the same: MinHash finds the candidates, their words decide.

Source: Broder 1997, "On the resemblance and containment of documents"; banding as in Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.words import words

DEFAULT_THRESHOLD = 0.8
LEAST_THRESHOLD = 0.4
"""Below this the bands below would miss pairs."""
_SHINGLE = 4
"""Words, or Chinese characters, that are compared as one."""
_BANDS, _ROWS = 32, 4
_LARGEST_BUCKET = 200
"""Of more documents in one bucket, each is compared with the first only."""
_BLOCK = 4096

Hashes = NDArray[np.uint64]


class NearDuplicate(NamedTuple):
    """Two documents that share most of their text."""

    similarity: float
    """Share of equal word sequences, 0..1 (Jaccard)."""
    first: str
    second: str


def find_near_duplicates(
    documents: Iterable[tuple[str, str]], threshold: float = DEFAULT_THRESHOLD
) -> list[NearDuplicate]:
    """Pairs of documents whose word sequences agree at least so much, the most alike first.

    Args:
        documents: (id, text).
        threshold: Least similarity, 0.4 to 1.
    """
    if not LEAST_THRESHOLD <= threshold <= 1:
        raise ValueError(f"threshold must be {LEAST_THRESHOLD} to 1, got {threshold:g}.")
    ids: list[str] = []
    shingles: list[Hashes] = []
    for id_, text in documents:
        found = _shingles(text)
        if len(found):
            ids.append(id_)
            shingles.append(found)
    pairs = _candidates([_signature(one) for one in shingles])
    alike = [
        NearDuplicate(similarity, ids[one], ids[other])
        for one, other in pairs
        if (similarity := _jaccard(shingles[one], shingles[other])) >= threshold
    ]
    return sorted(alike, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def similarity(one: str, other: str) -> float:
    """Share of equal word sequences of two texts, 0..1 (Jaccard); 0 where one has no word."""
    first, second = _kept_shingles(one), _kept_shingles(other)
    return _jaccard(first, second) if len(first) and len(second) else 0.0


@lru_cache(maxsize=4096)
def _kept_shingles(text: str) -> Hashes:
    return _shingles(text)


def _shingles(text: str) -> Hashes:
    """A hash for each distinct run of words, ascending."""
    # The lexical leg also gives pairs of Chinese characters, which say nothing new here.
    terms = [term for term in words(text) if len(term) > 1 or not term.isascii() or term.isalnum()]
    hashes = np.array([zlib.crc32(term.encode()) for term in terms], np.uint64)
    if not len(hashes):
        return hashes
    length = min(_SHINGLE, len(hashes))
    mixed = np.zeros(len(hashes) - length + 1, np.uint64)
    for place in range(length):
        mixed = _mixed(mixed ^ hashes[place : place + len(mixed)])
    return np.unique(mixed)


def _mixed(values: Hashes) -> Hashes:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): spreads every bit over all others."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), np.uint64)


_SEEDS: Hashes = _mixed(np.arange(1, _BANDS * _ROWS + 1, dtype=np.uint64))


def _signature(shingles: Hashes) -> Hashes:
    """The least hash under each of the seeds."""
    least = np.full(len(_SEEDS), np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), _BLOCK):
        block = shingles[start : start + _BLOCK]
        least = np.minimum(least, _mixed(block[None, :] ^ _SEEDS[:, None]).min(axis=1))
    return least


def _candidates(signatures: Sequence[Hashes]) -> list[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for place, signature in enumerate(signatures):
            buckets[signature[band * _ROWS : (band + 1) * _ROWS].tobytes()].append(place)
        for bucket in buckets.values():
            pairs.update(_pairs(bucket))
    return sorted(pairs)


def _pairs(bucket: list[int]) -> Iterator[tuple[int, int]]:
    if len(bucket) > _LARGEST_BUCKET:
        yield from ((bucket[0], other) for other in bucket[1:])
    else:
        yield from combinations(bucket, 2)


def _jaccard(one: Hashes, other: Hashes) -> float:
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)
