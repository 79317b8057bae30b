"""How a vector store of LangChain is made, from a TOML file; no engine is imported."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexing.errors import UsageError

MOST_ROWS = 256
MOST_BYTES = 4 << 20
"""Of one request; hosted services refuse more than a few megabytes."""
MOST_K = 1_000
"""Hits of one search; the index's own embeddings answer what asks for more."""
EMBEDDINGS_ARGUMENTS = ("embedding", "embeddings", "embedding_function")
"""What the classes call their `Embeddings`."""
UPLOADING = "uploading.npy"
"""In the index's folder: the chunks that are being written, in case the writer does not end."""
BESIDE = "store"
"""How the names begin of what such a store may keep in the index's folder."""
CONFIG_COPY = f"{BESIDE}.toml"
"""In the index's folder: the configuration that it was built with."""
MODULES = "ANGLER_STORE_MODULES"
_INTEGRATIONS = "astradb aws chroma community core elasticsearch milvus mongodb pinecone postgres"
_CLIENTS = "chromadb elasticsearch pinecone psycopg pymongo qdrant_client redis sqlalchemy weaviate"
_KNOWN_MODULES = frozenset(
    [
        *(f"langchain_{name}" for name in f"{_INTEGRATIONS} qdrant redis weaviate".split()),
        *_CLIENTS.split(),
    ]
)
"""An index that somebody else made may name these and no others, as naming is running."""
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_TABLES = ("arguments", "add", "search", "delete")
_KINDS: Mapping[str, tuple[type, str]] = {
    "make": (str, "the name of a method"),
    "embeddings": (str, "the name of an argument"),
    "in_memory": (bool, "true or false"),
    "most_rows": (int, "a whole number above 0"),
    "most_bytes": (int, "a whole number above 0"),
    "most_k": (int, "a whole number above 0"),
    **dict.fromkeys(_TABLES, (dict, "a table")),
}
PASSWORD = re.compile(r"://[^/@\s:]*:[^/@\s]+@")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class BridgeOptions:
    """What a configuration says; its keys are the names below, with dashes."""

    store_class: str
    """`module:Class`, a `VectorStore`."""
    make: str | None = None
    """The method of the class that makes the store; by default the class is called."""
    embeddings: str | None = None
    """The argument that takes the `Embeddings`; by default it is found by its name."""
    in_memory: bool = False
    """The store lives in the process alone and takes no more rows once it is made: it is made from
    the index's embeddings whenever the index is opened."""
    most_rows: int = MOST_ROWS
    """Rows of one request."""
    most_bytes: int = MOST_BYTES
    """Of one request."""
    most_k: int = MOST_K
    """Hits of one search."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For the class, or the method that makes the store. In texts, `{index}` is the index's folder,
    `{fingerprint}` 32 digits of the encoder's and `{dim}` its dimensions; `{ env = "NAME" }` is
    read from the environment, and `{ call = "module:name", ... }` is what that returns."""
    add: Mapping[str, Any] = field(default_factory=dict)
    """More arguments for every `add_texts`."""
    search: Mapping[str, Any] = field(default_factory=dict)
    delete: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """For messages."""
        return f"The store {self.store_class}"


def bridge_options(store_class: str, config: str) -> BridgeOptions:
    """Read a configuration.

    Args:
        store_class: `module:Class`.
        config: The text of the TOML file.

    Raises:
        UsageError: If one of the two is not what it must be.
    """
    check_class(store_class)
    try:
        values = {key.replace("-", "_"): value for key, value in tomllib.loads(config).items()}
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The file of --store-config is no TOML: {error}.") from error
    for key, value in values.items():
        _check_value(key, value)
    for table in _TABLES:
        _check_secrets(values.get(table, {}), table)
    return BridgeOptions(store_class=store_class, **values)


def check_class(name: str) -> None:
    """Raise UsageError unless it names a class of a module that may be used."""
    if not _CLASS.fullmatch(name):
        raise UsageError(
            "--store-class must be module:Class, such as langchain_qdrant:QdrantVectorStore; "
            f"got {name!r}."
        )
    check_module(name.partition(":")[0])


def check_module(name: str, *, is_called: bool = False) -> None:
    """Raise UsageError unless an index may name this module.

    Args:
        name: The module.
        is_called: Whether any of its names is called, and not a `VectorStore` alone: then it must
            be one of the packages themselves, whose public names are few.
    """
    package = name.partition(".")[0]
    own = {one.strip() for one in os.environ.get(MODULES, "").split(",")}
    if {package, name} & own or (name if is_called else package) in _KNOWN_MODULES:
        return
    shown = name if is_called else package
    raise UsageError(
        f"{shown} is none of the packages that a store may be loaded from. If you trust it, name "
        f"it in the environment: {MODULES}={shown}."
    )


def _check_value(key: str, value: object) -> None:
    shown = key.replace("_", "-")
    if key not in _KINDS:
        known = ", ".join(sorted(name.replace("_", "-") for name in _KINDS))
        raise UsageError(f"--store-config: unknown key {shown!r}. Known: {known}.")
    kind, wanted = _KINDS[key]
    is_low = kind is int and type(value) is int and value < 1
    if type(value) is not kind or is_low:
        raise UsageError(f"--store-config: {shown} must be {wanted}, got {value!r}.")


def _check_secrets(value: object, path: str) -> None:
    """An index keeps its configuration, so no password may stand in it, and nothing unsafe."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if "dangerous" in key:
                raise UsageError(
                    f"--store-config: {path}.{key} is not allowed: such files can run any code, "
                    "and an index holds none."
                )
            _check_secrets(inner, f"{path}.{key}")
        if "call" in value:
            _check_call(value["call"], path)
    elif isinstance(value, list):
        for inner in value:
            _check_secrets(inner, path)
    elif isinstance(value, str) and PASSWORD.search(value):
        raise UsageError(
            f"--store-config: {path} holds a password, and an index keeps this file. Write "
            f'{path.rpartition(".")[2]} = {{ env = "NAME" }}, and give it in the environment.'
        )


def _check_call(name: object, path: str) -> None:
    if not isinstance(name, str) or not _CLASS.fullmatch(name):
        raise UsageError(f"--store-config: {path}.call must be module:name, got {name!r}.")
    check_module(name.partition(":")[0], is_called=True)


def resolved(value: Any, facts: Mapping[str, str | int]) -> Any:  # noqa: ANN401 - TOML
    """A configured value with its placeholders and variables filled in; calls stay as they are.

    Raises:
        UsageError: If a placeholder or a variable is unknown.
    """
    if isinstance(value, Mapping):
        if set(value) <= {"env", "default"} and "env" in value:
            return _from_environment(value)
        return {key: resolved(inner, facts) for key, inner in value.items()}
    if isinstance(value, list):
        return [resolved(inner, facts) for inner in value]
    if not isinstance(value, str):
        return value
    if (whole := _PLACEHOLDER.fullmatch(value)) is not None:
        return _fact(whole[1], facts)  # `"{dim}"` is a number
    return _PLACEHOLDER.sub(lambda found: str(_fact(found[1], facts)), value)


def _fact(name: str, facts: Mapping[str, str | int]) -> str | int:
    if name not in facts:
        known = ", ".join(f"{{{one}}}" for one in facts)
        raise UsageError(f"--store-config: unknown placeholder {{{name}}}. Known: {known}.")
    return facts[name]


def _from_environment(value: Mapping[str, Any]) -> str:
    name = str(value["env"])
    found = os.environ.get(name, value.get("default"))
    if found is None:
        raise UsageError(f"The store's configuration asks for {name} in the environment. Set it.")
    return str(found)


def facts_of(index: Path, fingerprint: str, dim: int) -> dict[str, str | int]:
    """What the placeholders of a configuration stand for."""
    return {"index": str(index.absolute()), "fingerprint": fingerprint[:32], "dim": dim}


def read_store_config(path: Path) -> str:
    """The text of a configuration.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the --store-config {path}: {error}.") from error
