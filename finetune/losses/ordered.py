"""Scored pairs in: their scores are asked to have the order of their labels."""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from finetune.losses.rows import check_pairs, check_shape, unit


def cosent(
    queries: Tensor, documents: Tensor, labels: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """Ask the cosines of scored pairs to have the order of their labels (CoSENT).

    With s_i = cos(q_i, d_i) / temperature:
    loss = log(1 + sum over all i, j with labels_i < labels_j of exp(s_i - s_j)).
    Equal labels ask for nothing, so constant labels give 0 and a zero gradient.

    Args:
        queries: First text of each pair, shape (batch, dim).
        documents: Second text of each pair, shape (batch, dim).
        labels: Finite, shape (batch,), higher is more similar; only their order matters.
        temperature: Divides the cosines.

    Returns:
        A scalar: a sum over pairs, not a mean.

    Raises:
        ValueError: If shapes differ, the batch is empty, a label is not finite or the temperature
            is not above 0.

    Source: Huang et al. 2024 (https://doi.org/10.1109/TASLP.2024.3402087), first in Su 2022
        (https://kexue.fm/archives/8847).
    """
    check_pairs(queries, documents, temperature)
    scores = (unit(queries) * unit(documents)).sum(dim=1)
    return _same_order(scores / temperature, labels)


def angle(
    queries: Tensor, documents: Tensor, labels: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """Ask the angle scores of scored pairs to have the order of their labels (AnglE's angle loss).

    The halves of a unit row are the real and imaginary parts of dim / 2 complex numbers: a, b of
    the query, c, d of the document. With s = |sum of (ac + bd) + sum of (bc - ad)| / temperature,
    the summed parts of query / document, the loss is that of `cosent`. As in the authors' code s
    counts as a similarity; the formula printed in the paper subtracts the other way round, which
    would drive equal texts apart. s changes when the two texts swap, and opposite rows score as
    equal ones do.

    Args:
        queries: First text of each pair, shape (batch, dim), dim even.
        documents: Second text of each pair, shape (batch, dim).
        labels: Finite, shape (batch,), higher is more similar; only their order matters.
        temperature: Divides the angle scores.

    Returns:
        A scalar: a sum over pairs, not a mean.

    Raises:
        ValueError: If shapes differ, dim is odd, the batch is empty, a label is not finite or the
            temperature is not above 0.

    Source: Li & Li 2023 (https://arxiv.org/abs/2309.12871), as in its code
        (https://github.com/SeanLee97/AnglE, `angle_loss`).
    """
    check_pairs(queries, documents, temperature)
    if queries.shape[1] % 2:
        raise ValueError(f"angle needs an even dim, got queries of {tuple(queries.shape)}.")
    a, b = unit(queries).chunk(2, dim=1)
    c, d = unit(documents).chunk(2, dim=1)
    scores = (a * c + b * d + b * c - a * d).sum(dim=1).abs()
    return _same_order(scores / temperature, labels)


def _same_order(scores: Tensor, labels: Tensor) -> Tensor:
    """CoSENT: log(1 + sum over labels_i < labels_j of exp(scores_i - scores_j))."""
    check_shape("labels", labels, (len(scores),))
    if not bool(labels.isfinite().all()):
        raise ValueError(f"labels must be finite, got {labels.tolist()}.")
    differences = scores[:, None] - scores[None, :]
    asked = labels[:, None] < labels[None, :]
    exponents = differences.masked_fill(~asked, -torch.inf).flatten()
    return torch.logsumexp(F.pad(exponents, (1, 0)), dim=0)  # the padded 0 is the 1 of the log
