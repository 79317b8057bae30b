"""A trained encoder to a folder that Angler, sentence-transformers and transformers load."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import nn

from encoder.adapter_files import CONFIG as ADAPTER
from encoder.backends.both_ways import BothWays
from encoder.backends.loading import silenced
from encoder.encoder import load_described
from encoder.errors import UsageError
from encoder.files import read_object
from encoder.model_folder import describe_encoder
from encoder.modules import read_modules
from encoder.own_row import write_own_row
from encoder.spec import EncoderSpec, split_poolings
from encoder.templates import PLACE
from finetune.averaging import average
from finetune.batches import ALIKE, DOCUMENT, QUERY
from finetune.config import TrainConfig
from finetune.prefix import merge_prefix
from finetune.run_folder import MANIFEST, TUNED
from finetune.trainable import TrainableEncoder, load_trainable, put_weights

TOLERANCE = 1e-4
"""Largest difference of a value between the trained model and what was exported."""
TEXTS = (
    "reset my password",
    "怎么重置密码？",
    "How do I reset the password of a locked account, and who may do so?",
    "A",
    "Zürich, naïve café, Ærø",
    "The quick brown fox jumps over the lazy dog. " * 30,
    "{text} and {0} are braces",
    "E = mc²; 3.14159; -17 °C",
    "SELECT name FROM users WHERE id = 42;",
    "东风破，早梅香。" * 20,
    "A text with\nseveral\nlines and\ttabs",
    "🦩 flamingo",
    "Ist das ein deutscher Satz?",
    "https://example.org/a/b?c=d#e",
    "UPPER CASE AND lower case",
    "the end",
)
"""What every export is asked to embed as the trained model does."""
_POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weighted_mean": "pooling_mode_weightedmean_tokens",
    "last": "pooling_mode_lasttoken",
}
_ORDER = ("cls", "max", "mean", "mean_sqrt_len", "weighted_mean", "last")
"""In which sentence-transformers joins several."""
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
)


def export_encoder(encoder: TrainableEncoder, folder: Path, *, adapter: bool = False) -> list[str]:
    """Write an encoder as it is now; the folder appears when it is whole and checked.

    Args:
        encoder: A merged export ends its training: LoRA becomes part of the weights.
        folder: Must not be there yet.
        adapter: Write only what LoRA adds; it is loaded together with its base.

    Returns:
        What other libraries cannot do with it, one sentence each.

    Raises:
        ValueError: If the folder is there, there is no LoRA to write alone, or what was written
            does not embed as the trained model does.
    """
    if folder.exists():
        raise ValueError(f"{folder} is there already; give another folder.")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    wanted = {role: encoder.encode(TEXTS, role) for role in (QUERY, DOCUMENT, ALIKE)}
    try:
        unfit = _write(encoder, part, adapter)
        _check(encoder.spec, part, wanted)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(folder)
    return unfit


def _write(encoder: TrainableEncoder, folder: Path, adapter: bool) -> list[str]:
    model: Any = encoder.module.model
    inner: Any = model._model if isinstance(model, BothWays) else model
    is_adapted = hasattr(inner, "merge_and_unload")
    if adapter and not is_adapted:
        raise ValueError("Only a training by lora or qlora has an adapter; export it merged.")
    with silenced():
        if adapter:
            inner.save_pretrained(folder)
            _name_base(folder, encoder)
        else:
            if is_adapted:
                inner = inner.merge_and_unload()
            merge_prefix(inner)
            inner.save_pretrained(folder)
    copy_tokenizer(encoder.tokenizer_folder, folder)
    unfit = _unfit_for_others(encoder.spec)
    width = _width(encoder)
    if not unfit:
        _write_modules(encoder, folder, width)
    sentences = {"max_seq_length": encoder.spec.max_tokens, "do_lower_case": False}
    old = encoder.tokenizer_folder / "sentence_bert_config.json"
    if old.is_file():
        sentences["do_lower_case"] = bool(json.loads(old.read_text("utf-8")).get("do_lower_case"))
    _write_json(folder / "sentence_bert_config.json", sentences)
    architecture = str(getattr(inner.config, "model_type", ""))
    write_own_row(
        folder, encoder.spec, architecture=architecture, languages=encoder.found.languages
    )
    return unfit


def _name_base(folder: Path, encoder: TrainableEncoder) -> None:
    path = folder / ADAPTER
    values = json.loads(path.read_text("utf-8"))
    values["base_model_name_or_path"] = encoder.spec.name
    _write_json(path, values)
    (folder / "README.md").unlink(missing_ok=True)


def copy_tokenizer(home: Path, folder: Path) -> None:
    """Copy the files that make up a tokenizer."""
    for pattern in _TOKENIZER_FILES:
        for path in home.glob(pattern):
            shutil.copyfile(path, folder / path.name)


def _width(encoder: TrainableEncoder) -> int:
    """Length of a pooled vector."""
    from encoder.folder_facts import width

    config: Any = encoder.module.model.config
    return width(config.to_dict()) * len(split_poolings(encoder.spec.pooling))


def _unfit_for_others(spec: EncoderSpec) -> list[str]:
    """Why sentence-transformers cannot run it; nothing where it can."""
    poolings = split_poolings(spec.pooling)
    reasons = {
        f"the pooling {spec.pooling}": any(name not in _POOLINGS for name in poolings)
        or [name for name in _ORDER if name in poolings] != poolings,
        "tokens that read both ways": spec.both_ways_from >= 0,
        "a layer norm before the cut": spec.layer_norm,
        "an end mark that the tokenizer leaves out": spec.append_eos,
        f"the preparation {spec.clean}": bool(spec.clean),
    }
    for role in ("query", "document"):
        ends = not spec.template(role).endswith(PLACE)
        reasons[f"words behind a {role}"] = ends
    return [
        f"sentence-transformers has nothing for {reason}; Angler runs it."
        for reason, holds in reasons.items()
        if holds
    ]


def _write_modules(encoder: TrainableEncoder, folder: Path, width: int) -> None:
    spec = encoder.spec
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    poolings = split_poolings(spec.pooling)
    flags = {flag: name in poolings for name, flag in _POOLINGS.items()}
    (folder / "1_Pooling").mkdir()
    sizes = {"word_embedding_dimension": width // len(poolings)}
    _write_json(
        folder / "1_Pooling" / "config.json",
        sizes | flags | {"include_prompt": not spec.skip_instruction},
    )
    kinds += _write_head(encoder, folder)
    if spec.normalize:
        kinds.append((f"{len(kinds)}_Normalize", "Normalize"))
        (folder / kinds[-1][0]).mkdir()
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=1) + "\n", "utf-8")
    prompts = {
        name: text.removesuffix(PLACE)
        for name, text in sorted(spec.templates.items())
        if text.endswith(PLACE)
    }
    _write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})


def _write_head(encoder: TrainableEncoder, folder: Path) -> list[tuple[str, str]]:
    layers = read_modules(encoder.found.folder, encoder.spec.dim).head
    head: Any = encoder.module.head
    trained = [part for part in head if any(True for _ in part.parameters())]
    kinds = []
    for number, layer in enumerate(layers, start=2):
        path = f"{number}_{layer.kind}"
        (folder / path).mkdir()
        kinds.append((path, layer.kind))
        if layer.kind == "Normalize":
            continue
        _write_json(folder / path / "config.json", dict(layer.config))
        name = "norm" if layer.kind == "LayerNorm" else "linear"
        state = trained.pop(0).state_dict()
        save_file(
            {f"{name}.{key}": value.contiguous().cpu() for key, value in state.items()},
            folder / path / "model.safetensors",
        )
    return kinds


def _check(spec: EncoderSpec, folder: Path, wanted: dict[str, Any]) -> None:
    """Embed the texts with what was written, as somebody else would load it."""
    from finetune.measures import encode_by

    found = describe_encoder(str(folder))
    changed = [
        name
        for name in ("pooling", "max_tokens", "dim", "templates", "clean", "append_eos")
        if getattr(found.spec, name) != getattr(spec, name)
    ]
    if changed:
        raise ValueError(f"The export does not say {', '.join(changed)} as the model has it.")
    loaded = load_described(found, device="cpu", backend="torch", dtype="float32")
    encode = encode_by(loaded)
    for role, rows in wanted.items():
        worst = float(np.abs(encode(TEXTS, role) - rows).max())
        if not worst <= TOLERANCE:
            raise ValueError(
                f"The export embeds a {role} otherwise than the trained model: values differ by "
                f"{worst:.1e}, more than {TOLERANCE:.0e}."
            )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


def export_run(
    run: Path,
    folder: Path,
    *,
    share: float | None = None,
    adapter: bool = False,
    layers: int | None = None,
    device: str,
) -> dict[str, Any]:
    """Export what a finished training made.

    Args:
        run: The training's folder.
        folder: Must not be there yet.
        share: Of the tuned model in an average with its base; None for the training's choice.
        adapter: As `export_encoder`.
        layers: How many of its layers, the first ones, the exported encoder has.
        device: Where the models run that are compared.

    Returns:
        `model`, `share`, what the training found (`verdict`, `sentence`) and `notes`.

    Raises:
        UsageError: If the folder holds no finished training.
        ValueError: As `export_encoder`, or if the base is no longer what it was.
    """
    facts = read_object(run / MANIFEST)
    if not facts:
        raise UsageError(f"{run} holds no finished training ({MANIFEST}).")
    config = TrainConfig(**_as_given(facts["config"] | {"device": device}))
    if config.task == "reranker":
        from finetune.pair_export import export_reranker_run

        if share not in {None, 1.0} or layers is not None:
            raise UsageError(
                "A reranker has no base to be averaged with, and gives no embeddings of earlier "
                "layers; leave share and layers out."
            )
        return export_reranker_run(run, facts, config, folder, adapter=adapter)
    encoder = load_trainable(config)
    base = {name: weight.detach().clone() for name, weight in encoder.trained().items()}
    share = facts["share"] if share is None else share
    put_weights(encoder, average(base, load_file(run / TUNED), share))
    if layers is not None:
        keep_layers(encoder, layers)
    notes = export_encoder(encoder, folder, adapter=adapter)
    return {
        "model": str(folder),
        "share": share,
        "verdict": facts["verdict"],
        "sentence": facts["sentence"],
        "notes": notes,
    }


def keep_layers(encoder: TrainableEncoder, count: int) -> None:
    """Leave an encoder its first layers alone; LoRA becomes part of the weights.

    Raises:
        UsageError: If it has fewer layers, or they are not found.
    """
    model: Any = encoder.module.model
    if hasattr(model, "merge_and_unload"):
        model = encoder.module.model = model.merge_and_unload()
    config = model.config
    whole = int(config.num_hidden_layers)
    if not 1 <= count <= whole:
        raise UsageError(
            f"layers must be between 1 and {whole}, what {encoder.spec.name} has; got {count}."
        )
    stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    found = next((part for part in stacks if len(part) == whole), None)
    if found is None or isinstance(model, BothWays):
        raise UsageError(f"The layers of {encoder.spec.name} are not where they could be cut.")
    del found[count:]
    config.num_hidden_layers = count
    # Some configurations say of each layer what kind it is.
    if kinds := getattr(config, "layer_types", None):
        config.layer_types = kinds[:count]
    encoder.module.use(model)


def _as_given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
