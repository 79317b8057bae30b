"""Runs a batch as one row without padding, where the attention keeps its texts apart.

A model's other layers work token by token, so padding is all that a batch of texts of different
lengths costs more than its tokens.
"""

import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from encoder.backends.loading import silenced
from encoder.backends.positions import positions_of

if TYPE_CHECKING:
    from encoder.backends.torch import TorchBackend

log = logging.getLogger(__name__)

ATTENTION = "angler_packed"
"""The name under which transformers finds our attention."""
COSINE = {torch.float32: 1 - 1e-10}
"""Lowest cosine of a vector without padding to the same one with it, by precision."""
_COSINE_16_BIT = 0.9999
_PROBES = (3, 600, 17, 64, 130)
"""Tokens of the texts that are compared: short ones between long ones, and longer than windows."""
_UNHEEDED = ("position_bias", "softcap", "s_aux", "cache")
"""What some models ask of an attention and ours does not do."""
_NEEDED = {"cu_seq_q", "cu_seq_k", "max_q", "max_k", "scale", "window_size", "enable_gqa"}

Window = tuple[int, int]
"""How many tokens before and behind itself a token reads; -1 for all."""


class NotPackableError(ValueError):
    """A model does not run without padding."""


@dataclass(frozen=True, slots=True)
class _Row:
    """Texts that stand one behind the other."""

    bounds: Tensor
    """Where each begins, and the end of the last one: shape (texts + 1,), int32."""
    longest: int


class _Current(local):
    """The row that a thread is running; one encoder may serve several threads."""

    row: _Row | None = None


_current = _Current()


@dataclass(frozen=True, slots=True)
class Output:
    """What a model gave, padded again."""

    last_hidden_state: Tensor
    hidden_states: Sequence[Tensor]


class PackedModel:
    """Stands in for a model of transformers: takes a padded batch, and runs it without padding."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - a model of transformers
        """Give a model our attention, which is the usual one for whoever calls the model itself.

        Raises:
            NotPackableError: If the model has an attention of its own.
        """
        if not hasattr(model, "set_attn_implementation"):
            raise NotPackableError(f"{type(model).__name__} takes no other attention")
        AttentionInterface.register(ATTENTION, _attention)
        AttentionMaskInterface.register(ATTENTION, _mask)
        self._model = model
        self._before = model.config._attn_implementation
        with silenced():
            model.set_attn_implementation(ATTENTION)
        if model.config._attn_implementation != ATTENTION:
            raise NotPackableError(f"{type(model).__name__} takes no other attention")

    def undo(self) -> None:
        """Give the model its own attention back."""
        with silenced():
            self._model.set_attn_implementation(self._before)

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Output:  # noqa: ANN401
        """As the model's own; the padding may stand on either side."""
        real = attention_mask.bool()
        lengths = real.sum(dim=1)
        bounds = pad(lengths.cumsum(0), (1, 0)).int()
        for name, places in positions_of(self._model, real).items():
            options[name] = places[real][None]
        _current.row = _Row(bounds, int(lengths.max()))
        try:
            output = self._model(input_ids=input_ids[real][None], attention_mask=None, **options)
        finally:
            _current.row = None
        states = getattr(output, "hidden_states", None) or ()
        return Output(
            _padded(output.last_hidden_state, real), [_padded(state, real) for state in states]
        )


def pack(backend: "TorchBackend") -> bool:
    """Let an engine run without padding where its vectors stay the same; says why they do not.

    A few texts are embedded both ways, so that no model and no kernel is taken on trust.
    """
    model = backend.model
    # Texts of one length would be compared one by one, and neighbours never meet.
    reason = "its vectors change with their neighbours" if backend.is_unpadded else _obstacle(model)
    packed = None
    if not reason:
        probes = _probes(model.config.vocab_size, backend.max_tokens)
        want = backend.embed(probes)
        try:
            packed = PackedModel(model)
            backend.call = packed
            cosine = _lowest_cosine(backend.embed(probes), want)
            lowest = COSINE.get(model.dtype, _COSINE_16_BIT)
            reason = "" if cosine >= lowest else f"its vectors differ, lowest cosine {cosine:.6f}"
        except (RuntimeError, ValueError, TypeError, KeyError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:200]
    if not reason:
        return True
    backend.call = model
    if packed is not None:
        packed.undo()
    log.info("%s runs with padding: %s.", backend.engine, reason)
    return False


def _obstacle(model: Any) -> str:  # noqa: ANN401
    """Why trying is in vain; empty where it may go well."""
    if torch.device(model.device).type != "cuda":
        return ""  # the way that is as good as any
    if _varlen() is None:
        return f"torch {torch.__version__} has no attention for texts of different lengths"
    if model.dtype not in {torch.bfloat16, torch.float16}:
        return "the attention for texts of different lengths takes 16 bits only"
    return ""


def _probes(vocabulary: int, max_tokens: int) -> list[list[int]]:
    random = np.random.default_rng(0)
    low = min(10, vocabulary - 1)  # the first ids are often marks
    lengths = [min(length, max_tokens) for length in _PROBES]
    return [random.integers(low, vocabulary, length).tolist() for length in lengths]


def _lowest_cosine(got: np.ndarray, want: np.ndarray) -> float:
    got, want = got.astype(np.float64), want.astype(np.float64)
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(want, axis=1)
    return float(((got * want).sum(axis=1) / lengths).min())


def _padded(row: Tensor, real: Tensor) -> Tensor:
    vectors = row.new_zeros((*real.shape, row.shape[-1]))
    vectors[real] = row[0]
    return vectors


# What transformers calls


def _mask(*arguments: Any, **options: Any) -> Tensor | None:  # noqa: ANN401 - as sdpa_mask
    return sdpa_mask(*arguments, **options) if _current.row is None else None


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,  # noqa: ANN401
) -> tuple[Tensor, None]:
    """Attention as transformers calls it: (batch, heads, tokens, size) in, tokens first out."""
    row = _current.row
    if row is None:
        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **options,
        )
    asked = [name for name in _UNHEEDED if options.get(name) is not None]
    if asked or attention_mask is not None:
        raise NotPackableError(f"its attention wants {(*asked, 'a mask')[0]}")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    window = _window(options.get("sliding_window"), causal=causal)
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    attend = _by_kernel if query.device.type == "cuda" else _one_by_one
    return attend(query, key, value, row, scaling, window)[None], None


def _window(sliding: int | None, *, causal: bool) -> Window:
    """Transformers counts a token itself among those of its window."""
    side = -1 if sliding is None else sliding - 1
    return side, 0 if causal else side


def _by_kernel(
    query: Tensor, key: Tensor, value: Tensor, row: _Row, scale: float | None, window: Window
) -> Tensor:
    found: Tensor = _varlen()(
        query,
        key,
        value,
        row.bounds,
        row.bounds,
        row.longest,
        row.longest,
        scale=scale,
        window_size=window,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found


def _varlen() -> Any:  # noqa: ANN401 - torch's function
    """Torch's attention for texts of different lengths; None where it has none of this form."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if set(inspect.signature(varlen_attn).parameters) >= _NEEDED else None


def _one_by_one(
    query: Tensor, key: Tensor, value: Tensor, row: _Row, scale: float | None, window: Window
) -> Tensor:
    parts = []
    for start, end in pairwise(row.bounds.tolist()):
        q, k, v = (tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value))
        mask = _window_mask(end - start, window).to(query.device)
        found = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=True)
        parts.append(found[0].transpose(0, 1))
    return torch.cat(parts)


def _window_mask(length: int, window: Window) -> Tensor:
    places = torch.arange(length)
    behind = places[:, None] - places[None, :]
    before, after = (length if side < 0 else side for side in window)
    return (behind <= before) & (-behind <= after)
