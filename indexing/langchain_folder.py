"""Texts out of a FAISS folder that LangChain saved; its pickle is read without running anything.

Source: `FAISS.save_local` of langchain-community, which pickles (docstore, position → id) beside
the vectors (https://github.com/langchain-ai/langchain-community).
"""

import json
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.errors import UsageError

_WAY_OUT = (
    "Export its texts where LangChain made it, one JSON object with id and text in each line, and "
    "build from these: python -m indexing.build - --index DIR < texts.jsonl"
)
_LARGEST = 4 << 30


class _State:
    """Stands for an object of LangChain: its attributes, and nothing that runs."""

    def __init__(self, *_: object, **__: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            state = (state[0] or {}) | (state[1] or {})
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("an object without attributes")
        # Pydantic keeps the fields apart.
        inner = state.get("__dict__", state)
        self.state = dict(inner) if isinstance(inner, dict) else {}


class _Document(_State):
    """Stands for langchain's Document."""


class _Docstore(_State):
    """Stands for langchain's InMemoryDocstore."""


_ALLOWED: Mapping[tuple[str, str], type] = {
    (module, "Document"): _Document
    for module in (
        "langchain_core.documents.base",
        "langchain_core.documents",
        "langchain.schema.document",
        "langchain.schema",
        "langchain.docstore.document",
    )
} | {
    (module, "InMemoryDocstore"): _Docstore
    for module in (
        "langchain_community.docstore.in_memory",
        "langchain.docstore.in_memory",
    )
}


class _Reader(pickle.Unpickler):
    """Knows the classes of `_ALLOWED`, as stand-ins, and refuses all others."""

    def find_class(self, module: str, name: str) -> type:
        """The stand-in of a class."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, _: object) -> object:
        """Refuse references out of the file."""
        raise pickle.UnpicklingError("a reference to another file")


def langchain_records(folder: Path) -> list[str]:
    """The documents of a folder that LangChain's FAISS saved, as JSON lines for a build.

    Raises:
        UsageError: If the folder is none, or holds something that is not plainly text.
    """
    found = sorted(folder.glob("*.pkl"))
    if len(found) != 1:
        raise UsageError(
            f"{folder} is no folder of LangChain's FAISS: it holds {len(found)} .pkl files "
            "instead of one."
        )
    if found[0].stat().st_size > _LARGEST:
        raise UsageError(f"{found[0]} is larger than 4 GiB. {_WAY_OUT}")
    try:
        with found[0].open("rb") as file:
            value = _Reader(file).load()
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{found[0]} is not read, because it asks for {error}, and such files can run any "
            f"code. {_WAY_OUT}"
        ) from error
    except Exception as error:
        raise UsageError(f"{found[0]} is damaged ({error}). {_WAY_OUT}") from error
    return [json.dumps(record, ensure_ascii=False) for record in _records(found[0], value)]


def _records(path: Path, value: object) -> list[dict[str, Any]]:
    docstore = value[0] if isinstance(value, tuple) and value else None
    documents = docstore.state.get("_dict") if isinstance(docstore, _Docstore) else None
    if not isinstance(documents, dict) or not documents:
        raise UsageError(f"{path} holds no documents of LangChain. {_WAY_OUT}")
    return [_record(path, str(id_), document) for id_, document in documents.items()]


def _record(path: Path, id_: str, document: object) -> dict[str, Any]:
    text = document.state.get("page_content") if isinstance(document, _Document) else None
    if not isinstance(document, _Document) or not isinstance(text, str):
        raise UsageError(f"{path}: the document {id_!r} has no text. {_WAY_OUT}")
    metadata = _plain(document.state.get("metadata") or {})
    record = {"id": id_, "text": text, "metadata": metadata}
    title = metadata.get("title") if isinstance(metadata, dict) else None
    return record | ({"title": title} if isinstance(title, str) and title else {})


def _plain(value: object) -> Any:  # noqa: ANN401 - a JSON value can be anything
    """What JSON can say of a metadata value."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
