"""Runs a loaded torch model through OpenVINO on the CPU: the same vectors, sooner."""

import logging
import warnings
from threading import local
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from encoder.errors import MissingExtraError

try:
    import openvino
except ImportError as error:
    raise MissingExtraError("The OpenVINO backend", "openvino") from error

log = logging.getLogger(__name__)

TOKEN_BUDGET = 2048
"""Most tokens of a batch: what stays in the caches of a few cores."""
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoModel:
    """Stands in for a torch model that is only asked for its last hidden state."""

    def __init__(self, model: PreTrainedModel, dtype: str) -> None:
        """Convert and compile a model.

        Args:
            model: On the CPU, in float32.
            dtype: `auto` (bfloat16 where the processor has instructions for it, else float32),
                `float32` or `bfloat16`.

        Raises:
            ValueError: If the dtype is another, or OpenVINO cannot run the model.
        """
        core = openvino.Core()
        self.device = torch.device("cpu")
        self.dtype = _chosen(dtype, core)
        try:
            graph = _converted(model)
            self._compiled = core.compile_model(
                graph,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": _PRECISIONS[self.dtype],
                    "PERFORMANCE_HINT": "LATENCY",
                },
            )
        except (RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"OpenVINO cannot run this {model.config.model_type} model ({reason}); "
                "load it with backend='torch'."
            ) from error
        # A request holds the buffers of one run, so every thread has its own.
        self._requests = local()

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Token ids and mask, shape (batch, tokens), to `last_hidden_state`."""
        if not hasattr(self._requests, "one"):
            self._requests.one = self._compiled.create_infer_request()
        inputs = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        vectors = self._requests.one.infer(inputs, share_inputs=True, share_outputs=True)[0]
        # The buffer is the request's: pooling reads it before the next run, on this thread.
        return SimpleNamespace(last_hidden_state=torch.from_numpy(np.asarray(vectors)))


def _chosen(dtype: str, core: Any) -> str:  # noqa: ANN401 - openvino.Core
    if dtype == "auto":
        abilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bfloat16" if "BF16" in abilities else "float32"
    if dtype not in _PRECISIONS:
        raise ValueError(
            f"The OpenVINO backend runs float32 and bfloat16, got {dtype!r}; "
            "load it with backend='torch'."
        )
    return dtype


class _LastHiddenState(nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self._model = model
        self._options = {"use_cache": False} if hasattr(model.config, "use_cache") else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        output = self._model(input_ids=input_ids, attention_mask=attention_mask, **self._options)
        return output.last_hidden_state  # type: ignore[no-any-return]


def _converted(model: PreTrainedModel) -> Any:  # noqa: ANN401 - openvino.Model
    # Two texts of different lengths: a mask of ones only would be traced away.
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    example = {"input_ids": mask.clone(), "attention_mask": mask}
    shapes = [(name, [-1, -1]) for name in example]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every branch that it takes
        return openvino.convert_model(_LastHiddenState(model), example_input=example, input=shapes)
