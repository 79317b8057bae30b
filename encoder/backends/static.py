"""Embeds texts by a table: the mean of their tokens' vectors. No model runs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.spec import EncoderSpec
from encoder.static_model import MODEL2VEC, WORDS, StaticFiles
from encoder.tokenizer import Tokenizer, Tokens
from encoder.word_vectors import UNKNOWN, WordTokenizer, load_words

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Table:
    """Vectors of tokens."""

    vectors: NDArray[Any]
    """Shape (rows, width): float32, float16 or int8."""
    rows: NDArray[np.int64] | None = None
    """The row of each token id, where several share one; else the id is the row."""
    weights: Rows | None = None
    """How much each token id counts, where that does not lie in its vector's length."""
    skipped: tuple[int, ...] = (UNKNOWN,)
    """Token ids that count nothing."""

    def of(self, ids: NDArray[np.int64]) -> Rows:
        """The vectors of token ids, shape (ids, width)."""
        rows = ids if self.rows is None else self.rows[ids]
        vectors = self.vectors[rows].astype(np.float32)
        return vectors if self.weights is None else vectors * self.weights[ids][:, None]


class StaticBackend:
    """Looks tokens up; thousands of texts a second on one core."""

    token_budget = 1_000_000
    device = "cpu"
    engine = "static float32 on cpu"

    def __init__(self, table: Table, spec: EncoderSpec) -> None:
        self._table = table
        self._spec = spec

    def embed(self, ids: Sequence[Sequence[int]], starts: Sequence[int] = ()) -> Rows:
        """Embed one batch; `starts` tokens of each text stay out of the mean.

        Returns:
            Shape (batch, dim), unit rows where the spec says so; zeros for a text of which the
            table knows nothing.
        """
        rows = np.zeros((len(ids), self._spec.dim), np.float32)
        if starts:
            ids = [row[start:] for row, start in zip(ids, starts, strict=True)]
        for place, tokens in enumerate(self.embed_tokens(ids)):
            if len(tokens):
                rows[place] = tokens[:, : self._spec.dim].mean(axis=0)
        if self._spec.normalize:
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            np.divide(rows, lengths, out=rows, where=lengths > 0)
        return rows

    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> list[Rows]:
        """The vectors of each text's known tokens, shape (tokens, width) each."""
        arrays = [np.array(tokens, np.int64) for tokens in ids]
        return [self._table.of(tokens[~np.isin(tokens, self._table.skipped)]) for tokens in arrays]


class TableTokenizer(Tokenizer):
    """A tokenizer without marks; a text without a token is one that counts nothing."""

    def encode(self, texts: Sequence[str], template: str, spec: EncoderSpec) -> list[Tokens]:
        """As `Tokenizer.encode`."""
        rows = super().encode(texts, template, spec)
        return [row if row.ids else Tokens([UNKNOWN], 0) for row in rows]


def load_static(files: StaticFiles, spec: EncoderSpec) -> tuple[Tokenizer, StaticBackend]:
    """Load a table and its tokenizer.

    Raises:
        ValueError: If a part is damaged, or the two do not belong together.
    """
    if files.kind == WORDS:
        words, vectors = load_words(files.table, spec.weights)
        return WordTokenizer(words), StaticBackend(Table(vectors), spec)
    tokenizer, unknown = _tokenizer(files)
    # sentence-transformers looks an unknown token up as any other.
    skipped = [UNKNOWN]
    if unknown is not None and files.kind == MODEL2VEC:
        skipped.append(unknown)
    table = _table(files, tuple(skipped))
    ids = tokenizer.backend.get_vocab_size()
    known = len(table.vectors if table.rows is None else table.rows)
    if known < ids:
        raise ValueError(
            f"{files.table} has vectors for {known} tokens, but the tokenizer beside it has {ids}."
        )
    return tokenizer, StaticBackend(table, spec)


def _tokenizer(files: StaticFiles) -> tuple[TableTokenizer, int | None]:
    from tokenizers import Tokenizer as Backend
    from tokenizers.processors import TemplateProcessing

    try:
        backend = Backend.from_file(str(files.tokenizer))
    except Exception as error:  # the library has no errors of its own
        raise ValueError(f"{files.tokenizer} is damaged: {error}.") from error
    backend.no_truncation()
    backend.no_padding()
    backend.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    unknown = _unknown_id(backend)
    return TableTokenizer(backend, 0, unknown, None, ()), unknown


def _unknown_id(backend: Any) -> int | None:  # noqa: ANN401 - tokenizers.Tokenizer is untyped
    if not hasattr(backend.model, "unk_token"):
        unigram = json.loads(backend.to_str())["model"]
        return unigram.get("unk_id")  # type: ignore[no-any-return]
    word = backend.model.unk_token
    return None if word is None else backend.token_to_id(word)


def _table(files: StaticFiles, skipped: tuple[int, ...]) -> Table:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(files.table)
        vectors = tensors[files.tensor]
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(f"{files.table} holds no table of vectors: {error}.") from error
    rows, weights = tensors.get("mapping"), tensors.get("weights")
    return Table(
        vectors,
        None if rows is None else rows.astype(np.int64),
        None if weights is None else weights.astype(np.float32),
        skipped,
    )
