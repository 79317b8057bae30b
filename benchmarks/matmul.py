"""What the machine's matrix products reach, and how many a BERT model needs for its texts."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZE = 2048
REPEATS = 8


def matmul_gflops(dtype: str) -> float:
    """The best rate of a large matrix product through OpenVINO's kernels, GFLOP/s.

    Args:
        dtype: `f32`, `bf16` or `i8`; 8-bit products are counted as operations of floats.
    """
    import openvino
    from openvino import opset13 as ops

    weights = np.random.default_rng(7).normal(size=(SIZE, SIZE)).astype(np.float32)
    rows = ops.parameter([SIZE, SIZE], np.float32)
    left = rows
    right = ops.constant(weights)
    if dtype == "i8":
        left = ops.fake_quantize(left, *(np.float32(x) for x in (-4, 4, -4, 4)), 256)
        right = ops.fake_quantize(right, *(np.float32(x) for x in (-5, 5, -5, 5)), 255)
    product = ops.matmul(left, right, transpose_a=False, transpose_b=True)
    model = openvino.Model([product], [rows])
    hint = "f32" if dtype == "f32" else "bf16"
    core = openvino.Core()
    if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hint = "f32"
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        request.infer([weights], share_inputs=True, share_outputs=True)
        taken.append(time.perf_counter() - started)
    return 2 * SIZE**3 / min(taken) / 1e9


def gflops_of_bert(folder: Path, lengths: Sequence[int]) -> float:
    """GFLOP of a BERT model's matrix products over texts of these lengths, without padding."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    width, inner = config["hidden_size"], config["intermediate_size"]
    weights = 4 * width**2 + 2 * width * inner
    tokens = np.asarray(lengths, np.float64)
    per_layer = 2 * weights * tokens.sum() + 4 * width * (tokens**2).sum()
    return float(config["num_hidden_layers"] * per_layer / 1e9)
