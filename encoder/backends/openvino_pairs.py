"""Runs a cross-encoder through OpenVINO on the CPU: torch's scores, sooner, and without torch.

The way from token ids to scores is converted once and kept on disk (encoder/model_cache.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoder.adapter_files import read_adapter
from encoder.backends.openvino import (
    PRECISIONS,
    TOKEN_BUDGET,
    CompiledOutput,
    converted,
    kept,
    key_of,
)
from encoder.files import digest_of_file
from encoder.model_folder import digest_of_weights
from encoder.pairs import PairTokens

if TYPE_CHECKING:
    from encoder.backends.pair_scorer import PairScorer

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a cross-encoder takes, each of shape (batch, tokens); the last only where it reads it."""


class OpenVinoPairScorer:
    """A converted cross-encoder; one batch runs on one core, and several at once."""

    device = "cpu"

    def __init__(self, graph: Any, pad_id: int, dtype: str) -> None:  # noqa: ANN401
        """Compile a graph that `load_pair_graph` gave, for `float32` or `bfloat16`.

        Raises:
            CannotRunError: If OpenVINO cannot compile the graph.
        """
        self._pad_id = pad_id
        taken = {name for place in graph.inputs for name in place.get_names()}
        self._names = [name for name in _INPUTS if name in taken]
        self._scores = CompiledOutput(graph, 0, PRECISIONS[dtype])
        self.engine = f"openvino {dtype} on {self.device}"
        """What runs the model, for people."""
        self.workers = self._scores.streams
        """How many batches run at once without waiting for each other."""
        self.token_budget = TOKEN_BUDGET

    def score(self, pairs: Sequence[PairTokens]) -> NDArray[np.float32]:
        """Raw scores of one batch, shape (batch,); several threads may score at once.

        Raises:
            ArithmeticError: If the model gives values that are not finite.
        """
        scores = self._scores(self._padded(pairs))
        if not np.isfinite(scores).all():
            raise ArithmeticError(
                "The reranker gave scores that are not finite; load it with dtype='float32'."
            )
        return scores

    def _padded(self, pairs: Sequence[PairTokens]) -> dict[str, NDArray[np.int64]]:
        shape = (len(pairs), max(len(pair.ids) for pair in pairs))
        ids, mask, types = (np.zeros(shape, np.int64) for _ in _INPUTS)
        ids[:] = self._pad_id
        for row, pair in enumerate(pairs):
            length = len(pair.ids)
            ids[row, :length] = pair.ids
            mask[row, :length] = 1
            types[row, :length] = pair.types
        inputs = dict(zip(_INPUTS, (ids, mask, types), strict=True))
        return {name: inputs[name] for name in self._names}


def load_pair_graph(
    folder: Path, base: Path, load_torch: "Callable[[], PairScorer]", *, keep: bool
) -> Any:  # noqa: ANN401 - openvino.Model
    """The way from token ids to scores, kept or converted.

    Args:
        folder: The cross-encoder's, or that of an adapter.
        base: Where its weights lie, or those that the adapter goes over.
        load_torch: Loads it into torch, on the CPU in float32; called where no graph is kept.
        keep: Whether to look for a kept graph, and to keep a new one.

    Raises:
        ValueError: If the model cannot be loaded.
        CannotRunError: If it cannot be converted.
    """

    def make() -> Any:  # noqa: ANN401
        scorer = load_torch()
        names = _INPUTS if scorer.reads_types else _INPUTS[:2]
        return converted(scorer.as_module(), names)

    facts = ["reranker", digest_of_weights(base), digest_of_file(base / "config.json")]
    if adapter := read_adapter(folder):
        facts.append(adapter.digest)
    return kept(key_of(facts), make, keep=keep)
