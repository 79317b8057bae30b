"""A batch and its embeddings in, the loss that the training asks for out; knows no model."""

import torch
from torch import Tensor

from finetune import losses
from finetune.batches import Batch
from finetune.config import TrainConfig


def objective(embeddings: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    """The loss of one step.

    Args:
        embeddings: Of the batch's texts, shape (texts, dim).
        batch: Who belongs to whom; labels from 0 to 1.
        config: Says which loss, and its numbers.

    Returns:
        A scalar; the mean over the whole length and `config.matryoshka_dims`, where there are any.

    Raises:
        ValueError: If the loss needs labels that the batch has not, or the other way round.

    Source: Matryoshka: Kusupati et al. 2022 (https://arxiv.org/abs/2205.13147).
    """
    lengths = [*config.matryoshka_dims, embeddings.shape[1]]
    found = [_loss(embeddings[:, :length], batch, config) for length in dict.fromkeys(lengths)]
    return torch.stack(found).mean()


def _loss(embeddings: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    queries, positives = embeddings[list(batch.queries)], embeddings[list(batch.positives)]
    if batch.labels:
        return _scored(queries, positives, batch, config)
    if config.loss in {"cosent", "angle", "angle_mix"}:
        raise ValueError(f"The loss {config.loss} needs scored pairs; these have no score.")
    if config.loss == "margin_mse":
        groups, teacher = _taught(embeddings, batch, config)
        return losses.margin_mse(queries, groups, teacher)
    flat = [place for places in batch.negatives for place in places]
    if config.all_positives and config.loss in {"auto", "in_batch"}:
        return _all_positives(embeddings, batch, config)
    found = losses.in_batch_negatives(
        queries,
        positives,
        embeddings[flat] if flat else None,
        temperature=config.temperature,
        symmetric=config.symmetric,
        exclude=_exclude(batch, flat, embeddings.device),
    )
    if config.loss == "distillation":
        groups, teacher = _taught(embeddings, batch, config)
        found = found + losses.listwise_distillation(
            queries, groups, teacher, temperature=config.temperature
        )
    return found


def _all_positives(embeddings: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    """In-batch negatives in which each text stands once and all that is known to answer counts."""
    numbers: dict[int, int] = {}  # place of a query → its first example
    for number, place in enumerate(batch.queries):
        numbers.setdefault(place, number)
    flat = [place for places in batch.negatives for place in places]
    documents = list(dict.fromkeys([*batch.positives, *flat]))
    rows = list(numbers.values())
    known = _known(batch)[rows][:, documents].to(embeddings.device)
    queries, candidates = embeddings[list(numbers)], embeddings[documents]
    temperature = config.temperature
    loss = losses.multi_positive(queries, candidates, known, temperature=temperature)
    if config.symmetric:
        back = losses.multi_positive(candidates, queries, known.T, temperature=temperature)
        loss = (loss + back) / 2
    return loss


def _taught(embeddings: Tensor, batch: Batch, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Positive and negatives of each query, shape (batch, size, dim), and the teacher's scores."""
    sizes = {len(places) for places in batch.negatives}
    if not batch.teacher or len(sizes) != 1:
        raise ValueError(
            f"The loss {config.loss} needs a teacher's scores (pos_scores, neg_scores) and as many "
            f"negatives for each query; this step has {sorted(sizes)} negatives"
            f"{'' if batch.teacher else ' and no scores'}."
        )
    rows = zip(batch.positives, batch.negatives, strict=True)
    groups = embeddings[torch.tensor([[positive, *others] for positive, others in rows])]
    return groups, torch.tensor(batch.teacher, dtype=torch.float32, device=embeddings.device)


def _scored(queries: Tensor, positives: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    labels = torch.tensor(batch.labels, dtype=torch.float32, device=queries.device)
    temperature = config.temperature
    if config.loss in {"auto", "cosent"}:
        return losses.cosent(queries, positives, labels, temperature=temperature)
    if config.loss == "angle":
        return losses.angle(queries, positives, labels, temperature=temperature)
    if config.loss == "angle_mix":
        weights = losses.MixWeights(
            cosine=config.cosine_weight,
            in_batch=config.in_batch_weight,
            angle=config.angle_weight,
        )
        places = torch.tensor(batch.positives, device=queries.device)
        return losses.angle_mix(
            queries,
            positives,
            labels,
            weights=weights,
            temperature=temperature,
            exclude=places[:, None] == places[None, :],
        )
    raise ValueError(f"The loss {config.loss} takes pairs without a score; these have scores.")


def _exclude(batch: Batch, negatives: list[int], device: torch.device) -> Tensor:
    """True where a candidate is known to answer the query of the row; shape (batch, candidates)."""
    return _known(batch)[:, [*batch.positives, *negatives]].to(device)


def _known(batch: Batch) -> Tensor:
    """True where a text is known to answer the query of an example; shape (examples, texts)."""
    known = torch.zeros(len(batch.queries), len(batch.texts), dtype=torch.bool)
    pairs = [*batch.excluded, *enumerate(batch.positives)]
    rows, places = zip(*pairs, strict=True)
    known[list(rows), list(places)] = True
    return known
