"""What the caller of a build chose; its names are the long options of the command."""

import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from encoder.backends.choice import DTYPES
from indexing.errors import UsageError
from indexing.sharding import OF_THE_MERGE, Shard, check_shard_choices
from indexing.stores.langchain_options import CONFIG_COPY
from indexing.stores.milvus_options import is_lite

if TYPE_CHECKING:
    from indexing.terms import Terms

UPDATES = ("sync", "incremental", "full", "scoped_full")
_KINDS = {str: "text", int: "a whole number", bool: "true or false", float: "a number"}
CONFIG_NAME = "build.toml"
"""The choices that took effect, beside the index."""


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Choices of a build. What is None is taken from the existing index, or from the defaults."""

    encoder: str | None = None
    """Folder or hub id of the encoder."""
    store: str | None = None
    """`faiss`, `exact`, `torch`, which is exact and searches on a GPU where there is one,
    `milvus`, or `langchain`, any vector store of LangChain."""
    index_type: str | None = None
    """`auto`, `flat`, `ivf_sq8`, ... (see `stores.index_types`), or a FAISS factory string."""
    recall: float | None = None
    """Share of the ten nearest that an approximate type must find, measured at each build."""
    uri: str | None = None
    """Where a Milvus store lies: a server's address, or a path that ends in `.db` for Milvus Lite;
    by default Milvus Lite in the index's own folder."""
    consistency: str | None = None
    """How fresh Milvus's view must be: `session`, `strong`, `bounded` or `eventually`."""
    store_class: str | None = None
    """Of the langchain store: `module:Class`, a `VectorStore` of LangChain."""
    store_config: str | None = None
    """Of the langchain store: a TOML file that says how the class is made."""
    update: str = "sync"
    """What happens to documents that the sources no longer offer: `sync` deletes them from the
    sources given, `full` from the whole index, `incremental` and `scoped_full` keep them."""
    chunk_tokens: int | None = None
    """Most tokens of a chunk with its header."""
    overlap_tokens: int | None = None
    """Most tokens that a chunk repeats of the one before."""
    depth: int = 0
    """Links followed from a web address within its site; 0 reads that page alone."""
    public_only: bool = False
    """Ask only hosts with a public address for web pages, for addresses that strangers gave."""
    private_hosts: str = ""
    """Hosts that may be asked all the same, with commas between."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    dtype: str | None = None
    """The encoder's precision: `auto`, `float32`, `bfloat16`, `float16`, `int8` or `int4`.
    Floats of any width fit one index; an index of int8 or int4 takes no other."""
    strict: bool = False
    """Publish nothing if any document cannot be read."""
    allow_mass_delete: bool = False
    """Let a run delete more than half of the index's documents."""
    shard: str | None = None
    """Build one part of the index, such as `1/3`; `indexing.merge` makes one index of all parts."""
    purge: bool = False
    """Leave nothing of what was removed, in older generations and in the embedding cache."""

    def __post_init__(self) -> None:
        if self.update not in UPDATES:
            raise UsageError(f"Unknown update {self.update!r}. Known: {', '.join(UPDATES)}.")
        if self.dtype not in {None, *DTYPES}:
            raise UsageError(f"Unknown dtype {self.dtype!r}. Known: {', '.join(DTYPES)}.")
        if self.recall is not None and not 0 < self.recall < 1:
            raise UsageError(f"--recall must lie between 0 and 1, got {self.recall}.")
        if self.shard is not None:
            object.__setattr__(self, "shard", str(Shard.parse(self.shard)))
            check_shard_choices(self)


def read_config(path: Path) -> dict[str, Any]:
    """The choices in a TOML file, keys spelled as the long options.

    Raises:
        UsageError: If the file is missing or damaged, or has an unknown key or a wrong type.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot read the configuration {path}: {error}.") from error
    choices = {key.replace("-", "_"): value for key, value in values.items()}
    for key, value in choices.items():
        _check_choice(path, key, value)
    return choices


def _check_choice(path: Path, key: str, value: object) -> None:
    types = get_type_hints(BuildConfig)
    option = key.replace("_", "-")
    if key not in types:
        known = ", ".join(sorted(name.replace("_", "-") for name in types))
        raise UsageError(f"{path}: unknown key {option!r}. Known: {known}.")
    wanted = next(kind for kind in _KINDS if kind in (types[key], *get_args(types[key])))
    if type(value) is not wanted:
        raise UsageError(f"{path}: {option} must be {_KINDS[wanted]}, got {value!r}.")


def write_config(index: Path, config: BuildConfig, terms: "Terms") -> None:
    """Write the choices that took effect beside the index, as a file that `--config` reads."""
    effective = asdict(config) | {
        "encoder": terms.encoder.name,
        "store": terms.store,
        "index_type": terms.index_type,
        "recall": terms.recall,
        "chunk_tokens": terms.splitter.chunk_tokens,
        "overlap_tokens": terms.splitter.overlap_tokens,
        "dtype": config.dtype or terms.encoder.dtype,
    }
    if terms.shard:
        effective |= dict.fromkeys(OF_THE_MERGE)
    effective |= {key: terms.store_options.get(key) for key in ("uri", "consistency")}
    if "config" in terms.store_options:
        (index / CONFIG_COPY).write_text(terms.store_options["config"], "utf-8")
        effective["store_class"] = terms.store_options["class"]
        effective["store_config"] = str(index.absolute() / CONFIG_COPY)
    if effective["uri"] is not None and is_lite(effective["uri"]):
        effective["uri"] = str(index.absolute() / effective["uri"])
    lines = [
        # JSON's strings, numbers and booleans are also TOML's.
        f"{key.replace('_', '-')} = {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in effective.items()
        if value is not None
    ]
    (index / CONFIG_NAME).write_text("".join(lines), "utf-8")
