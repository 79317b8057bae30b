"""A student learns the scores or the embeddings of a teacher; gradients never reach the teacher."""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from finetune.losses.rows import (
    check_groups,
    check_shape,
    check_temperature,
    cosines,
    group_cosines,
)


def margin_mse(queries: Tensor, groups: Tensor, teacher_scores: Tensor) -> Tensor:
    """Ask for the teacher's differences between the positive and each negative.

    loss = mean over i and n of ((q_i·p_i - q_i·g_in) - (t_i0 - t_in))². Scores are dot products of
    the rows as they come: a cross-encoder's differences exceed those of cosines.

    Args:
        queries: Shape (batch, dim).
        groups: The positive first, then at least one negative, shape (batch, size, dim).
        teacher_scores: Shape (batch, size).

    Source: Hofstätter et al. 2020 (https://arxiv.org/abs/2010.02666).
    """
    check_groups(queries, groups, 1.0)
    _check_teacher(teacher_scores, groups)
    with torch.autocast(queries.device.type, enabled=False):
        scores = torch.einsum("bd,bgd->bg", _precise(queries), _precise(groups))
    teacher = teacher_scores.detach().to(scores.dtype)
    return F.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])


def listwise_distillation(
    queries: Tensor,
    groups: Tensor,
    teacher_scores: Tensor,
    *,
    temperature: float = 0.02,
    teacher_temperature: float = 1.0,
) -> Tensor:
    """Ask for the teacher's distribution over each group.

    loss = mean over i of KL(softmax(t_i / teacher_temperature) || softmax(s_i)) with
    s_ig = cos(q_i, g_ig) / temperature. FlagEmbedding's `kl_div` adds the teacher's entropy, a
    constant; sentence-transformers multiplies by temperature².

    Args:
        queries: Shape (batch, dim).
        groups: Shape (batch, size, dim).
        teacher_scores: Shape (batch, size).
        temperature: Divides the student's cosines.
        teacher_temperature: Divides the teacher's scores.

    Source: Lin et al. 2020 (https://arxiv.org/abs/2010.11386).
    """
    check_groups(queries, groups, temperature)
    check_temperature(teacher_temperature)
    _check_teacher(teacher_scores, groups)
    student = F.log_softmax(group_cosines(queries, groups) / temperature, dim=1)
    teacher = teacher_scores.detach().to(student.dtype) / teacher_temperature
    return F.kl_div(student, F.softmax(teacher, dim=1), reduction="batchmean")


def in_batch_distillation(
    queries: Tensor,
    candidates: Tensor,
    places: Tensor,
    teacher_scores: Tensor,
    *,
    temperature: float = 0.05,
) -> Tensor:
    """Ask for the teacher's distribution over a query's texts, and nothing for the batch's others.

    loss = mean over i of KL(softmax(t_i) at its places, 0 elsewhere || softmax(s_i)) with
    s_ij = cos(q_i, c_j) / temperature over all candidates. A text that stands twice among the
    places of a query gets both shares.

    Args:
        queries: Shape (batch, dim).
        candidates: All texts of the batch, each once, shape (texts, dim).
        places: Which of them a query's own are, shape (batch, size).
        teacher_scores: Of these, shape (batch, size).
        temperature: Divides the student's cosines.

    Source: the distribution of Lin et al. 2020 (https://arxiv.org/abs/2010.11386) among in-batch
        negatives.
    """
    if places.shape != teacher_scores.shape or len(places) != len(queries):
        raise ValueError(
            f"places and teacher_scores must have shape ({len(queries)}, size), got "
            f"{tuple(places.shape)} and {tuple(teacher_scores.shape)}."
        )
    scores = cosines(queries, candidates) / temperature
    shares = F.softmax(teacher_scores.detach().to(scores.dtype), dim=1)
    wanted = torch.zeros_like(scores).scatter_add(1, places.to(scores.device), shares)
    return F.kl_div(F.log_softmax(scores, dim=1), wanted, reduction="batchmean")


def m3_distillation(
    queries: Tensor, groups: Tensor, teacher_scores: Tensor, *, temperature: float = 0.02
) -> Tensor:
    """Ask each text of a group to be found in turn, as much as the teacher wants it (`m3_kd_loss`).

    With w_i = softmax(t_i): loss = sum over g of mean over i of w_ig * CE(finding text g of group
    i among all texts of the batch, less the earlier ones of group i).

    Args:
        queries: Shape (batch, dim).
        groups: Shape (batch, size, dim).
        teacher_scores: Shape (batch, size).
        temperature: Divides the cosines.

    Source: https://github.com/FlagOpen/FlagEmbedding, `AbsEmbedderModel.distill_loss`.
    """
    check_groups(queries, groups, temperature)
    _check_teacher(teacher_scores, groups)
    batch, size, dim = groups.shape
    scores = cosines(queries, groups.reshape(-1, dim)) / temperature
    wanted = F.softmax(teacher_scores.detach().to(scores.dtype), dim=1)
    first = torch.arange(batch, device=scores.device) * size
    loss = scores.new_zeros(())
    for place in range(size):
        costs = F.cross_entropy(scores, first + place, reduction="none")
        loss = loss + (wanted[:, place] * costs).mean()
        scores = scores.scatter(1, (first + place)[:, None], -torch.inf)
    return loss


def embedding_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two embeddings of the same shape, as they come."""
    _check_alike(student, teacher)
    return F.mse_loss(_precise(student), teacher.detach().to(_precise(student).dtype))


def embedding_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Ask for the teacher's directions.

    loss = mean over i of 1 - cos(s_i, t_i), from 0 to 2.

    Args:
        student: Shape (batch, dim).
        teacher: Of the same shape.
    """
    _check_alike(student, teacher)
    rows = _precise(student)
    return 1 - F.cosine_similarity(rows, teacher.detach().to(rows.dtype), dim=1).mean()


def embedding_divergence(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Temperature times KL(softmax(teacher / temperature) || softmax(student / temperature)).

    The distributions are over the dimensions of an embedding, so both need the same ones.

    Source: https://github.com/SeanLee97/AnglE, `compute_distillation_loss`.
    """
    _check_alike(student, teacher)
    check_temperature(temperature)
    rows = _precise(student)
    wanted = F.softmax(teacher.detach().to(rows.dtype) / temperature, dim=-1)
    found = F.log_softmax(rows / temperature, dim=-1)
    return F.kl_div(found, wanted, reduction="batchmean") * temperature


def _precise(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()


def _check_teacher(scores: Tensor, groups: Tensor) -> None:
    check_shape("teacher_scores", scores, tuple(groups.shape[:2]))
    if groups.shape[1] < 2:
        raise ValueError("A group of one text has nothing to distil; give two or more.")
    if not bool(scores.isfinite().all()):
        raise ValueError("teacher_scores must be finite.")


def _check_alike(student: Tensor, teacher: Tensor) -> None:
    if student.dim() != 2 or 0 in student.shape or student.shape != teacher.shape:
        raise ValueError(
            "student and teacher must both have shape (batch, dim), at least (1, 1), "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}."
        )
