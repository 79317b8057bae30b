"""An exported encoder's body as an OpenVINO model beside it, as sentence-transformers loads it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoder.backends.torch import TorchBackend
from encoder.head import load_head
from encoder.model_folder import describe_encoder
from encoder.own_reranker import read_own_reranker
from encoder.pooling import needs_hidden_states, needs_word_vectors, pool
from encoder.tokenizer import Tokenizer
from finetune.exporting import TEXTS, TOLERANCE

FOLDER = "openvino"
"""Of the model's folder; there the library Optimum looks for `openvino_model.xml`."""


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

    if read_own_reranker(folder):
        raise ValueError(f"{folder} is a reranker; only an encoder is written for OpenVINO.")
    found = describe_encoder(str(folder))
    spec = found.spec
    several = needs_hidden_states(spec.pooling) or needs_word_vectors(spec.pooling)
    if spec.both_ways_from >= 0 or spec.layer != -1 or several:
        raise ValueError(
            f"{spec.name} reads several layers or both ways, for which an OpenVINO model alone has "
            "no place; leave OpenVINO out, Angler converts it by itself."
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
    path = folder / FOLDER / "openvino_model.xml"
    path.parent.mkdir(exist_ok=True)
    write_graph(_Body(backend.model), names, path, "last_hidden_state")
    head = load_head(found.folder, spec, torch.device("cpu"))
    worst = 0.0
    for tokens in tokenizer.encode(TEXTS, spec.template("document"), spec):
        ids = np.array([tokens.ids], np.int64)
        inputs = {name: np.ones_like(ids) for name in names} | {"input_ids": ids}
        inputs |= {"token_type_ids": np.zeros_like(ids)} if reads_types else {}
        vectors = torch.from_numpy(run_written(path, inputs))
        row = head(pool(vectors, torch.ones(ids.shape), spec.pooling))[:, : spec.dim]
        row = nn.functional.normalize(row, dim=1) if spec.normalize else row
        worst = max(worst, float(np.abs(row.detach().numpy() - backend.embed([tokens.ids])).max()))
    if not worst <= TOLERANCE:
        raise ValueError(
            f"The OpenVINO model embeds otherwise than the trained one: values differ by "
            f"{worst:.1e}, more than {TOLERANCE:.0e}."
        )
    return path
