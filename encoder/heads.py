"""bge-m3's further heads: weights of words, and a vector for every token; how they are scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.spec import EncoderSpec

Rows = NDArray[np.float32]

SPARSE, MULTI = "sparse_linear.pt", "colbert_linear.pt"


@dataclass(frozen=True)
class HeadEmbeddings:
    """What the three heads make of some texts."""

    dense: Rows
    """Shape (texts, dim), as `encode_documents` gives it."""
    lexical: list[dict[int, float]]
    """For each text the weight, above 0, of each token id that it holds."""
    multi: list[Rows]
    """For each text shape (tokens, width), unit rows, without the first special token; none where
    they were not asked for."""


class TokenHeads:
    """The layers that turn token vectors into weights of words and into vectors to compare.

    Source: Chen et al. 2024, section 3.2 (https://arxiv.org/abs/2402.03216).
    """

    def __init__(
        self,
        sparse: tuple[Rows, Rows],
        multi: tuple[Rows, Rows],
        weightless: frozenset[int],
    ) -> None:
        """Take two linear layers.

        Args:
            sparse: Weight (1, width) and bias (1,) of the words' weights.
            multi: Weight (out, width) and bias (out,) of the tokens' vectors.
            weightless: Ids of special tokens, which weigh nothing.
        """
        self._sparse = sparse
        self._multi = multi
        self._weightless = weightless

    def lexical(self, token_vectors: Rows, ids: Sequence[int]) -> dict[int, float]:
        """The weight of each token id: the largest of its places, if it is above 0."""
        weight, bias = self._sparse
        found: dict[int, float] = {}
        for token, value in zip(ids, (token_vectors @ weight.T + bias)[:, 0], strict=True):
            if token not in self._weightless and value > found.get(token, 0.0):
                found[token] = float(value)
        return found

    def multi(self, token_vectors: Rows) -> Rows:
        """A unit vector for each token behind the first special one."""
        weight, bias = self._multi
        rows = token_vectors[1:] @ weight.T + bias
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)


def pooled_rows(token_vectors: Rows, spec: EncoderSpec) -> Rows:
    """The dense embedding of one text, given its token vectors; shape (dim,)."""
    import torch

    from encoder.pooling import pool

    rows = torch.from_numpy(token_vectors)[None]
    dense = pool(rows, torch.ones(rows.shape[:2]), spec.pooling)[:, : spec.dim]
    if spec.normalize:
        dense = torch.nn.functional.normalize(dense, dim=1)
    return np.asarray(dense[0].numpy())


def load_heads(folder: Path, weightless: frozenset[int]) -> TokenHeads | None:
    """The further heads in a model's folder, or None where it has none.

    Raises:
        ValueError: If their weights are damaged.
    """
    if not (folder / SPARSE).is_file() or not (folder / MULTI).is_file():
        return None
    return TokenHeads(_linear(folder / SPARSE), _linear(folder / MULTI), weightless)


def _linear(path: Path) -> tuple[Rows, Rows]:
    import pickle

    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state["weight"].float().numpy(), state["bias"].float().numpy()
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} cannot be loaded: {reason}") from error


def lexical_score(query: Mapping[int, float], document: Mapping[int, float]) -> float:
    """The sum over the tokens that both hold of the products of their weights."""
    return sum(weight * document.get(token, 0.0) for token, weight in query.items())


def max_sim(query: Rows, document: Rows) -> float:
    """The mean over the query's tokens of the best cosine with a token of the document."""
    if not len(query) or not len(document):
        return 0.0
    return float((query @ document.T).max(axis=1).mean())


def mixed_scores(
    queries: HeadEmbeddings,
    documents: HeadEmbeddings,
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Rows:
    """Scores of every query with every document, from all three heads.

    Args:
        queries: m texts.
        documents: n texts.
        weights: Of the dense, the lexical and the multi-vector score; their sum becomes 1.

    Returns:
        Shape (m, n); higher is better.

    Raises:
        ValueError: If a weight is negative or all are 0.
    """
    if min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"weights must not be negative nor all 0, got {weights}.")
    dense, lexical, multi = (weight / sum(weights) for weight in weights)
    scores = dense * (queries.dense @ documents.dense.T)
    for row, column in np.ndindex(*scores.shape):
        if lexical:
            found = lexical_score(queries.lexical[row], documents.lexical[column])
            scores[row, column] += lexical * found
        if multi:
            scores[row, column] += multi * max_sim(queries.multi[row], documents.multi[column])
    return scores.astype(np.float32)
