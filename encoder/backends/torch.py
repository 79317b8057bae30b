"""Runs a model with torch, on the CPU, a CUDA device or a Mac's GPU."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoder.backends.loading import DTYPES, QUANTISED, load_model
from encoder.backends.packed import pack
from encoder.backends.positions import positions_of
from encoder.head import load_head
from encoder.pooling import needs_hidden_states, needs_word_vectors, pool
from encoder.spec import EncoderSpec

TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536, "mps": 8192}
"""Most tokens of a batch: what keeps the caches warm on a CPU, and a large GPU busy."""
_DEVICES = ", ".join(("auto", *TOKEN_BUDGET))
UNPADDED = {"canine", "convbert", "fnet", "funnel", "mobilebert", "yoso"}
"""Architectures whose vectors change with the padding, whatever the mask says: a batch of theirs
holds texts of one length."""


class TorchBackend:
    """A loaded model on one device."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a model of transformers, or a stand-in
        spec: EncoderSpec,
        pad_id: int,
        head: torch.nn.Module,
    ) -> None:
        self._model = model
        self.call: Any = model
        """What runs a padded batch: the model, or what runs it without the padding."""
        self._spec = spec
        self._pad_id = pad_id
        self._head = head
        _check_layer(spec, model.config.num_hidden_layers)
        self.is_unpadded = model.config.model_type in UNPADDED
        """Whether only texts of one length may run together."""
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
        base: Path | None = None,
        pad_id: int,
        device: str,
        dtype: str,
        trust_remote_code: bool,
    ) -> "TorchBackend":
        """Load a model onto `device` (`auto`, `cpu`, `cuda`, `cuda:1`, …).

        Args:
            folder: Where the head lies, and the adapter of a model that has one.
            spec: What the model is to be.
            base: Where the weights lie, if not in `folder`.
            pad_id: The token that fills a batch up.
            device: Where the model shall run.
            dtype: `auto`, a 16- or 32-bit float or, on a GPU, `int8` or `int4`.
            trust_remote_code: Whether to run code that comes with the model.

        Raises:
            ValueError: If an argument is unknown, or the weights do not fill the model.
            MissingExtraError: If a quantised model needs a package that is not installed.
        """
        model = load_model(
            folder,
            base or folder,
            spec,
            device=resolve_device(device),
            dtype=_checked(dtype),
            trust_remote_code=trust_remote_code,
        )
        backend = cls(model, spec, pad_id, load_head(folder, spec, model.device))
        if model.device.type == "cuda" and pack(backend):
            backend.engine += " without padding"
        return backend

    @property
    def model(self) -> Any:  # noqa: ANN401 - as it was given
        """The model itself."""
        return self._model

    @property
    def max_tokens(self) -> int:
        """Most tokens of a text."""
        return self._spec.max_tokens

    def as_module(self) -> torch.nn.Module:
        """What `forward` does as one module, which takes its inputs by the same names."""
        return _Whole(self)

    def embed(
        self, ids: Sequence[Sequence[int]], starts: Sequence[int] = ()
    ) -> NDArray[np.float32]:
        """Embed one batch.

        Args:
            ids: Token ids of each text, of any lengths.
            starts: How many tokens at the beginning of each text stay out of the pooling; none
                where it is empty.

        Returns:
            Shape (batch, dim), unit rows where the spec says so; what the model makes of a text
            may be not finite.
        """
        vectors = torch.empty((len(ids), self._spec.dim))
        for rows in self._groups(ids):
            skipped = [starts[row] for row in rows] if starts else []
            vectors[rows] = self._embedded([ids[row] for row in rows], skipped)
        return vectors.numpy()

    @torch.inference_mode()
    def embed_between(
        self, ids: Sequence[Sequence[int]], before: int, after: int
    ) -> NDArray[np.float32]:
        """Embed each text alone between so many tokens of padding; proves what the mask does."""
        rows = []
        for row in ids:
            # Another word than the padding token, which some models leave out by themselves.
            odd = row[len(row) // 2]
            input_ids = torch.tensor([[odd] * before + list(row) + [odd] * after])
            mask = torch.tensor([[0] * before + [1] * len(row) + [0] * after])
            input_ids, mask = input_ids.to(self._model.device), mask.to(self._model.device)
            places = positions_of(self._model, mask)
            rows.append(self._scaled(self.forward(input_ids, mask, mask, **places)[0]))
        return torch.cat(rows).numpy()

    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The vectors of each text's own tokens, shape (tokens, width) each, not normalised."""
        arrays: dict[int, NDArray[np.float32]] = {}
        for rows in self._groups(ids):
            input_ids, mask = self._padded([ids[row] for row in rows])
            with torch.inference_mode():
                vectors = self._run(input_ids, mask)[0].float().cpu().numpy()
            arrays |= {row: vectors[at, : len(ids[row])].copy() for at, row in enumerate(rows)}
        return [arrays[row] for row in range(len(ids))]

    def _groups(self, ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Which texts run together: all of them, or those of one length."""
        if not self.is_unpadded:
            yield list(range(len(ids)))
            return
        for length in sorted({len(row) for row in ids}):
            yield [row for row, tokens in enumerate(ids) if len(tokens) == length]

    @torch.inference_mode()
    def _embedded(self, ids: Sequence[Sequence[int]], starts: Sequence[int]) -> torch.Tensor:
        input_ids, mask = self._padded(ids)
        pooled = _without_beginning(mask, starts) if starts else mask
        return self._scaled(self.forward(input_ids, mask, pooled)[0])

    def _scaled(self, found: torch.Tensor) -> torch.Tensor:
        embeddings = found[:, : self._spec.dim]
        if self._spec.normalize:
            embeddings = torch.nn.functional.normalize(embeddings, dim=1)
        return embeddings.cpu()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pooled: torch.Tensor,
        **places: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One padded batch through the model, its pooling and its head.

        Args:
            input_ids: Shape (batch, tokens), as the others.
            attention_mask: 1 for the tokens that the model reads, 0 for padding.
            pooled: 1 for the tokens that are pooled.
            places: `position_ids`, where the padding does not stand on the right.

        Returns:
            Embeddings before they are cut and scaled, shape (batch, width), and token vectors.
        """
        vectors, hidden_states = self._run(input_ids, attention_mask, **places)
        words = self._model.get_input_embeddings()(input_ids) if self._needs_words else None
        pooling = self._spec.pooling
        found = pool(vectors, pooled, pooling, hidden_states=hidden_states, word_vectors=words)
        return self._head(found), vectors

    def forward_layers(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, pooled: torch.Tensor
    ) -> list[torch.Tensor]:
        """As `forward`, but the embeddings that each layer gives, first to last."""
        options = self._options | {"output_hidden_states": True}
        output = self.call(input_ids=input_ids, attention_mask=attention_mask, **options)
        words = self._model.get_input_embeddings()(input_ids) if self._needs_words else None
        pooling = self._spec.pooling
        layers = [*output.hidden_states[1:-1], output.last_hidden_state]
        return [self._head(pool(rows, pooled, pooling, word_vectors=words)) for rows in layers]

    def _run(
        self, input_ids: torch.Tensor, mask: torch.Tensor, **places: torch.Tensor
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        """The token vectors of the spec's layer, and those of every layer where they are needed."""
        # Padding stands on the right, so that absolute positions are those of a lone text.
        options = self._options | places
        output = self.call(input_ids=input_ids, attention_mask=mask, **options)
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


class _Whole(torch.nn.Module):
    """A backend as a module, which owns the weights that a conversion looks for."""

    def __init__(self, backend: TorchBackend) -> None:
        super().__init__()
        self._parts = torch.nn.ModuleList([backend._model, backend._head])
        self._backend = backend

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, pooled: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self._backend.forward(input_ids, attention_mask, pooled)


def _without_beginning(mask: torch.Tensor, starts: Sequence[int]) -> torch.Tensor:
    positions = torch.arange(mask.shape[1], device=mask.device)
    return mask * (positions >= torch.tensor(starts, device=mask.device)[:, None])


def _check_layer(spec: EncoderSpec, layers: int) -> None:
    if not -layers - 1 <= spec.layer <= layers:
        raise ValueError(
            f"layer must be between {-layers - 1} and {layers}, the layers of {spec.name}; "
            f"got {spec.layer}."
        )


def resolve_device(device: str) -> torch.device:
    """What `auto`, `cpu`, `cuda` … stand for; ValueError if the machine has no such device.

    `auto` leaves a Mac's GPU (`mps`) alone: its vectors were never compared with the CPU's.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"Unknown device {device!r}. Known: {_DEVICES}.") from error
    if chosen.type not in TOKEN_BUDGET:
        raise ValueError(f"Unknown device {device!r}. Known: {_DEVICES}.")
    count = {"cuda": torch.cuda.device_count, "mps": torch.mps.device_count}.get(chosen.type)
    if count is not None and (chosen.index or 0) >= count():
        raise ValueError(f"Device {device!r} was asked for, but this machine has no such GPU.")
    return chosen


def _checked(dtype: str) -> str:
    known = ("auto", *DTYPES, *QUANTISED)
    if dtype not in known:
        raise ValueError(f"Unknown dtype {dtype!r}. Known: {', '.join(known)}.")
    return "float32" if dtype == "auto" else dtype
