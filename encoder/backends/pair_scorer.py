"""Runs a reranker with torch: token ids of pairs in, one raw score each out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from encoder.adapter_files import read_adapter
from encoder.backends.adapter import apply_adapter
from encoder.backends.loading import DTYPES, silenced
from encoder.backends.torch import TOKEN_BUDGET, resolve_device
from encoder.pairs import PairTokens


class PairScorer:
    """A loaded cross-encoder, or a language model that answers yes or no."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - any model of transformers
        pad_id: int,
        answers: Sequence[int] = (),
    ) -> None:
        """Take a model; with `answers` (ids of yes and perhaps no) it is a language model."""
        self._model = model
        self._pad_id = pad_id
        self._answers = list(answers)
        self.reads_types = getattr(model.config, "type_vocab_size", 0) > 1
        """Whether the model tells the two texts apart by a number beside each token."""
        self._options = {"use_cache": False} if hasattr(model.config, "use_cache") else {}
        self.device = str(model.device)
        self.engine = f"torch {str(model.dtype).removeprefix('torch.')} on {self.device}"
        """What runs the model, for people."""
        self.token_budget = TOKEN_BUDGET.get(model.device.type, TOKEN_BUDGET["cpu"])

    @classmethod
    def load(
        cls,
        folder: Path,
        base: Path,
        *,
        pad_id: int,
        answers: Sequence[int],
        device: str,
        dtype: str,
        trust_remote_code: bool,
    ) -> "PairScorer":
        """Load the weights in `base`, and over them the adapter in `folder` if that is another.

        Raises:
            ValueError: If an argument is unknown, the weights do not fill the model, or it is no
                reranker.
        """
        if dtype != "auto" and dtype not in DTYPES:
            raise ValueError(f"Unknown dtype {dtype!r}. Known: auto, {', '.join(DTYPES)}.")
        place = resolve_device(device)
        kind: Any = AutoModelForCausalLM if answers else AutoModelForSequenceClassification
        adapter = read_adapter(folder)
        # The base of an adapter may be an encoder, which says nothing of labels.
        options: dict[str, Any] = {"num_labels": 1} if adapter and not answers else {}
        try:
            with silenced():
                model, report = kind.from_pretrained(
                    base,
                    **options,
                    local_files_only=True,
                    trust_remote_code=trust_remote_code,
                    dtype=DTYPES.get(dtype, torch.float32),
                    output_loading_info=True,
                )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ValueError(f"The reranker in {folder} cannot be loaded: {error}") from error
        missing = set(report["missing_keys"])
        if adapter:
            missing -= apply_adapter(model, adapter, base)
        if missing:
            raise ValueError(
                f"{folder} holds no whole reranker: {len(missing)} of its weights are missing, "
                f"among them {min(missing)}. An encoder cannot score pairs."
            )
        if not answers and model.config.num_labels != 1:
            raise ValueError(
                f"{folder} holds a classifier of {model.config.num_labels} labels; a reranker has "
                "one."
            )
        return cls(model.to(place).eval(), pad_id, answers)

    def as_module(self) -> torch.nn.Module:
        """A cross-encoder as one module: inputs by their names, scores of shape (batch,) out."""
        return _Classifier(self._model)

    def score(self, pairs: Sequence[PairTokens]) -> NDArray[np.float32]:
        """Raw scores of one batch, shape (batch,); higher is better.

        Raises:
            ArithmeticError: If the model gives values that are not finite.
        """
        inputs = self._padded(pairs)
        with torch.inference_mode():
            scores = self._answered(inputs) if self._answers else self._classified(inputs)
        if not bool(torch.isfinite(scores).all()):
            raise ArithmeticError(
                "The reranker gave scores that are not finite; load it with dtype='float32'."
            )
        return scores.float().cpu().numpy()

    def _classified(self, inputs: dict[str, Tensor]) -> Tensor:
        return self._model(**inputs).logits[:, 0]  # type: ignore[no-any-return]

    def _answered(self, inputs: dict[str, Tensor]) -> Tensor:
        """The logit of yes behind the last token, less that of no where there is one."""
        # Padding stands on the right, where no token before it can see it.
        hidden = self._model.base_model(**inputs, **self._options).last_hidden_state
        last = inputs["attention_mask"].sum(dim=1) - 1
        ends = hidden[torch.arange(len(last), device=hidden.device), last]
        # Only the answers' rows of the vocabulary are multiplied, not all of them.
        head = self._model.get_output_embeddings()
        weights = head.weight[self._answers].float()
        logits = ends.float() @ weights.T
        if getattr(head, "bias", None) is not None:
            logits = logits + head.bias[self._answers].float()
        if cap := getattr(self._model.config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap  # Gemma 2
        scores: Tensor = logits[:, 0] - logits[:, 1] if len(self._answers) > 1 else logits[:, 0]
        return scores

    def _padded(self, pairs: Sequence[PairTokens]) -> dict[str, Tensor]:
        width = max(len(pair.ids) for pair in pairs)
        ids = torch.full((len(pairs), width), self._pad_id)
        mask = torch.zeros((len(pairs), width), dtype=torch.long)
        types = torch.zeros((len(pairs), width), dtype=torch.long)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair.ids)] = torch.tensor(pair.ids)
            types[row, : len(pair.ids)] = torch.tensor(pair.types)
            mask[row, : len(pair.ids)] = 1
        tensors = {"input_ids": ids, "attention_mask": mask}
        if self.reads_types:
            tensors["token_type_ids"] = types
        return {name: tensor.to(self._model.device) for name, tensor in tensors.items()}


class _Classifier(torch.nn.Module):
    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self._model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self._model(input_ids=input_ids, attention_mask=attention_mask, **types)
        return found.logits[:, 0]  # type: ignore[no-any-return]
