"""Negatives from the other processes of a training run, with exact gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from finetune.losses.contrastive import in_batch_negatives


class _GatherRows(torch.autograd.Function):
    """Rows of all processes; backwards each process gets what all of them want of its rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401 - torch's context
        wanted = gradients[0].contiguous()
        dist.all_reduce(wanted)
        start = dist.get_rank() * ctx.count
        return wanted[start : start + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """Put the rows of all processes together, in the order of their ranks; gradients flow back.

    Every process must call it, forwards and backwards, with a tensor of the same shape. Without a
    process group it gives the rows themselves.

    Args:
        rows: Shape (n, ...).

    Returns:
        Shape (n * processes, ...).
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _GatherRows.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


def in_batch_negatives_across(
    queries: Tensor,
    documents: Tensor,
    hard_negatives: Tensor | None = None,
    *,
    temperature: float = 0.05,
    symmetric: bool = False,
    exclude: Tensor | None = None,
) -> Tensor:
    """In-batch negatives among the documents of all processes.

    Each process scores its own queries; the mean over processes, as distributed data parallel
    training takes it, is the loss of the whole batch, and so are its gradients. FlagEmbedding
    scores all queries everywhere without gradients from elsewhere: 1/processes of the gradients.

    Args:
        queries: This process's, shape (batch, dim).
        documents: Shape (batch, dim).
        hard_negatives: Shape (m, dim).
        temperature: Divides the cosines.
        symmetric: Whether documents also look for their queries among those of all processes.
        exclude: Boolean, shape (batch, all documents and then all hard negatives, both in the order
            of ranks), True where a candidate is no negative.

    Returns:
        A scalar, of this process.
    """
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    batch = len(queries)
    gathered = gather_rows(documents)
    mine = torch.arange(rank * batch, (rank + 1) * batch, device=queries.device)
    others = torch.ones(len(gathered), dtype=torch.bool, device=queries.device)
    others[mine] = False
    more = [gathered[others]]
    if hard_negatives is not None:
        more.append(gather_rows(hard_negatives))
    order = torch.cat([mine, others.nonzero()[:, 0]])  # the positives go first, on the diagonal
    mask = None
    if exclude is not None:
        mask = torch.cat([exclude[:, order], exclude[:, len(gathered) :]], dim=1)
    # From the gathered rows, so that this process's documents have one way back for gradients.
    candidates = gathered[mine], torch.cat(more)
    loss = in_batch_negatives(queries, *candidates, temperature=temperature, exclude=mask)
    if symmetric:
        gathered_queries = gather_rows(queries)
        backwards = mask
        if exclude is not None:
            backwards = gather_rows(exclude[:, : len(gathered)].to(torch.uint8)).bool()[:, mine].T
            backwards = backwards[:, order]
        back = in_batch_negatives(
            gathered[mine],
            gathered_queries[mine],
            gathered_queries[others],
            temperature=temperature,
            exclude=backwards,
        )
        loss = (loss + back) / 2
    return loss
