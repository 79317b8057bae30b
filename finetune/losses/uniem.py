"""Uniem's objectives by its names; the seventh, CoSent, is `cosent`.

The CoSent forms are the softmax forms written otherwise: log(sum of exp(s_ij - s_i,own)) is the
cross-entropy. So there are five different objectives, and `pair_cosent` and `triplet_cosent` are
the same functions under their second name.

Source: https://github.com/wangyuxinwhy/uniem, `uniem/criteria.py`.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from finetune.losses.contrastive import in_batch_negatives
from finetune.losses.rows import check_hard_negatives, check_pairs, cosines, unit


def pair_softmax(queries: Tensor, documents: Tensor, *, temperature: float = 0.05) -> Tensor:
    """In-batch negatives, as `in_batch_negatives`; all shapes (batch, dim)."""
    return in_batch_negatives(queries, documents, temperature=temperature)


def triplet_softmax(
    queries: Tensor,
    documents: Tensor,
    hard_negatives: Tensor,
    *,
    temperature: float = 0.05,
    swap: bool = False,
) -> Tensor:
    """Each query finds its document among all hard negatives; other documents are no negatives.

    Args:
        queries: Shape (batch, dim).
        documents: Shape (batch, dim).
        hard_negatives: Shape (m, dim).
        temperature: Divides the cosines.
        swap: Whether to add `pair_softmax` from documents to queries.
    """
    own, others = _triplet_scores(queries, documents, hard_negatives, temperature)
    scores = torch.cat([own[:, None], others], dim=1)
    loss = (torch.logsumexp(scores, dim=1) - own).mean()
    if swap:
        loss = loss + pair_softmax(documents, queries, temperature=temperature)
    return loss


def pair_sigmoid(queries: Tensor, documents: Tensor, *, temperature: float = 0.05) -> Tensor:
    """Each document is told from every other one by itself.

    loss = mean over i and j != i of -log sigmoid(s_ii - s_ij). Theirs is infinite where a gap is
    wide and negative, and not a number for one pair; here one pair gives 0.
    """
    check_pairs(queries, documents, temperature)
    scores = cosines(queries, documents) / temperature
    gaps = scores.diagonal()[:, None] - scores
    others = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return -F.logsigmoid(gaps[others]).sum() / max(1, len(scores) * (len(scores) - 1))


def triplet_sigmoid(
    queries: Tensor,
    documents: Tensor,
    hard_negatives: Tensor,
    *,
    temperature: float = 0.05,
    swap: bool = False,
) -> Tensor:
    """Each document is told from every hard negative by itself; see `triplet_softmax`."""
    own, others = _triplet_scores(queries, documents, hard_negatives, temperature)
    loss = -F.logsigmoid(own[:, None] - others).mean()
    if swap:
        loss = loss + pair_sigmoid(documents, queries, temperature=temperature)
    return loss


pair_cosent = pair_softmax
triplet_cosent = triplet_softmax


def _triplet_scores(
    queries: Tensor, documents: Tensor, hard_negatives: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Scores of the own documents, shape (batch,), and of all negatives, shape (batch, m)."""
    check_pairs(queries, documents, temperature)
    check_hard_negatives(hard_negatives, queries.shape[1])
    own = (unit(queries) * unit(documents)).sum(dim=1) / temperature
    return own, cosines(queries, hard_negatives) / temperature
