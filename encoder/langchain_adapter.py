"""Angler's encoder as a LangChain `Embeddings`."""

from encoder.encoder import Encoder, load_encoder
from encoder.errors import MissingExtraError

try:
    from langchain_core.embeddings import Embeddings
except ImportError as error:
    raise MissingExtraError("The LangChain adapter", "langchain") from error


class EncoderEmbeddings(Embeddings):
    """Plugs an encoder into LangChain; queries and documents get their own instructions.

    The asynchronous methods run the synchronous ones in a thread.
    """

    def __init__(self, encoder: Encoder | str | None = None) -> None:
        """Take a loaded encoder, or load one by folder, hub id, or None for the default."""
        self.encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts to be found."""
        return [list(map(float, row)) for row in self.encoder.encode_documents(texts)]

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        return list(map(float, self.encoder.encode_queries([text])[0]))
