"""Reads the files of a LoRA adapter's folder, as the library PEFT saves them; without torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.files import digest_of_file, digest_of_json, read_object

CONFIG = "adapter_config.json"
_UNSUPPORTED = ("use_dora", "use_qalora", "layer_replication", "target_parameters")
"""What changes the formula, where it is switched on."""
_COMPUTATION = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")


@dataclass(frozen=True)
class Adapter:
    """A folder with an adapter and no model of its own."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def base(self) -> str:
        """The model that it was trained on: a hub id or a folder."""
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def fan_in_fan_out(self) -> bool:
        """Whether the weights stand with the inputs first, as in GPT-2."""
        return bool(self.config.get("fan_in_fan_out"))

    @property
    def weights(self) -> Path:
        """The file that holds the adapter's weights."""
        for name in ("adapter_model.safetensors", "adapter_model.bin"):
            if (self.folder / name).is_file():
                return self.folder / name
        raise ValueError(f"{self.folder} holds no weights (adapter_model.safetensors).")

    @property
    def digest(self) -> str:
        """SHA-256 over the weights and what the configuration says of the computation."""
        facts = {key: self.config[key] for key in _COMPUTATION if self.config.get(key)}
        return digest_of_json([digest_of_file(self.weights), facts])

    def scale(self, name: str) -> float:
        """The factor of one layer's part, given the layer's name."""
        rank = self._of_layer("rank_pattern", name, self.config["r"])
        alpha = self._of_layer("alpha_pattern", name, self.config.get("lora_alpha", 8))
        return alpha / (rank**0.5 if self.config.get("use_rslora") else rank)

    def _of_layer(self, pattern: str, name: str, usual: float) -> float:
        for key, value in (self.config.get(pattern) or {}).items():
            if re.match(rf"(.*\.)?({key})$", name):
                return float(value)
        return float(usual)


def read_adapter(folder: Path) -> Adapter | None:
    """The adapter in a folder, or None where the folder holds a whole model.

    Raises:
        ValueError: If the adapter is none that Angler can run.
    """
    config = read_object(folder / CONFIG)
    if not config or (folder / "config.json").is_file():
        return None
    kind = config.get("peft_type", "LORA")
    odd = [key for key in _UNSUPPORTED if config.get(key)]
    if kind != "LORA" or odd or config.get("bias", "none") != "none":
        what = f"{kind} adapter" + (f" with {', '.join(odd)}" if odd else "")
        raise ValueError(
            f"{folder} holds a {what}, which Angler does not run; it runs plain LoRA adapters. "
            "Merge it into its base and give that folder."
        )
    if "r" not in config or not config.get("base_model_name_or_path"):
        raise ValueError(f"{folder / CONFIG} names no rank (r) or no base_model_name_or_path.")
    return Adapter(folder, config)
