"""A guide, another encoder, says which texts of a step are no negatives after all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from encoder.embedding_cache import EmbeddingCache
from finetune import losses
from finetune.batches import Batch, Schedule
from finetune.mining import embedded

if TYPE_CHECKING:
    from encoder import Encoder


class GuidedSchedule:
    """A schedule whose batches leave out what the guide finds as good as the positive.

    Source: Solatorio 2024 (https://arxiv.org/abs/2402.16829).
    """

    def __init__(
        self,
        schedule: Schedule,
        guide: "Encoder",
        *,
        margin: float = 0.0,
        cache: EmbeddingCache | None = None,
    ) -> None:
        """Put a guide before a schedule.

        Args:
            schedule: Of pairs or triplets; scored pairs stay as they are.
            guide: Reads queries and documents with its own instructions.
            margin: How far below the positive's cosine a text must lie to be a negative.
            cache: Keeps its embeddings, so that later epochs encode nothing.
        """
        self._schedule, self._guide = schedule, guide
        self._margin, self._cache = margin, cache

    def __len__(self) -> int:
        return len(self._schedule)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        batch = self._schedule.batch(step)
        return batch if batch.labels else batch.without(self._false_negatives(batch))

    def _false_negatives(self, batch: Batch) -> list[tuple[int, int]]:
        """Example i and place j in the texts, as `Batch.excluded`."""
        places = [*batch.positives, *(place for row in batch.negatives for place in row)]
        queries = self._embedded(batch, batch.queries, "query")
        documents = self._embedded(batch, places, "document")
        mask = losses.false_negatives(queries, documents, margin=self._margin)
        found = {(row, places[column]) for row, column in mask.nonzero().tolist()}
        return sorted(pair for pair in found if pair[1] != batch.positives[pair[0]])

    def _embedded(
        self, batch: Batch, places: Sequence[int], role: Literal["query", "document"]
    ) -> torch.Tensor:
        texts = [batch.texts[place][1] for place in places]
        return torch.from_numpy(embedded(texts, role, self._guide, self._cache))
