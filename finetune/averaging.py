"""Weights between the base and the tuned model."""

from collections.abc import Mapping

from torch import Tensor

Weights = Mapping[str, Tensor]


def average(base: Weights, tuned: Weights, share: float) -> dict[str, Tensor]:
    """`share` of the tuned model and the rest of the base, weight by weight.

    Of a LoRA adapter only the second matrix counts, which is 0 at the base: so the whole change
    B·A of a layer is scaled, and not one of its factors twice.

    Args:
        base: The trained weights as they were before the training.
        tuned: The same names.
        share: 0 to 1.

    Source: Xiao et al. 2023 (https://arxiv.org/abs/2311.13534), section 3.
    """
    return {
        name: weight if _is_first_factor(name) else base[name].lerp(weight, share)
        for name, weight in tuned.items()
    }


def _is_first_factor(name: str) -> bool:
    return ".lora_A." in name or ".lora_embedding_A" in name
