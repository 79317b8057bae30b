"""What the losses share: unit rows, cosines and checks of shapes."""

import torch
from torch import Tensor


def unit(embeddings: Tensor) -> Tensor:
    """Rows of unit length in float32 or float64; a zero row stays 0."""
    rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    # 1 in place of 0, not a tiny epsilon: its inverse would be the gradient of a zero row.
    return rows.div(norms.masked_fill(norms == 0, 1.0))


def cosines(queries: Tensor, candidates: Tensor) -> Tensor:
    """Cosine of every query with every candidate, shape (queries, candidates)."""
    # Autocast would round the product to 16 bit, a step of 0.004 that the temperature multiplies.
    with torch.autocast(queries.device.type, enabled=False):
        return unit(queries) @ unit(candidates).T


def check_pairs(queries: Tensor, documents: Tensor, temperature: float) -> None:
    """Refuse rows that are no pairs, and a temperature that is not above 0."""
    if queries.dim() != 2 or 0 in queries.shape or queries.shape != documents.shape:
        raise ValueError(
            "queries and documents must both have shape (batch, dim), at least (1, 1), "
            f"got {tuple(queries.shape)} and {tuple(documents.shape)}."
        )
    check_temperature(temperature)


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape, naming both."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}.")


def check_hard_negatives(hard_negatives: Tensor, dim: int) -> None:
    """Refuse negatives that are no rows of that length."""
    if hard_negatives.dim() != 2 or hard_negatives.shape[1] != dim:
        raise ValueError(
            f"hard_negatives must have shape (m, {dim}), got {tuple(hard_negatives.shape)}."
        )


def check_exclude(exclude: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a mask of another shape or type."""
    check_mask("exclude", exclude, shape)


def check_mask(name: str, mask: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a mask of another shape or type."""
    check_shape(name, mask, shape)
    if mask.dtype != torch.bool:
        raise ValueError(f"{name} must be boolean, got {mask.dtype}.")


def check_candidates(queries: Tensor, candidates: Tensor, temperature: float) -> None:
    """Refuse queries and candidates that are no rows of one length."""
    shapes = queries.shape, candidates.shape
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            "queries and candidates must have shapes (n, dim) and (m, dim), at least (1, 1), "
            f"got {tuple(shapes[0])} and {tuple(shapes[1])}."
        )
    check_temperature(temperature)


def check_groups(queries: Tensor, groups: Tensor, temperature: float) -> None:
    """Refuse groups that are not some texts for each query."""
    fits = groups.dim() == 3 and queries.dim() == 2 and queries.shape == groups[:, 0].shape
    if not fits or 0 in groups.shape:
        raise ValueError(
            "queries and groups must have shapes (batch, dim) and (batch, size, dim), "
            f"got {tuple(queries.shape)} and {tuple(groups.shape)}."
        )
    check_temperature(temperature)


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that is not above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}.")


def group_cosines(queries: Tensor, groups: Tensor) -> Tensor:
    """Cosine of every query with every text of its own group, shape (batch, size)."""
    with torch.autocast(queries.device.type, enabled=False):
        rows = unit(groups.reshape(-1, groups.shape[2])).reshape(groups.shape)
        return (unit(queries)[:, None] * rows).sum(dim=2)
