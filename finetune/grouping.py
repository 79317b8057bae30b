"""Records by query in, records by document out: each document once, with all queries it answers."""

from collections.abc import Sequence

from data.pairs import PairRecord
from encoder.errors import UsageError

_Key = tuple[str, str | None]


def by_document(records: Sequence[PairRecord]) -> list[PairRecord]:
    """Turn pairs and triplets round.

    Documents are long and queries short. Where a document answers many queries, a step that takes
    the document once and several of its queries learns more in the same time than one that takes a
    query and one of its documents.

    Args:
        records: Pairs and triplets without a teacher's scores.

    Returns:
        One record for each document (and instruction), in the order in which they come first; its
        negatives are those of all its queries.

    Raises:
        UsageError: If a record is a scored pair or has a teacher's scores.
    """
    queries: dict[_Key, dict[str, None]] = {}
    negatives: dict[_Key, dict[str, None]] = {}
    kinds: dict[_Key, str | None] = {}
    for record in records:
        if record.label is not None or record.positive_scores:
            what = "a label" if record.label is not None else "a teacher's scores"
            raise UsageError(
                f"A record with {what} cannot be grouped by document; leave grouped-by at queries."
            )
        for positive in record.positives:
            key = (positive, record.instruction)
            kinds.setdefault(key, record.kind)
            queries.setdefault(key, {}).update(dict.fromkeys(record.queries))
            negatives.setdefault(key, {}).update(dict.fromkeys(record.negatives))
    return [
        PairRecord(
            queries=tuple(queries[key]),
            positives=(key[0],),
            negatives=tuple(negatives[key]),
            instruction=key[1],
            kind=kinds[key],
        )
        for key in queries
    ]
