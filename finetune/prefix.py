"""Prefix tokens: some new words before every text are trained, and nothing else of the model.

Source: https://github.com/wangyuxinwhy/uniem, `PrefixTraining` in uniem/training_strategy.py; the
idea is Lester et al. 2021 (https://arxiv.org/abs/2104.08691).
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from encoder.errors import UsageError
from encoder.model_folder import ModelDescription
from encoder.spec import EncoderSpec

FIRST = "<query-0>"
"""The first new word; the others' ids follow."""
_NOISE = 0.1
"""Of the table's own spread: new rows begin near its mean, each a little elsewhere."""


class PrefixedEmbedding(nn.Module):
    """A table of word vectors that stays as it is, and the rows of the new words."""

    def __init__(self, table: nn.Embedding, first: int, count: int, seed: int) -> None:
        super().__init__()
        self.table = table
        self._first = first
        with torch.no_grad():
            known = table.weight[: min(first, len(table.weight))].float()
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(count, known.shape[1], generator=generator).to(known.device)
            rows = known.mean(dim=0) + _NOISE * known.std(dim=0) * noise
        self.rows = nn.Parameter(rows.to(table.weight.dtype))

    def forward(self, ids: Tensor) -> Tensor:
        """Word vectors, shape (*ids.shape, dim)."""
        places = ids - self._first
        is_new = (places >= 0) & (places < len(self.rows))
        known = self.table(ids.masked_fill(is_new, 0))
        new = self.rows[places.clamp(0, len(self.rows) - 1)]
        return torch.where(is_new[..., None], new, known)

    def merged(self) -> nn.Embedding:
        """One table that holds both."""
        old, end = self.table.weight.detach(), self._first + len(self.rows)
        whole = old.new_zeros(max(len(old), end), old.shape[1])
        whole[: len(old)] = old
        whole[self._first : end] = self.rows.detach()
        return nn.Embedding(
            len(whole),
            whole.shape[1],
            padding_idx=self.table.padding_idx,
            _weight=whole,
            device=whole.device,
        )


def prefixed(
    found: ModelDescription, count: int
) -> tuple[ModelDescription, "TemporaryDirectory[str]"]:
    """A model whose instructions begin with `count` new words, and a folder with its tokenizer.

    Raises:
        UsageError: If it has such words already.
    """
    from transformers import AddedToken, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(found.tokenizer_folder, local_files_only=True)
    words = {role: [f"<{role}-{n}>" for n in range(count)] for role in ("query", "document")}
    new = [
        AddedToken(word, normalized=False, special=True) for row in words.values() for word in row
    ]
    if tokenizer.add_tokens(new, special_tokens=True) != len(new):
        raise UsageError(f"{found.spec.name} has prefix tokens already; begin with its base.")
    folder = TemporaryDirectory(prefix="angler-prefix-")
    tokenizer.save_pretrained(folder.name)
    old = found.tokenizer_folder / "sentence_bert_config.json"
    if old.is_file():
        (Path(folder.name) / old.name).write_bytes(old.read_bytes())
    return replace(found, spec=_with_words(found.spec, words)), folder


def _with_words(spec: EncoderSpec, words: dict[str, list[str]]) -> EncoderSpec:
    whole = {role: spec.template(role) for role in words} | dict(spec.templates)
    templates = {}
    for name, template in whole.items():
        role = "document" if name.rpartition("/")[2] == "document" else "query"
        templates[name] = "".join(words[role]) + template
    return replace(spec, templates=templates)


def put_prefix(model: Any, first: int, count: int, seed: int) -> None:  # noqa: ANN401
    """Give a model of transformers rows for the new words, and train only them."""
    for weight in model.parameters():
        weight.requires_grad_(False)
    table = model.get_input_embeddings()
    model.set_input_embeddings(PrefixedEmbedding(table, first, count, seed))


def merge_prefix(model: Any) -> None:  # noqa: ANN401
    """Make the new rows part of the model's own table, where there are any."""
    table = model.get_input_embeddings()
    if isinstance(table, PrefixedEmbedding):
        whole = table.merged()
        model.set_input_embeddings(whole)
        model.config.vocab_size = whole.num_embeddings
