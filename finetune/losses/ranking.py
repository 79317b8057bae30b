"""A cross-encoder's scores of a query's texts in, one number out; the right text stands first."""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor


def listwise(scores: Tensor, *, teacher_scores: Tensor | None = None) -> Tensor:
    """Ask for the right text before all others of its list, or for a teacher's distribution.

    loss = mean over i of -log softmax(s_i)_0, or with a teacher's scores t
    mean over i of KL(softmax(t_i) || softmax(s_i)).

    Args:
        scores: Raw scores, shape (batch, size), the right text's first; -inf where a list has fewer
            texts than the longest.
        teacher_scores: Raw scores of the same texts, -inf at the same places.

    Returns:
        A scalar in float32, or float64 if that came.

    Raises:
        ValueError: If there are no scores, or the teacher's have another shape.

    Source: the localised contrastive loss of Gao et al. 2021 (https://arxiv.org/abs/2101.08751).
    """
    if scores.dim() != 2 or 0 in scores.shape:
        raise ValueError(f"scores must have shape (batch, size), got {tuple(scores.shape)}.")
    shares = F.log_softmax(_precise(scores), dim=1)
    if teacher_scores is None:
        return -shares[:, 0].mean()
    if teacher_scores.shape != scores.shape:
        raise ValueError(
            f"teacher_scores must have shape {tuple(scores.shape)}, "
            f"got {tuple(teacher_scores.shape)}."
        )
    wanted = F.log_softmax(_precise(teacher_scores.detach()), dim=1)
    terms = wanted.exp() * (wanted - shares)
    # A place without a text has the share 0 in both, and -inf less -inf is no number.
    return terms.masked_fill(torch.isneginf(scores), 0.0).sum(dim=1).mean()


def binary(scores: Tensor, labels: Tensor) -> Tensor:
    """Ask for each text by itself whether it is right, from 0 to 1.

    loss = mean over i of -(l_i log σ(s_i) + (1 - l_i) log σ(-s_i)).

    Args:
        scores: Raw scores, any shape, at least one.
        labels: From 0 to 1, of the same shape.

    Raises:
        ValueError: If the shapes differ, there are no scores, or a label is out of its range.

    Source: Nogueira & Cho 2019 (https://arxiv.org/abs/1901.04085), equation 1.
    """
    if scores.shape != labels.shape or not scores.numel():
        raise ValueError(
            "scores and labels must have one shape, "
            f"got {tuple(scores.shape)} and {tuple(labels.shape)}."
        )
    if not bool(((labels >= 0) & (labels <= 1)).all()):
        raise ValueError(f"labels must lie from 0 to 1, got {labels.min()} to {labels.max()}.")
    precise = _precise(scores)
    return F.binary_cross_entropy_with_logits(precise, labels.to(precise.dtype))


def _precise(scores: Tensor) -> Tensor:
    return scores if scores.dtype == torch.float64 else scores.float()
