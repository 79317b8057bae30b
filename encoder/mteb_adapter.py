"""Angler's encoder as a model of the `mteb` package (2.x), for its tasks and leaderboards."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.encoder import Encoder
from encoder.errors import MissingExtraError

Rows = NDArray[np.float32]
_TASK_OF_TYPE = {
    "STS": "sts",
    "PairClassification": "sts",
    "Classification": "classification",
    "MultilabelClassification": "classification",
    "Clustering": "clustering",
}
"""mteb's task type → the encoder's task, where it has one of that name."""


class MtebEncoder:
    """What `mteb.evaluate(MtebEncoder(encoder), tasks)` calls.

    Queries and documents get the encoder's own instructions; texts without a role, as in STS, get
    those of the fitting task, or the documents'.

    Source: mteb's EncoderProtocol (https://embeddings-benchmark.github.io/mteb/).
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,  # noqa: ANN401 - mteb's TaskMetadata
        prompt_type: str | None = None,
        **_: object,
    ) -> Rows:
        """Embed the texts of all batches, shape (texts, dim).

        Args:
            inputs: Batches with a list `text` each.
            task_metadata: Its `type` chooses the task where there is no role.
            prompt_type: `query`, `document` or None.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if prompt_type == "query":
            return self.encoder.encode_queries(texts)
        task = _TASK_OF_TYPE.get(task_metadata.type)
        if prompt_type is None and task in self.encoder.spec.tasks:
            return self.encoder.encode_queries(texts, task=task)
        return self.encoder.encode_documents(texts)

    def similarity(self, embeddings1: Rows, embeddings2: Rows) -> Rows:
        """Cosines of all pairs, shape (first, second); rows are of unit length."""
        return np.atleast_2d(embeddings1) @ np.atleast_2d(embeddings2).T

    def similarity_pairwise(self, embeddings1: Rows, embeddings2: Rows) -> Rows:
        """Cosine of each row with its counterpart."""
        rows = np.atleast_2d(embeddings1), np.atleast_2d(embeddings2)
        return np.asarray(np.einsum("ij,ij->i", *rows))

    @cached_property
    def mteb_model_meta(self) -> Any:  # noqa: ANN401 - mteb's ModelMeta
        """What mteb writes beside the results.

        Raises:
            MissingExtraError: If mteb is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ImportError as error:
            raise MissingExtraError("The mteb adapter", "mteb") from error
        spec = self.encoder.spec
        name = spec.name if spec.name.count("/") == 1 else f"angler/{spec.name.rsplit('/')[-1]}"
        facts = {"name": name, "revision": spec.fingerprint[:40], "embed_dim": spec.dim}
        return ModelMeta.create_empty(overwrites=facts | {"max_tokens": spec.max_tokens})
