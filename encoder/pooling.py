"""Token vectors to one vector per text, always from the mask and never from the padding side."""

from enum import StrEnum

import torch
from torch import Tensor


class Pooling(StrEnum):
    """How token vectors become one vector per text."""

    CLS = "cls"
    """The first real token."""
    MEAN = "mean"
    """The average of the real tokens."""
    LAST = "last"
    """The last real token."""


def pool(token_vectors: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Reduce token vectors to one vector per text.

    Args:
        token_vectors: Last hidden state, shape (batch, tokens, dim).
        mask: 1 for real tokens, 0 for padding on either side, shape (batch, tokens).
        pooling: The reduction that the checkpoint was trained with.

    Returns:
        Shape (batch, dim), float32, not normalised.

    Raises:
        ValueError: If the leading shapes differ, a text has no real token, or the pooling is
            unknown.

    Source: Reimers & Gurevych 2019, section 3 (https://arxiv.org/abs/1908.10084).
    """
    if token_vectors.shape[:2] != mask.shape:
        raise ValueError(
            f"mask must have shape {tuple(token_vectors.shape[:2])}, got {tuple(mask.shape)}."
        )
    if not bool(mask.any(dim=1).all()):
        raise ValueError("Every text needs at least one token that is not padding.")
    pooling = Pooling(pooling)  # a plain "mean" is equal to the member, but is not the member
    vectors = token_vectors.float()
    if pooling is Pooling.MEAN:
        return _mean(vectors, mask)
    positions = mask.long().argmax(dim=1) if pooling is Pooling.CLS else _last_position(mask)
    return vectors[torch.arange(len(vectors), device=vectors.device), positions]


def _mean(vectors: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(vectors.dtype)
    # A padded position may hold anything, even NaN, so it is replaced rather than multiplied by 0.
    total = torch.where(weights > 0, vectors, 0.0).sum(dim=1)
    return total / weights.sum(dim=1)


def _last_position(mask: Tensor) -> Tensor:
    tokens = mask.shape[1]
    return tokens - 1 - mask.long().flip(dims=[1]).argmax(dim=1)
