"""Models that are tables of vectors: what a folder of model2vec or a file of word vectors says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoder.files import digest_of_file, digest_of_json, read_json, read_object
from encoder.registry import ModelRow
from encoder.spec import EncoderSpec

MODEL2VEC, SENTENCE_TRANSFORMERS, WORDS = "model2vec", "sentence-transformers", "word vectors"
"""Who wrote a table, and so what an unknown token counts: nothing, as any other, nothing."""
WORD_FILES = (".vec", ".vec.gz")
_TENSORS = {MODEL2VEC: "embeddings", SENTENCE_TRANSFORMERS: "embedding.weight"}
_USUAL_TOKENS = 512
"""What model2vec cuts texts to unless it is told otherwise."""
_MOST_TOKENS = 8192
"""For tables without a limit of their own."""
_NESTED = "0_StaticEmbedding"


@dataclass(frozen=True)
class StaticFiles:
    """Where the parts of a table lie."""

    kind: str
    table: Path
    """`model.safetensors`, or a file of word vectors."""
    tokenizer: Path | None
    """`tokenizer.json`; None for word vectors, whose words are the tokens."""

    @property
    def tensor(self) -> str:
        """The table's name in `model.safetensors`."""
        return _TENSORS[self.kind]


def find_static(path: Path) -> StaticFiles | None:
    """The parts of a table of vectors; None of a folder of any other kind.

    Raises:
        ValueError: If a part is damaged or missing.
    """
    if path.is_file():
        is_words = path.name.endswith(WORD_FILES)
        return StaticFiles(WORDS, path, None) if is_words else None
    if read_object(path / "config.json").get("model_type") == "model2vec":
        return _in_folder(MODEL2VEC, path)
    modules = read_json(path / "modules.json", list) or []
    if not modules or not str(modules[0].get("type", "")).endswith(".StaticEmbedding"):
        return None
    return _in_folder(SENTENCE_TRANSFORMERS, path / str(modules[0].get("path", _NESTED)))


def _in_folder(kind: str, folder: Path) -> StaticFiles:
    found = StaticFiles(kind, folder / "model.safetensors", folder / "tokenizer.json")
    for path in (found.table, found.tokenizer):
        if path is not None and not path.is_file():
            raise ValueError(f"{folder} is no whole table of vectors: it holds no {path.name}.")
    return found


def static_spec(
    files: StaticFiles, name: str, row: ModelRow | None, dim: int | None
) -> tuple[EncoderSpec, dict[str, str]]:
    """The spec of a table, and where each of its facts came from.

    Raises:
        ValueError: If the table is damaged, or `dim` is larger than its vectors.
    """
    width = _width(files)
    if dim is not None and not 1 <= dim <= width:
        raise ValueError(f"dim must be between 1 and {width}, the width of {name}; got {dim}.")
    most, source = _max_tokens(files, row)
    tokenizer = (
        digest_of_file(files.tokenizer) if files.tokenizer else digest_of_json([WORDS, "tokens 1"])
    )
    spec = EncoderSpec(
        name=name,
        weights=digest_of_file(files.table),
        config=digest_of_json({"static": files.kind}),
        tokenizer=tokenizer,
        pooling="mean",
        max_tokens=most,
        dim=dim or width,
        templates=row.templates if row else {},
    )
    return spec, {"pooling": files.kind, "max_tokens": source, "dim": files.table.name}


def _max_tokens(files: StaticFiles, row: ModelRow | None) -> tuple[int, str]:
    stated: Any = None
    if files.kind == MODEL2VEC:
        stated = read_object(files.table.with_name("config.json")).get("max_length")
    if stated:
        return int(stated), "config.json"
    if row is not None:
        return row.max_tokens, "registry"
    return (_USUAL_TOKENS, MODEL2VEC) if files.kind == MODEL2VEC else (_MOST_TOKENS, "default")


def _width(files: StaticFiles) -> int:
    if files.kind == WORDS:
        from encoder.word_vectors import read_head

        return read_head(files.table).dim
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(files.table, framework="numpy") as tensors:
            return int(tensors.get_slice(files.tensor).get_shape()[1])
    except (SafetensorError, OSError, IndexError) as error:
        raise ValueError(f"{files.table} holds no table of vectors: {error}.") from error
