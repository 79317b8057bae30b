"""Embeddings and labels in, one differentiable number out; knows no model, text or optimiser.

Every loss takes rows of any length and scores unit rows, in float64 if that came and otherwise in
float32, also under autocast. Lower is better. A zero row has the score 0 and a finite gradient.
"""

from finetune.losses.across import gather_rows, in_batch_negatives_across
from finetune.losses.contrastive import (
    duplicates,
    false_negatives,
    gist,
    group_softmax,
    in_batch_negatives,
    multi_positive,
)
from finetune.losses.distillation import (
    embedding_distance,
    embedding_divergence,
    embedding_mse,
    in_batch_distillation,
    listwise_distillation,
    m3_distillation,
    margin_mse,
)
from finetune.losses.mixed import MixWeights, angle_mix, angle_names, angle_triplets
from finetune.losses.nested import adaptive_layer, espresso, matryoshka, matryoshka_2d, principal
from finetune.losses.ordered import angle, cosent
from finetune.losses.ranking import binary, listwise
from finetune.losses.uniem import (
    pair_cosent,
    pair_sigmoid,
    pair_softmax,
    triplet_cosent,
    triplet_sigmoid,
    triplet_softmax,
)

__all__ = [
    "in_batch_negatives",
    "in_batch_negatives_across",
    "multi_positive",
    "group_softmax",
    "gist",
    "duplicates",
    "false_negatives",
    "gather_rows",
    "cosent",
    "angle",
    "angle_mix",
    "angle_triplets",
    "MixWeights",
    "angle_names",
    "pair_softmax",
    "pair_cosent",
    "pair_sigmoid",
    "triplet_softmax",
    "triplet_cosent",
    "triplet_sigmoid",
    "listwise",
    "binary",
    "margin_mse",
    "in_batch_distillation",
    "listwise_distillation",
    "m3_distillation",
    "embedding_distance",
    "embedding_mse",
    "embedding_divergence",
    "matryoshka",
    "matryoshka_2d",
    "adaptive_layer",
    "espresso",
    "principal",
]
