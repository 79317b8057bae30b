"""How a model counts the places of its tokens, where it is told them."""

import inspect
from typing import Any

from torch import Tensor

from encoder.backends.both_ways import BothWays


def positions_of(model: Any, mask: Tensor) -> dict[str, Tensor]:  # noqa: ANN401
    """The place of each token in its own text, as a model of transformers wants to be told it.

    Args:
        model: A model, or a decoder that reads both ways.
        mask: 1 for real tokens, 0 for padding on either side, shape (batch, tokens).

    Returns:
        `position_ids`, shaped as the mask; nothing for a model that works them out by itself.
    """
    inner = model.inner if isinstance(model, BothWays) else model
    if "position_ids" not in inspect.signature(inner.forward).parameters:
        return {}
    places = mask.long().cumsum(dim=1).sub(1).clamp(min=0)
    return {"position_ids": places + _first(inner)}


def _first(model: Any) -> int:  # noqa: ANN401
    """RoBERTa and its kin count from behind the padding token's id."""
    embeddings: Any = getattr(model, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_inputs_embeds"):
        return int(embeddings.padding_idx) + 1
    return 0
