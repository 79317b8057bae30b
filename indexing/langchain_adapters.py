"""An index as a LangChain retriever, and its way of splitting as a LangChain text splitter."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import data
from indexing.hits import Hit
from indexing.langchain_base import (
    BaseRetriever,
    CallbackManagerForRetrieverRun,
    ConfigDict,
    Document,
    TextSplitter,
)
from indexing.retriever import SearchIndex
from indexing.splitting import (
    DEFAULT_OVERLAP_TOKENS,
    Piece,
    SplitterConfig,
    TokenCounter,
    split_document,
)


class IndexRetriever(BaseRetriever):
    """Finds chunks in an index; their metadata hold all that a citation needs."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: SearchIndex
    k: int = 5
    """How many documents to return."""
    mode: str = "hybrid"
    """`dense`, `lexical` or `hybrid`."""
    filter: str | None = None
    """Which chunks may be found, such as `lang == "zh" and year >= 2020`."""
    diversity: float = 0.0
    """0 to 1, how much hits that resemble better ones are pushed back."""
    per_document: int | None = None
    """At most so many hits of one document."""
    merge: bool = False
    """Whether hits that overlap become one."""
    context: int = 0
    """How many neighbouring chunks each document's text holds before and after the hit."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        hits = self.index.search(
            query,
            self.k,
            mode=self.mode,
            filter=self.filter,
            diversity=self.diversity,
            per_document=self.per_document,
            merge=self.merge,
        )
        if self.context:
            hits = [self.index.window(hit, self.context, self.context) for hit in hits]
        return [_document(hit) for hit in hits]


def _document(hit: Hit) -> Document:
    facts = hit.as_dict()
    del facts["text"], facts["metadata"]
    # The document's own metadata first: what cites the hit must not be overwritten by it.
    return Document(page_content=hit.text, metadata=dict(hit.metadata) | facts)


class EncoderTextSplitter(TextSplitter):
    """Splits as an index does: along headings, clauses, tables and sentences, by real tokens.

    Heading lines are not in the chunks. The documents it makes carry in their metadata `heading`
    (the path, outermost first), `start_index` and `end_index` (the text's own places), `tokens`,
    and `embedded`, the text with title and headings that an index gives to the encoder.

    Args:
        encoder: Counts the tokens: a loaded encoder.
        chunk_tokens: Most tokens of a chunk with its header.
        overlap_tokens: Most tokens that a chunk repeats of the one before.

    Raises:
        ValueError: If the numbers do not fit together.
    """

    def __init__(
        self,
        encoder: TokenCounter,
        *,
        chunk_tokens: int = 256,
        overlap_tokens: int | None = None,
    ) -> None:
        if overlap_tokens is None:
            overlap_tokens = min(DEFAULT_OVERLAP_TOKENS, chunk_tokens // 4)
        self._encoder = encoder
        self._config = SplitterConfig(chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
        super().__init__(
            chunk_size=chunk_tokens,
            chunk_overlap=overlap_tokens,
            length_function=lambda text: encoder.count_tokens([text])[0],
            add_start_index=True,
        )

    def split_text(self, text: str) -> list[str]:
        """The texts of the chunks."""
        return [piece.text for piece in self._pieces(text, "")]

    def create_documents(
        self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None
    ) -> list[Document]:
        """The chunks of each text; `title` in its metadata stands before the headings."""
        return [
            Document(page_content=piece.text, metadata=deepcopy(metadata) | _facts(piece))
            for text, metadata in zip(texts, metadatas or [{}] * len(texts), strict=True)
            for piece in self._pieces(text, str(metadata.get("title", "")))
        ]

    def split_documents(self, documents: Iterable[Document]) -> list[Document]:
        """The chunks of each document, with its metadata."""
        given = list(documents)
        return self.create_documents(
            [document.page_content for document in given],
            [document.metadata for document in given],
        )

    def _pieces(self, text: str, title: str) -> list[Piece]:
        document = data.Document(id="", title=title, text=text, source="")
        return split_document(document, self._encoder, self._config)


def _facts(piece: Piece) -> dict[str, Any]:
    return {
        "heading": list(piece.heading),
        "start_index": piece.start,
        "end_index": piece.end,
        "tokens": piece.tokens,
        "embedded": piece.embedded,
    }
