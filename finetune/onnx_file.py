"""A module of torch as an ONNX file, and what ONNX Runtime makes of it."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from encoder.backends.loading import silenced
from encoder.errors import MissingExtraError

try:
    import onnxruntime
    import onnxscript  # noqa: F401 - torch writes by it
except ImportError as error:
    raise MissingExtraError("Writing an ONNX model", "onnx") from error

_MOST_IN_ONE_FILE = 1_900_000_000
"""Bytes; the format itself ends at 2 GiB, from where on the weights stand beside the file."""


def write_onnx(module: torch.nn.Module, inputs: Sequence[str], path: Path, output: str) -> None:
    """Write a module as an ONNX model.

    Args:
        module: Takes tensors of whole numbers, each of shape (batch, tokens).
        inputs: Their names; the attention mask is one of them. They are the model's names too.
        path: The `.onnx`.
        output: What the model calls what it gives.

    Raises:
        ValueError: If torch cannot write it.
    """
    # Two texts of different lengths: a mask of ones only would be traced away.
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    either = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    size = sum(weight.numel() * weight.element_size() for weight in module.parameters())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), silenced():
            warnings.simplefilter("ignore")  # of what it finds in the libraries, nobody can act on
            torch.onnx.export(
                module,
                tuple(mask.clone() for _ in inputs),
                path,
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=(either,) * len(inputs),
                external_data=size > _MOST_IN_ONE_FILE,
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"torch cannot write this encoder as ONNX: {reason}") from error


def run_onnx(path: Path, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """What a written model gives for one batch, in float32."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, inputs)[0]
    return found
