"""Token vectors to one vector per text, always from the mask and never from the padding side."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import torch
from torch import Tensor

from encoder.spec import split_poolings


class Pooling(StrEnum):
    """How token vectors become one vector per text; `a+b` stands one behind the other."""

    CLS = "cls"
    """The first real token."""
    MEAN = "mean"
    """The average of the real tokens."""
    LAST = "last"
    """The last real token."""
    MAX = "max"
    """The largest of each value over the real tokens."""
    CLS_AVG = "cls_avg"
    """Half of cls, half of mean."""
    CLS_MAX = "cls_max"
    """Half of cls, half of max."""
    MEAN_SQRT_LEN = "mean_sqrt_len"
    """The sum of the real tokens by the square root of their number."""
    WEIGHTED_MEAN = "weighted_mean"
    """The average with weights 1, 2, 3, … from the first real token on."""
    FIRST_LAST_AVG = "first_last_avg"
    """The average of the means of the first and the last layer."""
    EMBEDDING_LAST_MEAN = "embedding_last_mean"
    """The average of the means of the bare word vectors and the last layer."""
    AVG_TOP2 = "avg_top2"
    """The average of the means of the last two layers."""
    INPUT_LAST_MEAN = "input_last_mean"
    """The average of the means of what goes into the first layer and the last layer."""


LAYERED = {Pooling.FIRST_LAST_AVG: 1, Pooling.AVG_TOP2: -2, Pooling.INPUT_LAST_MEAN: 0}
"""Poolings of two layers: which one besides the last; 0 is what goes into the first."""


def needs_hidden_states(pooling: str) -> bool:
    """Whether `pool` must be given the output of every layer."""
    return any(name in LAYERED for name in split_poolings(pooling))


def needs_word_vectors(pooling: str) -> bool:
    """Whether `pool` must be given the rows of the model's input embedding."""
    return Pooling.EMBEDDING_LAST_MEAN in split_poolings(pooling)


def pool(
    token_vectors: Tensor,
    mask: Tensor,
    pooling: str,
    *,
    hidden_states: Sequence[Tensor] = (),
    word_vectors: Tensor | None = None,
) -> Tensor:
    """Reduce token vectors to one vector per text.

    Args:
        token_vectors: Last hidden state, shape (batch, tokens, dim).
        mask: 1 for real tokens, 0 for padding on either side, shape (batch, tokens).
        pooling: The reduction that the checkpoint was trained with, or several joined by `+`.
        hidden_states: What goes into the first layer, then the output of each, shaped as
            `token_vectors`; only where `needs_hidden_states` says so.
        word_vectors: Rows of the input embedding, without positions, shaped as `token_vectors`;
            only where `needs_word_vectors` says so.

    Returns:
        Shape (batch, dim), float32, not normalised; (batch, n * dim) for n joined poolings.

    Raises:
        ValueError: If the leading shapes differ, a text has no real token, the pooling is
            unknown, or what it needs is missing.

    Source: Reimers & Gurevych 2019, section 3 (https://arxiv.org/abs/1908.10084); weighted_mean:
        Muennighoff 2022, section 3.1 (https://arxiv.org/abs/2202.08904).
    """
    if token_vectors.shape[:2] != mask.shape:
        raise ValueError(
            f"mask must have shape {tuple(token_vectors.shape[:2])}, got {tuple(mask.shape)}."
        )
    if not bool(mask.any(dim=1).all()):
        raise ValueError("Every text needs at least one token that is not padding.")
    vectors = token_vectors.float()
    parts = [
        _pool_layers(vectors, mask, Pooling(name), hidden_states, word_vectors)
        for name in split_poolings(pooling)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _pool_layers(
    vectors: Tensor,
    mask: Tensor,
    pooling: Pooling,
    hidden_states: Sequence[Tensor],
    word_vectors: Tensor | None,
) -> Tensor:
    if pooling in LAYERED:
        if len(hidden_states) < 2:
            raise ValueError(f"The pooling {pooling} needs the hidden states of all layers.")
        other = hidden_states[LAYERED[pooling]]
    elif pooling is Pooling.EMBEDDING_LAST_MEAN:
        if word_vectors is None:
            raise ValueError(f"The pooling {pooling} needs the vectors of the input embedding.")
        other = word_vectors
    else:
        return _POOLS[pooling](vectors, mask)
    return (_mean(other.float(), mask) + _mean(vectors, mask)) / 2


def _mean(vectors: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(vectors.dtype)
    # A padded position may hold anything, even NaN, so it is replaced rather than multiplied by 0.
    total = (torch.where(weights > 0, vectors, 0.0) * weights).sum(dim=1)
    return total / weights.sum(dim=1)


def _max(vectors: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.unsqueeze(-1) > 0, vectors, -torch.inf).amax(dim=1)


def _first(vectors: Tensor, mask: Tensor) -> Tensor:
    return _at(vectors, mask.long().argmax(dim=1))


def _last(vectors: Tensor, mask: Tensor) -> Tensor:
    return _at(vectors, mask.shape[1] - 1 - mask.long().flip(dims=[1]).argmax(dim=1))


def _at(vectors: Tensor, positions: Tensor) -> Tensor:
    # Indexing by a range would fix the number of texts where the model is traced.
    places = positions[:, None, None].expand(-1, 1, vectors.shape[2])
    return vectors.gather(1, places)[:, 0]


def _mean_sqrt_len(vectors: Tensor, mask: Tensor) -> Tensor:
    return _mean(vectors, mask) * _ones(mask).sum(dim=1, keepdim=True).sqrt()


def _weighted_mean(vectors: Tensor, mask: Tensor) -> Tensor:
    return _mean(vectors, _ones(mask).cumsum(dim=1) * _ones(mask))


def _ones(mask: Tensor) -> Tensor:
    # Engines count booleans in 8 bits, and texts are longer than that.
    return mask.bool().long()


_POOLS: Mapping[Pooling, Callable[[Tensor, Tensor], Tensor]] = {
    Pooling.CLS: _first,
    Pooling.MEAN: _mean,
    Pooling.LAST: _last,
    Pooling.MAX: _max,
    Pooling.CLS_AVG: lambda vectors, mask: (_first(vectors, mask) + _mean(vectors, mask)) / 2,
    Pooling.CLS_MAX: lambda vectors, mask: (_first(vectors, mask) + _max(vectors, mask)) / 2,
    Pooling.MEAN_SQRT_LEN: _mean_sqrt_len,
    Pooling.WEIGHTED_MEAN: _weighted_mean,
}
"""Those that need the last layer alone."""
