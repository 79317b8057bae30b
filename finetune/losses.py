"""Embeddings and labels in, one differentiable number out; knows no model, text or optimiser.

Every loss takes rows of any length and scores unit rows, in float64 if that came and otherwise in
float32, also under autocast. Lower is better. A zero row has the score 0 and a finite gradient.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MixWeights:
    """How much each term of `angle_mix` counts; the defaults are those of AnglE 0.6.

    Source: https://github.com/SeanLee97/AnglE, `AngleLoss`.
    """

    cosine: float = 0.0
    """CoSENT over cosines."""
    in_batch: float = 1.0
    """In-batch negatives."""
    angle: float = 0.02
    """CoSENT over angle scores; opposite texts score high too, so do not use it alone."""

    def __post_init__(self) -> None:
        weights = (self.cosine, self.in_batch, self.angle)
        if min(weights) < 0 or max(weights) == 0:
            raise ValueError(f"weights must be 0 or more and not all 0, got {self}.")


def in_batch_negatives(
    queries: Tensor,
    documents: Tensor,
    hard_negatives: Tensor | None = None,
    *,
    temperature: float = 0.05,
    symmetric: bool = False,
    exclude: Tensor | None = None,
) -> Tensor:
    """Ask each query to find its own document among all documents of the batch (InfoNCE).

    With candidates c = documents, then hard negatives, and s_ij = cos(q_i, c_j) / temperature:
    loss = mean over i of log(sum over j of exp(s_ij)) - s_ii. The symmetric form is the mean of
    this and of its mirror: each document finds its query among all queries (no hard negatives).

    Args:
        queries: Shape (batch, dim).
        documents: The positive of each query, shape (batch, dim).
        hard_negatives: More candidates, each a negative of every query, shape (m, dim).
        temperature: Divides the cosines; lower looks at the hardest negatives only.
        symmetric: Whether documents also look for their queries.
        exclude: Boolean, shape (batch, batch + m), True where candidate j is no negative of query
            i, in either direction. The positive itself always counts. `ids[:batch, None] == ids`
            excludes duplicates of the positive, ids being those of the candidates.

    Returns:
        A scalar; 0 when a query has no candidate but its positive.

    Raises:
        ValueError: If shapes differ, the batch is empty or the temperature is not above 0.

    Source: van den Oord et al. 2018, eq. 4 (https://arxiv.org/abs/1807.03748); both directions:
        Günther et al. 2023 (https://arxiv.org/abs/2310.19923).
    """
    _check_pairs(queries, documents, temperature)
    candidates = documents
    if hard_negatives is not None:
        _check_hard_negatives(hard_negatives, queries.shape[1])
        candidates = torch.cat([documents, hard_negatives])
    scores = _cosines(queries, candidates) / temperature
    if exclude is not None:
        scores = _without(scores, exclude)
    loss = _find_diagonal(scores)
    if symmetric:
        loss = (loss + _find_diagonal(scores[:, : len(queries)].T)) / 2
    return loss


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
    _check_pairs(queries, documents, temperature)
    scores = (_unit(queries) * _unit(documents)).sum(dim=1)
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
    _check_pairs(queries, documents, temperature)
    if queries.shape[1] % 2:
        raise ValueError(f"angle needs an even dim, got queries of {tuple(queries.shape)}.")
    a, b = _unit(queries).chunk(2, dim=1)
    c, d = _unit(documents).chunk(2, dim=1)
    scores = (a * c + b * d + b * c - a * d).sum(dim=1).abs()
    return _same_order(scores / temperature, labels)


def angle_mix(
    queries: Tensor,
    documents: Tensor,
    labels: Tensor,
    *,
    weights: MixWeights | None = None,
    temperature: float = 0.05,
    positive_threshold: float = 0.5,
    exclude: Tensor | None = None,
) -> Tensor:
    """Train on scored pairs by order and by in-batch negatives at once (AnglE's objective).

    loss = weights.cosine * cosent + weights.in_batch * in_batch_negatives + weights.angle * angle.
    In-batch: each pair with labels_i >= positive_threshold has its query look for its document
    among all documents of the batch, those of lower pairs included; without such a pair it is 0.
    Triplets are scored pairs too: (q, positive, 1) and (q, negative, 0).

    AnglE 0.6 differs in-batch: both texts of a pair look for each other among all texts, labels are
    cut to integers (0.7 becomes 0), and pairs without labels ignore the weights.

    Args:
        queries: First text of each pair, shape (batch, dim), dim even unless weights.angle is 0.
        documents: Second text of each pair, shape (batch, dim).
        labels: From 0 to 1, shape (batch,), higher is more similar.
        weights: What each term counts; a term of weight 0 is not computed.
        temperature: Divides the scores of every term.
        positive_threshold: The lowest label of a positive.
        exclude: Boolean, shape (batch, batch), True where document j is no negative of query i, as
            in `in_batch_negatives`.

    Returns:
        A scalar.

    Raises:
        ValueError: As the terms do, and if a label lies outside 0 to 1.

    Source: Li & Li 2023 (https://arxiv.org/abs/2309.12871).
    """
    weights = weights or MixWeights()
    _check_pairs(queries, documents, temperature)
    _check_shape("labels", labels, (len(queries),))
    if not bool(((labels >= 0) & (labels <= 1)).all()):
        low, high = labels.min().item(), labels.max().item()
        raise ValueError(f"labels must lie from 0 to 1, got {low} to {high}; rescale them.")
    terms = []
    if weights.cosine:
        terms.append(weights.cosine * cosent(queries, documents, labels, temperature=temperature))
    if weights.in_batch:
        positive = labels >= positive_threshold
        found = _positives_in_batch(queries, documents, positive, temperature, exclude)
        terms.append(weights.in_batch * found)
    if weights.angle:
        terms.append(weights.angle * angle(queries, documents, labels, temperature=temperature))
    return torch.stack(terms).sum()


def _positives_in_batch(
    queries: Tensor, documents: Tensor, positive: Tensor, temperature: float, exclude: Tensor | None
) -> Tensor:
    """In-batch loss of the pairs marked positive; the documents of the others are negatives."""
    if exclude is not None:
        _check_exclude(exclude, (len(queries), len(queries)))
        exclude = torch.cat([exclude[:, positive], exclude[:, ~positive]], dim=1)[positive]
    if not bool(positive.any()):
        return _cosines(queries[:0], documents).sum()  # a zero that backward() can start from
    return in_batch_negatives(
        queries[positive],
        documents[positive],
        documents[~positive],
        temperature=temperature,
        exclude=exclude,
    )


def _unit(embeddings: Tensor) -> Tensor:
    """Rows of unit length in float32 or float64; a zero row stays 0."""
    rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    # 1 in place of 0, not a tiny epsilon: its inverse would be the gradient of a zero row.
    return rows.div(norms.masked_fill(norms == 0, 1.0))


def _cosines(queries: Tensor, candidates: Tensor) -> Tensor:
    """Cosine of every query with every candidate, shape (queries, candidates)."""
    # Autocast would round the product to 16 bit, a step of 0.004 that the temperature multiplies.
    with torch.autocast(queries.device.type, enabled=False):
        return _unit(queries) @ _unit(candidates).T


def _without(scores: Tensor, exclude: Tensor) -> Tensor:
    """Scores with -inf for the excluded candidates; the diagonal, the positives, stays."""
    _check_exclude(exclude, tuple(scores.shape))
    positives = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    return scores.masked_fill(exclude & ~positives, -torch.inf)


def _find_diagonal(scores: Tensor) -> Tensor:
    """Mean over rows i of the cross-entropy of finding column i."""
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def _same_order(scores: Tensor, labels: Tensor) -> Tensor:
    """CoSENT: log(1 + sum over labels_i < labels_j of exp(scores_i - scores_j))."""
    _check_shape("labels", labels, (len(scores),))
    if not bool(labels.isfinite().all()):
        raise ValueError(f"labels must be finite, got {labels.tolist()}.")
    differences = scores[:, None] - scores[None, :]
    asked = labels[:, None] < labels[None, :]
    exponents = differences.masked_fill(~asked, -torch.inf).flatten()
    return torch.logsumexp(F.pad(exponents, (1, 0)), dim=0)  # the padded 0 is the 1 of the log


def _check_pairs(queries: Tensor, documents: Tensor, temperature: float) -> None:
    if queries.dim() != 2 or 0 in queries.shape or queries.shape != documents.shape:
        raise ValueError(
            "queries and documents must both have shape (batch, dim), at least (1, 1), "
            f"got {tuple(queries.shape)} and {tuple(documents.shape)}."
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}.")


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}.")


def _check_hard_negatives(hard_negatives: Tensor, dim: int) -> None:
    if hard_negatives.dim() != 2 or hard_negatives.shape[1] != dim:
        raise ValueError(
            f"hard_negatives must have shape (m, {dim}), got {tuple(hard_negatives.shape)}."
        )


def _check_exclude(exclude: Tensor, shape: tuple[int, ...]) -> None:
    _check_shape("exclude", exclude, shape)
    if exclude.dtype != torch.bool:
        raise ValueError(f"exclude must be boolean, got {exclude.dtype}.")
