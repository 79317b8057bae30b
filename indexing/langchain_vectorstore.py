"""An index as a LangChain `VectorStore`: documents go in and out by their ids."""

import json
import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from encoder import Encoder
from encoder.langchain_adapter import EncoderEmbeddings
from indexing.config import BuildConfig
from indexing.errors import BuildFailedError, UsageError
from indexing.generation import has_index
from indexing.hits import Mode
from indexing.langchain_base import Document, Embeddings, VectorStore
from indexing.pipeline import build_index
from indexing.removing import remove_documents
from indexing.retriever import SearchIndex, open_index

_ID = "_langchain_id"
"""In the metadata of a stored document, so that equal texts with two ids are two documents."""
_MOST_PER_DOCUMENT = 4
"""Chunks that are read for each document that is wanted."""


class IndexVectorStore(VectorStore):
    """Keeps LangChain's documents in an index folder; one result is one document, whole.

    Scores are those of the index, higher is better: cosines in the mode `dense`. Every call of
    `add_documents` or `delete` publishes a generation, so hand over many documents at once. Safe
    from several threads; one process at a time can write.
    """

    def __init__(
        self,
        folder: str | Path,
        encoder: Encoder | None = None,
        *,
        mode: str = Mode.DENSE,
        config: BuildConfig | None = None,
    ) -> None:
        """Use an index, or the place where one will be.

        Args:
            folder: The index's folder.
            encoder: A loaded encoder; otherwise that of the index, or the default one.
            mode: How it is searched: `dense`, `lexical` or `hybrid`.
            config: Choices of a new index; its `update` is not asked.

        Raises:
            ValueError: If there is no such mode.
        """
        self._folder = Path(folder)
        self._encoder = encoder
        self._mode = Mode(mode)
        self._config = config or BuildConfig()
        self._lock = threading.RLock()
        self._opened: SearchIndex | None = None

    @property
    def embeddings(self) -> Embeddings | None:
        """The encoder of the index, where it was given."""
        return EncoderEmbeddings(self._encoder) if isinstance(self._encoder, Encoder) else None

    @property
    def index(self) -> SearchIndex | None:
        """The index as it was last published; None before the first documents."""
        with self._lock:
            if self._opened is not None:
                self._opened.refresh()
            elif has_index(self._folder):
                self._opened = open_index(self._folder, encoder=self._encoder)
            return self._opened

    # Writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **_: object,
    ) -> list[str]:
        """Add documents, or put them in the place of those with the same ids.

        Returns:
            Their ids, made up where none was given.

        Raises:
            ValueError: If there are not as many ids or metadata as texts.
            BuildFailedError: If a text holds nothing, or metadata is not JSON.
        """
        given = list(texts)
        names = [name or str(uuid.uuid4()) for name in ids or [None] * len(given)]
        rows = zip(given, metadatas or [{}] * len(given), names, strict=True)
        lines = {name: _line(name, text, metadata) for text, metadata, name in rows}
        if lines:
            config = replace(self._config, update="incremental", strict=True)
            with self._lock:
                build_index(
                    ["-"], self._folder, config, encoder=self._encoder, lines=lines.values()
                )
        return names

    def delete(self, ids: list[str] | None = None, **_: object) -> bool:
        """Remove documents; ids that are not there are passed over.

        Raises:
            ValueError: If no ids are given.
        """
        if ids is None:
            raise ValueError("Give the ids to delete; to delete all, delete the index's folder.")
        with self._lock:
            if has_index(self._folder):
                remove_documents(self._folder, ids)
        return True

    # Reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in order; those that are not there are left out."""
        index = self.index
        found = (self._document(index, id_) for id_ in ids) if index is not None else ()
        return [document for document in found if document is not None]

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        filter: str | None = None,
        **_: object,
    ) -> list[Document]:
        """The `k` best documents, best first.

        Args:
            query: What to look for.
            k: How many.
            filter: Only documents that it lets through, such as `lang == "zh" and year >= 2020`.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: str | None = None,
        **_: object,
    ) -> list[tuple[Document, float]]:
        """As `similarity_search`, with the scores; higher is better."""
        return self._found(query, k, filter, 0.0)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: str | None = None,
        **_: object,
    ) -> list[Document]:
        """The `k` documents that are both near and unlike each other.

        Args:
            query: What to look for.
            k: How many.
            fetch_k: Not asked: the index decides how many it chooses from.
            lambda_mult: 1 for the nearest, 0 for the most unlike.
            filter: As in `similarity_search`.
        """
        return [document for document, _ in self._found(query, k, filter, 1 - lambda_mult)]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **_: object
    ) -> list[Document]:
        """The `k` documents nearest to an embedding of the index's encoder, best first."""
        index = self.index
        if index is None:
            return []
        query = np.array([embedding], np.float32)
        held = index.generation.chunk_ids()
        depth = k
        while True:
            ids = index.generation.search(query, min(depth, max(1, len(held)))).ids[0]
            found = index.generation.chunks([id_ for id_ in ids.tolist() if id_ >= 0])
            names = list(dict.fromkeys(found[id_].document for id_ in ids.tolist() if id_ >= 0))
            if len(names) >= k or depth >= len(held):
                return self.get_by_ids(names[:k])
            depth *= _MOST_PER_DOCUMENT

    def _found(
        self,
        query: str,
        k: int,
        filter: str | None,
        diversity: float,
    ) -> list[tuple[Document, float]]:
        index = self.index
        if index is None or not len(index):
            return []
        hits = index.search(
            query, k, mode=self._mode, filter=filter, diversity=diversity, per_document=1
        )
        pairs = ((self._document(index, hit.document), hit.score) for hit in hits)
        return [(document, score) for document, score in pairs if document is not None]

    def _select_relevance_score_fn(self) -> Any:  # noqa: ANN401 - a function of LangChain's kind
        if self._mode is Mode.DENSE:  # cosines
            return lambda score: (1 + score) / 2
        if self._mode is Mode.HYBRID:
            return lambda score: score
        raise NotImplementedError("BM25 has no upper end; ask for scores, or another mode.")

    @staticmethod
    def _document(index: SearchIndex, id_: str) -> Document | None:
        found = index.generation.document(id_)
        if found is None:
            return None
        metadata = {key: value for key, value in found.metadata.items() if key != _ID}
        return Document(id=id_, page_content=found.text, metadata=metadata)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        folder: str | Path | None = None,
        **choices: Any,  # noqa: ANN401 - those of the class
    ) -> Self:
        """Make an index of texts.

        Raises:
            UsageError: If `embedding` is not Angler's, or no folder is given.
        """
        if not isinstance(embedding, EncoderEmbeddings) or folder is None:
            raise UsageError(
                "An index makes its embeddings itself: give EncoderEmbeddings and a folder."
            )
        store = cls(folder, embedding.encoder, **choices)
        store.add_texts(texts, metadatas, ids=ids)
        return store


def _line(name: str, text: str, metadata: dict[Any, Any]) -> str:
    row = {"id": name, "text": text, "metadata": {**metadata, _ID: name}}
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BuildFailedError(
            f"The metadata of {name} cannot be kept as JSON ({error}). Nothing was changed."
        ) from error
