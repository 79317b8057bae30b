"""An open index: queries in, hits out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from indexing.answers import (
    HITS_READ,
    Answer,
    ScoredSentence,
    best_relevance,
    score_sentences,
)
from indexing.answers import answer as quote_best
from indexing.calibration import FALSE_ANSWER_RATE, RERANKED
from indexing.context import section, window
from indexing.evidence import answer_probability
from indexing.filter_parser import parse_filter
from indexing.filters import Filter
from indexing.fusion import FUSED_DEPTH
from indexing.generation import Generation, current_folder, open_current
from indexing.hits import Hit, Mode
from indexing.judging import gather_evidence, judge, judge_reranked
from indexing.legs import Query
from indexing.reranking import Reranking, TextScorer, rerank_ranked
from indexing.selection import Shape, Shown, shape_ranked
from indexing.sentence_cache import SentenceCache
from indexing.terms import check_same_encoder, load_built

if TYPE_CHECKING:
    from encoder import Encoder, EncoderSpec
    from indexing.explaining import Explanation
    from indexing.langchain_adapters import IndexRetriever

__all__ = ["Hit", "Mode", "SearchIndex", "open_index"]

LONGEST_QUERY = 10_000
"""Characters of a query that are searched for; what follows adds time and no meaning."""


def open_index(
    folder: str | Path,
    *,
    encoder: "Encoder | None" = None,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    load: "Callable[[EncoderSpec], Encoder] | None" = None,
) -> "SearchIndex":
    """Open an index for searching.

    Args:
        folder: The index's folder.
        encoder: A loaded encoder; otherwise the one that built the index is loaded with the first
            query that needs it.
        device: Where to load it: `auto`, `cpu` or `cuda`.
        backend: The engine that runs it, as for `load_encoder`.
        dtype: Its precision, as for `load_encoder`; `auto` is what the index was built with.
        load: Gives the encoder of a spec, for those who share encoders between indexes.

    Raises:
        IndexNotFoundError: If there is no index in the folder.
        CorruptIndexError: If one of its files is missing or changed.
        IndexMismatchError: If `encoder` is not the one that built it.
    """
    load = load or partial(load_built, device=device, backend=backend, dtype=dtype)
    return SearchIndex(Path(folder), encoder, device=device, load=load)


class SearchIndex:
    """An index, searched by any number of threads; it stays on its generation until `refresh()`."""

    def __init__(
        self,
        folder: Path,
        encoder: "Encoder | None",
        *,
        device: str,
        load: "Callable[[EncoderSpec], Encoder]",
    ) -> None:
        self.folder = folder
        self._device = device
        self._load = load
        self._lock = Lock()
        self._is_given = encoder is not None
        self._encoders = {} if encoder is None else {encoder.spec.fingerprint: encoder}
        self._rerankers: dict[str, TextScorer] = {}
        self._sentences = SentenceCache()
        self._generation = open_current(folder)
        if encoder is not None:
            check_same_encoder(folder, self._generation.manifest.encoder, encoder.spec)

    def __len__(self) -> int:
        return self._generation.manifest.chunks

    @property
    def generation(self) -> Generation:
        """What is searched now."""
        return self._generation

    @property
    def encoder(self) -> "Encoder":
        """The encoder that built the index, loaded when first asked for."""
        return self._encoder_of(self._generation)

    def _encoder_of(self, generation: Generation) -> "Encoder":
        built = generation.manifest.encoder
        with self._lock:
            if built.fingerprint in self._encoders:
                return self._encoders[built.fingerprint]
            if self._is_given:  # another name for the same vectors
                return next(iter(self._encoders.values()))
            encoder = self._load(built)
            check_same_encoder(self.folder, built, encoder.spec)
            # The one before may still be asked by a search that began with it.
            self._encoders = dict(list(self._encoders.items())[-1:])
            self._encoders[built.fingerprint] = encoder
            return encoder

    def refresh(self) -> bool:
        """Move to a newly published generation; True if there was one.

        If it was built with another encoder, that one is loaded first, and searches go on
        meanwhile.

        Raises:
            IndexMismatchError: If it was built with another encoder than the one given to
                `open_index`; the index stays where it is.
        """
        if current_folder(self.folder) == self._generation.folder:
            return False
        generation = open_current(self.folder)
        before, now = self._generation.manifest.encoder, generation.manifest.encoder
        if self._is_given:
            check_same_encoder(self.folder, now, before)
        elif now.differences(before):
            self._encoder_of(generation)
        self._generation, self._sentences = generation, SentenceCache()
        return True

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: str = Mode.HYBRID,
        filter: str | Filter | None = None,
        rerank: str | TextScorer | Reranking | None = None,
        diversity: float = 0.0,
        per_document: int | None = None,
        merge: bool = False,
    ) -> list[Hit]:
        """The `k` best hits, best first; fewer where the index holds fewer.

        Args:
            query: What to look for, at least one visible character.
            k: How many hits.
            mode: `dense`, `lexical` or `hybrid`.
            filter: Only chunks that it lets through, such as `lang == "zh" and year >= 2020`.
            rerank: A reranker, its folder or hub id, or a `Reranking` that says how many of the
                first hits it reads, and for how long.
            diversity: 0 to 1, how much hits that resemble better ones are pushed back (maximal
                marginal relevance); above 0, the order is no longer that of the scores.
            per_document: At most so many hits of one document.
            merge: Whether hits that overlap or touch become one, with the text of all.

        Raises:
            FilterError: If the filter cannot be read, or asks for a field that no document has.
            ValueError: If the query is empty, or another argument is out of its range.
        """
        asked = self.ask(query, mode=mode, filter=filter)
        shape = Shape(diversity=diversity, per_document=per_document, merge=merge)
        return self._found(asked, k, Mode(mode), self._reranking(rerank), shape)

    def _found(
        self, asked: Query, k: int, mode: Mode, reranking: Reranking | None, shape: Shape
    ) -> list[Hit]:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        if asked.allowed is not None and not len(asked.allowed):
            return []
        k = min(k, max(1, len(self)))
        depth = k if shape.is_plain else max(k, FUSED_DEPTH)
        if reranking is not None:
            depth = max(depth, reranking.depth)
        ranked = asked.ranked(mode, depth)
        if reranking is not None:
            ranked = rerank_ranked(asked, ranked, reranking)
        while True:
            shown = shape_ranked(asked.generation, ranked, k, shape)
            if len(shown.ranked) == k or depth >= len(self):
                return _hits(asked, shown, mode, reranking)
            depth *= 4  # many of the hits were of the same few documents
            known = {id_ for id_, _ in ranked}
            ranked += [item for item in asked.ranked(mode, depth) if item[0] not in known]

    def ask(
        self, query: str, *, mode: str = Mode.HYBRID, filter: str | Filter | None = None
    ) -> Query:
        """A query of the generation that is searched now, checked.

        Raises:
            FilterError: If the filter cannot be read, or asks for a field that no document has.
            ValueError: If the query is empty or no text, or there is no such mode.
        """
        if not query.strip():
            raise ValueError("The query is empty; type what to look for.")
        if any("\ud800" <= character <= "\udfff" for character in query[:LONGEST_QUERY]):
            raise ValueError(
                "The query holds bytes that are no text (lone surrogates); give it as UTF-8."
            )
        if mode not in list(Mode):
            raise ValueError(f"Unknown mode {mode!r}. Known: {', '.join(Mode)}.")
        generation = self._generation
        tree, allowed = None, None
        if filter is not None:
            tree = parse_filter(filter) if isinstance(filter, str) else filter
            allowed = generation.allowed(tree)
        text = query.strip()[:LONGEST_QUERY]
        return Query(text, generation, lambda: self._encoder_of(generation), allowed, tree)

    def explain(
        self,
        query: str,
        document: str,
        *,
        filter: str | Filter | None = None,
        rerank: str | TextScorer | Reranking | None = None,
    ) -> "Explanation":
        """Why a document was found for a query, or not.

        Raises:
            LookupError: If the index holds no such document.
            ValueError: As `search`.
        """
        from indexing.explaining import explain

        tree = parse_filter(filter) if isinstance(filter, str) else filter
        asked = self.ask(query, filter=tree)
        return explain(asked, document, tree, self._reranking(rerank))

    def window(self, hit: Hit, before: int = 1, after: int = 1) -> Hit:
        """A hit with its neighbours: its text goes from `before` chunks earlier to `after` later.

        Raises:
            LookupError: If the hit's document is no longer in the index.
        """
        return window(self._generation, hit, before, after)

    def section(self, hit: Hit) -> Hit:
        """A hit with all of the section that it stands in, its subsections included.

        Raises:
            LookupError: If the hit's document is no longer in the index.
        """
        return section(self._generation, hit)

    def _reranking(self, rerank: str | TextScorer | Reranking | None) -> Reranking | None:
        """What reorders the hits, loaded."""
        if rerank is None:
            return None
        found = rerank if isinstance(rerank, Reranking) else Reranking(model=rerank)
        if not isinstance(found.model, str):
            return found
        with self._lock:
            if found.model not in self._rerankers:
                from encoder import load_reranker

                self._rerankers[found.model] = load_reranker(found.model, device=self._device)
            return replace(found, model=self._rerankers[found.model])

    def sentences(self, query: str, hits: Sequence[Hit]) -> list[ScoredSentence]:
        """The sentences of some hits, each with how well it answers the query, best first."""
        found = score_sentences(query, hits, self.encoder, cache=self._sentences)
        documents = self._generation.documents(list({item.document for item in found}))
        return [
            replace(item, page=documents[item.document].page_at(item.start))
            if item.document in documents
            else item
            for item in found
        ]

    def answer(
        self,
        query: str,
        *,
        mode: str = Mode.HYBRID,
        filter: str | Filter | None = None,
        rerank: str | TextScorer | Reranking | None = None,
        false_answer_rate: float = FALSE_ANSWER_RATE,
    ) -> Answer:
        """The sentences that answer a query, quoted exactly; none if the documents do not.

        Args:
            query: The question.
            mode: As `search`.
            filter: As `search`.
            rerank: As `search`.
            false_answer_rate: Share of the questions without an answer in the index that may be
                answered all the same; it takes effect once the index is calibrated.

        Raises:
            ValueError: As `search`, or if the rate is not between 0 and 1.
        """
        asked = self.ask(query, mode=mode, filter=filter)
        reranking = self._reranking(rerank)
        hits = self._found(asked, HITS_READ, Mode(mode), reranking, Shape())
        relevance, threshold = _seeming(asked, Mode(mode), reranking, hits, false_answer_rate)
        quoted: list[ScoredSentence] = []
        if threshold is None or relevance is None or relevance > threshold:
            quoted = quote_best(self.sentences(query, hits))
        return Answer(sentences=tuple(quoted), relevance=relevance, threshold=threshold)

    def is_answered_by(
        self,
        query: str,
        hits: Sequence[Hit],
        *,
        mode: str = Mode.HYBRID,
        filter: str | Filter | None = None,
        false_answer_rate: float = FALSE_ANSWER_RATE,
    ) -> bool:
        """Whether hits of `search` seem to answer its query; True where nothing is calibrated.

        Args:
            query: The question.
            hits: The first hits for it, not reranked; none answer nothing.
            mode: As they were searched for.
            filter: As they were searched for.
            false_answer_rate: As `answer`.

        Raises:
            ValueError: As `answer`.
        """
        asked = self.ask(query, mode=mode, filter=filter)
        relevance, threshold = _seeming(asked, Mode(mode), None, hits, false_answer_rate)
        is_enough = threshold is None or relevance is None or relevance > threshold
        return bool(hits) and is_enough

    def as_retriever(self, k: int = 5, **choices: Any) -> "IndexRetriever":  # noqa: ANN401 - checked by its class
        """The index as a LangChain retriever, with citations in each document's metadata.

        Args:
            k: How many documents to return.
            choices: The other fields of `IndexRetriever`: mode, filter, diversity, per_document,
                merge, context.

        Raises:
            ValueError: If there is no such field, or a value is of the wrong type.
        """
        from indexing.langchain_adapters import IndexRetriever

        return IndexRetriever(index=self, k=k, **choices)


def _hits(asked: Query, shown: Shown, mode: Mode, reranking: Reranking | None) -> list[Hit]:
    if reranking is None:
        relevance, better_than = judge(asked, mode, [id_ for id_, _ in shown.ranked])
    else:
        relevance, better_than = judge_reranked(asked, mode, shown.ranked, reranking.name)
    documents = asked.generation.documents(list({c.document for c in shown.chunks.values()}))
    hits = []
    for rank, (id_, scores) in enumerate(shown.ranked, start=1):
        chunk = shown.chunks[id_]
        document = documents[chunk.document]
        hits.append(
            Hit(
                rank=rank,
                score=scores.last,
                scores=scores,
                relevance=relevance[rank - 1],
                document=document.id,
                title=document.title,
                source=document.source,
                page=chunk.page,
                heading=chunk.heading,
                text=chunk.text,
                start=chunk.start,
                end=chunk.end,
                chunk=chunk.id,
                metadata=document.metadata,
                better_than=better_than[rank - 1],
            )
        )
    return hits


def _seeming(
    asked: Query,
    mode: Mode,
    reranking: Reranking | None,
    hits: Sequence[Hit],
    false_answer_rate: float,
) -> tuple[float | None, float | None]:
    """How likely the hits answer, and what that must exceed; None where that is not known."""
    calibration = asked.generation.calibration
    if calibration is None:
        return None, None
    name = str(mode) if reranking is None else RERANKED
    if reranking is not None and calibration.reranker != reranking.name:
        return None, None
    found = calibration.modes.get(name)
    if found is None:
        return None, None
    threshold = found.threshold(false_answer_rate)
    if reranking is not None or calibration.unrelated_cosine is None:
        return best_relevance(hits), threshold
    evidence = gather_evidence(asked, mode, [hit.chunk for hit in hits])
    return float(answer_probability(evidence[None], calibration.unrelated_cosine)[0]), threshold
