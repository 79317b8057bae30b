"""A batch and its embeddings in, the loss that the training asks for out; knows no model."""

import random

import torch
from torch import Tensor

from finetune import losses
from finetune.batches import Batch
from finetune.config import TrainConfig

_OF_GROUPS = ("group", "in_batch_distillation", "m3_distillation", "margin_mse")


def objective(
    embeddings: Tensor, batch: Batch, config: TrainConfig, *, layers: int = 1, step: int = 0
) -> Tensor:
    """The loss of one step.

    Args:
        embeddings: Of the batch's texts, shape (texts, dim), or (texts, layers * dim) with the
            first layer's first.
        batch: Who belongs to whom; labels from 0 to 1.
        config: Says which loss, and its numbers.
        layers: How many layers' embeddings stand side by side.
        step: Of the training; chooses the earlier layer that is trained in it.

    Returns:
        A scalar.

    Raises:
        ValueError: If the loss needs labels that the batch has not, or the other way round.
    """
    learned = _learned(embeddings, batch, config, layers=layers, step=step)
    if not batch.kept:
        return learned
    return learned + config.keep_weight * _kept(embeddings.chunk(layers, dim=1)[-1], batch)


def _kept(embeddings: Tensor, batch: Batch) -> Tensor:
    """How far the general texts of a step are from where the base has them: 1 less the cosine."""
    rows = embeddings[list(batch.kept)]
    return losses.embedding_distance(rows, torch.as_tensor(batch.kept_rows, device=rows.device))


def _learned(
    embeddings: Tensor, batch: Batch, config: TrainConfig, *, layers: int, step: int
) -> Tensor:
    if layers == 1:
        return _nested(embeddings, batch, config)
    of_layers = [[rows] for rows in embeddings.chunk(layers, dim=1)]
    if config.layers == "espresso":
        return losses.espresso(
            lambda rows: _loss(rows, batch, config), of_layers, size=config.espresso_size
        )
    # One earlier layer a step, as Li et al. draw it (https://arxiv.org/abs/2402.14776).
    drawn = random.Random(f"{config.seed}/layer/{step}").randrange(layers - 1)
    return losses.adaptive_layer(
        lambda rows: _nested(rows, batch, config), of_layers, chosen=[drawn]
    )


def _nested(embeddings: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    """The mean over the whole length and `config.matryoshka_dims`, where there are any.

    Source: Kusupati et al. 2022 (https://arxiv.org/abs/2205.13147).
    """
    lengths = [*config.matryoshka_dims, embeddings.shape[1]]
    found = [_loss(embeddings[:, :length], batch, config) for length in dict.fromkeys(lengths)]
    return torch.stack(found).mean()


def _loss(embeddings: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    queries, positives = embeddings[list(batch.queries)], embeddings[list(batch.positives)]
    if batch.labels:
        return _scored(queries, positives, batch, config)
    if config.loss in {"cosent", "angle"}:
        raise ValueError(f"The loss {config.loss} needs scored pairs; these have no score.")
    if config.loss in _OF_GROUPS:
        return _of_groups(queries, embeddings, batch, config)
    flat = [place for places in batch.negatives for place in places]
    negatives = embeddings[flat] if flat else None
    if config.loss in {"sigmoid", "triplet"}:
        return _of_uniem(queries, positives, negatives, config)
    exclude = _exclude(batch, flat, embeddings.device)
    if config.loss == "angle_mix":
        return _mixed(queries, positives, negatives, exclude, config)
    if config.all_positives and config.loss in {"auto", "in_batch"}:
        return _all_positives(embeddings, batch, config)
    found = losses.in_batch_negatives(
        queries,
        positives,
        negatives,
        temperature=config.temperature,
        symmetric=config.symmetric,
        exclude=exclude,
    )
    if config.loss == "distillation":
        groups, teacher = _taught(embeddings, batch, config)
        found = found + losses.listwise_distillation(
            queries, groups, teacher, temperature=config.temperature
        )
    return found


def _of_groups(queries: Tensor, embeddings: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    """What looks at each query's own positive and negatives, and perhaps at a teacher."""
    if config.loss == "group":
        groups = _groups(embeddings, batch, config)
        return losses.group_softmax(queries, groups, temperature=config.temperature, in_batch=False)
    groups, teacher = _taught(embeddings, batch, config)
    if config.loss == "margin_mse":
        return losses.margin_mse(queries, groups, teacher)
    if config.loss == "in_batch_distillation":
        return _taught_in_batch(queries, embeddings, batch, teacher, config)
    return losses.m3_distillation(queries, groups, teacher, temperature=config.temperature)


def _of_uniem(
    queries: Tensor, positives: Tensor, negatives: Tensor | None, config: TrainConfig
) -> Tensor:
    """Those of uniem's own: with negatives, other queries' documents are none."""
    temperature, swap = config.temperature, config.symmetric
    if config.loss == "sigmoid":
        if negatives is None:
            return losses.pair_sigmoid(queries, positives, temperature=temperature)
        return losses.triplet_sigmoid(
            queries, positives, negatives, temperature=temperature, swap=swap
        )
    if negatives is None:
        raise ValueError(
            "The loss triplet tells a positive from hard negatives, and this step has none; mine "
            "them (python -m finetune.negatives)."
        )
    return losses.triplet_softmax(queries, positives, negatives, temperature=temperature, swap=swap)


def _mixed(
    queries: Tensor,
    positives: Tensor,
    negatives: Tensor | None,
    exclude: Tensor,
    config: TrainConfig,
) -> Tensor:
    """AnglE's mix for pairs (its format B) and triplets (C), with the weights of all terms."""
    if negatives is None:
        if not config.in_batch_weight:
            raise ValueError(
                "The loss angle_mix has only its in-batch term for pairs without a score, and "
                "in-batch-weight 0 leaves nothing to learn; give it a weight, or scored pairs."
            )
        found = losses.in_batch_negatives(
            queries, positives, temperature=config.temperature, exclude=exclude
        )
        return config.in_batch_weight * found
    if len(negatives) != len(queries):
        raise ValueError(
            f"The loss angle_mix takes one hard negative for each query; this step has "
            f"{len(negatives)} for {len(queries)} queries. Take negatives 1, and data in which "
            "every query has one."
        )
    return losses.angle_triplets(
        queries,
        positives,
        negatives,
        weights=_weights(config),
        hard_negatives_weight=config.hard_negatives_weight,
        temperature=config.temperature,
        exclude=exclude,
    )


def _weights(config: TrainConfig) -> losses.MixWeights:
    return losses.MixWeights(
        cosine=config.cosine_weight, in_batch=config.in_batch_weight, angle=config.angle_weight
    )


def _groups(embeddings: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    """Positive and negatives of each query, shape (batch, size, dim)."""
    sizes = {len(places) for places in batch.negatives}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            f"The loss {config.loss} needs as many negatives for each query, and one at least; "
            f"this step has {sorted(sizes)}."
        )
    rows = zip(batch.positives, batch.negatives, strict=True)
    return embeddings[torch.tensor([[positive, *others] for positive, others in rows])]


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


def _taught_in_batch(
    queries: Tensor, embeddings: Tensor, batch: Batch, teacher: Tensor, config: TrainConfig
) -> Tensor:
    own = [
        [positive, *others]
        for positive, others in zip(batch.positives, batch.negatives, strict=True)
    ]
    documents = {place: column for column, place in enumerate(sorted({p for o in own for p in o}))}
    columns = torch.tensor([[documents[place] for place in places] for places in own])
    return losses.in_batch_distillation(
        queries, embeddings[list(documents)], columns, teacher, temperature=config.temperature
    )


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
        places = torch.tensor(batch.positives, device=queries.device)
        return losses.angle_mix(
            queries,
            positives,
            labels,
            weights=_weights(config),
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
