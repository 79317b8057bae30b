"""Plans batches: texts of similar length together, within a budget of tokens."""

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Group positions so that a padded batch holds at most `token_budget` tokens.

    Longest first, so that the largest batch, the one that could exhaust the memory, comes first.
    A text longer than the budget has a batch of its own.

    Args:
        lengths: Tokens of each text.
        token_budget: Most tokens of a batch, padding included.

    Returns:
        Batches of positions into `lengths`; together every position exactly once.
    """
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, got {token_budget}.")
    batches: list[list[int]] = []
    widest = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batches and (len(batches[-1]) + 1) * widest <= token_budget:
            batches[-1].append(position)
        else:
            batches.append([position])
            widest = lengths[position]
    return batches
