"""Similarities and labels of pairs in, agreement out; higher is better everywhere."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def evaluate_pairs(similarities: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    """Agreement of similarities with labels.

    Spearman and Pearson for any labels; where all labels are 0 or 1 also the best accuracy and F1
    over all thresholds, and average precision, as MTEB's pair classification has them.

    Raises:
        ValueError: If there are fewer than two pairs, or all labels are equal.
    """
    scores, gold = np.asarray(similarities, float), np.asarray(labels, float)
    if len(scores) < 2 or len(scores) != len(gold):
        raise ValueError(f"Pairs to measure: two or more, got {len(scores)} and {len(gold)}.")
    if (gold == gold[0]).all():
        raise ValueError(f"All {len(gold)} pairs have the label {gold[0]:g}; nothing to measure.")
    result = {
        "spearman": pearson(average_ranks(scores), average_ranks(gold)),
        "pearson": pearson(scores, gold),
    }
    if set(gold.tolist()) <= {0.0, 1.0}:
        result |= _classification(scores, gold)
    return result


def pearson(first: Floats, second: Floats) -> float:
    """Linear correlation, 0 where one side is constant."""
    a, b = first - first.mean(), second - second.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 0.0


def average_ranks(values: Floats) -> Floats:
    """Ranks from 1 upwards; equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place], float)


def _classification(scores: Floats, gold: Floats) -> dict[str, float]:
    """Cut below each distinct similarity: what is at least as similar counts as 1."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]) != 0, True)
    found = np.arange(1, len(scores) + 1)[ends]
    right = np.cumsum(gold[order])[ends]
    positive = gold.sum()
    negative_right = (len(gold) - positive) - (found - right)
    accuracy = np.append(right + negative_right, len(gold) - positive) / len(gold)
    f1 = 2 * right / (found + positive)
    gained = np.diff(right, prepend=0.0) / positive
    return {
        "accuracy": float(accuracy.max()),
        "f1": float(f1.max()),
        "ap": float((gained * right / found).sum()),
    }
