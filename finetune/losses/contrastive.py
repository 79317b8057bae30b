"""A query finds its document among others: in-batch negatives in all their forms."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from finetune.losses.rows import (
    check_candidates,
    check_exclude,
    check_groups,
    check_hard_negatives,
    check_mask,
    check_pairs,
    cosines,
    group_cosines,
)


def in_batch_negatives(
    queries: Tensor,
    documents: Tensor,
    hard_negatives: Tensor | None = None,
    *,
    temperature: float = 0.05,
    symmetric: bool = False,
    exclude: Tensor | None = None,
) -> Tensor:
    """Ask each query to find its own document among all documents of the batch (InfoNCE).

    With candidates c = documents, then hard negatives, and s_ij = cos(q_i, c_j) / temperature:
    loss = mean over i of log(sum over j of exp(s_ij)) - s_ii. The symmetric form is the mean of
    this and of its mirror: each document finds its query among all queries (no hard negatives).

    Args:
        queries: Shape (batch, dim).
        documents: The positive of each query, shape (batch, dim).
        hard_negatives: More candidates, each a negative of every query, shape (m, dim).
        temperature: Divides the cosines; lower looks at the hardest negatives only.
        symmetric: Whether documents also look for their queries.
        exclude: Boolean, shape (batch, batch + m), True where candidate j is no negative of query
            i, in either direction. The positive itself always counts. `ids[:batch, None] == ids`
            excludes duplicates of the positive, ids being those of the candidates.

    Returns:
        A scalar; 0 when a query has no candidate but its positive.

    Raises:
        ValueError: If shapes differ, the batch is empty or the temperature is not above 0.

    Source: van den Oord et al. 2018, eq. 4 (https://arxiv.org/abs/1807.03748); both directions:
        Günther et al. 2023 (https://arxiv.org/abs/2310.19923).
    """
    check_pairs(queries, documents, temperature)
    candidates = documents
    if hard_negatives is not None:
        check_hard_negatives(hard_negatives, queries.shape[1])
        candidates = torch.cat([documents, hard_negatives])
    scores = cosines(queries, candidates) / temperature
    if exclude is not None:
        scores = without(scores, exclude)
    loss = find_diagonal(scores)
    if symmetric:
        loss = (loss + find_diagonal(scores[:, : len(queries)].T)) / 2
    return loss


def without(scores: Tensor, exclude: Tensor) -> Tensor:
    """Scores with -inf for the excluded candidates; the diagonal, the positives, stays."""
    check_exclude(exclude, tuple(scores.shape))
    positives = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    return scores.masked_fill(exclude & ~positives, -torch.inf)


def find_diagonal(scores: Tensor) -> Tensor:
    """Mean over rows i of the cross-entropy of finding column i."""
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def multi_positive(
    queries: Tensor,
    candidates: Tensor,
    positives: Tensor,
    *,
    temperature: float = 0.05,
    exclude: Tensor | None = None,
) -> Tensor:
    """Ask each query to find all its positives among the candidates.

    loss = mean, over queries i that have a positive, of the mean over positives p of
    log(sum over j of exp(s_ij)) - s_ip, with s as in `in_batch_negatives`. Queries without a
    positive do not count; AnglE counts them as 0.

    Args:
        queries: Shape (n, dim).
        candidates: Shape (m, dim).
        positives: Boolean, shape (n, m).
        temperature: Divides the cosines.
        exclude: Boolean, shape (n, m), True where candidate j is neither positive nor negative of
            query i, such as the query itself or a duplicate. A positive always counts.

    Returns:
        A scalar; 0 without any positive.

    Raises:
        ValueError: If shapes differ or the temperature is not above 0.

    Source: Khosla et al. 2020, eq. 2 (https://arxiv.org/abs/2004.11362).
    """
    check_candidates(queries, candidates, temperature)
    check_mask("positives", positives, (len(queries), len(candidates)))
    scores = cosines(queries, candidates) / temperature
    if exclude is not None:
        check_exclude(exclude, tuple(scores.shape))
        scores = scores.masked_fill(exclude & ~positives, -torch.inf)
    found = positives.any(dim=1)
    if not bool(found.any()):
        return cosines(queries[:0], candidates).sum()  # a zero that backward() can start from
    costs = -F.log_softmax(scores[found], dim=1)
    wanted = positives[found]
    # Not a product with the mask: an excluded candidate costs infinity, and 0 times that is NaN.
    return (costs.masked_fill(~wanted, 0).sum(dim=1) / wanted.sum(dim=1)).mean()


def group_softmax(
    queries: Tensor, groups: Tensor, *, temperature: float = 0.02, in_batch: bool = True
) -> Tensor:
    """Ask each query to find the first text of its group (FlagEmbedding's objective).

    Args:
        queries: Shape (batch, dim).
        groups: The positive and the hard negatives of each query, shape (batch, size, dim).
        temperature: Divides the cosines; 0.02 is that of FlagEmbedding's examples.
        in_batch: Whether the groups of the other queries are candidates too.

    Raises:
        ValueError: If shapes differ or the temperature is not above 0.

    Source: https://github.com/FlagOpen/FlagEmbedding, `AbsEmbedderModel`.
    """
    check_groups(queries, groups, temperature)
    if in_batch:
        negatives = groups[:, 1:].reshape(-1, queries.shape[1])
        return in_batch_negatives(queries, groups[:, 0], negatives, temperature=temperature)
    scores = group_cosines(queries, groups) / temperature
    return F.cross_entropy(scores, scores.new_zeros(len(scores), dtype=torch.long))


def duplicates(queries: Sequence[str], candidates: Sequence[str]) -> Tensor:
    """Tell which candidates are false negatives by their text, for the argument `exclude`.

    Candidate i answers query i, those after the queries' number are hard negatives. Candidate j is
    no negative of query i if it is the text of a positive of i, of another copy of i, or i itself.

    Args:
        queries: The batch's queries.
        candidates: As many documents in the same order, then hard negatives.

    Returns:
        Boolean, shape (queries, candidates), True also for the positives themselves.

    Raises:
        ValueError: If there are fewer candidates than queries.
    """
    if len(candidates) < len(queries):
        raise ValueError(f"{len(queries)} queries need as many documents, got {len(candidates)}.")
    answers: dict[str, set[str]] = {}
    for query, document in zip(queries, candidates, strict=False):
        answers.setdefault(query, {query}).add(document)
    rows = [[candidate in answers[query] for candidate in candidates] for query in queries]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(queries), len(candidates))


def false_negatives(
    guide_queries: Tensor,
    guide_candidates: Tensor,
    *,
    margin: float = 0.0,
    relative: bool = False,
) -> Tensor:
    """Tell which candidates a guide finds as good as the positive, for the argument `exclude`.

    With g the guide's cosines, candidate j is no negative of query i if g_ij > g_ii - margin, or,
    if relative, g_ij > g_ii - margin * |g_ii|.

    Args:
        guide_queries: The guide's embeddings of the queries, shape (n, dim).
        guide_candidates: Its embeddings of the documents, then of more, shape (m, dim), m >= n.
        margin: How far a negative must lie below the positive.
        relative: Whether the margin is a share of the positive's score.

    Returns:
        Boolean, shape (n, m), False for the positives.

    Source: Solatorio 2024 (https://arxiv.org/abs/2402.16829); margins: Moreira et al. 2024
        (https://arxiv.org/abs/2407.15831).
    """
    check_candidates(guide_queries, guide_candidates, 1.0)
    with torch.no_grad():
        scores = cosines(guide_queries, guide_candidates)
        bound = scores.diagonal()[:, None]
        masked = scores > bound - margin * (bound.abs() if relative else 1.0)
        return masked.fill_diagonal_(False)


def gist(
    embeddings: Sequence[Tensor],
    guide: Sequence[Tensor],
    *,
    temperature: float = 0.01,
    margin: float = 0.0,
    relative: bool = False,
    contrast_queries: bool = True,
    contrast_documents: bool = True,
) -> Tensor:
    """In-batch negatives without those that a guide model finds as good as the positive.

    The candidates of query i are all documents, all other queries, all documents once more against
    document i, and the hard negatives. sentence-transformers lets a query be its own negative where
    the guide scores the positive as high as an equal text; here it never is.

    Args:
        embeddings: Queries, documents and perhaps hard negatives, each of shape (batch, dim).
        guide: The guide's embeddings of the same texts.
        temperature: Divides the cosines.
        margin: As in `false_negatives`.
        relative: As in `false_negatives`.
        contrast_queries: Whether other queries are candidates.
        contrast_documents: Whether documents are also told from one another.

    Raises:
        ValueError: If there are not two or three tensors, or their shapes differ.

    Source: Solatorio 2024 (https://arxiv.org/abs/2402.16829).
    """
    if len(embeddings) not in {2, 3} or len(guide) != len(embeddings):
        raise ValueError(
            "embeddings and guide must both be queries, documents and perhaps hard negatives, "
            f"got {len(embeddings)} and {len(guide)} tensors."
        )
    queries, documents = embeddings[:2]
    check_pairs(queries, documents, temperature)
    columns = [(queries, documents, guide[0], guide[1])]
    if contrast_queries:
        columns.append((queries, queries, guide[0], guide[0]))
    if contrast_documents:
        columns.append((documents, documents, guide[1], guide[1]))
    if len(embeddings) == 3:
        columns.append((queries, embeddings[2], guide[0], guide[2]))
    with torch.no_grad():
        bound = cosines(guide[0], guide[1]).diagonal()[:, None]
        bound = bound - margin * (bound.abs() if relative else 1.0)
    scores = []
    for place, (rows, others, guide_rows, guide_others) in enumerate(columns):
        with torch.no_grad():
            masked = cosines(guide_rows, guide_others) > bound
            if place == 0:
                masked.fill_diagonal_(False)
            elif rows is others:
                masked.fill_diagonal_(True)
        scores.append(cosines(rows, others).masked_fill(masked, -torch.inf))
    return find_diagonal(torch.cat(scores, dim=1) / temperature)
