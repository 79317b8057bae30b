"""What an index's hybrid search thinks of a query's texts, for an encoder to learn.

Words and embeddings find different things, and together more than either. An encoder that is asked
to rank as both together do learns from the documents alone which of their words matter.
"""

from typing import TYPE_CHECKING

from data.pairs import PairRecord
from indexing.hits import Mode

if TYPE_CHECKING:
    from indexing.retriever import SearchIndex

_SCALE = 20.0
"""Of the scores, before a softmax is taken of them: as that of the cosines in training."""


class HybridTeacher:
    """Puts texts that the hybrid search finds beside a query's own, and scores all of them."""

    def __init__(self, index: "SearchIndex", others: int) -> None:
        """Ask an index.

        Args:
            index: Its encoder and its words are the teacher.
            others: How many texts stand beside the query's own.
        """
        self._index, self._others = index, others

    def record(self, query: str, chunk: int, place: str) -> PairRecord | None:
        """The query with its own chunk and others; None where the search finds fewer.

        A text's score is its cosine, as far as the encoder knows the query's words, and its share
        of the most that BM25 could give, 0 to 1; both together times 20.
        """
        asked = self._index.ask(query)
        found = [id_ for id_, _ in asked.ranked(Mode.HYBRID, self._others + 1) if id_ != chunk]
        if len(found) < self._others:
            return None
        ids = [chunk, *found[: self._others]]
        scores = _SCALE * (asked.trust * asked.cosines(ids) + asked.lexical_shares(ids))
        chunks = asked.chunks(ids)
        first, *others = (chunks[id_].text for id_ in ids)
        positive, *negative = (round(float(score), 4) for score in scores)
        return PairRecord(
            queries=(query,),
            positives=(first,),
            negatives=tuple(others),
            positive_scores=(positive,),
            negative_scores=tuple(negative),
            place=place,
        )
