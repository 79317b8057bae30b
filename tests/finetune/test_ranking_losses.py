"""The losses of rerankers against torch's own, one number at a time, and what they refuse."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch.autograd import gradcheck

from finetune.losses import binary, listwise

SCORES = torch.tensor([[1.0, 2.0, -0.5], [0.3, 0.3, 0.3], [90.0, -90.0, 0.0]], dtype=torch.float64)
GONE = float("-inf")


def direct_listwise(rows):
    """Minus the log of the first text's share, by Python's own numbers."""
    found = []
    for row in rows:
        kept = [score for score in row if score != GONE]
        largest = max(kept)
        total = sum(math.exp(score - largest) for score in kept)
        found.append(largest + math.log(total) - row[0])
    return sum(found) / len(found)


def test_listwise_is_minus_the_log_of_the_right_texts_share():
    assert listwise(SCORES).item() == pytest.approx(direct_listwise(SCORES.tolist()), abs=1e-9)
    torch.testing.assert_close(listwise(SCORES), F.cross_entropy(SCORES, torch.zeros(3).long()))


def test_a_list_with_fewer_texts_counts_as_it_would_alone():
    padded = torch.tensor([[1.0, 2.0, GONE], [0.5, 0.1, 0.2]], dtype=torch.float64)

    assert listwise(padded).item() == pytest.approx(direct_listwise(padded.tolist()), abs=1e-12)
    padded.requires_grad_()
    listwise(padded).backward()
    assert padded.grad[0, 2] == 0
    assert bool(torch.isfinite(padded.grad).all())


def test_a_teacher_is_followed_as_a_distribution():
    teacher = torch.tensor([[3.0, 1.0, GONE], [0.0, 1.0, 2.0]], dtype=torch.float64)
    scores = torch.tensor([[1.0, 2.0, GONE], [0.5, 0.1, 0.2]], dtype=torch.float64)
    wanted = 0.0
    for row, taught in ((scores[0, :2], teacher[0, :2]), (scores[1], teacher[1])):
        shares, targets = row.softmax(0).tolist(), taught.softmax(0).tolist()
        wanted += sum(t * math.log(t / s) for t, s in zip(targets, shares, strict=True))

    scores.requires_grad_()
    found = listwise(scores, teacher_scores=teacher)
    found.backward()

    assert found.item() == pytest.approx(wanted / 2, abs=1e-12)
    assert bool(torch.isfinite(scores.grad).all())
    assert listwise(teacher, teacher_scores=teacher).item() == pytest.approx(0.0, abs=1e-12)


def test_binary_is_the_cross_entropy_of_each_text_soft_labels_included():
    scores = torch.tensor([0.0, 2.0, -3.0, 800.0], dtype=torch.float64)
    labels = torch.tensor([1.0, 0.25, 0.0, 1.0], dtype=torch.float64)
    shares = [0.5, 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(3)), 1.0]
    wanted = [
        -math.log(shares[0]),
        -(0.25 * math.log(shares[1]) + 0.75 * math.log(1 - shares[1])),
        -math.log(1 - shares[2]),
        0.0,
    ]

    assert binary(scores, labels).item() == pytest.approx(sum(wanted) / 4, abs=1e-12)


def test_gradients_equal_finite_differences():
    scores = SCORES[:2].clone().requires_grad_()

    assert gradcheck(listwise, (scores,))
    assert gradcheck(lambda s: listwise(s, teacher_scores=SCORES[:2].flip(1)), (scores,))
    assert gradcheck(lambda s: binary(s, torch.full((2, 3), 0.3)), (scores,))


def test_sixteen_bit_scores_are_computed_in_thirty_two():
    assert listwise(SCORES.half()).dtype == torch.float32
    assert binary(SCORES.half().sigmoid(), torch.ones(3, 3)).dtype == torch.float32


def test_wrong_shapes_and_labels_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(batch, size\), got \(3,\)"):
        listwise(torch.zeros(3))
    with pytest.raises(ValueError, match=r"teacher_scores must have shape \(3, 3\), got \(3, 2\)"):
        listwise(SCORES, teacher_scores=SCORES[:, :2])
    with pytest.raises(ValueError, match=r"must have one shape, got \(3,\) and \(2,\)"):
        binary(torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"labels must lie from 0 to 1"):
        binary(torch.zeros(2), torch.tensor([0.0, 2.0]))
