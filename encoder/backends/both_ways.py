"""Lets a decoder's tokens read what comes behind them too, from a chosen layer on."""

from threading import local
from typing import Any

import torch
from torch import Tensor, nn

_LAYERS = ("layers", "decoder.layers", "h")
"""Where decoders keep their layers: Llama and its kin, OPT, GPT-2."""


class BothWays(nn.Module):
    """Stands in for a decoder whose later layers read both ways.

    Each of these layers is given a mask that hides the padding and nothing else, a sliding window
    included. The others keep their own.

    Source: Li & Li 2023 (https://arxiv.org/abs/2311.05296); https://github.com/WhereIsAI/BiLLM
    """

    def __init__(self, model: nn.Module, first: int) -> None:
        """Wrap a decoder, whose layers from `first` on (0 is the first) shall read both ways.

        Raises:
            ValueError: If it is no decoder that Angler can change, or has no such layer.
        """
        super().__init__()
        layers = _layers(model)
        if not 0 <= first < len(layers):
            raise ValueError(
                f"both_ways_from must be between 0 and {len(layers) - 1}, the layers of the "
                f"model; got {first}."
            )
        self._model = model
        self._masks = local()  # one encoder may serve several threads
        for layer in list(layers)[first:]:
            layer.register_forward_pre_hook(self._with_full_mask, with_kwargs=True)

    @property
    def inner(self) -> Any:  # noqa: ANN401 - a model of transformers
        """The decoder."""
        return self._model

    @property
    def config(self) -> Any:  # noqa: ANN401 - as the model's
        """The model's configuration."""
        return self._model.config

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self._model.device  # type: ignore[return-value]

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the model runs in."""
        return self._model.dtype  # type: ignore[return-value]

    def get_input_embeddings(self) -> nn.Module:
        """The model's table of word vectors."""
        return self._model.get_input_embeddings()  # type: ignore[operator, no-any-return]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:  # noqa: ANN401
        """As the model's own."""
        hidden = attention_mask[:, None, None, :].to(self.dtype).sub(1)
        width = attention_mask.shape[1]
        # The lowest number rather than minus infinity, which some kernels turn into no number.
        full = (-hidden * torch.finfo(self.dtype).min).expand(-1, 1, width, -1)
        self._masks.full = full
        return self._model(input_ids=input_ids, attention_mask=attention_mask, **options)

    def _with_full_mask(
        self, _: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return inputs, options | {"attention_mask": self._masks.full}


def _layers(model: nn.Module) -> nn.ModuleList:
    for path in _LAYERS:
        found: Any = model
        for name in path.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.ModuleList):
            return found
    raise ValueError(
        f"Angler cannot make a {type(model).__name__} read both ways; it can with decoders such as "
        "Llama, Mistral, Qwen2, Qwen3, Gemma and OPT."
    )
