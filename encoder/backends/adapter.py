"""Puts a LoRA adapter's weights onto the model that it was trained on."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from encoder.adapter_files import Adapter


def apply_adapter(model: nn.Module, adapter: Adapter, base: Path) -> set[str]:
    """Change a model as an adapter says: every weight becomes `W + scale * B @ A`.

    A quantised weight stays as it is, and its layer adds the adapter's part to what it gives.

    Args:
        model: The base model, loaded and not yet compiled.
        adapter: The adapter's folder.
        base: Where the model came from, for people.

    Returns:
        The names of the weights that the adapter replaced whole.

    Raises:
        ValueError: If the adapter's weights are damaged, or those of another base.

    Source: Hu et al. 2021, section 4.1 (https://arxiv.org/abs/2106.09685); the file's format:
        https://huggingface.co/docs/peft/developer_guides/checkpoint
    """
    tensors = _read(adapter)
    modules = dict(model.named_modules())
    misfits = []
    with torch.no_grad():
        for name in sorted({key.rpartition(".lora_")[0] for key in tensors if ".lora_" in key}):
            target = _target(name, modules)
            down, up = _pair(name, tensors)
            scale = adapter.scale(name.removeprefix("base_model.model."))
            if target is None or not _add(target, down, up, scale, adapter.fan_in_fan_out):
                misfits.append(name)
        replaced = set()
        for key in sorted(key for key in tensors if ".lora_" not in key):
            place = _replaced(model, key, tensors[key])
            if place is None:
                misfits.append(key)
            else:
                replaced.add(place)
    if misfits:
        raise ValueError(
            f"The adapter in {adapter.folder} is for another base than {base}: "
            f"{len(misfits)} of its parts do not fit, among them {misfits[0]}."
        )
    return replaced


def _read(adapter: Adapter) -> Mapping[str, Tensor]:
    path = adapter.weights
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be loaded: {reason}") from error


def _pair(name: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    for first, second in (("A.weight", "B.weight"), ("embedding_A", "embedding_B")):
        keys = f"{name}.lora_{first}", f"{name}.lora_{second}"
        if all(key in tensors for key in keys):
            down, up = (tensors[key].float() for key in keys)
            return down, up
    raise ValueError(f"The adapter's part {name} lacks one of its two matrices.")


def _target(name: str, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    # An adapter of a model with a language head names its body "model", which ours is itself.
    path = name.removeprefix("base_model.model.")
    return modules.get(path) or modules.get(path.removeprefix("model."))


def _add(target: nn.Module, down: Tensor, up: Tensor, scale: float, is_transposed: bool) -> bool:
    """Whether the adapter's part fits its layer; then it is in."""
    weight = target.weight
    if not isinstance(weight, Tensor) or up.shape[1] != down.shape[0]:
        return False
    if isinstance(target, nn.Embedding) or is_transposed:
        if weight.shape != (down.shape[1], up.shape[0]):
            return False
    elif not isinstance(target, nn.Linear) or (target.out_features, target.in_features) != (
        up.shape[0],
        down.shape[1],
    ):
        return False
    down, up = down.to(weight.device), up.to(weight.device)
    if not weight.is_floating_point():
        _add_to_output(target, down, up, scale)
        return True
    change = (up @ down) * scale
    is_turned = isinstance(target, nn.Embedding) or is_transposed
    weight.copy_(weight.float() + (change.T if is_turned else change))
    return True


def _add_to_output(target: nn.Module, down: Tensor, up: Tensor, scale: float) -> None:
    def add(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        part = (inputs[0].float() @ down.T @ up.T) * scale
        return output + part.to(output.dtype)

    target.register_forward_hook(add)


def _replaced(model: nn.Module, key: str, tensor: Tensor) -> str | None:
    """The weight that was trained whole beside the adapter, now in place; None if none fits."""
    path = key.removeprefix("base_model.model.").replace(".modules_to_save", "")
    weights = dict(model.named_parameters())
    name = path if path in weights else path.removeprefix("model.")
    if name not in weights and path.startswith(("lm_head.", "score.")):
        return path  # nothing of a head is asked for
    if name not in weights or weights[name].shape != tensor.shape:
        return None
    weights[name].copy_(tensor)
    return name
