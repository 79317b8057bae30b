"""Layers behind the pooling: one vector per text in, the embedding before truncation out."""

from pathlib import Path

import torch
from torch import Tensor, nn

from encoder.modules import HeadLayer, read_modules
from encoder.spec import EncoderSpec


class _UnitLength(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return nn.functional.normalize(vectors, dim=-1)


class _Standardised(nn.Module):
    """Zero mean and unit variance over each vector, without weights.

    Source: https://huggingface.co/nomic-ai/nomic-embed-text-v1.5
    """

    def forward(self, vectors: Tensor) -> Tensor:
        return nn.functional.layer_norm(vectors, vectors.shape[-1:])


def load_head(folder: Path, spec: EncoderSpec, device: torch.device) -> nn.Sequential:
    """Load a model's head; it runs in float32, whatever the model runs in.

    Raises:
        ValueError: If a layer's weights are damaged or not those of its configuration.
    """
    parts: list[nn.Module] = [_Standardised()] if spec.layer_norm else []
    if spec.head:
        parts += [part for layer in read_modules(folder, spec.dim).head for part in _parts(layer)]
    return nn.Sequential(*parts).to(device).eval()


def _parts(layer: HeadLayer) -> list[nn.Module]:
    if layer.kind == "Normalize":
        return [_UnitLength()]
    if layer.kind == "LayerNorm":
        return [_filled(nn.LayerNorm(layer.config["dimension"]), "norm", layer)]
    bias = bool(layer.config.get("bias", True))
    linear = nn.Linear(layer.config["in_features"], layer.config["out_features"], bias=bias)
    return [_filled(linear, "linear", layer), getattr(nn, layer.activation)()]


def _filled(module: nn.Module, name: str, layer: HeadLayer) -> nn.Module:
    try:
        weights = _read(layer)
        module.load_state_dict({key.removeprefix(f"{name}."): weights[key] for key in weights})
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{layer.weights} cannot be loaded: {reason}") from error
    return module


def _read(layer: HeadLayer) -> dict[str, Tensor]:
    if layer.weights.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(layer.weights)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    return torch.load(layer.weights, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
