"""Runs a model with torch, on the CPU or a CUDA device."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from encoder.head import load_head
from encoder.pooling import needs_hidden_states, needs_word_vectors, pool
from encoder.spec import EncoderSpec

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}
"""Most tokens of a batch: what keeps the caches warm on a CPU, and a large GPU busy."""


class TorchBackend:
    """A loaded model on one device."""

    def __init__(
        self, model: PreTrainedModel, spec: EncoderSpec, pad_id: int, head: torch.nn.Module
    ) -> None:
        self._model: Any = model
        self._spec = spec
        self._pad_id = pad_id
        self._head = head
        _check_layer(spec, model.config.num_hidden_layers)
        self._needs_words = needs_word_vectors(spec.pooling)
        # Decoders would keep keys and values that nobody asks for.
        self._options = {"use_cache": False} if hasattr(model.config, "use_cache") else {}
        if spec.layer != -1 or needs_hidden_states(spec.pooling):
            self._options["output_hidden_states"] = True
        self.device = str(model.device)
        self.engine = f"torch {str(model.dtype).removeprefix('torch.')} on {self.device}"
        """What runs the model, for people."""
        self.token_budget = TOKEN_BUDGET.get(model.device.type, TOKEN_BUDGET["cpu"])

    @classmethod
    def load(
        cls,
        folder: Path,
        spec: EncoderSpec,
        *,
        pad_id: int,
        device: str,
        dtype: str,
        trust_remote_code: bool,
    ) -> "TorchBackend":
        """Load the weights in `folder` onto `device` (`auto`, `cpu`, `cuda`, `cuda:1`, …).

        Raises:
            ValueError: If an argument is unknown, or the weights do not fill the model.
        """
        model = _load_model(folder, resolve_device(device), _dtype(dtype), trust_remote_code)
        return cls(model, spec, pad_id, load_head(folder, spec, model.device))

    def compile(self, dtype: str) -> None:
        """Run the model, which is on the CPU in float32, through OpenVINO from now on.

        Raises:
            ValueError: If OpenVINO cannot run it; then nothing has changed.
            MissingExtraError: If OpenVINO is not installed.
        """
        from encoder.backends.openvino import TOKEN_BUDGET as OPENVINO_BUDGET
        from encoder.backends.openvino import OpenVinoModel

        with _silenced():
            self._model = OpenVinoModel(self._model, dtype)
        self._options = {}
        self.token_budget = OPENVINO_BUDGET
        self.engine = f"openvino {self._model.dtype} on cpu"

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embed one batch.

        Args:
            ids: Token ids of each text, of any lengths.

        Returns:
            Shape (batch, dim), unit rows where the spec says so; what the model makes of a text
            may be not finite.
        """
        input_ids, mask = self._padded(ids)
        with torch.inference_mode():
            vectors = self._embedded(input_ids, mask)[:, : self._spec.dim]
            if self._spec.normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
        return vectors.cpu().numpy()

    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The vectors of each text's own tokens, shape (tokens, width) each, not normalised."""
        input_ids, mask = self._padded(ids)
        with torch.inference_mode():
            vectors = self._run(input_ids, mask)[0].float().cpu().numpy()
        return [vectors[row, : len(tokens)].copy() for row, tokens in enumerate(ids)]

    def _embedded(self, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        pooling = self._spec.pooling
        vectors, hidden_states = self._run(input_ids, mask)
        words = self._model.get_input_embeddings()(input_ids) if self._needs_words else None
        pooled = pool(vectors, mask, pooling, hidden_states=hidden_states, word_vectors=words)
        return self._head(pooled)  # type: ignore[no-any-return]

    def _run(
        self, input_ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """The token vectors of the spec's layer, and those of every layer where they are needed."""
        # Padding stands on the right, so that absolute positions are those of a lone text.
        output = self._model(input_ids=input_ids, attention_mask=mask, **self._options)
        if self._spec.layer == -1:
            return output.last_hidden_state, getattr(output, "hidden_states", None) or ()
        return output.hidden_states[self._spec.layer], output.hidden_states

    def _padded(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(row) for row in ids)
        input_ids = torch.full((len(ids), width), self._pad_id)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for row, tokens in enumerate(ids):
            input_ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return input_ids.to(self._model.device), mask.to(self._model.device)


def _check_layer(spec: EncoderSpec, layers: int) -> None:
    if not -layers - 1 <= spec.layer <= layers:
        raise ValueError(
            f"layer must be between {-layers - 1} and {layers}, the layers of {spec.name}; "
            f"got {spec.layer}."
        )


def _load_model(
    folder: Path, device: torch.device, dtype: torch.dtype, trust_remote_code: bool
) -> PreTrainedModel:
    try:
        with _silenced():
            model, report = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                dtype=dtype,
                output_loading_info=True,
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
    return model.to(device).eval()  # type: ignore[no-any-return]


def resolve_device(device: str) -> torch.device:
    """What `auto`, `cpu`, `cuda` … stand for; ValueError if the machine has no such device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {device!r}. Known: auto, cpu, cuda.") from error
    if chosen.type not in TOKEN_BUDGET:
        raise ValueError(f"Unknown device {device!r}. Known: auto, cpu, cuda.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"Device {device!r} was asked for, but this machine has no such GPU.")
    return chosen


def _dtype(dtype: str) -> torch.dtype:
    if dtype != "auto" and dtype not in DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}. Known: auto, {', '.join(DTYPES)}.")
    return DTYPES.get(dtype, torch.float32)


@contextmanager
def _silenced() -> Iterator[None]:
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
