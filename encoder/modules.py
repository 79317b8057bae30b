"""What a folder's modules.json promises behind the transformer: pooling and head layers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.files import digest_of_file, digest_of_json, read_json, read_object

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU")
"""Activations of a dense layer that Angler runs, as torch.nn calls them."""
_POOLED = "sentence_embedding"
_HEAD = ("Dense", "LayerNorm", "Normalize")


@dataclass(frozen=True)
class HeadLayer:
    """One layer behind the pooling."""

    kind: str
    """`Dense`, `LayerNorm` or `Normalize`."""
    folder: Path
    config: Mapping[str, Any]

    @property
    def activation(self) -> str:
        """The activation of a dense layer by its name in torch.nn."""
        return str(self.config.get("activation_function", "Tanh")).rpartition(".")[2]

    @property
    def weights(self) -> Path:
        """The file that holds the layer's weights."""
        for name in ("model.safetensors", "pytorch_model.bin"):
            if (self.folder / name).is_file():
                return self.folder / name
        raise ValueError(f"{self.folder} holds no weights (model.safetensors).")


@dataclass(frozen=True)
class Modules:
    """The layers that stand behind the transformer."""

    pooling: Path | None = None
    """The pooling's configuration, if the folder has one."""
    head: Sequence[HeadLayer] = ()

    @property
    def head_digest(self) -> str:
        """SHA-256 over the head's layers and weights; empty where there is no head."""
        facts = [
            [layer.kind] if layer.kind == "Normalize" else _facts(layer) for layer in self.head
        ]
        return digest_of_json(facts) if facts else ""

    def width(self, pooled: int) -> int:
        """Length of an embedding, given the length of a pooled vector."""
        for layer in self.head:
            if layer.kind == "Dense":
                pooled = int(layer.config["out_features"])
        return pooled


def _facts(layer: HeadLayer) -> list[str]:
    activation = layer.activation if layer.kind == "Dense" else ""
    return [layer.kind, activation, digest_of_file(layer.weights)]


def read_modules(folder: Path, dim: int | None = None) -> Modules:
    """Read modules.json, if the folder has one.

    Args:
        folder: Where the model's own files lie.
        dim: The length that is wanted, where a dense layer lies beside others of other lengths, as
            in `2_Dense_256`, `2_Dense_1024`.

    Raises:
        ValueError: If a file is damaged or missing, or asks for a layer that Angler does not run;
            if there are dense layers of several lengths, and none of `dim`.
    """
    modules = read_json(folder / "modules.json", list) or []
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    _refuse_unknown(folder, kinds)
    pooling = None
    head = []
    for kind, module in zip(kinds, modules, strict=True):
        if kind == "Pooling":
            pooling = folder / module["path"] / "config.json"
        elif kind in _HEAD:
            path = folder / module["path"]
            head.append(_head_layer(kind, _of_length(path, dim) if kind == "Dense" else path))
    while head and head[-1].kind == "Normalize":  # the spec says whether rows have unit length
        head.pop()
    return Modules(pooling, tuple(head))


def _of_length(folder: Path, dim: int | None) -> Path:
    """The dense layer of a length, where several lie side by side; else the one that is named."""
    stem = re.fullmatch(r"(.*_)\d+", folder.name)
    lengths = (
        {
            int(found[1]): other
            for other in sorted(folder.parent.glob(f"{stem[1]}*"))
            if (found := re.fullmatch(rf"{re.escape(stem[1])}(\d+)", other.name))
        }
        if stem
        else {}
    )
    if dim is None or len(lengths) < 2:
        return folder
    if dim not in lengths:
        known = ", ".join(map(str, sorted(lengths)))
        raise ValueError(f"{folder.parent} has layers for a dim of {known}; got {dim}.")
    return lengths[dim]


def _refuse_unknown(folder: Path, kinds: Sequence[str]) -> None:
    unknown = sorted(set(kinds) - {"Transformer", "Pooling", *_HEAD})
    if unknown:
        raise ValueError(
            f"{folder} has the layers {', '.join(kinds)}; "
            f"Angler does not run {', '.join(unknown)} yet."
        )
    until = kinds.index("Pooling") if "Pooling" in kinds else 0
    early = [kind for kind in kinds[:until] if kind in _HEAD]
    if early:
        raise ValueError(
            f"{folder} has the layers {', '.join(kinds)}; "
            f"Angler does not run {early[0]} before Pooling yet."
        )


def _head_layer(kind: str, folder: Path) -> HeadLayer:
    config = read_object(folder / "config.json")
    layer = HeadLayer(kind, folder, config)
    if kind != "Dense":
        return layer
    if "out_features" not in config:
        raise ValueError(f"{folder / 'config.json'} is missing or names no out_features.")
    reads_tokens = config.get("module_input_name", _POOLED) != _POOLED
    if reads_tokens or config.get("use_residual") or layer.activation not in ACTIVATIONS:
        raise ValueError(
            f"{folder / 'config.json'} asks for a dense layer that Angler does not run yet; "
            f"it runs those without residual and with {', '.join(ACTIVATIONS)}."
        )
    return layer
