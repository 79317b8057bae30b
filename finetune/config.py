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

METHODS = ("full", "lora", "qlora", "bitfit")
LOSSES = ("auto", "in_batch", "distillation", "margin_mse", "cosent", "angle", "angle_mix")
GROUPS = ("queries", "documents")
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
DEFAULT_RECIPE = "default"
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Choices of a training."""

    model: str | None = None
    """Folder or hub id of the encoder to begin with; None for the embedded default."""
    method: str = "full"
    """What is trained: `full` all weights, `lora` low-rank adapters, `qlora` the same over weights
    of 4 bits (GPU), `bitfit` the biases."""
    loss: str = "auto"
    """`auto` is in-batch negatives for pairs and triplets, and CoSENT for scored pairs. With a
    teacher's scores of positive and negatives: `distillation`, its distribution beside in-batch
    negatives as FlagEmbedding does, and `margin_mse`."""
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
    matryoshka_dims: tuple[int, ...] = ()
    """Shorter embeddings that shall be good too; the loss is the mean over these and the whole."""
    all_positives: bool = False
    """Whether every text of a step that is known to answer a query counts as its positive, with
    in-batch negatives; else only its own does, and the others are left out."""
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
    max_query_tokens: int | None = None
    """Most tokens of a query in training; None for as many as the encoder reads."""
    max_document_tokens: int | None = None
    """Most tokens of a document in training."""
    lora_rank: int = 32
    """Width of an adapter."""
    lora_alpha: int = 32
    """The adapter's part is scaled by lora_alpha / lora_rank."""
    lora_dropout: float = 0.1
    """Of what goes into an adapter."""
    lora_targets: tuple[str, ...] = ()
    """Names of the linear layers that get an adapter; all of them if empty."""
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
        for name, known in (
            ("method", METHODS),
            ("loss", LOSSES),
            ("grouped_by", GROUPS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"Unknown {_option(name)} {getattr(self, name)!r}. Known: {', '.join(known)}."
                )
        self._check_numbers()

    def _check_numbers(self) -> None:
        rates = ("temperature", "learning_rate")
        positive = (*rates, "batch_size", "epochs", "lora_rank", "queries_per_record")
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
        if self.holdout is not None and not 0 <= self.holdout < 1:
            raise UsageError(f"holdout must be 0 or more and below 1, got {self.holdout}.")
        if not all(0 < share <= 1 for share in self.averages) or not self.averages:
            raise UsageError(f"averages must lie above 0 and up to 1, got {list(self.averages)}.")
        if not all(weight > 0 for weight in self.set_weights):
            raise UsageError(f"set-weights must be above 0, got {list(self.set_weights)}.")

    def _of(self, name: str) -> float:
        return float(getattr(self, name))

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
    return _checked(values, str(path))


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
