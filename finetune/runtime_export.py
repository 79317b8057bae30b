"""An exported encoder's body for another engine beside it, as sentence-transformers loads it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoder.backends.torch import TorchBackend
from encoder.head import load_head
from encoder.model_folder import describe_encoder
from encoder.own_reranker import read_own_reranker
from encoder.pooling import needs_hidden_states, needs_word_vectors, pool
from encoder.spec import EncoderSpec
from encoder.tokenizer import Tokenizer, Tokens
from finetune.exporting import TEXTS, TOLERANCE

OUTPUT = "last_hidden_state"
_AT_ONCE = 4
"""Texts of a batch, so that shorter ones are padded: a mask can be lost on the way."""

Inputs = dict[str, NDArray[np.int64]]


class _Engine(NamedTuple):
    """What runs a written model."""

    called: str
    file: str
    """In the model's folder, where the library Optimum looks for it."""
    write: Callable[[nn.Module, Sequence[str], Path, str], None]
    run: Callable[[Path, Inputs], NDArray[np.float32]]


class _Body(nn.Module):
    def __init__(self, model: Any) -> None:  # noqa: ANN401 - of transformers
        super().__init__()
        self._model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self._model(input_ids=input_ids, attention_mask=attention_mask, **types)
        return found.last_hidden_state  # type: ignore[no-any-return]


def add_openvino(folder: Path) -> Path:
    """Write `openvino/openvino_model.xml` into an exported encoder's folder.

    What was written runs on sixteen texts and must give what torch gives.

    Returns:
        The file.

    Raises:
        ValueError: If OpenVINO cannot run the encoder, or gives other vectors.
        MissingExtraError: If OpenVINO is not installed.
    """
    from encoder.backends.openvino import run_written, write_graph

    return _add(
        folder, _Engine("OpenVINO", "openvino/openvino_model.xml", write_graph, run_written)
    )


def add_onnx(folder: Path) -> Path:
    """Write `onnx/model.onnx` into an exported encoder's folder.

    What was written runs on sixteen texts and must give what torch gives.

    Returns:
        The file.

    Raises:
        ValueError: If it cannot be written as ONNX, or gives other vectors.
        MissingExtraError: If ONNX or its runtime is not installed.
    """
    from finetune.onnx_file import run_onnx, write_onnx

    return _add(folder, _Engine("ONNX", "onnx/model.onnx", write_onnx, run_onnx))


def _add(folder: Path, engine: _Engine) -> Path:
    if read_own_reranker(folder):
        raise ValueError(f"{folder} is a reranker; only an encoder is written for {engine.called}.")
    found = describe_encoder(str(folder))
    spec = found.spec
    several = needs_hidden_states(spec.pooling) or needs_word_vectors(spec.pooling)
    if spec.both_ways_from >= 0 or spec.layer != -1 or several:
        raise ValueError(
            f"{spec.name} reads several layers or both ways, for which an {engine.called} model "
            f"alone has no place; leave {engine.called} out."
        )
    tokenizer = Tokenizer.load(found.tokenizer_folder)
    backend = TorchBackend.load(
        found.folder,
        spec,
        base=found.base,
        pad_id=tokenizer.pad_id,
        device="cpu",
        dtype="float32",
        trust_remote_code=False,
    )
    reads_types = getattr(backend.model.config, "type_vocab_size", 0) > 1
    names = ["input_ids", "attention_mask", *(["token_type_ids"] * reads_types)]
    path = folder / engine.file
    path.parent.mkdir(exist_ok=True)
    engine.write(_Body(backend.model).eval(), names, path, OUTPUT)
    tokens = tokenizer.encode(TEXTS, spec.template("document"), spec)
    head = load_head(found.folder, spec, torch.device("cpu"))
    worst = 0.0
    for start in range(0, len(tokens), _AT_ONCE):
        some = tokens[start : start + _AT_ONCE]
        inputs = _padded(some, tokenizer.pad_id, names)
        vectors = torch.from_numpy(engine.run(path, inputs))
        row = head(pool(vectors, torch.from_numpy(inputs["attention_mask"]), spec.pooling))
        rows = _finished(row, spec)
        wanted = backend.embed([one.ids for one in some])
        worst = max(worst, float(np.abs(rows - wanted).max()))
    if not worst <= TOLERANCE:
        raise ValueError(
            f"The {engine.called} model embeds otherwise than the trained one: values differ by "
            f"{worst:.1e}, more than {TOLERANCE:.0e}."
        )
    return path


def _padded(tokens: Sequence[Tokens], pad_id: int, names: Sequence[str]) -> Inputs:
    """One batch, shape (texts, longest); padding stands on the right."""
    longest = max(len(one.ids) for one in tokens)
    ids = np.full((len(tokens), longest), pad_id, np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(tokens):
        ids[row, : len(one.ids)] = one.ids
        mask[row, : len(one.ids)] = 1
    found = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: found[name] for name in names}


def _finished(rows: Tensor, spec: EncoderSpec) -> NDArray[np.float32]:
    rows = rows[:, : spec.dim]
    return (nn.functional.normalize(rows, dim=1) if spec.normalize else rows).detach().numpy()
