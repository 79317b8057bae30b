"""Losses around a loss: the first dimensions and the earlier layers are trained to stand alone."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from finetune.losses.distillation import embedding_divergence, embedding_mse
from finetune.losses.rows import check_temperature

Loss = Callable[..., Tensor]
"""Takes the embeddings of each column, such as queries and documents, and gives a scalar."""
Layer = Sequence[Tensor]
"""The embeddings of each column that one layer gives."""


def matryoshka(
    loss: Loss, embeddings: Layer, *, dims: Sequence[int], weights: Sequence[float] | None = None
) -> Tensor:
    """Sum over dims d of weight_d * loss(the first d values of every embedding).

    Args:
        loss: Scales rows to unit length, as all losses here do.
        embeddings: Columns of shape (batch, dim).
        dims: Lengths to train, the full one among them.
        weights: One for each length; all 1 if not given.

    Raises:
        ValueError: If a length is not from 1 to dim, or the weights are not as many.

    Source: Kusupati et al. 2022 (https://arxiv.org/abs/2205.13147).
    """
    weights = [1.0] * len(dims) if weights is None else weights
    full = min((column.shape[1] for column in embeddings), default=0)
    if not dims or min(dims) < 1 or max(dims) > full:
        raise ValueError(f"dims must be from 1 to {full}, got {list(dims)}.")
    if len(weights) != len(dims):
        raise ValueError(f"weights must be {len(dims)}, one for each of dims, got {len(weights)}.")
    terms = [
        weight * loss(*(column[:, :dim] for column in embeddings))
        for dim, weight in zip(dims, weights, strict=True)
    ]
    return torch.stack(terms).sum()


def adaptive_layer(
    loss: Loss,
    layers: Sequence[Layer],
    *,
    chosen: Sequence[int] | None = None,
    prior_weight: float = 1.0,
    divergence_weight: float = 1.0,
    temperature: float = 0.3,
    layer_weight: Callable[[int], float] = lambda layer: 1.0,
) -> Tensor:
    """Train earlier layers by the same loss, and to give what the last layer gives.

    loss(last) + sum over the chosen layers l of prior_weight * layer_weight(l) * loss(l) / how many
    are chosen + divergence_weight * the `embedding_divergence` of l from the last layer.

    Args:
        loss: Of one layer's columns.
        layers: Pooled embeddings of every layer, first to last.
        chosen: 0-based places before the last; all if not given. The 2DMSE paper draws one a step.
        prior_weight: Of the loss of earlier layers.
        divergence_weight: Of the divergence from the last layer.
        temperature: Of the divergence.
        layer_weight: From a layer's place to its weight; 1 / (1 + place) was sentence-transformers'
            own up to 5.

    Raises:
        ValueError: If a chosen place is not before the last layer.

    Source: Li et al. 2024 (https://arxiv.org/abs/2402.14776) and sentence-transformers'
        `AdaptiveLayerLoss`.
    """
    *prior, last = layers
    places = range(len(prior)) if chosen is None else chosen
    if any(place not in range(len(prior)) for place in places):
        raise ValueError(f"chosen must lie from 0 to {len(prior) - 1}, got {list(places)}.")
    total = loss(*last)
    for place in places:
        share = prior_weight * layer_weight(place) / len(places)
        total = total + share * loss(*prior[place])
        if divergence_weight:
            apart = embedding_divergence(
                torch.cat(list(prior[place])), torch.cat(list(last)), temperature=temperature
            )
            total = total + divergence_weight * apart
    return total


def matryoshka_2d(
    loss: Loss,
    layers: Sequence[Layer],
    *,
    dims: Sequence[int],
    chosen: Sequence[int] | None = None,
    temperature: float = 0.3,
) -> Tensor:
    """`adaptive_layer` over `matryoshka`: every chosen layer at every length stands alone.

    Args:
        loss: Of one layer's columns.
        layers: Pooled embeddings of every layer, first to last.
        dims: As in `matryoshka`; the paper draws one a step beside the full length.
        chosen: As in `adaptive_layer`.
        temperature: As in `adaptive_layer`.

    Source: Li et al. 2024 (https://arxiv.org/abs/2402.14776).
    """

    def at_every_length(*columns: Tensor) -> Tensor:
        return matryoshka(loss, columns, dims=dims)

    return adaptive_layer(at_every_length, layers, chosen=chosen, temperature=temperature)


def espresso(
    loss: Loss,
    layers: Sequence[Layer],
    *,
    size: int,
    temperature: float = 1.0,
    compress: Callable[[Tensor, int], Tensor] | None = None,
) -> Tensor:
    """Train the first `size` values of every layer to hold its principal components (ESE).

    With A(m) = mse(m[:k], P(m)) + temperature * KL(softmax(P(m) / temperature) || softmax(m[:k] /
    temperature)) over the rows m of all columns, P = `principal`, k = size and n layers:
    loss(last) + loss(last[:k]) + A(last) + sum over l = 0 .. n - 2 of
    (loss(l[:k]) + A(l)) / (1 + ln(1 + l)) / (n - 1).

    AnglE counts the output of the embedding table as layer 0 and thereby leaves out the last block
    but one; give the outputs of the blocks, and each has its term.

    Args:
        loss: Of one layer's columns.
        layers: Pooled embeddings of every layer, first to last.
        size: How many values the short embedding has.
        temperature: Of the divergence.
        compress: In place of `principal`.

    Raises:
        ValueError: If there are fewer than two layers, or size is not from 1 to dim.

    Source: Li et al. 2024, "ESE: Espresso Sentence Embeddings" (https://arxiv.org/abs/2402.14776v2),
        as in https://github.com/SeanLee97/AnglE, `AngleESETrainer`.
    """
    compress = compress or principal
    *prior, last = layers
    dim = last[0].shape[1]
    if not prior or not 1 <= size <= dim:
        raise ValueError(
            f"espresso needs two or more layers and a size from 1 to {dim}, "
            f"got {len(layers)} layers and {size}."
        )
    check_temperature(temperature)

    def short(layer: Layer) -> Tensor:
        rows = torch.cat(list(layer))
        target = compress(rows.detach(), size)
        aligned = embedding_mse(rows[:, :size], target)
        apart = embedding_divergence(rows[:, :size], target, temperature=temperature)
        return loss(*(column[:, :size] for column in layer)) + aligned + apart

    terms = [short(layer) / (1 + math.log1p(place)) for place, layer in enumerate(prior)]
    return loss(*last) + short(last) + torch.stack(terms).sum() / len(prior)


def principal(rows: Tensor, size: int) -> Tensor:
    """The rows in the `size` main directions of their softened covariance, without gradient.

    A = softmax over columns of rows^T rows / sqrt(dim) = U S V^T; gives rows U_k S_k. Exact and
    with a fixed sign (the largest value of each direction is positive), where AnglE draws.

    Args:
        rows: Shape (n, dim); more rows than `size` make it meaningful.
        size: How many directions.

    Returns:
        Shape (n, size).
    """
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        precise = rows if rows.dtype == torch.float64 else rows.float()
        soft = F.softmax(precise.T @ precise / math.sqrt(rows.shape[1]), dim=-1)
        directions, sizes, _ = torch.linalg.svd(soft)
        directions = directions[:, :size]
        largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
        found: Tensor = precise @ (directions * torch.sign(largest) * sizes[:size])
        return found
