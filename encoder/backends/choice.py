"""Chooses the engine that runs a model: the fastest one installed that gives the same vectors."""

import logging
from importlib.util import find_spec
from pathlib import Path

from encoder.backends.torch import TorchBackend, resolve_device
from encoder.pooling import needs_hidden_states, needs_word_vectors
from encoder.spec import EncoderSpec

log = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "openvino")


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
) -> TorchBackend:
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
    wanted = backend == "openvino" or (backend == "auto" and find_spec("openvino") is not None)
    obstacle = _obstacle(spec, resolve_device(device).type, dtype) if wanted else None

    def load(dtype: str) -> TorchBackend:
        return TorchBackend.load(
            folder,
            spec,
            base=base,
            pad_id=pad_id,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )

    if wanted and obstacle is None:
        loaded = load("float32")
        try:
            loaded.compile(dtype)
        except ValueError as error:
            obstacle = str(error)
        else:
            return loaded
    if obstacle is not None and backend == "openvino":
        raise ValueError(obstacle)
    if obstacle is not None:
        log.info("%s runs on torch: %s", spec.name, obstacle)
    return load(dtype)


def _obstacle(spec: EncoderSpec, device: str, dtype: str) -> str | None:
    """Why OpenVINO cannot run a model, if it cannot."""
    if device != "cpu":
        return f"The OpenVINO backend runs on the CPU, not on {device}."
    if dtype == "float16":
        return "The OpenVINO backend runs float32 and bfloat16, not float16."
    if spec.layer != -1 or needs_hidden_states(spec.pooling) or needs_word_vectors(spec.pooling):
        return (
            f"The OpenVINO backend gives the last layer only, and {spec.name} needs others "
            f"(layer {spec.layer}, pooling {spec.pooling}); load it with backend='torch'."
        )
    return None
