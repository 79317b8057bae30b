"""Values and gradients of the losses beside those of AnglE, uniem, FlagEmbedding and others."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from sentence_transformers.sentence_transformer import losses as theirs

from benchmarks.parity_losses import BATCH, DIM, LABELS, SEEDS, SIZE, groups, rows
from finetune import losses
from finetune.losses import MixWeights

TOLERANCE = 1e-6
RECORDED = json.loads((Path(__file__).parent / "loss_peers.json").read_text("utf-8"))
seeds = pytest.mark.parametrize("seed", SEEDS)


def both_ways(q, d, n, t, labels):
    """Every text of a pair of label 1 looks for the other among all texts."""
    texts = torch.stack([q, d], dim=1).reshape(-1, q.shape[1])
    count = len(texts)
    partner = torch.eye(count).bool()[torch.arange(count) ^ 1]
    positives = partner & (labels >= 0.5).repeat_interleave(2)[:, None]
    return losses.multi_positive(texts, texts, positives, exclude=torch.eye(count).bool())


def as_theirs(loss):
    """AnglE's mean counts the rows without a positive as 0."""
    return lambda q, d, n, t, labels: loss(q, d, n, t, labels) * (labels >= 0.5).double().mean()


def grouped(loss, **options):
    return lambda q, d, n, t, labels: loss(q, groups(d, n), **options)


def distilled(in_batch):
    """FlagEmbedding's sum of distillation, less a constant, and of finding the positive."""

    def call(q, d, n, t, labels):
        teacher = F.softmax(t, dim=1)
        entropy = -(teacher * teacher.log()).sum(dim=1).mean()
        found = losses.group_softmax(q, groups(d, n), in_batch=in_batch)
        return losses.listwise_distillation(q, groups(d, n), t) + entropy + found

    return call


def mixed(weights):
    return lambda q, d, n, t, labels: losses.angle_mix(q, d, labels, weights=weights)


WEIGHTS = MixWeights(cosine=0.5, in_batch=3.0, angle=0.1)
OURS = {
    ("angle-emb", "cosent"): lambda q, d, n, t, labels: losses.cosent(q, d, labels),
    ("angle-emb", "angle"): lambda q, d, n, t, labels: losses.angle(q, d, labels),
    ("angle-emb", "in-batch both ways"): as_theirs(both_ways),
    ("angle-emb", "hard negatives"): lambda q, d, n, t, _: losses.in_batch_negatives(q, d, n),
    ("angle-emb", "pairs"): lambda q, d, n, t, _: losses.in_batch_negatives(q, d),
    ("angle-emb", "mix without in-batch"): mixed(MixWeights(cosine=0.5, in_batch=0.0, angle=0.1)),
    ("angle-emb", "triplets"): lambda q, d, n, t, _: losses.angle_triplets(q, d, n),
    ("angle-emb", "triplets, weighted"): lambda q, d, n, t, _: losses.angle_triplets(
        q, d, n, weights=WEIGHTS, hard_negatives_weight=0.5
    ),
    ("uniem", "pair Softmax"): lambda q, d, n, t, _: losses.pair_softmax(q, d),
    ("uniem", "pair CoSent"): lambda q, d, n, t, _: losses.pair_cosent(q, d),
    ("uniem", "pair Sigmoid"): lambda q, d, n, t, _: losses.pair_sigmoid(q, d),
    ("uniem", "cosent"): lambda q, d, n, t, labels: losses.cosent(q, d, labels),
    ("FlagEmbedding", "group softmax"): grouped(losses.group_softmax),
    ("FlagEmbedding", "group softmax, own group only"): grouped(
        losses.group_softmax, in_batch=False
    ),
    ("FlagEmbedding", "distillation"): distilled(in_batch=False),
    ("FlagEmbedding", "distillation in batch"): distilled(in_batch=True),
    ("FlagEmbedding", "m3 distillation"): lambda q, d, n, t, _: losses.m3_distillation(
        q, groups(d, n), t
    ),
} | {
    ("uniem", f"triplet {name}{', swapped' if swap else ''}"): (
        lambda q, d, n, t, _, loss=loss, swap=swap: loss(q, d, n, swap=swap)
    )
    for name, loss in {
        "Softmax": losses.triplet_softmax,
        "CoSent": losses.triplet_cosent,
        "Sigmoid": losses.triplet_sigmoid,
    }.items()
    for swap in (False, True)
}
FAULTS = {("angle-emb", "in-batch both ways, soft labels"), ("angle-emb", "pairs, weight 30")}
"""Where ours is not theirs on purpose; each has its test below."""


def recorded_rows(seed):
    """The rows that the others saw: the same draw, unless torch came to draw otherwise."""
    return [torch.tensor(column, dtype=torch.float64) for column in RECORDED["rows"][seed]]


def measured(call, columns):
    """Value and gradients; 0 where the loss does not look at a column."""
    columns = [column.detach().requires_grad_() for column in columns]
    value = call(*columns)
    if not value.requires_grad:
        return [value, *map(torch.zeros_like, columns)]
    gradients = torch.autograd.grad(value, columns, allow_unused=True)
    return [
        value,
        *(torch.zeros_like(c) if g is None else g for c, g in zip(columns, gradients, strict=True)),
    ]


def assert_equal(got, want):
    torch.testing.assert_close(got, want, rtol=TOLERANCE, atol=TOLERANCE)


def test_every_loss_of_the_others_is_compared_or_a_known_fault():
    recorded = {(found["peer"], found["loss"]) for found in RECORDED["records"]}

    assert recorded == OURS.keys() | FAULTS


@pytest.mark.parametrize(("peer", "loss"), OURS, ids=" ".join)
def test_a_loss_equals_what_the_others_own_code_gave(peer, loss):
    cases = [r for r in RECORDED["records"] if (r["peer"], r["loss"]) == (peer, loss)]
    assert len(cases) >= len(SEEDS)
    for found in cases:
        *columns, teacher = recorded_rows(found["seed"])
        labels = torch.tensor(LABELS[found["labels"]], dtype=torch.float64)

        got = measured(lambda q, d, n: OURS[peer, loss](q, d, n, teacher, labels), columns)  # noqa: B023

        want = [torch.tensor(found["value"], dtype=torch.float64)]
        for column, gradient in zip(columns, found["gradients"], strict=True):
            zero = torch.zeros_like(column)
            want.append(zero if gradient is None else torch.tensor(gradient, dtype=torch.float64))
        assert_equal(got, want)


def recorded_value(peer, loss, seed, labels):
    return next(
        r["value"]
        for r in RECORDED["records"]
        if (r["peer"], r["loss"], r["seed"], r["labels"]) == (peer, loss, seed, labels)
    )


@seeds
def test_where_angle_cuts_soft_labels_to_zero_ours_takes_them_as_positives(seed):
    # Labels .1 to .99 are all 0 to AnglE: its loss is 0 and teaches nothing.
    *columns, teacher = recorded_rows(seed)
    labels = torch.tensor(LABELS["soft"], dtype=torch.float64)

    got = both_ways(*columns, teacher, labels)

    direct = []
    texts = F.normalize(torch.stack(columns[:2], dim=1).reshape(-1, DIM), dim=1)
    scores = texts @ texts.T / 0.05
    for i in range(2 * BATCH):
        if LABELS["soft"][i // 2] >= 0.5:
            others = [scores[i, j].item() for j in range(2 * BATCH) if j != i]
            total = math.log(sum(math.exp(s) for s in others))
            direct.append(total - scores[i, i ^ 1].item())
    assert recorded_value("angle-emb", "in-batch both ways, soft labels", seed, "soft") == 0.0
    assert got.item() == pytest.approx(sum(direct) / len(direct))


@seeds
def test_where_angle_ignores_the_weight_of_pairs_ours_honours_it(seed):
    queries, documents = recorded_rows(seed)[:2]
    plain = losses.in_batch_negatives(queries, documents).item()

    weights = MixWeights(in_batch=30.0, angle=0.0)
    got = losses.angle_mix(queries, documents, torch.ones(BATCH), weights=weights)

    assert recorded_value("angle-emb", "pairs, weight 30", seed, "soft") == pytest.approx(plain)
    assert got.item() == pytest.approx(30 * plain)


def test_uniems_pairs_of_names_are_one_objective():
    for seed in SEEDS:
        for kind in ("pair", "triplet"):
            softmax = recorded_value("uniem", f"{kind} Softmax", seed, "soft")
            assert recorded_value("uniem", f"{kind} CoSent", seed, "soft") == pytest.approx(softmax)


def test_where_uniems_sigmoid_is_infinite_ours_is_the_gap():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    documents = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])

    got = losses.pair_sigmoid(queries, documents, temperature=0.005)

    # Gaps -2 / .005 = -400 and 0: (400 + log 2) / 2; sigmoid(-400) is 0 in float32.
    assert got.item() == pytest.approx((400 + math.log(2)) / 2)
    assert losses.pair_sigmoid(queries[:1], documents[:1]).item() == 0.0


# sentence-transformers, live


def st_loss(loss, embeddings, labels=None):
    return loss.compute_loss_from_embeddings(list(embeddings), labels)


@seeds
def test_margin_mse_equals_sentence_transformers(seed):
    q, d, n, teacher = rows(seed)
    reference = theirs.MarginMSELoss(model=None)

    got = measured(lambda q, g: losses.margin_mse(q, g, teacher), [q, groups(d, n)])
    want = measured(
        lambda q, g: st_loss(reference, [q, *g.unbind(dim=1)], teacher), [q, groups(d, n)]
    )

    assert_equal(got, want)


@seeds
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_listwise_distillation_equals_sentence_transformers(seed, temperature):
    q, d, n, teacher = rows(seed)
    columns = [F.normalize(q, dim=1), F.normalize(groups(d, n), dim=2)]
    reference = theirs.DistillKLDivLoss(model=None, temperature=temperature)

    def ours(q, g):
        options = {"temperature": temperature, "teacher_temperature": temperature}
        return losses.listwise_distillation(q, g, teacher, **options) * temperature**2

    def reference_loss(q, g):
        q, g = F.normalize(q, dim=1), F.normalize(g, dim=2)
        return st_loss(reference, [q, *g.unbind(dim=1)], teacher)

    assert_equal(measured(ours, columns), measured(reference_loss, columns))


class Fixed(torch.nn.Module):
    """A model in the eyes of sentence-transformers: its features are already embeddings."""

    tokenizer = None

    def __init__(self, dim):
        super().__init__()
        self._dim = dim

    def get_embedding_dimension(self):
        return self._dim

    def forward(self, features):
        return {"sentence_embedding": features["rows"]}


@seeds
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("margin", "relative"), [(0.0, False), (0.1, False), (0.05, True)])
@pytest.mark.parametrize("contrast", [(True, True), (False, True), (False, False)])
def test_gist_equals_sentence_transformers(seed, hard, margin, relative, contrast, monkeypatch):
    columns = rows(seed)[: 3 if hard else 2]
    guide = rows(seed + 10)[: len(columns)]
    guide[1][-1] = guide[1].mean(dim=0)  # two equal texts would lie on the bound itself
    reference = theirs.GISTEmbedLoss.__new__(theirs.GISTEmbedLoss)
    torch.nn.Module.__init__(reference)
    reference.temperature, reference.margin = 0.01, margin
    reference.margin_strategy = "relative" if relative else "absolute"
    reference.contrast_anchors, reference.contrast_positives = contrast
    reference.gather_across_devices, reference.must_retokenize = False, False
    reference.similarity_fct = torch.nn.CosineSimilarity(dim=-1)
    reference.cross_entropy_loss = torch.nn.CrossEntropyLoss()
    reference.model, reference.guide = "model", "guide"
    module = __import__(theirs.GISTEmbedLoss.__module__, fromlist=["embed_columns"])

    def want(*columns):
        given = {"model": list(columns), "guide": guide}
        monkeypatch.setattr(module, "embed_columns", lambda model, features: given[model])
        return reference([{} for _ in columns], None)

    def got(*columns):
        return losses.gist(
            columns,
            guide,
            margin=margin,
            relative=relative,
            contrast_queries=contrast[0],
            contrast_documents=contrast[1],
        )

    assert_equal(measured(got, columns), measured(want, columns))


def test_where_theirs_takes_a_query_as_its_own_negative_ours_does_not():
    # The guide scores each pair 1, as it does a text with itself.
    q, d = torch.eye(4)[:2], torch.eye(4)[:2]
    got = losses.gist([q, d], [q, d], temperature=1.0)

    # Candidates of query 0: document 0 (score 1), document 1, query 1 and, against document 0,
    # document 1 (score 0 each).
    assert got.item() == pytest.approx(math.log(math.e + 3) - 1)


@seeds
def test_false_negatives_of_a_guide_are_left_out(seed):
    q, d, n, _ = rows(seed)
    guide_q, guide_d, guide_n, _ = rows(seed + 20)
    candidates = torch.cat([guide_d, guide_n])

    masked = losses.false_negatives(guide_q, candidates, margin=0.05)
    got = losses.in_batch_negatives(q, d, n, temperature=0.01, exclude=masked)

    scores = F.normalize(guide_q, dim=1) @ F.normalize(candidates, dim=1).T
    for i in range(BATCH):
        for j in range(2 * BATCH):
            assert bool(masked[i, j]) == (j != i and bool(scores[i, j] > scores[i, i] - 0.05))
    want = losses.gist(
        [q, d, n],
        [guide_q, guide_d, guide_n],
        margin=0.05,
        contrast_queries=False,
        contrast_documents=False,
    )
    torch.testing.assert_close(got, want)


@seeds
def test_matryoshka_equals_sentence_transformers(seed):
    columns = rows(seed)[:3]
    reference = theirs.MatryoshkaLoss(
        model := Fixed(DIM), theirs.MultipleNegativesRankingLoss(model), [8, 4, 2], [1, 0.5, 0.25]
    )

    def want(*columns):
        return reference([{"rows": column} for column in columns], None)

    def got(*columns):
        return losses.matryoshka(
            losses.in_batch_negatives, columns, dims=[8, 4, 2], weights=[1, 0.5, 0.25]
        )

    assert_equal(measured(got, columns), measured(want, columns))


# Layers, by direct computation from the published formulas

LAYERS = 4


def layers_of(seed):
    return [rows(seed + 100 * layer)[:2] for layer in range(LAYERS)]


def in_layers(call):
    """A function of all columns of all layers, for `measured`."""
    return lambda *flat: call([flat[i : i + 2] for i in range(0, len(flat), 2)])


def divergence(student, teacher, temperature):
    p, q = F.softmax(teacher / temperature, dim=1), F.softmax(student / temperature, dim=1)
    return (p * (p / q).log()).sum() / len(p) * temperature


@seeds
@pytest.mark.parametrize("chosen", [None, [1], [0, 2]])
def test_adaptive_layer_is_the_published_sum(seed, chosen):
    loss = losses.in_batch_negatives

    def want(layers):
        places = chosen or [0, 1, 2]
        last = torch.cat(layers[-1]).detach()
        total = loss(*layers[-1])
        for place in places:
            total = total + 0.7 * loss(*layers[place]) / (1 + place) / len(places)
            total = total + divergence(torch.cat(layers[place]), last, 0.3)
        return total

    got = partial(
        losses.adaptive_layer,
        loss,
        chosen=chosen,
        prior_weight=0.7,
        layer_weight=lambda place: 1 / (1 + place),
    )
    flat = [column for layer in layers_of(seed) for column in layer]

    assert_equal(measured(in_layers(got), flat), measured(in_layers(want), flat))


@seeds
def test_2d_matryoshka_is_both_at_once(seed):
    layers, loss = layers_of(seed), losses.in_batch_negatives

    got = losses.matryoshka_2d(loss, layers, dims=[8, 3], chosen=[2])

    want = sum(loss(*(column[:, :dim] for column in layers[at])) for at in (3, 2) for dim in (8, 3))
    want = want + divergence(torch.cat(layers[2]), torch.cat(layers[3]), 0.3)
    torch.testing.assert_close(got, want)


@seeds
def test_espresso_is_the_published_sum(seed):
    loss, size = losses.in_batch_negatives, 3

    def compress(m):
        """As in AnglE, with the signs of the directions fixed."""
        soft = F.softmax(m.T @ m / m.shape[-1] ** 0.5, dim=-1)
        u, s, _ = torch.linalg.svd(soft)
        for column in range(DIM):
            if u[u[:, column].abs().argmax(), column] < 0:
                u[:, column] *= -1
        return m @ (u[:, :size] @ torch.diag(s[:size]))

    def short(layer):
        m = torch.cat(layer)
        target = compress(m.detach())
        mse = ((m[:, :size] - target) ** 2).mean()
        found = loss(*(column[:, :size] for column in layer))
        return found + mse + divergence(m[:, :size], target, 0.5)

    def want(layers):
        total = loss(*layers[-1]) + short(layers[-1])
        for place, layer in enumerate(layers[:-1]):
            total = total + short(layer) / (1 + math.log(1 + place)) / (LAYERS - 1)
        return total

    got = partial(losses.espresso, loss, size=size, temperature=0.5)
    flat = [column for layer in layers_of(seed) for column in layer]

    assert_equal(measured(in_layers(got), flat), measured(in_layers(want), flat))


def test_principal_directions_are_exact_where_a_random_projection_is_near():
    m = torch.randn(64, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    got = losses.principal(m, 3)

    soft = F.softmax(m.T @ m / DIM**0.5, dim=-1)
    u, s, _ = torch.svd_lowrank(soft, q=DIM, niter=20)  # with every direction it is exact
    torch.testing.assert_close(got.abs(), (m @ u[:, :3] * s[:3]).abs(), rtol=1e-4, atol=1e-5)
    assert torch.equal(got, losses.principal(m, 3))
    flipped = losses.principal(m.flip(0), 3).flip(0)
    torch.testing.assert_close(got, flipped, rtol=1e-4, atol=1e-5)


# The settings of AnglE by name


def test_angles_names_of_today_and_of_its_first_version_are_read():
    assert losses.angle_names({}) == (MixWeights(), None)
    assert losses.angle_names({"ibn_w": 30, "angle_w": 1, "cosine_tau": 20}) == (
        MixWeights(in_batch=30.0, angle=1.0),
        0.05,
    )
    assert losses.angle_names({"w1": 1, "w2": 35, "w3": 0.5}) == (
        MixWeights(cosine=1.0, in_batch=35.0, angle=0.5),
        None,
    )
    assert losses.angle_names({"w2": 2})[0] == MixWeights(cosine=1.0, in_batch=2.0, angle=1.0)
    for given, message in (
        ({"w4": 1}, "Unknown loss setting of AnglE 'w4'. Known: cosine_w"),
        ({"w1": 1, "ibn_w": 1}, "not both"),
        ({"ibn_tau": 20, "angle_tau": 1}, r"share one tau above 0, got \[1.0, 20.0\]"),
        ({"tau": 0}, r"share one tau above 0, got \[0.0\]"),
    ):
        with pytest.raises(ValueError, match=message):
            losses.angle_names(given)


# Masks, degenerate batches and wrong calls


def test_duplicates_are_told_by_their_texts():
    queries = ["a", "b", "a", "d"]
    documents = ["A", "B", "A2", "b"]

    got = losses.duplicates(queries, [*documents, "A", "x", "d"])

    assert [[j for j, found in enumerate(row) if found] for row in got.tolist()] == [
        [0, 2, 4],  # its own, the other copy's, the one that came as a hard negative
        [1, 3],  # its own, and itself
        [0, 2, 4],
        [3, 6],
    ]
    with pytest.raises(ValueError, match="2 queries need as many documents, got 1"):
        losses.duplicates(["a", "b"], ["A"])


def test_multi_positive_worked_by_hand():
    # Cosines [1, 0, .6] at temperature 1; positives 0 and 2; the second query has none.
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[2.0, 0.0], [0.0, 3.0], [3.0, 4.0]])
    positives = torch.tensor([[True, False, True], [False, False, False]])

    got = losses.multi_positive(queries, candidates, positives, temperature=1.0)
    alone = losses.multi_positive(
        queries, candidates, positives, temperature=1.0, exclude=~positives
    )
    none = losses.multi_positive(queries.requires_grad_(), candidates, positives & False)

    total = math.log(math.e + 1 + math.exp(0.6))
    assert got.item() == pytest.approx(total - 0.8)
    assert alone.item() == pytest.approx(math.log(math.e + math.exp(0.6)) - 0.8)
    none.backward()
    assert none.item() == 0
    assert torch.equal(queries.grad, torch.zeros_like(queries))


ROWS, GROUPS, TEACHER = torch.ones(4, 6), torch.ones(4, 3, 6), torch.ones(4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.group_softmax(ROWS, ROWS), r"got \(4, 6\) and \(4, 6\)"),
        (lambda: losses.group_softmax(ROWS, GROUPS[:3]), r"got \(4, 6\) and \(3, 3, 6\)"),
        (lambda: losses.group_softmax(ROWS, GROUPS, temperature=0), "above 0, got 0"),
        (lambda: losses.margin_mse(ROWS, GROUPS, TEACHER[:, :2]), r"\(4, 3\), got \(4, 2\)"),
        (lambda: losses.margin_mse(ROWS, GROUPS[:, :1], TEACHER[:, :1]), "of one text has nothing"),
        (lambda: losses.listwise_distillation(ROWS, GROUPS, TEACHER / 0), "must be finite"),
        (lambda: losses.embedding_mse(ROWS, ROWS[:, :5]), r"got \(4, 6\) and \(4, 5\)"),
        (lambda: losses.triplet_softmax(ROWS, ROWS, ROWS[:, :5]), r"\(m, 6\), got \(4, 5\)"),
        (lambda: losses.multi_positive(ROWS, ROWS[:, :5], TEACHER > 0), r"and \(4, 5\)"),
        (lambda: losses.multi_positive(ROWS, ROWS, TEACHER > 0), r"positives must have shape"),
        (lambda: losses.multi_positive(ROWS, ROWS, torch.eye(4)), "positives must be boolean"),
        (lambda: losses.gist([ROWS], [ROWS]), "got 1 and 1 tensors"),
        (lambda: losses.gist([ROWS] * 3, [ROWS] * 2), "got 3 and 2 tensors"),
        (lambda: losses.matryoshka(losses.pair_softmax, [ROWS], dims=[7]), r"1 to 6, got \[7\]"),
        (lambda: losses.matryoshka(losses.pair_softmax, [ROWS], dims=[]), r"1 to 6, got \[\]"),
        (
            lambda: losses.matryoshka(losses.pair_softmax, [ROWS], dims=[2], weights=[1, 2]),
            "must be 1, one for each of dims, got 2",
        ),
        (
            lambda: losses.adaptive_layer(losses.pair_softmax, [[ROWS]] * 3, chosen=[2]),
            r"from 0 to 1, got \[2\]",
        ),
        (lambda: losses.espresso(losses.pair_softmax, [[ROWS]], size=2), "got 1 layers and 2"),
        (lambda: losses.espresso(losses.pair_softmax, [[ROWS]] * 2, size=9), "got 2 layers and 9"),
        (lambda: losses.angle_triplets(ROWS, ROWS, ROWS[:2]), r"\(4, 6\), got \(2, 6\)"),
    ],
)
def test_a_wrong_call_says_what_came(call, message):
    with pytest.raises(ValueError, match=message):
        call()


EVERY = {
    "group_softmax": lambda q, d, n, t: losses.group_softmax(q, groups(d, n)),
    "multi_positive": lambda q, d, n, t: losses.multi_positive(q, d, torch.eye(BATCH).bool()),
    "gist": lambda q, d, n, t: losses.gist([q, d, n], [q, d, n]),
    "triplet_softmax": lambda q, d, n, t: losses.triplet_softmax(q, d, n, swap=True),
    "triplet_sigmoid": lambda q, d, n, t: losses.triplet_sigmoid(q, d, n, swap=True),
    "angle_triplets": lambda q, d, n, t: losses.angle_triplets(q, d, n),
    "listwise": lambda q, d, n, t: losses.listwise_distillation(q, groups(d, n), t),
    "m3": lambda q, d, n, t: losses.m3_distillation(q, groups(d, n), t),
    "margin_mse": lambda q, d, n, t: losses.margin_mse(q, groups(d, n), t),
    "espresso": lambda q, d, n, t: losses.espresso(
        losses.pair_softmax, [(q, d), (d, q), (q, d)], size=4
    ),
}


@pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY.keys())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sixteen_bits_and_zero_rows_give_finite_gradients(loss, dtype):
    *columns, teacher = rows(0)
    columns[0][1] = columns[1][2] = 0
    columns = [column.to(dtype) for column in columns]

    value, *gradients = measured(lambda q, d, n: loss(q, d, n, teacher), columns)

    assert value.dtype == torch.float32
    assert value.isfinite()
    assert all(g.isfinite().all() and g.dtype == dtype for g in gradients)


def test_the_rows_have_what_the_losses_are_tried_on():
    queries, documents, negatives, teacher = rows(0)

    assert torch.equal(documents[-1], documents[0])
    assert torch.equal(negatives[1], documents[2])
    assert (len(queries), teacher.shape) == (BATCH, (BATCH, SIZE))
