"""Chooses the engine that runs a model: the fastest one installed that gives the same vectors."""

import logging
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from encoder.spec import EncoderSpec

if TYPE_CHECKING:
    from encoder.backends.openvino import OpenVinoBackend
    from encoder.backends.openvino_pairs import OpenVinoPairScorer
    from encoder.backends.pair_scorer import PairScorer
    from encoder.backends.torch import TorchBackend

log = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "openvino")
DTYPES = ("auto", "float32", "float16", "bfloat16", "int8", "int4")
DTYPE_HELP = "auto, float32, bfloat16, float16, int8 (an extra), int4 (GPU only)"
PAIR_DTYPES = ("auto", "float32", "float16", "bfloat16")
"""Those of a reranker."""
_GPU_SIGNS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What a Linux machine with a GPU has: NVIDIA's driver, that of Windows below it, AMD's."""


def load_backend(
    folder: Path,
    spec: EncoderSpec,
    *,
    base: Path | None = None,
    pad_id: int,
    backend: str,
    device: str,
    dtype: str,
    trust_remote_code: bool,
) -> "TorchBackend | OpenVinoBackend":
    """Load a model into an engine.

    `auto` takes OpenVINO for a model on the CPU where it is installed and can run the model, and
    torch otherwise. The arguments are those of `TorchBackend.load`.

    Raises:
        ValueError: If an argument is unknown, the model folder is wrong, or the engine that was
            asked for cannot run the model.
        MissingExtraError: If OpenVINO was asked for and is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"Unknown backend {backend!r}. Known: {', '.join(BACKENDS)}.")
    if dtype not in DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}. Known: {', '.join(DTYPES)}.")

    def load_torch(device: str, dtype: str) -> "TorchBackend":
        from encoder.backends.torch import TorchBackend

        return TorchBackend.load(
            folder,
            spec,
            base=base,
            pad_id=pad_id,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )

    if backend == "openvino" or (backend == "auto" and find_spec("openvino") is not None):
        obstacle = _obstacle(device, dtype)
        if obstacle is None:
            from encoder.backends.openvino import CannotRunError, OpenVinoBackend, load_graph

            try:
                graph = load_graph(
                    spec,
                    lambda: load_torch("cpu", "float32"),
                    lambda: _calibration(folder, base, spec, trust_remote_code),
                    # Code that comes with a model may do anything, so it is converted every time.
                    keep=not trust_remote_code,
                )
                return OpenVinoBackend(graph, spec, pad_id, dtype)
            except CannotRunError as error:
                obstacle = str(error)
        if backend == "openvino":
            raise ValueError(obstacle)
        log.info("%s runs on torch: %s", spec.name, obstacle)
    return load_torch(device, dtype)


def load_pair_scorer(
    folder: Path,
    *,
    base: Path,
    pad_id: int,
    answers: Sequence[int],
    backend: str,
    device: str,
    dtype: str,
    trust_remote_code: bool,
) -> "PairScorer | OpenVinoPairScorer":
    """Load a reranker into an engine, chosen as `load_backend` does; `auto` is float32.

    Args:
        folder: The reranker's, or that of an adapter.
        base: Where the weights lie that an adapter goes over, else the same folder.
        pad_id: Of its tokenizer.
        answers: Token ids of a language model's answers; none of a cross-encoder.
        backend: One of `BACKENDS`.
        device: As `TorchBackend.load`.
        dtype: One of `PAIR_DTYPES`.
        trust_remote_code: Whether to run code that comes with the model.

    Language models run on torch: only the answers' rows of their vocabulary are multiplied there.

    Raises:
        ValueError: If an argument is unknown, the folder holds no reranker, or the engine that was
            asked for cannot run it.
        MissingExtraError: If OpenVINO was asked for and is not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"Unknown backend {backend!r}. Known: {', '.join(BACKENDS)}.")
    if dtype not in PAIR_DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}. Known: {', '.join(PAIR_DTYPES)}.")

    def load_torch(device: str, dtype: str) -> "PairScorer":
        from encoder.backends.pair_scorer import PairScorer

        return PairScorer.load(
            folder,
            base,
            pad_id=pad_id,
            answers=answers,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )

    if backend == "openvino" or (backend == "auto" and find_spec("openvino") is not None):
        obstacle = _obstacle(device, dtype)
        if answers and obstacle is None:
            obstacle = "The OpenVINO backend runs cross-encoders, no language models."
        if obstacle is None:
            from encoder.backends.openvino import CannotRunError
            from encoder.backends.openvino_pairs import OpenVinoPairScorer, load_pair_graph

            try:
                graph = load_pair_graph(
                    folder, base, lambda: load_torch("cpu", "float32"), keep=not trust_remote_code
                )
                return OpenVinoPairScorer(graph, pad_id, "float32" if dtype == "auto" else dtype)
            except CannotRunError as error:
                obstacle = str(error)
        if backend == "openvino":
            raise ValueError(obstacle)
        log.info("%s runs on torch: %s", folder, obstacle)
    return load_torch(device, dtype)


def _calibration(
    folder: Path, base: Path | None, spec: EncoderSpec, trust_remote_code: bool
) -> list[list[int]]:
    from encoder.backends.int8 import calibration_texts
    from encoder.tokenizer import Tokenizer

    home = folder if (folder / "tokenizer_config.json").is_file() else base or folder
    tokenizer = Tokenizer.load(home, trust_remote_code=trust_remote_code)
    tokens = tokenizer.encode(calibration_texts(), spec.template("document"), spec)
    return [item.ids for item in tokens]


def precision_of(dtype: str, device: str) -> str:
    """What the spec of a model that is loaded so says of its precision."""
    if dtype not in {"int8", "int4"}:
        return "float"
    # On the CPU the activations are quantised too, so these are other vectors than a GPU's.
    return "int8-static" if dtype == "int8" and _device_type(device) == "cpu" else dtype


def _obstacle(device: str, dtype: str) -> str | None:
    """Why OpenVINO cannot run a model, if it cannot."""
    if _device_type(device) != "cpu":
        return f"The OpenVINO backend runs on the CPU, not on {_device_type(device)}."
    if dtype not in {"auto", "float32", "bfloat16", "int8"}:
        return f"The OpenVINO backend runs float32, bfloat16 and int8, not {dtype}."
    return None


def _device_type(device: str) -> str:
    """`cpu`, `cuda` …, without loading torch where the answer is plain."""
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    from encoder.backends.torch import resolve_device

    return resolve_device(device).type


def _may_have_gpu() -> bool:
    return sys.platform != "linux" or any(Path(sign).exists() for sign in _GPU_SIGNS)
