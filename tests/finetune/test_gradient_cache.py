"""Gradients of a large batch in small parts, and of a batch that lies in two processes."""

from contextlib import contextmanager

import pytest
import torch
import torch.distributed as dist
from torch import nn

from finetune import losses
from finetune.gradient_cache import backward_in_parts


def make_model(dropout=0.0, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 8)).to(
        dtype
    )


def texts(count, seed, dtype=torch.float64):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def direct(model, columns, loss):
    model.zero_grad()
    value = loss(*(model(column) for column in columns))
    value.backward()
    return value.detach(), gradients(model)


LABELS = torch.linspace(0, 1, 12)
LOSSES = {
    "in batch": lambda q, d: losses.in_batch_negatives(q, d, symmetric=True),
    "cosent": lambda q, d: losses.cosent(q, d, LABELS),
    "mix": lambda q, d: losses.angle_mix(q, d, LABELS),
    "sigmoid": losses.pair_sigmoid,
    "matryoshka": lambda q, d: losses.matryoshka(losses.pair_softmax, [q, d], dims=[8, 4]),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("size", [1, 5, 12, 50])
def test_gradients_in_parts_equal_those_of_the_whole_batch(loss, size):
    model, columns = make_model(), [texts(12, 1), texts(12, 2)]
    want = direct(model, columns, loss)

    model.zero_grad()
    value = backward_in_parts([column.split(size) for column in columns], model, loss)

    torch.testing.assert_close((value, gradients(model)), want, rtol=1e-9, atol=1e-12)


def test_columns_may_have_different_numbers_of_rows():
    model, columns = make_model(), [texts(6, 1), texts(6, 2), texts(17, 3)]
    want = direct(model, columns, losses.in_batch_negatives)

    model.zero_grad()
    parts = [column.split(4) for column in columns]
    value = backward_in_parts(parts, model, losses.in_batch_negatives)

    torch.testing.assert_close((value, gradients(model)), want, rtol=1e-9, atol=1e-12)


def test_every_layer_has_its_gradients():
    model, columns = make_model(), [texts(12, 1), texts(12, 2)]

    def layers(rows):
        hidden = model[1](model[0](rows))
        return [hidden[:, :8], hidden[:, 8:], model[3](hidden)]

    def loss(*columns):
        return losses.espresso(losses.pair_softmax, list(zip(*columns, strict=True)), size=3)

    loss(*(layers(column) for column in columns)).backward()
    want = gradients(model)

    model.zero_grad()
    backward_in_parts([column.split(5) for column in columns], layers, loss)

    torch.testing.assert_close(gradients(model), want, rtol=1e-8, atol=1e-10)


def test_dropout_falls_on_the_same_places_both_times():
    # One part a column: then the direct computation draws the same numbers in the same order.
    model, columns = make_model(dropout=0.5), [texts(12, 1), texts(12, 2)]
    torch.manual_seed(5)
    want = direct(model, columns, losses.in_batch_negatives)
    after = torch.rand(3)

    model.zero_grad()
    torch.manual_seed(5)
    value = backward_in_parts([[c] for c in columns], model, losses.in_batch_negatives)

    torch.testing.assert_close((value, gradients(model)), want)
    assert torch.equal(torch.rand(3), after)  # and the next step draws what it would have drawn


def test_only_the_last_part_is_synchronised_and_the_given_backward_is_used():
    model, log = make_model(), []

    @contextmanager
    def unsynchronised():
        log.append("apart")
        yield

    def backward(term):
        log.append("backward")
        (2 * term).backward()

    columns = [texts(4, 1), texts(4, 2)]
    want = direct(model, columns, losses.in_batch_negatives)[1]
    model.zero_grad()
    backward_in_parts(
        [column.split(2) for column in columns],
        model,
        losses.in_batch_negatives,
        backward=backward,
        unsynchronised=unsynchronised,
    )

    assert log == ["apart", "backward"] * 3 + ["backward"]
    torch.testing.assert_close(gradients(model), [2 * gradient for gradient in want])


def test_a_batch_that_teaches_nothing_leaves_no_nan():
    model, columns = make_model(), [texts(4, 1), texts(4, 2)]
    labels = torch.ones(4)

    value = backward_in_parts(
        [[c] for c in columns], model, lambda q, d: losses.cosent(q, d, labels)
    )

    assert value.item() == 0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in gradients(model))


def test_no_parts_are_refused():
    with pytest.raises(ValueError, match="Every column needs at least one part"):
        backward_in_parts([[]], make_model(), losses.pair_softmax)


# Two processes

PER_RANK = 5
ROWS = {"q": texts(10, 1), "d": texts(10, 2), "n": texts(10, 3)}
SAME = torch.zeros(10, 20, dtype=torch.bool)
SAME[1, 7] = SAME[7, 1] = SAME[8, 12] = True


def of_rank(rank):
    return slice(rank * PER_RANK, (rank + 1) * PER_RANK)


def work(rank, address, folder):
    """One process: the loss of its half, directly and in parts; gradients averaged as DDP does."""
    dist.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=2)
    model, mine = make_model(), of_rank(rank)
    columns = [rows[mine] for rows in ROWS.values()]

    def loss(q, d, n):
        return losses.in_batch_negatives_across(q, d, n, symmetric=True, exclude=SAME[mine])

    results = []
    for run in (
        lambda: direct(model, columns, loss)[0],
        lambda: backward_in_parts([column.split(2) for column in columns], model, loss),
    ):
        model.zero_grad()
        value = run()
        dist.all_reduce(value)
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad)
        results.append((value / 2, [gradient / 2 for gradient in gradients(model)]))
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_value_and_gradients_of_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(work, (tmp_path / "rendezvous", tmp_path), nprocs=2)

    want = direct(
        make_model(),
        ROWS.values(),
        lambda q, d, n: losses.in_batch_negatives(q, d, n, symmetric=True, exclude=SAME),
    )
    for rank in range(2):
        for got in torch.load(tmp_path / f"{rank}.pt"):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_one_process_needs_no_group():
    q, d, n = (rows[:5] for rows in ROWS.values())

    got = losses.in_batch_negatives_across(q, d, n, symmetric=True)

    assert torch.equal(losses.gather_rows(q), q)
    torch.testing.assert_close(got, losses.in_batch_negatives(q, d, n, symmetric=True))
