"""An open index: queries in, hits out."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexing.answers import ScoredSentence, score_sentences
from indexing.filter_parser import parse_filter
from indexing.filters import Filter
from indexing.fusion import dense_weight, fuse
from indexing.generation import Generation, current_folder, open_current
from indexing.hits import Hit, Mode, Scores
from indexing.stores.base import NO_ID
from indexing.terms import check_same_encoder

if TYPE_CHECKING:
    from encoder import Encoder
    from indexing.langchain_adapters import IndexRetriever

__all__ = ["Hit", "Mode", "SearchIndex", "open_index"]

FUSED_DEPTH = 100
"""Hits of each leg that fusion looks at, at least."""
Allowed = NDArray[np.int64] | None
LONGEST_QUERY = 10_000
"""Characters of a query that are searched for; what follows adds time and no meaning."""


def open_index(
    folder: str | Path,
    *,
    encoder: "Encoder | None" = None,
    device: str = "auto",
    backend: str = "auto",
) -> "SearchIndex":
    """Open an index for searching.

    Args:
        folder: The index's folder.
        encoder: A loaded encoder; otherwise the one that built the index is loaded with the first
            query that needs it.
        device: Where to load it: `auto`, `cpu` or `cuda`.
        backend: The engine that runs it, as for `load_encoder`.

    Raises:
        IndexNotFoundError: If there is no index in the folder.
        CorruptIndexError: If one of its files is missing or changed.
        IndexMismatchError: If `encoder` is not the one that built it.
    """
    return SearchIndex(Path(folder), encoder, device=device, backend=backend)


class SearchIndex:
    """An index, searched by any number of threads; it stays on its generation until `refresh()`."""

    def __init__(
        self, folder: Path, encoder: "Encoder | None", *, device: str, backend: str
    ) -> None:
        self.folder = folder
        self._device = device
        self._backend = backend
        self._lock = Lock()
        self._encoder = encoder
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
        with self._lock:
            if self._encoder is None:
                from encoder import load_encoder

                built = self._generation.manifest.encoder
                encoder = load_encoder(built.name, device=self._device, backend=self._backend)
                check_same_encoder(self.folder, built, encoder.spec)
                self._encoder = encoder
            return self._encoder

    def refresh(self) -> bool:
        """Move to a newly published generation; True if there was one."""
        if current_folder(self.folder) == self._generation.folder:
            return False
        generation = open_current(self.folder)
        built = self._generation.manifest.encoder
        check_same_encoder(self.folder, generation.manifest.encoder, built)
        self._generation = generation
        return True

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: str = Mode.HYBRID,
        filter: str | Filter | None = None,
    ) -> list[Hit]:
        """The `k` best hits, best first; fewer where the index holds fewer.

        Args:
            query: What to look for, at least one visible character.
            k: How many hits.
            mode: `dense`, `lexical` or `hybrid`.
            filter: Only chunks that it lets through, such as `lang == "zh" and year >= 2020`.

        Raises:
            FilterError: If the filter cannot be read, or asks for a field that no document has.
            ValueError: If the query is empty, `k` is below 1, or there is no such mode.
        """
        if not query.strip():
            raise ValueError("The query is empty; type what to look for.")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        if mode not in list(Mode):
            raise ValueError(f"Unknown mode {mode!r}. Known: {', '.join(Mode)}.")
        generation = self._generation
        query = query.strip()[:LONGEST_QUERY]
        allowed = None
        if filter is not None:
            tree = parse_filter(filter) if isinstance(filter, str) else filter
            allowed = generation.allowed(tree)
            if not len(allowed):
                return []
        ranked = self._ranked(generation, query, k, Mode(mode), allowed)
        return _hits(generation, ranked[:k], Mode(mode))

    def _ranked(
        self, generation: Generation, query: str, k: int, mode: Mode, allowed: Allowed
    ) -> list[tuple[int, Scores]]:
        if mode is Mode.DENSE:
            found = self._dense(generation, query, k, allowed)
            return [(id_, Scores(dense=score)) for id_, score in found.items()]
        if mode is Mode.LEXICAL:
            found = _lexical(generation, query, k, allowed)
            return [(id_, Scores(lexical=score)) for id_, score in found.items()]
        depth = max(k, FUSED_DEPTH)
        dense = self._dense(generation, query, depth, allowed)
        lexical = _lexical(generation, query, depth, allowed)
        weight = dense_weight(self.encoder.unknown_share(query))
        return [
            (id_, Scores(dense=dense.get(id_), lexical=lexical.get(id_), fused=score))
            for id_, score in fuse(list(dense), list(lexical), weight)
        ]

    def _dense(
        self, generation: Generation, query: str, k: int, allowed: Allowed
    ) -> dict[int, float]:
        """Score by chunk, best first."""
        vector = self.encoder.encode_queries([query])
        scores, ids = generation.search(vector, k, allowed=allowed)
        pairs = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        return {id_: score for id_, score in pairs if id_ != NO_ID}

    def sentences(self, query: str, hits: Sequence[Hit]) -> list[ScoredSentence]:
        """The sentences of some hits, each with how well it answers the query, best first."""
        return score_sentences(query, hits, self.encoder)

    def as_retriever(
        self, k: int = 5, *, mode: str = Mode.HYBRID, filter: str | None = None
    ) -> "IndexRetriever":
        """The index as a LangChain retriever, with citations in each document's metadata."""
        from indexing.langchain_adapters import IndexRetriever

        return IndexRetriever(index=self, k=k, mode=mode, filter=filter)


def _lexical(generation: Generation, query: str, k: int, allowed: Allowed) -> dict[int, float]:
    scores, ids = generation.lexical.search(query, k, allowed=allowed)
    return dict(zip(ids.tolist(), np.asarray(scores, float).tolist(), strict=True))


def _hits(generation: Generation, ranked: Sequence[tuple[int, Scores]], mode: Mode) -> list[Hit]:
    chunks = generation.chunks([id_ for id_, _ in ranked])
    documents = generation.documents(list({chunk.document for chunk in chunks.values()}))
    hits = []
    for rank, (id_, scores) in enumerate(ranked, start=1):
        chunk = chunks[id_]
        document = documents[chunk.document]
        score = {Mode.DENSE: scores.dense, Mode.LEXICAL: scores.lexical}.get(mode, scores.fused)
        hits.append(
            Hit(
                rank=rank,
                score=score or 0.0,
                scores=scores,
                relevance=None,
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
            )
        )
    return hits
