"""Quantises a converted model to 8-bit integers: graph and token ids in, graph out."""

import io
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.errors import MissingExtraError


def calibration_texts() -> list[str]:
    """Passages of the handbook, long and short, English and Chinese."""
    lines = files("encoder").joinpath("calibration.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def quantised(graph: Any, batches: Sequence[Mapping[str, NDArray[np.int64]]]) -> Any:  # noqa: ANN401
    """A graph whose matrix products run in 8 bits; takes a minute or so.

    Outliers of the activations are moved into the weights first (SmoothQuant).

    Args:
        graph: An openvino.Model, which stays as it is.
        batches: Its inputs, to measure the activations with.

    Raises:
        MissingExtraError: If nncf is not installed.

    Source: Xiao et al. 2023 (https://arxiv.org/abs/2211.10438).
    """
    # What it tells a person must not come among what a command prints.
    with redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        try:
            import nncf
        except ImportError as error:
            raise MissingExtraError("The dtype int8 on a CPU", "int8") from error
        nncf.set_log_level(logging.ERROR)
        return nncf.quantize(
            graph.clone(),
            nncf.Dataset(list(batches)),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
        )
