"""Scored pairs in: trained by order and by in-batch negatives at once, as AnglE does."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune.losses.contrastive import in_batch_negatives
from finetune.losses.ordered import angle, cosent
from finetune.losses.rows import check_exclude, check_pairs, check_shape, cosines


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
    check_pairs(queries, documents, temperature)
    check_shape("labels", labels, (len(queries),))
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


def angle_triplets(
    queries: Tensor,
    documents: Tensor,
    hard_negatives: Tensor,
    *,
    weights: MixWeights | None = None,
    hard_negatives_weight: float = 1.0,
    temperature: float = 0.05,
    exclude: Tensor | None = None,
) -> Tensor:
    """Train on triplets as AnglE 0.6 does (its format C).

    loss = (weights.in_batch * in_batch_negatives(q, d) + hard_negatives_weight *
    in_batch_negatives(q, d, n)) / 2 + weights.angle * angle + weights.cosine * cosent, the last two
    over the pairs (q, d) with label 1 and (q, n) with label 0.

    Args:
        queries: Shape (batch, dim), dim even unless weights.angle is 0.
        documents: Shape (batch, dim).
        hard_negatives: Shape (batch, dim).
        weights: What each term counts; a term of weight 0 is not computed.
        hard_negatives_weight: What finding documents among hard negatives counts.
        temperature: Divides the scores of every term.
        exclude: As in `in_batch_negatives`, shape (batch, 2 * batch).
    """
    weights = weights or MixWeights()
    check_pairs(queries, documents, temperature)
    check_shape("hard_negatives", hard_negatives, tuple(queries.shape))
    batch = len(queries)
    terms = [cosines(queries[:0], documents).sum()]
    if weights.in_batch:
        among = None if exclude is None else exclude[:, :batch]
        found = in_batch_negatives(queries, documents, temperature=temperature, exclude=among)
        terms.append(weights.in_batch * found / 2)
    if hard_negatives_weight:
        found = in_batch_negatives(
            queries, documents, hard_negatives, temperature=temperature, exclude=exclude
        )
        terms.append(hard_negatives_weight * found / 2)
    twice, others = torch.cat([queries, queries]), torch.cat([documents, hard_negatives])
    labels = (torch.arange(2 * batch, device=queries.device) < batch).float()
    if weights.angle:
        terms.append(weights.angle * angle(twice, others, labels, temperature=temperature))
    if weights.cosine:
        terms.append(weights.cosine * cosent(twice, others, labels, temperature=temperature))
    return torch.stack(terms).sum()


def _positives_in_batch(
    queries: Tensor, documents: Tensor, positive: Tensor, temperature: float, exclude: Tensor | None
) -> Tensor:
    """In-batch loss of the pairs marked positive; the documents of the others are negatives."""
    if exclude is not None:
        check_exclude(exclude, (len(queries), len(queries)))
        exclude = torch.cat([exclude[:, positive], exclude[:, ~positive]], dim=1)[positive]
    if not bool(positive.any()):
        return cosines(queries[:0], documents).sum()  # a zero that backward() can start from
    return in_batch_negatives(
        queries[positive],
        documents[positive],
        documents[~positive],
        temperature=temperature,
        exclude=exclude,
    )


_NAMES = {
    "cosine_w": "cosine",
    "ibn_w": "in_batch",
    "angle_w": "angle",
    "w1": "cosine",  # AnglE 0.1
    "w2": "in_batch",
    "w3": "angle",
}
_TEMPERATURES = ("cosine_tau", "ibn_tau", "angle_tau", "tau")


def angle_names(given: Mapping[str, float]) -> tuple[MixWeights, float | None]:
    """Read the loss settings of AnglE, of today or of its first version (`w1`, `w2`, `w3`).

    Args:
        given: Such as `{"cosine_w": 0, "ibn_w": 1, "angle_w": 0.02, "ibn_tau": 20}`. What AnglE
            calls tau multiplies the scores, so the temperature is 1 / tau.

    Returns:
        The weights, those not given at AnglE's defaults (all 1 with the names of its first
        version), and the temperature if a tau was given.

    Raises:
        ValueError: If a name is unknown, names of both versions come together, or the taus differ.
    """
    unknown = sorted(set(given) - _NAMES.keys() - set(_TEMPERATURES))
    if unknown:
        known = ", ".join((*_NAMES, *_TEMPERATURES))
        raise ValueError(f"Unknown loss setting of AnglE {unknown[0]!r}. Known: {known}.")
    old = {"w1", "w2", "w3"} & given.keys()
    if old and {"cosine_w", "ibn_w", "angle_w"} & given.keys():
        raise ValueError("Give w1, w2 and w3, or cosine_w, ibn_w and angle_w; not both.")
    taus = {float(given[name]) for name in _TEMPERATURES if name in given}
    if len(taus) > 1 or any(not tau > 0 for tau in taus):
        raise ValueError(f"The terms share one tau above 0, got {sorted(taus)}.")
    weights = {"cosine": 1.0, "in_batch": 1.0, "angle": 1.0} if old else {}
    weights |= {_NAMES[name]: float(value) for name, value in given.items() if name in _NAMES}
    return MixWeights(**weights), (1 / taus.pop() if taus else None)
