"""How thoroughly an index must be searched to find a stated share of the true nearest.

Knows no engine: an index is a function that searches it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

K = 10
"""Recall is that of the ten nearest."""
_SAMPLE = 1_000
_SEED = 2024
_TIE = 1e-5
_PULL = (0.45, 0.55)
"""How much of a query is the row that pulls it away. Among 20,000 real chunks, an index tuned to
0.95 found 0.88 of the nearest of real questions when rows themselves were asked for, else 0.95."""
_COUNTED_RESULTS = 50
"""Results of a search whose second scoring is weighed against visiting more of the index."""
_RESCORE_NS = 100.0
"""About how long one more row takes to score by its embedding: mostly the wait for memory."""
_STEPS = 16
"""Effort is found to a sixteenth of itself."""


class Searching(Protocol):
    """Searches with an effort and a number of candidates for each result."""

    def __call__(
        self, queries: NDArray[np.float32], k: int, effort: int, refine: int, /
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores, which are exact, and places; shape (m, k) each."""
        ...


@dataclass(frozen=True, kw_only=True)
class Space:
    """Among which settings to choose."""

    most_effort: int
    """1 where the index has nothing to turn."""
    effort_ns: float
    """About what one more unit of effort costs a query."""
    refines: tuple[int, ...]
    """Candidates for each result, ascending."""
    spare: int = 1
    """Times as many candidates are taken as the sample asks for."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The cheapest setting that reached the recall, or the best where none did."""

    effort: int
    refine: int
    recall: float
    """Measured with other rows than those by which the setting was chosen."""


class Sample:
    """What an index is asked to be judged: mixtures of a row with another.

    Questions lie apart from the rows that answer them, so rows themselves would be too easy to
    find: each query is a row that another, drawn by chance, has pulled away.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        nearest: Callable[
            [NDArray[np.float32], NDArray[np.float32], int],
            tuple[NDArray[np.float32], NDArray[np.int64]],
        ],
        *,
        seed: int = _SEED,
    ) -> None:
        """Choose the rows and compare them with all by `nearest(queries, rows, k)`, exactly."""
        chance = np.random.default_rng(seed)
        self._places = np.sort(chance.permutation(len(rows))[:_SAMPLE])
        self.queries = _pulled_away(np.asarray(rows[self._places], np.float32), chance)
        order = chance.permutation(len(self._places))
        self.chosen_by, self.judged_by = np.array_split(order, 2)
        """Positions in the sample: for choosing a setting, and for measuring the choice."""
        self._wanted = min(K, len(rows))
        self._worst = np.full(len(self._places), -np.inf, np.float32)
        if self._wanted:
            scores, _ = nearest(self.queries, rows, self._wanted)
            self._worst = scores[:, -1]

    def __len__(self) -> int:
        return len(self._places)

    def recall(
        self, search: Searching, effort: int, refine: int, some: NDArray[np.int64]
    ) -> tuple[float, float]:
        """The share of the nearest that a search finds, over some of the sample.

        A row as near as the last of them counts for it: equal texts have equal embeddings.

        Returns:
            The mean over the queries, and its standard error.
        """
        if not (self._wanted and len(some)):
            return 1.0, 0.0
        scores, places = search(self.queries[some], self._wanted, effort, refine)
        right = (places >= 0) & (scores >= self._worst[some][:, None] - _TIE)
        found = np.minimum(right.sum(axis=1), self._wanted) / self._wanted
        return float(found.mean()), float(found.std() / np.sqrt(len(found)))


def _pulled_away(rows: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.float32]:
    """Each row mixed with another, and as long as it was."""
    weights = chance.uniform(*_PULL, (len(rows), 1)).astype(np.float32)
    mixed = (1 - weights) * rows + weights * rows[chance.permutation(len(rows))]
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return np.asarray(mixed * np.linalg.norm(rows, axis=1, keepdims=True) / lengths, np.float32)


def tune(search: Searching, sample: Sample, space: Space, target: float) -> Tuned:
    """Find the cheapest setting that finds `target` of the nearest.

    It must do so by more than the standard error, and other rows must agree. Costs are counted and
    not timed: the same rows always give the same setting.
    """
    best: tuple[float, int, int] | None = None
    highest = (-1.0, 1, 1)
    for refine in space.refines:
        rescoring = refine * _COUNTED_RESULTS * _RESCORE_NS if len(space.refines) > 1 else 0.0
        if best is not None and rescoring >= best[0]:
            break
        effort, reached = _least_effort(search, sample, refine, space.most_effort, target)
        if reached > highest[0]:
            highest = (reached, effort, refine)
        cost = rescoring + effort * space.effort_ns
        if reached >= target and (best is None or cost < best[0]):
            best = (cost, effort, refine)
    _, effort, refine = best or highest
    refine *= space.spare
    measured, _ = sample.recall(search, effort, refine, sample.judged_by)
    while best is not None and measured < target and effort < space.most_effort:
        effort = min(space.most_effort, effort + max(1, effort // 8))
        measured, _ = sample.recall(search, effort, refine, sample.judged_by)
    return Tuned(effort=effort, refine=refine, recall=round(measured, 4))


def _least_effort(
    search: Searching, sample: Sample, refine: int, most: int, target: float
) -> tuple[int, float]:
    """The least effort that surely reaches the target, with the recall; else the most useful."""

    def recall(effort: int) -> float:
        mean, error = sample.recall(search, effort, refine, sample.chosen_by)
        return mean if mean == 1.0 else mean - error

    low, reached, before = 0, -1.0, -1.0
    for high in _doubling(most):
        before, reached = reached, recall(high)
        if reached >= target:
            break
        if reached - before < 1e-3 and high > _STEPS:
            return high, reached  # more effort finds no more: the codes are too coarse
        low = high
    if reached < target:
        return high, reached
    while high - low > max(1, high // _STEPS):
        middle = (low + high) // 2
        found = recall(middle)
        if found >= target:
            high, reached = middle, found
        else:
            low = middle
    return high, reached


def _doubling(most: int) -> Iterator[int]:
    effort = 1
    while effort < most:
        yield effort
        effort *= 2
    yield most
