"""What the caller of a training chose; its names are the long options of the command."""

import ast
import inspect
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from encoder.errors import UsageError

METHODS = ("full", "lora", "qlora", "bitfit", "prefix")
TASKS = ("encoder", "reranker")
LOSSES = (
    *("auto", "in_batch", "group", "sigmoid", "triplet"),
    *("distillation", "in_batch_distillation", "m3_distillation", "margin_mse"),
    *("cosent", "angle", "angle_mix"),
)
_WITH_IN_BATCH = ("auto", "in_batch", "distillation", "angle_mix")
RERANKER_LOSSES = ("auto", "listwise", "binary")
GROUPS = ("queries", "documents")
LAYERS = ("last", "adaptive", "espresso")
ANGLE_NAMES = (
    *("w1", "w2", "w3", "cosine_w", "ibn_w", "angle_w", "cln_w"),
    *("cosine_tau", "ibn_tau", "angle_tau", "tau"),
)
"""Loss settings as AnglE calls them, which a configuration file may have too."""
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
DEFAULT_RECIPE = "default"
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Choices of a training."""

    task: str = "encoder"
    """What the training makes: an `encoder`, or a `reranker` that reads query and document
    together."""
    model: str | None = None
    """Folder or hub id of the encoder to begin with; None for the embedded default."""
    method: str = "full"
    """What is trained: `full` all weights, `lora` low-rank adapters, `qlora` the same over weights
    of 4 bits (GPU), `bitfit` the biases, `prefix` some new words before every text."""
    loss: str = "auto"
    """`auto` is in-batch negatives for pairs and triplets, and CoSENT for scored pairs. With a
    teacher's scores of positive and negatives: `distillation`, its distribution beside in-batch
    negatives as FlagEmbedding does, `in_batch_distillation`, both as one distribution, BGE-M3's
    `m3_distillation`, and `margin_mse`. `group` tells a
    positive from its own negatives alone; `sigmoid` and `triplet` are uniem's; `angle_mix` of
    pairs and triplets is AnglE's own for them. A reranker's are `listwise`, a softmax over
    the positive and its negatives or their teacher's scores, and `binary`, right or wrong for each
    text; `auto` is binary for scored pairs."""
    temperature: float = 0.05
    """Divides the cosines."""
    symmetric: bool = False
    """Whether documents also look for their queries, with in-batch negatives."""
    cosine_weight: float = 0.0
    """Of CoSENT in `angle_mix`."""
    in_batch_weight: float = 1.0
    """Of in-batch negatives in `angle_mix`."""
    angle_weight: float = 0.02
    """Of the angle loss in `angle_mix`."""
    hard_negatives_weight: float = 1.0
    """Of finding the positive among hard negatives, in `angle_mix` of triplets."""
    matryoshka_dims: tuple[int, ...] = ()
    """Shorter embeddings that shall be good too; the loss is the mean over these and the whole."""
    layers: str = "last"
    """Which layers are trained to give embeddings: the `last`; `adaptive`, in each step an earlier
    one too, which with matryoshka-dims is 2D-Matryoshka; `espresso`, all of them, with what matters
    most in their first espresso-size values."""
    espresso_size: int = 128
    """How long the short embeddings of `espresso` are."""
    all_positives: bool = False
    """Whether every text of a step that is known to answer a query counts as its positive, with
    in-batch negatives; else only its own does, and the others are left out."""
    guide: str | None = None
    """Folder or hub id of another encoder: of the texts of a step, those that it finds as near to a
    query as the positive are no negatives, with in-batch negatives (GIST)."""
    guide_margin: float = 0.0
    """How far below the positive's cosine, by the guide, a text must lie to be a negative."""
    keep_weight: float = 30.0
    """How much it counts that the texts to keep (`--keep`) stay where the base has them."""
    keep_texts: int = 32
    """How many of these are in one step."""
    grouped_by: str = "queries"
    """What a record is: `queries`, each with its documents as the data have it, or `documents`,
    each with the queries that it answers: more is learned in a step where they are many."""
    queries_per_record: int = 1
    """Most queries of a record in one step, where it has several; others come in later epochs."""
    negatives: int = 1
    """Most hard negatives of a query in one step; a record's others come in later epochs."""
    epochs: int = 1
    """How often each record is gone through."""
    max_steps: int | None = None
    """Most steps, where that is less."""
    batch_size: int = 32
    """Records whose texts are in memory with all that the gradients need."""
    effective_batch: int | None = None
    """Records of one step over all processes, exact also in its negatives; `batch_size` if None.
    What is above `batch_size` is computed piece by piece, at the cost of a second forward pass."""
    learning_rate: float = 2e-5
    """At its highest, after the warm-up."""
    schedule: str = "linear"
    """How the rate falls to 0: `linear`, `cosine`, or `constant` if it does not."""
    warmup: float = 0.1
    """Share of the steps over which the rate rises."""
    warmup_steps: int | None = None
    """The same in steps, where given."""
    weight_decay: float = 0.01
    """AdamW's, on all weights but biases and norms."""
    max_grad_norm: float = 1.0
    """Longer gradients are cut to this length; 0 for never."""
    dropout: float | None = None
    """Put in place of the model's own in training; None leaves them."""
    precision: str = "auto"
    """`float32`, or `bfloat16` or `float16` with weights kept in float32; `auto` is bfloat16 where
    the device has instructions for it, which is twice as fast."""
    gradient_checkpointing: bool = False
    """Compute activations again in place of keeping them: less memory, a third more time."""
    query_instruction: str | None = None
    """In place of the encoder's own before a query, or around it with `{text}` for its place; it
    travels with the model. A language model that is no encoder yet needs one."""
    document_instruction: str | None = None
    """The same of a document."""
    pooling: str | None = None
    """In place of the encoder's own, such as `cls`, `mean` or `last`."""
    max_query_tokens: int | None = None
    """Most tokens of a query in training; None for as many as the encoder reads."""
    max_document_tokens: int | None = None
    """Most tokens of a document in training."""
    max_pair_tokens: int = 256
    """Most tokens of a query and a document together that a reranker is trained on, and reads."""
    priors: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
    """How far a reranker may be told to follow the order that it is given, in log odds between its
    first and its last hit; the one that is best on the hold-out travels with the model."""
    lora_rank: int = 32
    """Width of an adapter."""
    lora_alpha: int = 32
    """The adapter's part is scaled by lora_alpha / lora_rank."""
    lora_dropout: float = 0.1
    """Of what goes into an adapter."""
    lora_targets: tuple[str, ...] = ()
    """Names of the linear layers that get an adapter; all of them if empty."""
    prefix_tokens: int = 8
    """New words before a query, and as many others before a document."""
    set_weights: tuple[float, ...] = ()
    """How often each of several sets is gone through in an epoch; once each if empty."""
    same_set_batches: bool = True
    """Whether the texts of a step come from one set."""
    holdout: float | None = None
    """Share of the queries that is kept out of the training and measured; None for a tenth, and
    more where that is few; 0 for none, then nothing is proved and nothing refused."""
    save_every: int | None = None
    """Steps between two checkpoints, each measured on the hold-out; None for five in all."""
    patience: int = 3
    """Checkpoints without a better figure after which training stops; 0 for never."""
    averages: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    """Shares of the tuned model that are tried in an average with the base, 0 to 1."""
    allowed_fall: float = 0.01
    """How far a probe may fall below the base."""
    seed: int = 42
    """Another one draws another hold-out and another order."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""

    def __post_init__(self) -> None:
        losses: tuple[str, ...] = LOSSES if self.task == "encoder" else RERANKER_LOSSES
        allowed: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("task", TASKS),
            ("method", METHODS),
            ("loss", losses),
            ("layers", LAYERS),
            ("grouped_by", GROUPS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        )
        for name, known in allowed:
            if getattr(self, name) not in known:
                raise UsageError(
                    f"Unknown {_option(name)} {getattr(self, name)!r}. Known: {', '.join(known)}."
                )
        self._check_numbers()

    def _check_numbers(self) -> None:
        positive = [
            *("temperature", "learning_rate", "batch_size", "epochs", "lora_rank"),
            *("max_pair_tokens", "espresso_size", "prefix_tokens", "queries_per_record"),
            *("keep_weight", "keep_texts"),
        ]
        given = ("max_steps", "effective_batch", "max_query_tokens", "max_document_tokens")
        wrong = [name for name in positive if not getattr(self, name) > 0]
        wrong += [
            n for n in (*given, "save_every") if getattr(self, n) is not None and self._of(n) < 1
        ]
        wrong += [
            name
            for name in ("negatives", "patience", "warmup", "weight_decay")
            if self._of(name) < 0
        ]
        if wrong:
            name = wrong[0]
            raise UsageError(f"{_option(name)} must be above 0, got {getattr(self, name)}.")
        if self.task == "reranker" and (self.layers != "last" or self.matryoshka_dims):
            raise UsageError(
                "A reranker gives scores and no embeddings; leave layers and matryoshka-dims out."
            )
        if self.task == "reranker" and self.grouped_by != "queries":
            raise UsageError(
                "A reranker is trained on a query and its texts; leave grouped-by at queries."
            )
        if self.layers == "espresso" and self.matryoshka_dims:
            raise UsageError(
                "espresso has a short length of its own (espresso-size); leave matryoshka-dims "
                "out, or take layers adaptive."
            )
        self._check_guide()
        if self.holdout is not None and not 0 <= self.holdout < 1:
            raise UsageError(f"holdout must be 0 or more and below 1, got {self.holdout}.")
        if not all(0 < share <= 1 for share in self.averages) or not self.averages:
            raise UsageError(f"averages must lie above 0 and up to 1, got {list(self.averages)}.")
        if not all(prior >= 0 for prior in self.priors) or not self.priors:
            raise UsageError(f"priors must be 0 or more, got {list(self.priors)}.")
        if not all(weight > 0 for weight in self.set_weights):
            raise UsageError(f"set-weights must be above 0, got {list(self.set_weights)}.")

    def _check_guide(self) -> None:
        if self.guide is None:
            return
        if self.task == "reranker" or self.loss not in _WITH_IN_BATCH or self.all_positives:
            raise UsageError(
                "A guide takes texts out of the in-batch negatives of an encoder; it fits the "
                f"losses {', '.join(_WITH_IN_BATCH)}, without all-positives. Leave guide out."
            )
        if not 0 <= self.guide_margin < 2:
            raise UsageError(f"guide-margin must be 0 or more, got {self.guide_margin}.")

    def _of(self, name: str) -> float:
        return float(getattr(self, name))

    @property
    def is_respecified(self) -> bool:
        """Whether the tuned encoder reads texts otherwise than its base."""
        given = (self.query_instruction, self.document_instruction, self.pooling)
        return self.method == "prefix" or any(value is not None for value in given)

    @property
    def step_size(self) -> int:
        """Records of one optimiser step, over all processes."""
        return self.effective_batch or self.batch_size

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in the order of the fields."""
        return asdict(self)


def known_recipes() -> dict[str, str]:
    """Name → what it is for."""
    found = {}
    for file in files("finetune.recipes").iterdir():
        if file.name.endswith(".toml"):
            found[file.name.removesuffix(".toml")] = tomllib.loads(file.read_text("utf-8"))["about"]
    return dict(sorted(found.items()))


def read_recipe(name: str) -> dict[str, Any]:
    """The choices of a recipe; UsageError if there is none of the name."""
    if name not in known_recipes():
        raise UsageError(f"Unknown recipe {name!r}. Known: {', '.join(known_recipes())}.")
    file = files("finetune.recipes").joinpath(f"{name}.toml")
    return _checked(tomllib.loads(file.read_text("utf-8"))["config"], f"recipe {name}")


def read_config(path: Path) -> dict[str, Any]:
    """The choices in a TOML file, keys spelled as the long options.

    Raises:
        UsageError: If the file is missing or damaged, or has an unknown key or a wrong type.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot read the configuration {path}: {error}.") from error
    return _checked(_from_angle(values, str(path)), str(path))


def _from_angle(values: dict[str, Any], place: str) -> dict[str, Any]:
    """Loss settings under AnglE's own names, of today or of its first version, under ours."""
    theirs = {key: value for key, value in values.items() if key in ANGLE_NAMES}
    if not theirs:
        return values
    from finetune.losses import angle_names

    hard = theirs.pop("cln_w", None)
    try:
        weights, temperature = angle_names(theirs)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{place}: {error}") from error
    found: dict[str, Any] = {
        "loss": "angle_mix",
        "cosine_weight": weights.cosine,
        "in_batch_weight": weights.in_batch,
        "angle_weight": weights.angle,
    }
    found |= {} if temperature is None else {"temperature": temperature}
    found |= {} if hard is None else {"hard_negatives_weight": hard}
    return found | {key: value for key, value in values.items() if key not in ANGLE_NAMES}


def make_config(
    recipe: str | None, config_file: Path | None, given: Mapping[str, Any]
) -> TrainConfig:
    """The recipe's choices, over them those of the file, over them those that were given."""
    choices = read_recipe(recipe or DEFAULT_RECIPE)
    choices |= read_config(config_file) if config_file else {}
    choices |= _checked(dict(given), "the call")
    return TrainConfig(**choices)


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write the choices that took effect as a file that `--config` reads."""
    lines = [
        # JSON's strings, numbers, lists and booleans are also TOML's.
        f"{_option(key)} = {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in config.as_dict().items()
        if value is not None
    ]
    (folder / "train.toml").write_text("".join(lines), "utf-8")


def _checked(values: dict[str, Any], place: str) -> dict[str, Any]:
    types = get_type_hints(TrainConfig)
    choices = {key.replace("-", "_"): value for key, value in values.items()}
    for key, value in choices.items():
        if key not in types:
            known = ", ".join(_option(field.name) for field in fields(TrainConfig))
            raise UsageError(f"{place}: unknown key {_option(key)!r}. Known: {known}.")
        choices[key] = _converted(value, types[key], f"{place}: {_option(key)}")
    return choices


def _converted(value: object, wanted: Any, place: str) -> Any:  # noqa: ANN401 - types and values
    parts = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
    inner = parts[0]
    if value is None and type(None) in parts:
        return None
    if get_origin(inner) is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{place} must be a list, got {value!r}.")
        return tuple(_converted(item, get_args(inner)[0], place) for item in value)
    is_number = inner is float and type(value) is int
    if type(value) is not inner and not is_number:
        raise UsageError(f"{place} must be {_KINDS[inner]}, got {value!r}.")
    return float(value) if is_number else value  # type: ignore[arg-type]


def _option(name: str) -> str:
    return name.replace("_", "-")


def option_help() -> dict[str, str]:
    """Choice → the sentence under its field, for `--help`."""
    body = ast.parse(inspect.getsource(TrainConfig)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field_, after in pairwise(body.body):
        if not isinstance(field_, ast.AnnAssign) or not isinstance(after, ast.Expr):
            continue
        assert isinstance(field_.target, ast.Name)
        assert isinstance(after.value, ast.Constant)
        found[field_.target.id] = " ".join(str(after.value.value).split())
    return found


def parse_option(name: str, text: str) -> Any:  # noqa: ANN401 - of the field's type
    """The value of a choice as it is written on a command line; lists have commas.

    Raises:
        UsageError: If it is none.
    """
    wanted = get_type_hints(TrainConfig)[name]
    parts = get_args(wanted) if isinstance(wanted, UnionType) else (wanted,)
    inner = parts[0]
    try:
        if get_origin(inner) is tuple:
            return tuple(get_args(inner)[0](item.strip()) for item in text.split(","))
        if inner is bool:
            return {"true": True, "false": False}[text.lower()]
        return inner(text)
    except (KeyError, ValueError) as error:
        kind = _KINDS.get(inner, "numbers or names with commas between them")
        raise UsageError(f"--{_option(name)} must be {kind}, got {text!r}.") from error
