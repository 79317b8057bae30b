"""General texts in every step, on which the encoder is asked to stay what its base is."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from finetune.batches import DOCUMENT, Batch

if TYPE_CHECKING:
    from finetune.trainer import Steps

_AT_ONCE = 256

Rows = NDArray[np.float32]
Shown = Callable[[int, int], None]
"""Called with (texts read, texts in all)."""


class KeepingSchedule:
    """A schedule whose batches also hold general texts, with the base's embeddings of them.

    Source: Li & Hoiem 2016 (https://arxiv.org/abs/1606.09282), with texts that are not the task's.
    """

    def __init__(
        self,
        schedule: "Steps",
        texts: Sequence[str],
        base: Callable[[Sequence[str]], Rows],
        *,
        each: int,
        seed: int,
        shown: Shown | None = None,
    ) -> None:
        """Add texts to a schedule, and embed them once.

        Args:
            schedule: What is learned.
            texts: What is kept; all of them in turn, again and again.
            base: Gives embeddings by the encoder before its training, rows of unit length.
            each: How many of the texts are in one step.
            seed: Another one gives another order.
            shown: Told how far the reading is.

        Raises:
            ValueError: If there is no text.
        """
        order = list(dict.fromkeys(text for text in texts if text.strip()))
        if not order:
            raise ValueError("There is no text to keep; give some hundreds, or leave keep out.")
        random.Random(f"{seed}/keep").shuffle(order)
        self._schedule = schedule
        self._each = min(each, len(order))
        self._texts = order[: len(schedule) * self._each]
        self._rows = self._embedded(base, shown)

    def __len__(self) -> int:
        return len(self._schedule)

    def _embedded(self, base: Callable[[Sequence[str]], Rows], shown: Shown | None) -> Rows:
        total, parts = len(self._texts), []
        for start in range(0, total, _AT_ONCE):
            parts.append(base(self._texts[start : start + _AT_ONCE]))
            if shown is not None:
                shown(min(total, start + _AT_ONCE), total)
        return np.concatenate(parts)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        batch: Batch = self._schedule.batch(step)
        first = step * self._each
        chosen = [at % len(self._texts) for at in range(first, first + self._each)]
        places = {text: place for place, text in enumerate(batch.texts)}
        kept = [places.setdefault((DOCUMENT, self._texts[at], None), len(places)) for at in chosen]
        return replace(batch, texts=list(places), kept=kept, kept_rows=self._rows[chosen])
