"""A loss over a large batch within the memory of a small one, with exact gradients (GradCache).

The texts are encoded twice: first without a graph, to have the gradient of the loss by each
embedding, and then once more in small parts that each pass their gradients on to the weights.
Source: Gao et al. 2021 (https://arxiv.org/abs/2101.06983).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")
Encode = Callable[[Part], Tensor | Sequence[Tensor]]
"""From a part of a column to its embeddings, shape (rows, dim), or to those of several layers."""


def backward_in_parts(
    columns: Sequence[Sequence[Part]],
    encode: Encode[Part],
    loss: Callable[..., Tensor],
    *,
    backward: Callable[[Tensor], Any] = Tensor.backward,
    unsynchronised: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Add the gradients of `loss` over whole columns to the weights behind `encode`.

    Dropout falls on the same places both times. Nothing is divided: the gradients are those of one
    `loss(...).backward()`.

    Args:
        columns: The parts of each argument of the loss, such as queries and documents.
        encode: Encodes a part; its rows are taken to depend on that part only.
        loss: Takes the embeddings of each column; where `encode` gives several layers, a list of
            them for each column.
        backward: Called with what is to be differentiated, in place of `Tensor.backward`, such as
            an accelerator's or a scaler's.
        unsynchronised: Entered around every part but the last, such as a distributed model's
            `no_sync`.

    Returns:
        The loss, without a graph.

    Raises:
        ValueError: If there is nothing to encode.
    """
    if not columns or not all(columns):
        raise ValueError("Every column needs at least one part.")
    states: list[list[_RandomState]] = []
    cached: list[list[list[Tensor]]] = []  # column, layer, part
    several = False
    with torch.no_grad():
        for parts in columns:
            states.append([])
            encoded = []
            for part in parts:
                states[-1].append(_RandomState())
                given = encode(part)
                several = not isinstance(given, Tensor)
                encoded.append(_layers(given))
            cached.append([list(layer) for layer in zip(*encoded, strict=True)])
    leaves = [[torch.cat(layer).requires_grad_() for layer in column] for column in cached]
    value = loss(*(column if several else column[0] for column in leaves))
    if not value.requires_grad:  # constant labels, say: there is nothing to learn
        return value.detach()
    value.backward()  # type: ignore[no-untyped-call]

    jobs = [
        (part, state, gradients)
        for parts, column_states, column, sizes in zip(columns, states, leaves, cached, strict=True)
        for part, state, gradients in zip(
            parts, column_states, _gradients(column, sizes), strict=True
        )
    ]
    for place, (part, state, gradients) in enumerate(jobs):
        apart = unsynchronised() if place < len(jobs) - 1 else nullcontext()
        with apart, state.restored():
            found = _layers(encode(part))
            terms = [(a * b.to(a.dtype)).sum() for a, b in zip(found, gradients, strict=True)]
            backward(torch.stack(terms).sum())
    return value.detach()


def _layers(given: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [given] if isinstance(given, Tensor) else list(given)


def _gradients(
    column: Sequence[Tensor], sizes: Sequence[Sequence[Tensor]]
) -> Iterator[list[Tensor]]:
    """The gradients of each part, one for each layer; 0 where the loss did not look at a layer."""
    whole = [torch.zeros_like(c) if c.grad is None else c.grad for c in column]
    split = [
        torch.split(g, [len(part) for part in parts]) for g, parts in zip(whole, sizes, strict=True)
    ]
    for part in zip(*split, strict=True):
        yield list(part)


class _RandomState:
    """The state of torch's random numbers at one moment, on the CPU and on every GPU in use."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        in_use = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._gpus = torch.cuda.get_rng_state_all() if in_use else []

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Go back to that moment; afterwards the numbers go on from where they were."""
        with torch.random.fork_rng(devices=range(len(self._gpus))):
            torch.set_rng_state(self._cpu)
            if self._gpus:
                torch.cuda.set_rng_state_all(self._gpus)
            yield
