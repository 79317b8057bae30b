"""A trained reranker to a folder that Angler, sentence-transformers and transformers load."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from encoder.adapter_files import CONFIG as ADAPTER
from encoder.backends.loading import silenced
from encoder.own_reranker import write_own_reranker
from encoder.reranker import load_reranker
from finetune.config import TrainConfig
from finetune.exporting import TEXTS, TOLERANCE, copy_tokenizer
from finetune.pair_model import TrainableReranker, load_trainable_reranker
from finetune.run_folder import TUNED
from finetune.trainable import put_weights


def export_reranker(
    reranker: TrainableReranker, folder: Path, *, prior: float, adapter: bool = False
) -> None:
    """Write a reranker as it is now; the folder appears when it is whole and checked.

    Args:
        reranker: A merged export ends its training: LoRA becomes part of the weights. An adapter's
            weights are rounded to 16 bit, in the reranker too.
        folder: Must not be there yet.
        prior: How far the order that it is given is to be followed.
        adapter: Write only what LoRA adds and the head; it is loaded together with its base.

    Raises:
        ValueError: If the folder is there, there is no LoRA to write alone, or what was written
            does not score as the trained model does.
    """
    if folder.exists():
        raise ValueError(f"{folder} is there already; give another folder.")
    is_adapted = hasattr(reranker.module.model, "merge_and_unload")
    if adapter and not is_adapted:
        raise ValueError("Only a training by lora has an adapter; export it merged.")
    if adapter:
        _round(reranker)
    pairs = [(query, text) for query, text in zip(TEXTS, (*TEXTS[1:], TEXTS[0]), strict=True)]
    wanted = np.array([reranker.score(query, [text])[0] for query, text in pairs])
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write(reranker, part, prior, adapter)
        _check(part, pairs, wanted)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(folder)


def _round(reranker: TrainableReranker) -> None:
    with torch.no_grad():
        for weight in reranker.trained().values():
            weight.copy_(weight.half().float())


def _write(reranker: TrainableReranker, folder: Path, prior: float, adapter: bool) -> None:
    model: Any = reranker.module.model
    with silenced():
        if adapter:
            _write_adapter(reranker, folder)
        else:
            if hasattr(model, "merge_and_unload"):
                model = model.merge_and_unload()
            model.save_pretrained(folder)
    if not adapter:
        copy_tokenizer(reranker.folder, folder)
        path = folder / "tokenizer_config.json"
        values = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        # By this the other libraries know where to cut.
        values["model_max_length"] = reranker.max_tokens
        if reranker.module.reads_types:
            # Some tokenizers do not give the sides of a pair unless they are told to.
            values["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
        path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", "utf-8")
    write_own_reranker(folder, max_tokens=reranker.max_tokens, prior=prior)


def _write_adapter(reranker: TrainableReranker, folder: Path) -> None:
    from safetensors.torch import save_file

    reranker.module.model.save_pretrained(folder)
    path = folder / ADAPTER
    values = json.loads(path.read_text("utf-8"))
    values["base_model_name_or_path"] = reranker.name
    text = json.dumps(values, ensure_ascii=False, indent=1, sort_keys=True)
    path.write_text(text + "\n", "utf-8")
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights)
    (folder / "README.md").unlink(missing_ok=True)


def _check(folder: Path, pairs: list[tuple[str, str]], wanted: "np.ndarray[Any, Any]") -> None:
    """Score the pairs with what was written, as somebody else would load it."""
    loaded = load_reranker(str(folder), device="cpu", backend="torch", dtype="float32")
    found = np.array(loaded.compute_score(pairs))
    worst = float(np.abs(found - wanted).max())
    if not worst <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise ValueError(
            f"The export scores pairs otherwise than the trained model: scores differ by "
            f"{worst:.1e}, more than {TOLERANCE:.0e}."
        )


def export_reranker_run(
    run: Path, facts: dict[str, Any], config: TrainConfig, folder: Path, *, adapter: bool
) -> dict[str, Any]:
    """Export the reranker of a finished training.

    Args:
        run: The training's folder.
        facts: Its manifest.
        config: Its choices, on the device that is wanted now.
        folder: Must not be there yet.
        adapter: As `export_reranker`.

    Returns:
        As `finetune.exporting.export_run`.

    Raises:
        ValueError: As `export_reranker`.
    """
    reranker = load_trainable_reranker(config)
    put_weights(reranker, load_file(run / TUNED))
    export_reranker(reranker, folder, prior=float(facts["prior"]), adapter=adapter)
    return {
        "model": str(folder),
        "share": 1.0,
        "verdict": facts["verdict"],
        "sentence": facts["sentence"],
        "notes": [],
    }
