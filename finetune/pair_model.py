"""A reranker that can be trained: a query and its texts in, raw scores with gradients out."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from encoder.backends.loading import silenced
from encoder.batching import plan_batches
from encoder.errors import MissingExtraError, UsageError
from encoder.files import read_object
from encoder.folder_facts import limit_of_positions
from encoder.model_folder import find_model_folder
from encoder.pairs import PairTokenizer, PairTokens
from encoder.registry import DEFAULT_MODEL
from encoder.tokenizer import Tokenizer
from finetune.config import TrainConfig
from finetune.trainable import CPU_TOKENS, own_device, precision_of, set_dropout

_READS_BOTH_WAYS = (
    "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet", "deberta-v2",
    "modernbert", "albert", "ernie", "nomic_bert",
)  # fmt: skip
"""Kinds of models (`model_type`) of which transformers has a classifier that reads both ways."""


class PairModule(nn.Module):
    """A classifier of one label as one module, so that the trainer wraps and saves it whole."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - any of transformers, or peft's around
        super().__init__()
        self.model = model
        self.reads_types = getattr(model.config, "type_vocab_size", 0) > 1
        """Whether the model tells the two texts apart by a number beside each token."""

    def forward(self, input_ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """Raw scores in float32, shape (batch,); higher is better."""
        named = {"token_type_ids": types} if self.reads_types else {}
        found = self.model(input_ids=input_ids, attention_mask=mask, **named)
        return found.logits[:, 0].float()  # type: ignore[no-any-return]


@dataclass
class TrainableReranker:
    """A cross-encoder in torch with its tokenizer, and which of its weights are trained."""

    name: str
    """Of the model to begin with."""
    folder: Path
    """Where its tokenizer lies."""
    module: PairModule
    tokenizer: PairTokenizer
    max_tokens: int
    is_begun: bool
    """Whether the model to begin with was a reranker already."""
    precision: str = "float32"

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return next(self.module.parameters()).device

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def inputs(self, pairs: Sequence[PairTokens]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded ids, mask and sides, shape (pairs, longest) each."""
        width = max(len(pair.ids) for pair in pairs)
        ids = torch.full((len(pairs), width), self.tokenizer.pad_id)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, pair in enumerate(pairs):
            ids[row, : len(pair.ids)] = torch.tensor(pair.ids)
            mask[row, : len(pair.ids)] = 1
            types[row, : len(pair.ids)] = torch.tensor(pair.types)
        return ids.to(self.device), mask.to(self.device), types.to(self.device)

    def token_budget(self, pairs: int | None) -> int:
        """Most tokens to run together: what `pairs` may take, on a CPU no more than is quick."""
        if self.device.type == "cpu":
            return min(CPU_TOKENS, (pairs or CPU_TOKENS) * self.max_tokens)
        return (pairs or 64) * self.max_tokens

    def score_quickly(self, query: str, documents: Sequence[str]) -> NDArray[np.float32]:
        """As `score`, in the training's precision."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.score(query, documents)

    def score(self, query: str, documents: Sequence[str]) -> NDArray[np.float32]:
        """Raw scores with the weights as they are now, shape (len(documents),)."""
        was_training = self.module.training
        self.module.eval()
        found = np.empty(len(documents), np.float32)
        tokens = self.tokenizer.encode([(query, text) for text in documents])
        with torch.no_grad():
            for places in plan_batches([len(pair.ids) for pair in tokens], self.token_budget(None)):
                scores = self.module(*self.inputs([tokens[place] for place in places]))
                found[places] = scores.cpu().numpy()
        self.module.train(was_training)
        return found


def load_trainable_reranker(config: TrainConfig) -> TrainableReranker:
    """Load the model to begin with, an encoder or a reranker, and choose what of it is trained.

    An encoder gets a new head of one score.

    Raises:
        ModelNotFoundError: If there is no such model.
        UsageError: If no reranker can be made of the model, or the method does not fit.
        MissingExtraError: If a package for the method is not installed.
    """
    folder = find_model_folder(config.model)
    facts = read_object(folder / "config.json")
    name = config.model or DEFAULT_MODEL
    kind = facts.get("model_type")
    if kind not in _READS_BOTH_WAYS:
        raise UsageError(
            f"{name} is {kind or 'no transformer model'}; a reranker is made of a model that reads "
            f"both ways: {', '.join(_READS_BOTH_WAYS)}."
        )
    if config.method in {"qlora", "prefix"}:
        raise UsageError(f"A reranker is trained by full, lora or bitfit, not by {config.method}.")
    limit, _ = limit_of_positions(folder, {**facts, "max_position_embeddings": _positions(facts)})
    max_tokens = min(limit, config.max_pair_tokens)
    # The device's random numbers draw the new head.
    torch.manual_seed(config.seed)
    model, new = _load(folder)
    module = PairModule(_prepared(model, new, config).to(own_device(config.device)))
    if config.dropout is not None:
        set_dropout(module, config.dropout)
    if config.method == "bitfit":
        for path, weight in module.named_parameters():
            is_new = any(f"model.{part}." in path for part in new)
            weight.requires_grad_(path.endswith("bias") or is_new)
    return TrainableReranker(
        name=name,
        folder=folder,
        module=module,
        tokenizer=PairTokenizer(Tokenizer.load(folder), max_tokens),
        max_tokens=max_tokens,
        is_begun=not new,
        precision=precision_of(config.precision, next(module.parameters()).device),
    )


def _positions(facts: dict[str, Any]) -> int:
    return int(facts.get("max_position_embeddings", 512))


def _load(folder: Path) -> tuple[Any, list[str]]:
    """The model, and the parts of it that are new: in no file, so drawn at random."""
    try:
        # One label whatever the folder had: a classifier of three classes is no reranker.
        config = AutoConfig.from_pretrained(folder, local_files_only=True, num_labels=1)
        with silenced():
            model, report = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"No reranker can be made of {folder}: {reason}") from error
    return model, sorted({key.rpartition(".")[0] for key in report["missing_keys"]})


def _prepared(model: Any, new: Sequence[str], config: TrainConfig) -> Any:  # noqa: ANN401
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.method != "lora":
        return model
    if find_spec("peft") is None:
        raise MissingExtraError("The method lora", "finetune")
    from peft import LoraConfig, get_peft_model

    body = f"{model.base_model_prefix}."
    whole = sorted({*new, *_heads(model)})
    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    inner = [name for name in linear if name.startswith(body) and name not in whole]
    if config.lora_targets:
        inner = [name for name in inner if name.rpartition(".")[2] in config.lora_targets]
        if not inner:
            raise UsageError(f"The model has no linear layer {', '.join(config.lora_targets)}.")
    return get_peft_model(
        model,
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=inner,
            modules_to_save=whole,
        ),
    )


def _heads(model: Any) -> list[str]:  # noqa: ANN401
    """Paths of the layers above the body."""
    body = model.base_model_prefix
    return [
        name
        for name, part in model.named_modules()
        if name.partition(".")[0] not in {"", body} and any(True for _ in part.parameters(False))
    ]
