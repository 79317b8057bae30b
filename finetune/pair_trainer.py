"""Runs the steps of a reranker's training; each list of texts has a loss of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from encoder.pairs import PairTokens
from finetune import losses
from finetune.batches import Batch, Schedule
from finetune.config import TrainConfig
from finetune.pair_model import TrainableReranker
from finetune.trainable import in_groups
from finetune.trainer import Progress, Score, StepTrainer

_NOTHING = float("-inf")


class TextList(NamedTuple):
    """A query and the texts that are scored beside it, the right one first."""

    query: str
    texts: tuple[str, ...]
    wanted: tuple[float, ...]
    """Labels from 0 to 1, or a teacher's scores; empty where only the first text is right."""


def lists_of(batch: Batch) -> list[TextList]:
    """The lists of a step, one for each example."""
    text = [found for _, found, _ in batch.texts]
    if batch.labels:
        rows = zip(batch.queries, batch.positives, batch.labels, strict=True)
        return [TextList(text[one], (text[other],), (label,)) for one, other, label in rows]
    teacher = batch.teacher or [()] * len(batch.queries)
    rows_ = zip(batch.queries, batch.positives, batch.negatives, teacher, strict=True)
    return [
        TextList(text[query], (text[right], *(text[at] for at in wrong)), tuple(scores))
        for query, right, wrong, scores in rows_
    ]


def list_loss(scores: Sequence[Tensor], lists: Sequence[TextList], loss: str) -> Tensor:
    """The mean loss of some lists.

    Args:
        scores: Of each list's texts, shape (texts,).
        lists: What was scored.
        loss: One of `finetune.config.RERANKER_LOSSES`.

    Raises:
        ValueError: If the loss asks for what the lists have not.
    """
    is_labelled = len(lists[0].texts) == len(lists[0].wanted) == 1
    if loss == "binary" or (loss == "auto" and is_labelled):
        return _binary(scores, lists, is_labelled)
    if any(len(found.texts) < 2 for found in lists):
        raise ValueError(
            "The loss listwise needs wrong texts beside the right one, and a list has none; mine "
            "them (python -m finetune.negatives), or take the loss binary for scored pairs."
        )
    padded = torch.nn.utils.rnn.pad_sequence(list(scores), True, _NOTHING)
    if not all(found.wanted for found in lists):
        return losses.listwise(padded)
    rows = [torch.tensor(found.wanted, device=padded.device) for found in lists]
    taught = torch.nn.utils.rnn.pad_sequence(rows, True, _NOTHING)
    return losses.listwise(padded, teacher_scores=taught)


def _binary(scores: Sequence[Tensor], lists: Sequence[TextList], is_labelled: bool) -> Tensor:
    """The mean over the lists of each one's mean over its texts."""
    terms = []
    for row, found in zip(scores, lists, strict=True):
        right = [*found.wanted] if is_labelled else [1.0] + [0.0] * (len(row) - 1)
        terms.append(losses.binary(row, torch.tensor(right, device=row.device)))
    return torch.stack(terms).mean()


class PairTrainer(StepTrainer):
    """A trainer of rerankers; the lists of a step are dealt out over the processes."""

    def __init__(
        self,
        reranker: TrainableReranker,
        schedule: Schedule,
        config: TrainConfig,
        folder: Path,
        *,
        score: Score | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(reranker, schedule, config, folder, score=score, progress=progress)
        self._reranker = reranker

    def add_gradients(self, model: torch.nn.Module, inputs: Any) -> Tensor:  # noqa: ANN401 - a Batch
        """The work of a step; gives the loss of this process's lists."""
        lists = lists_of(inputs)
        total = torch.zeros((), device=self._reranker.device)
        # No list knows of another, so that the sum over portions is exactly that of one large step.
        own, size = self.own_share(lists, "queries"), self._config.batch_size
        portions = [own[start : start + size] for start in range(0, len(own), size)]
        for portion in self.one_by_one(model, portions):
            part = list_loss(self._scored(model, portion), portion, self._config.loss)
            part = part * (len(portion) / len(lists))
            self.accelerator.backward(part * self.args.world_size)
            total += part.detach()
        mean: Tensor = total * self.args.world_size
        return mean

    def _scored(self, model: torch.nn.Module, lists: Sequence[TextList]) -> list[Tensor]:
        """Scores of each list's texts; texts of like length run together."""
        pairs = [(found.query, text) for found in lists for text in found.texts]
        tokens: list[PairTokens] = self._reranker.tokenizer.encode(pairs)
        lengths = [len(pair.ids) for pair in tokens]
        groups = list(in_groups(lengths, self._reranker.token_budget(None)))
        rows = [model(*self._reranker.inputs([tokens[at] for at in group])) for group in groups]
        places = torch.tensor([at for group in groups for at in group])
        flat = torch.cat(rows)
        in_order = flat.new_zeros(len(tokens)).index_copy(0, places.to(flat.device), flat)
        return list(torch.split(in_order, [len(found.texts) for found in lists]))
