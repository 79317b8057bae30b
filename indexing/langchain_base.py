"""What the other files take from LangChain: the only one that imports it."""

from encoder import MissingExtraError

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.vectorstores import VectorStore
    from langchain_text_splitters import TextSplitter
    from pydantic import ConfigDict
except ImportError as error:
    raise MissingExtraError("The LangChain adapter", "langchain") from error

__all__ = [
    "BaseRetriever",
    "CallbackManagerForRetrieverRun",
    "ConfigDict",
    "Document",
    "Embeddings",
    "TextSplitter",
    "VectorStore",
]
