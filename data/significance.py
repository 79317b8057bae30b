"""What chance alone may do to a mean: intervals by bootstrap, differences by a permutation test."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2000
_SEED = 20_231
_AT_ONCE = 200
"""Samples drawn at a time, so that ten thousand queries need little memory."""


class Interval(NamedTuple):
    """Bounds that hold 95 % of the bootstrap's means."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """How two systems differ over the same queries: second less first."""

    difference: float
    interval: Interval
    p: float
    """How often chance alone gives a difference as large, 0 to 1; two-sided."""


def mean_interval(values: Sequence[float]) -> Interval:
    """95 % of the means that other queries of the same kind would give.

    Args:
        values: One value for each query; one or more.

    Source: percentile bootstrap, Efron & Tibshirani 1993, chapter 13.
    """
    return _interval(np.asarray(values, float))


def compare_means(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """Whether `second` is better than `first` by more than chance.

    The test flips the sign of each query's difference at random: under "no difference" either
    order of the two systems is as likely.

    Args:
        first: One value for each query.
        second: The same queries in the same order.

    Raises:
        ValueError: If there is no query, or the lengths differ.

    Source: randomisation test, Smucker, Allan & Carterette 2007
    (https://doi.org/10.1145/1321440.1321528).
    """
    if not len(first) or len(first) != len(second):
        raise ValueError(
            "A comparison needs the same queries twice, one or more; "
            f"got {len(first)} and {len(second)} values."
        )
    differences = np.asarray(second, float) - np.asarray(first, float)
    return PairedDifference(float(differences.mean()), _interval(differences), _p(differences))


def _interval(values: NDArray[np.float64]) -> Interval:
    draw = np.random.default_rng(_SEED)
    means = [
        values[draw.integers(0, len(values), (count, len(values)))].mean(axis=1)
        for count in _portions()
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return Interval(float(low), float(high))


def _p(differences: NDArray[np.float64]) -> float:
    draw = np.random.default_rng(_SEED)
    observed = abs(differences.sum())
    as_large = 0
    for count in _portions():
        signs = draw.integers(0, 2, (count, len(differences))) * 2 - 1
        # A sum of the same numbers in another order may differ in its last digits.
        as_large += int((np.abs(signs @ differences) >= observed * (1 - 1e-9)).sum())
    # The order that was observed is one of those that could be.
    return (as_large + 1) / (SAMPLES + 1)


def _portions() -> list[int]:
    return [min(_AT_ONCE, SAMPLES - start) for start in range(0, SAMPLES, _AT_ONCE)]
