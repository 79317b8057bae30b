"""An index as a LangChain retriever."""

from encoder import MissingExtraError
from indexing.hits import Hit
from indexing.retriever import SearchIndex

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict
except ImportError as error:
    raise MissingExtraError("The LangChain retriever", "langchain") from error


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
