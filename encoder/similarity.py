"""One text against several: embeddings and scores in one call, as on the cards of GTE's models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.encoder import Encoder
from encoder.spec import EncoderSpec
from encoder.templates import PLACE
from encoder.texts import check_texts

_SYMMETRIC = "sts"
"""The task of models whose authors have an instruction for texts of one kind."""


@dataclass(frozen=True)
class Similarity:
    """What `compare` found."""

    text_embedding: NDArray[np.float32]
    """Shape (1 + texts, dim): the source's embedding, then those of the texts."""
    scores: NDArray[np.float32]
    """Shape (texts,): cosines of the source with each text, -1 to 1, higher is more alike."""

    def as_dict(self) -> dict[str, Any]:
        """The two as ModelScope's pipeline gives them: an array, and scores in a list."""
        return {"text_embedding": self.text_embedding, "scores": self.scores.tolist()}


def compare(
    encoder: Encoder, source: str, texts: Sequence[str] = (), *, task: str | None = None
) -> Similarity:
    """Embed a text and several others, and say how alike they are.

    All are texts of one kind, so all get the same instruction: that of `task`; else of the model's
    task `sts`; else none, where documents get none; else that of queries, as E5's authors advise.

    Args:
        encoder: A loaded encoder.
        source: The text that is compared with all others.
        texts: The others; without any there are no scores.
        task: One of the model's tasks.

    Raises:
        TypeError: If a text is no string.
        ValueError: If the model has no such task, or a text holds lone surrogates.

    Source: https://www.modelscope.cn/models/iic/nlp_gte_sentence-embedding_chinese-base
    """
    if not isinstance(source, str):
        raise TypeError(f"source must be a string, got {type(source).__name__}.")
    together = [source, *check_texts(texts)]
    task = task or (_SYMMETRIC if _SYMMETRIC in encoder.spec.tasks else None)
    if task is not None or _leaves_documents_bare(encoder.spec):
        embeddings = encoder.encode_documents(together, task=task)
    else:
        embeddings = encoder.encode_queries(together)
    units = embeddings.astype(np.float64)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return Similarity(embeddings, (units[1:] @ units[0]).astype(np.float32))


def _leaves_documents_bare(spec: EncoderSpec) -> bool:
    return spec.template("document") == PLACE
