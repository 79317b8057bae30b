"""Index types by name: which FAISS index each of them is, by count and dimension.

Knows no engine: what the names mean can be told where FAISS is not installed.
"""

import math
import os
import re
from dataclasses import dataclass

from indexing.errors import UsageError

AUTO = "auto"
FLAT = "flat"
DEFAULT_RECALL = 0.95
"""Share of the ten true nearest that a search finds, unless another is asked for."""

POINTS_PER_CELL = 39
"""FAISS warns when k-means has fewer points for each of its centroids (faiss/Clustering.h)."""
_TRAINED_PER_CELL = 48
"""Points for each centroid that k-means is given: more cost time and hardly move the cells."""
_FEWEST = 1_000
"""Below so many rows, every index is slower than comparing with all."""
_FEWEST_PQ = 256 * POINTS_PER_CELL
_TRAINED_CODES = 65_536
_FLAT_VALUES = 40_000_000
"""Numbers that `auto` lets an exact search compare: 100,000 rows of 384, about 10 ms of a core."""
_MEMORY_SHARE = 0.25
"""Of the machine's memory, for an index that `auto` chooses."""
_CELLS_BY_GRAPH = 65_536
"""From so many cells on, a graph over the centroids finds the nearest of them."""
_CELLS = re.compile(r"IVF(\d+)")
_BYTE_CODES = re.compile(r"PQ\d+(x8)?(,|n|$)")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to make an index of one type over so many rows."""

    name: str
    """What was asked for, with `auto` resolved."""
    factory: str
    """In FAISS's own words."""
    fewest: int
    """With fewer rows it cannot be trained, or is no use."""
    training: int
    """Rows to train it on, at most."""
    exact_scores: bool
    """Whether it holds the rows as they are; otherwise what it finds is scored again."""
    scan_ns: float
    """About how long it takes to score one row, for weighing one setting against another."""
    spare: int = 1
    """Times as many candidates are scored again as a sample of the rows asks for."""


@dataclass(frozen=True)
class _Kind:
    """A named type, whatever the count and dimension."""

    factory: str
    """`{cells}` stands for the inverted file, `{halves}` and `{eighths}` for the parts of a row
    when each has two or eight values."""
    scan_ns: float
    """For each value of a row."""
    fewest: int = _FEWEST
    exact_scores: bool = False
    spare: int = 1


_KINDS = {
    "flat": _Kind("Flat", 0.12, fewest=0, exact_scores=True),
    "fp16": _Kind("SQfp16", 0.08),
    "sq8": _Kind("SQ8", 0.06),
    "ivf_flat": _Kind("{cells},Flat", 0.12, exact_scores=True),
    "ivf_sq8": _Kind("{cells},SQ8", 0.06),
    # np: without sorting the codes for a search by Hamming distance, which nobody does.
    "ivf_pq": _Kind("OPQ{eighths},{cells},PQ{eighths}np", 0.06, fewest=_FEWEST_PQ),
    # With codes of a byte the walk reads a quarter of the memory, and finds as much.
    "hnsw": _Kind("HNSW32,SQ8", 0.06),
    "lsh": _Kind("LSH{bits}r", 0.008),
    "scann": _Kind("{cells},PQ{halves}x4fs", 0.01),
    # A bit for each value tells the rows near a real question apart worse than those near a
    # mixture: of 300,000, tuned to 0.95, it found 0.93 of the nearest, with twice the candidates
    # 0.95.
    "rabitq": _Kind("RR{dim},{cells},RaBitQfs", 0.01, spare=2),
}
NAMED = tuple(_KINDS)


def recipe(name: str, count: int, dim: int) -> Recipe:
    """The index of a type for so many rows.

    Args:
        name: One of `NAMED`, `auto`, or a FAISS factory string.
        count: How many rows it will hold.
        dim: Values of a row.

    Raises:
        UsageError: If it is a factory string with a part that Angler does itself.
    """
    if name == AUTO:
        name = choose(count, dim, machine_memory())
    if name not in _KINDS:
        return _own_recipe(name, dim)
    kind, cells = _KINDS[name], cell_count(count)
    factory = kind.factory.format(
        cells=f"IVF{cells}" + ("_HNSW32" if cells >= _CELLS_BY_GRAPH else ""),
        dim=dim,
        bits=2 * dim,
        halves=_parts(dim, 2),
        eighths=_parts(dim, 8),
    )
    return Recipe(
        name=name,
        factory=factory,
        fewest=kind.fewest,
        training=_trained_on(cells if "{cells}" in kind.factory else 1),
        exact_scores=kind.exact_scores,
        scan_ns=kind.scan_ns * dim,
        spare=kind.spare,
    )


def _trained_on(cells: int) -> int:
    return max(cells * _TRAINED_PER_CELL, _TRAINED_CODES)


def _own_recipe(factory: str, dim: int) -> Recipe:
    """What can be told of any factory string; whether FAISS reads it is seen when it is made."""
    if "IDMap" in factory:
        raise UsageError(
            f"The index type {factory!r} has a map of ids, which Angler keeps itself (over an IVF "
            "index FAISS's would delete the wrong rows). Leave IDMap out."
        )
    found = _CELLS.search(factory)
    cells = int(found[1]) if found else 1
    codes = _FEWEST_PQ if _BYTE_CODES.search(factory) else 0
    return Recipe(
        name=factory,
        factory=factory,
        fewest=max(_FEWEST, cells * POINTS_PER_CELL, codes),
        training=_trained_on(cells),
        exact_scores=False,  # it may be, and scoring again does no harm
        scan_ns=_KINDS["sq8"].scan_ns * dim,
    )


def cell_count(count: int) -> int:
    """Cells of an inverted file: four times the root of the count, as FAISS's guide advises.

    Source: https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index
    """
    return max(1, min(4 * math.isqrt(count), count // POINTS_PER_CELL))


def choose(count: int, dim: int, memory: int) -> str:
    """What `auto` stands for.

    Exact while that is quick; then cells with one byte for each value, and where those take more
    than a quarter of the machine's memory, cells with half a byte for every two values.

    Args:
        count: How many rows.
        dim: Values of a row.
        memory: Bytes of the machine.
    """
    if count * dim <= _FLAT_VALUES:
        return FLAT
    return "ivf_sq8" if count * (dim + 8) <= _MEMORY_SHARE * memory else "scann"


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _parts(dim: int, values: int) -> int:
    """Into how many equal parts a row is cut, each of at least so many values."""
    return next(parts for parts in range(max(1, dim // values), 0, -1) if dim % parts == 0)
