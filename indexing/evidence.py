"""How much speaks for it that the first hits of a search answer the question; knows no index."""

import numpy as np
from numpy.typing import NDArray

EVIDENCE = ("coverage", "sentence", "cosine", "trust", "lead")
"""Of the first hits together. `coverage` and `sentence`: how much of the query's worth the best
chunk and the best sentence hold, rare words counting more; `cosine`: the highest; `trust`: how far
the encoder is to be followed, 0 to 1; `lead`: by how much the highest BM25, as a share of what no
text can exceed, is above the mean of the hits."""
READ = 5
"""Hits that are looked at."""
_WEIGHTS = (-3.6, 3.25, 3.1, 2.5, -2.7, 13.0)
"""Intercept, then one for each: a logistic regression over questions with and without their
documents, from the training and development splits of the judged sets with questions. The same for
every index, whose few questions are left to find the threshold."""


def answer_probability(
    evidence: NDArray[np.float64], unrelated_cosine: float
) -> NDArray[np.float64]:
    """How likely the hits answer, as far as the evidence goes.

    Args:
        evidence: Shape (questions, evidence).
        unrelated_cosine: The mean cosine of texts that have nothing to do with each other, which
            differs between encoders: cosines are read from there to 1.

    Returns:
        Shape (questions,), 0 to 1.
    """
    coverage, sentence, cosine, trust, lead = evidence.T
    near = trust * np.maximum(0.0, cosine - unrelated_cosine) / max(1e-6, 1.0 - unrelated_cosine)
    rows = np.column_stack([coverage, sentence, near, trust, lead])
    odds = _WEIGHTS[0] + rows @ np.array(_WEIGHTS[1:])
    return np.asarray(1.0 / (1.0 + np.exp(-odds)))
