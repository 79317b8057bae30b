"""Losses against direct loops, sentence-transformers, hand-worked numbers, odd batches."""

import math
import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from sentence_transformers.sentence_transformer.losses import (
    AnglELoss,
    CoSENTLoss,
    MultipleNegativesRankingLoss,
)
from torch.autograd import gradcheck

import finetune
from finetune import losses
from finetune.losses import MixWeights, angle, angle_mix, cosent, in_batch_negatives

TOLERANCE = 1e-6
LABELS = {
    "soft": [0.1, 0.85, 0.3, 0.99, 0.0, 0.5],
    "ties": [0.0, 1.0, 0.0, 1.0, 1.0, 0.0],
    "soft with ties": [0.2, 0.2, 0.9, 0.5, 0.9, 0.2],
    "constant": [1.0] * 6,
}
labels_cases = pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
seeds = pytest.mark.parametrize("seed", range(3))
devices = pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])


# Direct computation: one number at a time, as the formulas are written.


def direct_cosine(x, y):
    return sum(x * y) / (sum(x * x) ** 0.5 * sum(y * y) ** 0.5)


def direct_angle_score(x, y):
    """AnglE's published code, one complex coordinate after the other."""
    half = len(x) // 2
    x_norm, y_norm = sum(x * x) ** 0.5, sum(y * y) ** 0.5
    total = 0.0
    for a, b, c, d in zip(x[:half], x[half:], y[:half], y[half:], strict=True):
        real = (a * c + b * d) / y_norm**2
        imaginary = (b * c - a * d) / y_norm**2
        total = total + (real + imaginary) / (x_norm / y_norm)
    return abs(total)


def direct_order(score, queries, documents, labels, temperature=0.05):
    scores = [score(q, d) / temperature for q, d in zip(queries, documents, strict=True)]
    total = queries.new_ones(()) + 0 * (queries.sum() + documents.sum())
    for low, low_label in zip(scores, labels, strict=True):
        for high, high_label in zip(scores, labels, strict=True):
            if low_label < high_label:
                total = total + torch.exp(low - high)
    return torch.log(total)


direct_cosent = partial(direct_order, direct_cosine)
direct_angle = partial(direct_order, direct_angle_score)


def direct_search(queries, candidates, targets, temperature=0.05, excluded=frozenset()):
    """Mean over queries of -log softmax of the target candidate; `excluded` holds (i, j)."""
    total = 0.0
    for i, (query, target) in enumerate(zip(queries, targets, strict=True)):
        below = sum(
            torch.exp(direct_cosine(query, candidate) / temperature)
            for j, candidate in enumerate(candidates)
            if j == target or (i, j) not in excluded
        )
        own = torch.exp(direct_cosine(query, candidates[target]) / temperature)
        total = total - torch.log(own / below)
    return total / len(queries)


def direct_in_batch(queries, documents, hard_negatives=None, **options):
    candidates = documents if hard_negatives is None else torch.cat([documents, hard_negatives])
    return direct_search(queries, candidates, range(len(queries)), **options)


def random_rows(seed, *counts, dim=8):
    """Float64 rows: documents lie near their queries and one row comes twice."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in counts]
    if len(draws) > 1:
        draws[1] = draws[1] + draws[0]
        draws[1][-1] = draws[1][0]
    return [rows.requires_grad_() for rows in draws]


def value_and_gradients(function, rows):
    value = function(*rows)
    return [value, *torch.autograd.grad(value, rows)]


def assert_same_with_gradients(got, want, rows):
    torch.testing.assert_close(
        value_and_gradients(got, rows),
        value_and_gradients(want, rows),
        rtol=TOLERANCE,
        atol=TOLERANCE,
    )


# CoSENT and angle


@seeds
@labels_cases
@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize(("ours", "direct"), [(cosent, direct_cosent), (angle, direct_angle)])
def test_order_losses_equal_the_direct_computation(ours, direct, seed, labels, temperature):
    rows = random_rows(seed, 6, 6)
    labels = torch.tensor(labels)

    assert_same_with_gradients(
        lambda q, d: ours(q, d, labels, temperature=temperature),
        lambda q, d: direct(q, d, labels, temperature=temperature),
        rows,
    )


@seeds
@labels_cases
@pytest.mark.parametrize(("ours", "theirs"), [(cosent, CoSENTLoss), (angle, AnglELoss)])
def test_order_losses_equal_sentence_transformers(ours, theirs, seed, labels):
    rows = random_rows(seed, 6, 6)
    labels = torch.tensor(labels, dtype=torch.float64)
    reference = theirs(model=None)

    assert_same_with_gradients(
        lambda q, d: ours(q, d, labels),
        lambda q, d: reference.compute_loss_from_embeddings([q, d], labels),
        rows,
    )


@pytest.mark.parametrize("loss", [cosent, angle])
def test_analytic_gradients_equal_finite_differences(loss):
    labels = torch.tensor([0.2, 0.2, 0.9, 0.5])

    assert gradcheck(lambda q, d: loss(q, d, labels, temperature=0.5), random_rows(5, 4, 4))


def test_cosent_of_two_pairs_worked_by_hand():
    # Cosines 0.6 (label 0) and 0.8 (label 1): log(1 + exp((0.6 - 0.8) / 0.1)) = log(1 + e^-2).
    queries = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    documents = torch.tensor([[3.0, 4.0], [8.0, 6.0]])

    got = cosent(queries, documents, torch.tensor([0.0, 1.0]), temperature=0.1)
    reversed_labels = cosent(queries, documents, torch.tensor([1.0, 0.0]), temperature=0.1)

    assert got.item() == pytest.approx(0.126928, abs=1e-6)
    assert reversed_labels.item() == pytest.approx(2.126928, abs=1e-6)


def test_angle_of_two_pairs_worked_by_hand():
    # (1 + 3i, 2 + 4i) with (4 + 0i, 1 + 2i), squared norms 30 and 21:
    # real = 1*4 + 3*0 + 2*1 + 4*2 = 14, imaginary = (3*4 - 1*0) + (4*1 - 2*2) = 12, so the score is
    # 26 / sqrt(30 * 21); swapped, the imaginary part is -12 and the score 2 / sqrt(630).
    u, v = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[4.0, 1.0, 0.0, 2.0]])
    one_way, other_way = 26 / math.sqrt(630), 2 / math.sqrt(630)

    got = angle(
        torch.cat([u, v]), torch.cat([v, u]), torch.tensor([0.0, 1.0]), temperature=0.5
    ).item()

    assert got == pytest.approx(math.log1p(math.exp((one_way - other_way) / 0.5)), abs=1e-6)


def test_angle_score_counts_equal_and_opposite_rows_as_most_similar():
    # Against an orthogonal pair of real and imaginary part 0 the loss is log(1 + exp(0 - 1)).
    queries = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    labels = torch.tensor([0.0, 1.0])

    for sign in (1, -1):
        documents = torch.stack([torch.tensor([0.0, 1.0, 0.0, 0.0]), sign * queries[1]])
        got = angle(queries, documents, labels, temperature=1.0)
        assert got.item() == pytest.approx(math.log1p(math.exp(-1)), abs=1e-6)


@pytest.mark.parametrize("loss", [cosent, angle])
def test_order_losses_depend_on_the_order_of_labels_only(loss):
    queries, documents = random_rows(3, 6, 6)
    labels = torch.tensor(LABELS["soft with ties"])

    for same_order in (labels * 5, labels - 2, labels.exp(), (labels * 10).long()):
        assert torch.equal(loss(queries, documents, same_order), loss(queries, documents, labels))


# In-batch negatives


@seeds
@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("counts", [(6, 6), (6, 6, 4), (2, 2, 6)])
def test_in_batch_negatives_equal_the_direct_computation(seed, temperature, counts):
    assert_same_with_gradients(
        partial(in_batch_negatives, temperature=temperature),
        partial(direct_in_batch, temperature=temperature),
        random_rows(seed, *counts),
    )


@seeds
@pytest.mark.parametrize("counts", [(6, 6), (6, 6, 6)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_in_batch_negatives_equal_sentence_transformers(seed, counts, symmetric):
    directions = ("query_to_doc", "doc_to_query") if symmetric else ("query_to_doc",)
    reference = MultipleNegativesRankingLoss(
        model=None, directions=directions, partition_mode="per_direction"
    )

    assert_same_with_gradients(
        partial(in_batch_negatives, symmetric=symmetric),
        lambda *rows: reference.compute_loss_from_embeddings(list(rows), None),
        random_rows(seed, *counts),
    )


@seeds
def test_symmetric_loss_is_the_mean_of_both_directions_without_hard_negatives_backwards(seed):
    assert_same_with_gradients(
        partial(in_batch_negatives, symmetric=True),
        lambda q, d, n: (direct_in_batch(q, d, n) + direct_in_batch(d, q)) / 2,
        random_rows(seed, 5, 5, 3),
    )


def test_in_batch_negatives_worked_by_hand():
    # Cosines [[1, 0], [0.6, 0.8]] / 0.2 = [[5, 0], [3, 4]]: rows log(1 + e^-5), log(1 + e^-1);
    # columns log(1 + e^-2), log(1 + e^-4).
    queries = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    documents = torch.tensor([[1.0, 0.0], [0.0, 3.0]])

    rows = in_batch_negatives(queries, documents, temperature=0.2).item()
    both = in_batch_negatives(queries, documents, temperature=0.2, symmetric=True).item()

    assert rows == pytest.approx((0.006715 + 0.313262) / 2, abs=1e-6)
    assert both == pytest.approx((0.006715 + 0.313262 + 0.126928 + 0.018150) / 4, abs=1e-6)


@seeds
@pytest.mark.parametrize("symmetric", [False, True])
def test_excluded_duplicates_of_the_positive_are_no_negatives(seed, symmetric):
    # Documents 0 and 4 are one text, which also comes as hard negative 1.
    ids = torch.tensor([7, 1, 2, 3, 7, 8, 7])
    excluded = {(0, 4), (4, 0), (0, 6), (4, 6)}
    rows = random_rows(seed, 5, 5, 2)

    def want(q, d, n):
        forwards = direct_in_batch(q, d, n, excluded=excluded)
        return (forwards + direct_in_batch(d, q, excluded=excluded)) / 2 if symmetric else forwards

    exclude = ids[:5, None] == ids
    assert_same_with_gradients(
        partial(in_batch_negatives, symmetric=symmetric, exclude=exclude), want, rows
    )


def test_backwards_a_query_excluding_a_document_is_no_candidate_of_that_document():
    exclude = torch.zeros(4, 4, dtype=torch.bool)
    exclude[0, 2] = True

    assert_same_with_gradients(
        partial(in_batch_negatives, symmetric=True, exclude=exclude),
        lambda q, d: (
            (direct_in_batch(q, d, excluded={(0, 2)}) + direct_in_batch(d, q, excluded={(2, 0)}))
            / 2
        ),
        random_rows(0, 4, 4),
    )


def test_two_equal_pairs_cost_log_two_unless_excluded():
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    same = torch.ones(2, 2, dtype=torch.bool)

    assert in_batch_negatives(rows, rows).item() == pytest.approx(math.log(2))
    loss = in_batch_negatives(rows, rows, exclude=same, symmetric=True)
    assert_zero_with_zero_gradient(loss, rows)


# The mix


def direct_mix(queries, documents, labels, weights, threshold=0.5, excluded=frozenset()):
    positives = [i for i, label in enumerate(labels) if label >= threshold]
    places = {(positives.index(i), j) for i, j in excluded if i in positives}
    found = direct_search(queries[positives], documents, positives, excluded=places)
    return (
        weights.cosine * direct_cosent(queries, documents, labels)
        + weights.in_batch * found
        + weights.angle * direct_angle(queries, documents, labels)
    )


@seeds
@labels_cases
@pytest.mark.parametrize(
    "weights",
    [
        MixWeights(),
        MixWeights(cosine=1.0, in_batch=0.0, angle=0.0),
        MixWeights(cosine=0.0, in_batch=0.0, angle=3.0),
        MixWeights(cosine=0.5, in_batch=30.0, angle=2.0),
    ],
)
def test_mix_equals_the_direct_computation(seed, labels, weights):
    labels = torch.tensor(labels)

    assert_same_with_gradients(
        partial(angle_mix, labels=labels, weights=weights),
        partial(direct_mix, labels=labels, weights=weights),
        random_rows(seed, 6, 6),
    )


@seeds
def test_mix_honours_threshold_and_exclude(seed):
    # Label 0.3 is a positive below the default threshold; 0.1 is not.
    labels = torch.tensor([0.3, 0.1, 0.9, 0.0, 0.3])
    excluded = {(0, 4), (4, 0), (2, 3), (1, 2)}
    exclude = torch.eye(5, dtype=torch.bool)
    for i, j in excluded:
        exclude[i, j] = True
    weights = MixWeights(cosine=0.5)

    assert_same_with_gradients(
        partial(angle_mix, labels=labels, weights=weights, positive_threshold=0.3, exclude=exclude),
        partial(direct_mix, labels=labels, weights=weights, threshold=0.3, excluded=excluded),
        random_rows(seed, 5, 5),
    )


def test_default_mix_is_in_batch_negatives_and_a_fiftieth_of_angle():
    queries, documents = random_rows(1, 4, 4)
    labels = torch.ones(4)
    labels[3] = 0

    got = angle_mix(queries, documents, labels)

    found = in_batch_negatives(queries[:3], documents[:3], documents[3:])
    torch.testing.assert_close(got, found + 0.02 * angle(queries, documents, labels))


def test_soft_labels_are_positives_in_batch():
    # AnglE cuts labels to integers: 0.7 would become 0 and drop out of the in-batch term.
    queries, documents = random_rows(1, 4, 4)
    weights = MixWeights(angle=0.0)

    got = angle_mix(queries, documents, torch.full((4,), 0.7), weights=weights)

    torch.testing.assert_close(got, in_batch_negatives(queries, documents))


def test_weights_count_for_pairs_that_are_all_positive():
    # AnglE ignores every weight there.
    queries, documents = random_rows(1, 4, 4)

    got = angle_mix(queries, documents, torch.ones(4), weights=MixWeights(in_batch=30.0))

    torch.testing.assert_close(got, 30 * in_batch_negatives(queries, documents))


def test_triplets_are_scored_pairs_of_the_mix():
    queries, positives, negatives = random_rows(2, 4, 4, 4)
    labels = torch.tensor([1.0] * 4 + [0.0] * 4)
    weights = MixWeights(angle=0.0)

    got = angle_mix(
        queries.repeat(2, 1), torch.cat([positives, negatives]), labels, weights=weights
    )

    torch.testing.assert_close(got, in_batch_negatives(queries, positives, negatives))


def test_a_term_of_weight_zero_is_not_computed():
    queries, documents = random_rows(2, 4, 4, dim=5)  # odd, which the angle term refuses

    assert angle_mix(queries, documents, torch.ones(4), weights=MixWeights(angle=0.0)) > 0


# Degenerate batches


def assert_zero_with_zero_gradient(loss, *rows):
    assert loss.item() == 0.0
    for gradient in torch.autograd.grad(loss, rows):
        assert torch.equal(gradient, torch.zeros_like(gradient))


LABELLED = [cosent, angle, partial(angle_mix, weights=MixWeights(cosine=1.0, in_batch=0.0))]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("label", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("loss", LABELLED, ids=["cosent", "angle", "mix"])
def test_constant_labels_give_zero_with_zero_gradient(loss, label, dtype):
    rows = [r.detach().to(dtype).requires_grad_() for r in random_rows(4, 6, 6)]

    assert_zero_with_zero_gradient(loss(*rows, torch.full((6,), label)), *rows)


@pytest.mark.parametrize("label", [0.0, 1.0])
@pytest.mark.parametrize("loss", [*LABELLED, angle_mix], ids=["cosent", "angle", "mix", "default"])
def test_one_pair_gives_zero_with_zero_gradient(loss, label):
    rows = random_rows(4, 1, 1)

    assert_zero_with_zero_gradient(loss(*rows, torch.tensor([label])), *rows)


@pytest.mark.parametrize("symmetric", [False, True])
def test_one_pair_in_batch_gives_zero_and_with_a_hard_negative_it_counts(symmetric):
    queries, documents, hard = random_rows(4, 1, 1, 1)

    alone = in_batch_negatives(queries, documents, symmetric=symmetric)

    assert_zero_with_zero_gradient(alone, queries, documents)
    assert in_batch_negatives(queries, documents, hard, symmetric=symmetric) > 0


def test_a_batch_without_positives_gives_zero_with_zero_gradient():
    rows = random_rows(4, 3, 3)
    labels = torch.tensor([0.0, 0.1, 0.2])

    loss = angle_mix(*rows, labels, weights=MixWeights(angle=0.0))

    assert_zero_with_zero_gradient(loss, *rows)


ALL = {
    "in_batch_negatives": lambda q, d: in_batch_negatives(q, d, symmetric=True),
    "cosent": lambda q, d: cosent(q, d, torch.tensor(LABELS["soft"], device=q.device)),
    "angle": lambda q, d: angle(q, d, torch.tensor(LABELS["soft"], device=q.device)),
    "angle_mix": lambda q, d: angle_mix(
        q, d, torch.tensor(LABELS["soft"], device=q.device), weights=MixWeights(cosine=1.0)
    ),
}
all_losses = pytest.mark.parametrize("loss", ALL.values(), ids=ALL.keys())


@all_losses
def test_a_zero_row_counts_as_unrelated_and_its_gradient_stays_finite_and_small(loss):
    rows = [r.detach().float() for r in random_rows(4, 6, 6)]
    rows[0][0] = rows[1][2] = 0
    rows = [r.requires_grad_() for r in rows]

    value, *gradients = value_and_gradients(loss, rows)

    assert value.isfinite()
    assert all(g.abs().max() < 100 for g in gradients)


def test_where_sentence_transformers_explodes_on_a_zero_row_ours_is_the_direct_gradient():
    # A zero row stays unscaled, so its direct gradient is that of dot products with unit rows.
    rows = [r.detach() for r in random_rows(4, 6, 6)]
    rows[0][0] = 0
    rows = [r.requires_grad_() for r in rows]
    reference = MultipleNegativesRankingLoss(model=None)

    got = torch.autograd.grad(in_batch_negatives(*rows), rows[0])[0][0]
    theirs = torch.autograd.grad(reference.compute_loss_from_embeddings(rows, None), rows[0])[0]

    unit = F.normalize(rows[1], dim=1)
    want = (unit.mean(dim=0) - unit[0]) / 0.05 / 6
    torch.testing.assert_close(got, want)
    assert theirs.abs().max() > 1e9


@all_losses
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_length_of_rows_does_not_matter(loss, scale):
    queries, documents = random_rows(4, 6, 6)

    torch.testing.assert_close(loss(queries * scale, documents), loss(queries, documents))


@pytest.mark.parametrize("loss", [cosent, angle, angle_mix])
def test_a_permuted_batch_has_the_same_loss(loss):
    queries, documents = random_rows(4, 6, 6)
    labels = torch.tensor(LABELS["soft with ties"])
    order = torch.tensor([3, 1, 5, 0, 2, 4])

    got = loss(queries[order], documents[order], labels[order])

    torch.testing.assert_close(got, loss(queries, documents, labels))


# Precision and devices


@devices
@all_losses
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.float16, 0.05), (torch.bfloat16, 0.3)],
)
def test_losses_keep_their_value_in_every_precision_and_on_every_device(
    loss, dtype, tolerance, device
):
    rows = [r.detach() for r in random_rows(4, 6, 6)]
    want = loss(*rows)
    there = [r.to(device, dtype).requires_grad_() for r in rows]

    got, *gradients = value_and_gradients(loss, there)

    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert got.device.type == device
    assert all(g.dtype == dtype and g.isfinite().all() for g in gradients)
    assert got.item() == pytest.approx(want.item(), abs=tolerance)


@devices
@all_losses
def test_autocast_changes_nothing(loss, device):
    rows = [r.detach().float().to(device) for r in random_rows(4, 6, 6)]
    want = loss(*rows)

    with torch.autocast(device, dtype=torch.bfloat16):
        got = loss(*rows)

    torch.testing.assert_close(got, want)


def test_where_sentence_transformers_rounds_under_autocast_ours_is_the_direct_value():
    rows = [r.detach().float() for r in random_rows(4, 6, 6)]
    want = direct_in_batch(*rows)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = in_batch_negatives(*rows)
        theirs = MultipleNegativesRankingLoss(model=None).compute_loss_from_embeddings(rows, None)

    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert abs(theirs.item() - want.item()) > 1e-3


# Calls that are wrong


ROWS = torch.ones(4, 6)
LABEL_ROW = torch.tensor([0.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: in_batch_negatives(ROWS, ROWS[:3]), r"got \(4, 6\) and \(3, 6\)"),
        (lambda: in_batch_negatives(ROWS, ROWS[:, :5]), r"got \(4, 6\) and \(4, 5\)"),
        (lambda: in_batch_negatives(ROWS[0], ROWS[0]), r"got \(6,\) and \(6,\)"),
        (lambda: in_batch_negatives(ROWS[:0], ROWS[:0]), r"got \(0, 6\) and \(0, 6\)"),
        (lambda: cosent(ROWS, ROWS[:3], LABEL_ROW), r"got \(4, 6\) and \(3, 6\)"),
        (lambda: angle(ROWS, ROWS[:3], LABEL_ROW), r"got \(4, 6\) and \(3, 6\)"),
        (lambda: angle_mix(ROWS, ROWS[:3], LABEL_ROW), r"got \(4, 6\) and \(3, 6\)"),
        (lambda: in_batch_negatives(ROWS, ROWS, ROWS[:, :5]), r"shape \(m, 6\), got \(4, 5\)"),
        (lambda: in_batch_negatives(ROWS, ROWS, ROWS[None]), r"shape \(m, 6\), got \(1, 4, 6\)"),
        (
            lambda: in_batch_negatives(ROWS, ROWS, ROWS[:2], exclude=torch.eye(4).bool()),
            r"exclude must have shape \(4, 6\), got \(4, 4\)",
        ),
        (lambda: in_batch_negatives(ROWS, ROWS, exclude=torch.eye(4)), "boolean, got torch.float"),
        (
            lambda: angle_mix(ROWS, ROWS, LABEL_ROW, exclude=torch.eye(3).bool()),
            r"exclude must have shape \(4, 4\), got \(3, 3\)",
        ),
        (lambda: cosent(ROWS, ROWS, LABEL_ROW[:3]), r"labels must have shape \(4,\), got \(3,\)"),
        (lambda: angle(ROWS, ROWS, LABEL_ROW[:, None]), r"shape \(4,\), got \(4, 1\)"),
        (lambda: angle_mix(ROWS, ROWS, LABEL_ROW[:3]), r"shape \(4,\), got \(3,\)"),
        (lambda: cosent(ROWS, ROWS, LABEL_ROW / 0), "labels must be finite, got"),
        (lambda: angle_mix(ROWS, ROWS, LABEL_ROW * 5), "from 0 to 1, got 0.0 to 5.0"),
        (lambda: angle_mix(ROWS, ROWS, LABEL_ROW * math.nan), "from 0 to 1, got nan to nan"),
        (lambda: angle(ROWS[:, :5], ROWS[:, :5], LABEL_ROW), r"even dim, got .* \(4, 5\)"),
        (lambda: in_batch_negatives(ROWS, ROWS, temperature=0.0), "above 0, got 0.0"),
        (lambda: cosent(ROWS, ROWS, LABEL_ROW, temperature=-1.0), "above 0, got -1.0"),
        (lambda: angle(ROWS, ROWS, LABEL_ROW, temperature=math.nan), "above 0, got nan"),
        (lambda: MixWeights(angle=-1.0), "angle=-1.0"),
        (lambda: MixWeights(cosine=0.0, in_batch=0.0, angle=0.0), "not all 0"),
    ],
)
def test_a_wrong_call_says_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The package


def test_the_package_names_its_losses_and_nothing_else():
    assert finetune.__all__ == ["losses"]
    assert "losses" in dir(finetune)
    assert finetune.losses is losses
    with pytest.raises(AttributeError, match="'finetune' has no attribute 'nothing'"):
        finetune.nothing  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    code = "import sys, finetune; sys.exit('torch' in sys.modules or 'losses' not in dir(finetune))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
