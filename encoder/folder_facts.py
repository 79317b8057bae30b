"""What a model's folder says, completed by its registry row, completed by stated guesses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoder.files import read_object
from encoder.modules import Modules, read_modules
from encoder.registry import ModelRow
from encoder.spec import split_poolings

ANGLE = "angle_config.json"
REGISTRY, GUESS = "registry", "guess"
"""Sources that are no file of the folder."""

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
    "first_last_mean": "input_last_mean",
}
_ENCODER_HALVES = {"t5", "mt5", "umt5"}
"""Encoder-decoders whose encoder is run alone."""
_NOT_BY_BATCH = {
    "nystromformer": "its vectors change with the padding",
    "reformer": "its hashing is random",
}
"""Architectures whose vector of a text is never the same twice, and why."""


@dataclass
class FolderFacts:
    """The facts of one model, each with where it came from."""

    folder: Path
    row: ModelRow | None
    config: Mapping[str, Any]
    modules: Modules
    tokenizer: Path
    """Where the tokenizer lies."""
    pooling: str = ""
    max_tokens: int = 0
    dim: int = 0
    """Length of a whole embedding."""
    skip_instruction: bool = False
    """Whether the pooling leaves out the tokens before the text."""
    both_ways_from: int = -1
    """A decoder's first layer that reads both ways, -1 for none."""
    templates: Mapping[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    """Where each fact came from: a file of the folder, `registry` or `guess`."""
    guesses: list[str] = field(default_factory=list)
    """What neither the folder nor the registry says, one sentence each."""
    disagreements: list[str] = field(default_factory=list)
    """Where the folder and the registry differ, one sentence each; the folder wins."""

    @classmethod
    def read(
        cls,
        folder: Path,
        row: ModelRow | None,
        *,
        base: Path | None = None,
        tokenizer: Path | None = None,
        dim: int | None = None,
    ) -> "FolderFacts":
        """Read a model's folder; what it leaves out comes from the row.

        Args:
            folder: Where the model's own files lie.
            row: What the registry knows of it.
            base: The model that the folder's adapter goes over, if it holds one.
            tokenizer: Where the tokenizer lies, if not in the folder.
            dim: The length that is wanted, where the folder has a head for each of several.

        Raises:
            ValueError: If a file is damaged, or the folder is no model that Angler can run.
        """
        _refuse_messages(folder)
        config = _read_config(base or folder)
        facts = cls(folder, row, config, read_modules(folder, dim), tokenizer or folder)
        facts._read_pooling()
        facts._read_skip_instruction()
        facts._read_both_ways()
        facts._read_max_tokens()
        facts._read_dim()
        facts._read_templates()
        return facts

    def _read_pooling(self) -> None:
        if self.modules.pooling is not None:
            self.pooling = _sentence_transformers_pooling(self.modules.pooling)
            source = str(self.modules.pooling.relative_to(self.folder))
            self._stated("pooling", self.pooling, source, self.row and self.row.pooling)
        elif stated := _other_pooling(self.folder):
            self.pooling, source = stated
            self._stated("pooling", self.pooling, source, self.row and self.row.pooling)
        elif self.row is not None:
            self.pooling = self.row.pooling
            self.sources["pooling"] = REGISTRY
        else:
            architecture = str((self.config.get("architectures") or [""])[0])
            self.pooling = "last" if architecture.endswith("CausalLM") else "mean"
            self._guessed("pooling", f"how {self.folder.name} pools its tokens", self.pooling)

    def _read_skip_instruction(self) -> None:
        known = self.row is not None and self.row.skip_instruction
        path = self.modules.pooling
        stated = read_object(path).get("include_prompt") if path else None
        if path is not None and stated is not None:
            self.skip_instruction = not stated
            source = str(path.relative_to(self.folder))
            self._stated("skip_instruction", self.skip_instruction, source, self.row and known)
        elif known:
            self.skip_instruction = True
            self.sources["skip_instruction"] = REGISTRY

    def _read_both_ways(self) -> None:
        if self.row is not None and self.row.both_ways_from >= 0:
            self.both_ways_from = self.row.both_ways_from
            self.sources["both_ways_from"] = REGISTRY
        elif read_object(self.folder / ANGLE).get("apply_billm"):
            self.both_ways_from = 0  # AnglE does not save BiLLM_START_INDEX; this is its default
            self.sources["both_ways_from"] = ANGLE

    def _read_max_tokens(self) -> None:
        limit, source = limit_of_positions(self.tokenizer, self.config)
        known = self.row.max_tokens if self.row else None
        for file, key in (("sentence_bert_config.json", "max_seq_length"), (ANGLE, "max_length")):
            if stated := read_object(self.folder / file).get(key):
                self.max_tokens = int(stated)
                self._stated("max_tokens", self.max_tokens, file, known)
                return
        self._read_max_tokens_elsewhere(limit, source, known)

    def _read_max_tokens_elsewhere(self, limit: int, source: str, known: int | None) -> None:
        if source != "config.json" and (self.folder / "modules.json").is_file():
            self.max_tokens = limit  # sentence-transformers 6 saves the maximum with the tokenizer
            self._stated("max_tokens", self.max_tokens, source, known)
        elif known:
            self.max_tokens = known
            self.sources["max_tokens"] = REGISTRY
        else:
            self.max_tokens = limit
            trained = f"how many tokens {self.folder.name} was trained with"
            self._guessed("max_tokens", trained, limit)

    def _read_dim(self) -> None:
        pooled = width(self.config) * len(split_poolings(self.pooling))
        self.dim = self.modules.width(pooled)
        source = "modules.json" if self.modules.head else "config.json"
        self._stated("dim", self.dim, source, self.row and self.row.dim)

    def _read_templates(self) -> None:
        source = "config_sentence_transformers.json"
        stated = _prompts(read_object(self.folder / source).get("prompts") or {})
        known = self.row.templates if self.row else {}
        for name in known:
            self.sources[f"templates.{name}"] = REGISTRY
        for name, template in stated.items():
            self._stated(f"templates.{name}", template, source, known.get(name))
        self.templates = known | stated

    def _stated(self, fact: str, value: object, source: str, known: object) -> None:
        self.sources[fact] = source
        if known is not None and known != value:
            self.disagreements.append(
                f"{self.folder.name}: its {source} says {fact} {value!r}, the registry {known!r}; "
                "the folder is followed."
            )

    def _guessed(self, fact: str, unsaid: str, value: object) -> None:
        self.sources[fact] = GUESS
        self.guesses.append(f"Nothing says {unsaid}; {value} is a guess.")


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_object(folder / "config.json")
    if not config:
        raise ValueError(f"{folder} is no model folder: it holds no config.json.")
    kind = config.get("model_type")
    if kind in _NOT_BY_BATCH:
        raise ValueError(
            f"{folder} holds a {kind}, which Angler does not run: {_NOT_BY_BATCH[kind]}."
        )
    if config.get("is_encoder_decoder") and kind not in _ENCODER_HALVES:
        raise ValueError(f"{folder} holds an encoder-decoder model, which Angler does not run yet.")
    if not width(config):
        raise ValueError(
            f"{folder / 'config.json'} names no hidden_size, so it is no text encoder."
        )
    return config


def width(config: Mapping[str, Any]) -> int:
    """Length of a token vector."""
    # DistilBERT says "dim", T5 "d_model"; a small OPT's last layer is narrower than the others.
    names = ("word_embed_proj_dim", "hidden_size", "dim", "d_model")
    return next((int(config[name]) for name in names if config.get(name)), 0)


def _refuse_messages(folder: Path) -> None:
    sentences = folder / "sentence_bert_config.json"
    if "message" in (read_object(sentences).get("modality_config") or {}):
        raise ValueError(
            f"{sentences} wants texts as messages of a chat, which Angler does not run; "
            "it runs models that read plain texts."
        )


def _sentence_transformers_pooling(path: Path) -> str:
    config = read_object(path)
    if not config:
        raise ValueError(f"{path} is missing, but modules.json points to it.")
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


def _other_pooling(folder: Path) -> tuple[str, str] | None:
    """The pooling that AnglE or uniem saved, and the file."""
    for file, key, known in (
        (ANGLE, "pooling_strategy", _ANGLE_POOLINGS),
        ("config.json", "uniem_pooling_strategy", _UNIEM_POOLINGS),
        ("config.json", "uniem_embedding_strategy", _UNIEM_POOLINGS),
    ):
        name = read_object(folder / file).get(key)
        if name is not None and name not in known:
            raise ValueError(
                f"{folder / file} asks for the pooling {name}, which is not there yet."
            )
        if name is not None:
            return known[name], file
    return None


def limit_of_positions(folder: Path, config: Mapping[str, Any]) -> tuple[int, str]:
    """The most tokens that positions and tokenizer allow, and the file that says so."""
    limit = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in {"roberta", "xlm-roberta", "camembert", "mpnet"}:
        limit -= 2  # their positions start behind the padding index
    tokenizer_limit = read_object(folder / "tokenizer_config.json").get("model_max_length")
    if tokenizer_limit and int(tokenizer_limit) <= limit:
        return int(tokenizer_limit), "tokenizer_config.json"
    return limit, "config.json"


def _prompts(saved: Mapping[str, str]) -> dict[str, str]:
    # sentence-transformers saves "" for "none", and has three names for documents, best last.
    stated = {key: f"{prefix}{{text}}" for key, prefix in saved.items() if prefix}
    documents = [stated.pop(key) for key in ("corpus", "passage", "document") if key in stated]
    return stated | ({"document": documents[-1]} if documents else {})
