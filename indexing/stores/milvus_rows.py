"""A chunk as a row of Milvus, and whether it fits; no engine is imported."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import Document
from indexing.catalog import ChunkRecord, DocumentRecord
from indexing.errors import StoreError
from indexing.stores.milvus_filter import FACTS, WHOLE, facts_field

MOST_TEXT_BYTES = 65_535
MOST_JSON_BYTES = 65_536
"""Source: https://milvus.io/docs/limitations.md."""
REQUEST_BYTES = 16 << 20
"""One request; servers refuse more than 64 MB, and some proxies less."""
_SMALL_FIELDS_BYTES = 512
"""Of a row, what is not measured."""
TEXTS = ("document", "title", "heading", "text")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowSource:
    """What a row is made of."""

    id: int
    fields: Mapping[str, Any]
    """All but the embedding, its generation and its knowledge base."""
    size: int
    """Bytes, without the embedding."""


def bare_rows(ids: Sequence[int]) -> list[RowSource]:
    """Rows with an id and no more."""
    texts = dict.fromkeys(TEXTS, "")
    fields = {**texts, "page": -1, "metadata": {}, FACTS: {}, WHOLE: False}
    return [RowSource(id_, fields, _SMALL_FIELDS_BYTES) for id_ in ids]


def rows_of(record: DocumentRecord) -> list[RowSource]:
    """The rows of a document's chunks, in order.

    Raises:
        StoreError: If one of its texts is longer than Milvus keeps.
    """
    return [_row(record, chunk) for chunk in record.chunks]


def check_fits(record: DocumentRecord) -> None:
    """Raise StoreError if one of a document's texts is longer than Milvus keeps."""
    for chunk in record.chunks:
        _row(record, chunk)


def _row(record: DocumentRecord, found: ChunkRecord) -> RowSource:
    document, chunk = record.document, found.chunk
    facts, is_whole = facts_field(record.facts, chunk.heading, chunk.page)
    facts_bytes = _json_bytes(facts)
    if facts_bytes > MOST_JSON_BYTES:  # the reader then asks the catalogue alone
        facts, is_whole, facts_bytes = {}, False, 2
    heading = json.dumps(chunk.heading, ensure_ascii=False)
    fields: dict[str, Any] = {
        "document": document.id,
        "title": document.title,
        "heading": heading,
        "text": chunk.text,
        "page": -1 if chunk.page is None else chunk.page,
        "metadata": plain(dict(document.metadata)),
        FACTS: facts,
        WHOLE: is_whole,
    }
    sizes = {name: len(fields[name].encode("utf-8", "replace")) for name in TEXTS}
    metadata_bytes = _json_bytes(fields["metadata"])
    _check_sizes(document, sizes, metadata_bytes)
    size = sum(sizes.values()) + metadata_bytes + facts_bytes + _SMALL_FIELDS_BYTES
    return RowSource(chunk.id, fields, size)


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A value as the client can send it: numbers of 64 bits that are finite, valid characters."""
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _check_sizes(document: Document, sizes: Mapping[str, int], metadata_bytes: int) -> None:
    for name, size in sizes.items():
        if size > MOST_TEXT_BYTES:
            what = "a chunk's text" if name == "text" else f"the {name}"
            advice = (
                "Build with fewer --chunk-tokens"
                if name == "text"
                else "Shorten it, or use --store faiss"
            )
            raise StoreError(
                f"In {document.id[:200]}, {what} takes {size:,} bytes, and Milvus keeps at most "
                f"{MOST_TEXT_BYTES:,} of a text. {advice}."
            )
    if metadata_bytes > MOST_JSON_BYTES:
        raise StoreError(
            f"The metadata of {document.id[:200]} takes {metadata_bytes:,} bytes, and Milvus keeps "
            f"at most {MOST_JSON_BYTES:,}. Leave some of it out, or use --store faiss."
        )


def _json_bytes(value: Mapping[str, Any]) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def portions(sources: Sequence[RowSource], dim: int, most: int = REQUEST_BYTES) -> Iterator[slice]:
    """The rows in requests of at most so many bytes; a row larger than that goes alone."""
    start, filled = 0, 0
    for place, source in enumerate(sources):
        size = source.size + 4 * dim
        if place > start and filled + size > most:
            yield slice(start, place)
            start, filled = place, 0
        filled += size
    if start < len(sources):
        yield slice(start, len(sources))


def as_sent(
    source: RowSource, embedding: NDArray[np.float32], knowledge_base: str, added: int
) -> Row:
    """A row as the client sends it."""
    key = primary_key(knowledge_base, source.id)
    own = {"pk": key, "knowledge_base": knowledge_base, "chunk": source.id, "added": added}
    return {**own, **source.fields, "embedding": embedding}


def primary_key(knowledge_base: str, id_: int) -> str:
    """A key that no other knowledge base of the collection has."""
    return f"{knowledge_base}:{id_}"
