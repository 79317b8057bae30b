"""Loads a model's weights into torch: whole models, T5's encoders, adapters, quantised ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from encoder.adapter_files import read_adapter
from encoder.backends.adapter import apply_adapter
from encoder.backends.both_ways import BothWays
from encoder.errors import MissingExtraError
from encoder.spec import EncoderSpec

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
QUANTISED = ("int8", "int4")
"""Precisions of the weights that bitsandbytes gives on a GPU; the rest runs in bfloat16."""
_ENCODER_HALVES = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
}
"""Encoder-decoders of which the encoder alone is wanted, and transformers' class for it."""


def load_model(
    folder: Path,
    base: Path,
    spec: EncoderSpec,
    *,
    device: torch.device,
    dtype: str,
    trust_remote_code: bool,
) -> Any:  # noqa: ANN401 - a model of transformers, or BothWays
    """Load the weights in `base` onto a device, with what the spec puts over them.

    Args:
        folder: Where the adapter lies, if the spec has one.
        base: Where the weights lie.
        spec: Says whether there is an adapter and which layers read both ways.
        device: Where the model shall run.
        dtype: One of `DTYPES` or, on a GPU, of `QUANTISED`.
        trust_remote_code: Whether to run code that comes with the model.

    Raises:
        ValueError: If the weights do not fill the model, or the dtype does not run there.
        MissingExtraError: If a quantised model was asked for and bitsandbytes is not installed.
    """
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if dtype in QUANTISED:
        options |= {"quantization_config": _quantisation(dtype, device), "device_map": device}
    options["dtype"] = DTYPES.get(dtype, torch.bfloat16)
    model = _filled(base, options)
    if dtype not in QUANTISED:
        model = model.to(device)
    if spec.adapter and (adapter := read_adapter(folder)):
        apply_adapter(model, adapter, base)
    if spec.both_ways_from >= 0:
        model = BothWays(model, spec.both_ways_from)
    return model.eval()


def _quantisation(dtype: str, device: torch.device) -> Any:  # noqa: ANN401
    if device.type != "cuda":
        raise ValueError(
            f"The dtype {dtype} runs on a GPU, not on {device}; "
            f"on the CPU take one of {', '.join(DTYPES)}, or int8 through OpenVINO."
        )
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError(f"The dtype {dtype}", "quantized")
    from transformers import BitsAndBytesConfig

    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    # As QLoRA: https://arxiv.org/abs/2305.14314, section 3.
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _filled(folder: Path, options: dict[str, Any]) -> Any:  # noqa: ANN401
    try:
        with silenced():
            model, report = _class_of(folder, options).from_pretrained(
                folder, local_files_only=True, output_loading_info=True, **options
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(f"The model in {folder} cannot be loaded: {error}") from error
    # Weights that are not in the file are random. Only the pooler, which we never use, may be so.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ValueError(
            f"The weights in {folder} are not those of its config.json: {len(missing)} are "
            f"missing, among them {missing[0]}."
        )
    return model


def _class_of(folder: Path, options: dict[str, Any]) -> Any:  # noqa: ANN401
    config = AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=options["trust_remote_code"]
    )
    name = _ENCODER_HALVES.get(config.model_type)
    if name is None:
        return AutoModel
    import transformers

    return getattr(transformers, name)


@contextmanager
def silenced() -> Iterator[None]:
    """Keep the library's progress bar and load report off the terminal for a while."""
    verbosity = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
