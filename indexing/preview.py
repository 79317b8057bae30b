"""A file's chunks as a build would make them, without an index or the encoder's weights."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data import Document, load_document
from encoder import EncoderSpec, describe_encoder
from encoder.templates import unwrap
from encoder.tokenizer import Tokenizer
from indexing.config import BuildConfig
from indexing.errors import UsageError
from indexing.sentences import Span
from indexing.splitting import Piece, SplitterConfig, split_document
from indexing.terms import agree


@dataclass(frozen=True, kw_only=True)
class Preview:
    """How a document is split."""

    document: Document
    encoder: str
    """Name of the encoder whose tokens are counted."""
    splitter: SplitterConfig
    pieces: tuple[Piece, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `digest` is that of the splitter's configuration."""
        return {
            "document": self.document.id,
            "title": self.document.title,
            "encoder": self.encoder,
            "splitter": asdict(self.splitter) | {"digest": self.splitter.digest},
            "chunks": [
                {
                    "number": number,
                    "page": self.document.page_at(piece.start),
                    "heading": list(piece.heading),
                    "tokens": piece.tokens,
                    "start": piece.start,
                    "end": piece.end,
                    "text": piece.text,
                    "embedded": piece.embedded,
                }
                for number, piece in enumerate(self.pieces, start=1)
            ],
        }


def preview_split(
    file: str | Path, config: BuildConfig | None = None, *, name: str | None = None
) -> Preview:
    """Split a file as a build with this configuration would.

    Args:
        file: A document.
        config: `encoder`, `chunk_tokens` and `overlap_tokens` count; the rest has no say here.
        name: What people call the file, where that is not its name on disk.

    Raises:
        UsageError: If there is no such file, or the configuration does not fit the encoder.
        UnreadableDocumentError: If the file cannot become text.
        ModelNotFoundError: If there is no such encoder.
    """
    path, config = Path(file), config or BuildConfig()
    if not path.is_file():
        raise UsageError(f"{path} is no file. Give one document; to index a folder, build it.")
    description = describe_encoder(config.encoder)
    terms = agree(path, None, config, description.spec)
    tokens = _Tokens(description.spec, Tokenizer.load(description.folder))
    document = load_document(path, id=name or path.name, name=name)
    return Preview(
        document=document,
        encoder=terms.encoder.name,
        splitter=terms.splitter,
        pieces=tuple(split_document(document, tokens, terms.splitter)),
    )


class _Tokens:
    """Counts as the encoder does, by its tokenizer alone."""

    def __init__(self, spec: EncoderSpec, tokenizer: Tokenizer) -> None:
        self._spec = spec
        self._template = spec.template("document")
        self._tokenizer = tokenizer

    @property
    def counts_by_words(self) -> bool:
        return self._tokenizer.counts_by_words(self._template, self._spec)

    def token_spans(self, text: str) -> list[Span]:
        return self._tokenizer.spans(text)

    def token_ids(self, text: str) -> tuple[list[int], list[Span]]:
        return self._tokenizer.read(text)

    def document_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokenizer.ids(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        template = self._template
        bare = [text if (inner := unwrap(template, text)) is None else inner for text in texts]
        return self._tokenizer.count(bare, template, self._spec)
