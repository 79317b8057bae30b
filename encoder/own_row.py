"""The facts that travel with a model made here: `angler.json` in its folder, a row of its own."""

import json
from pathlib import Path
from typing import Any

from encoder.files import read_object
from encoder.registry import Instructions, ModelRow
from encoder.spec import EncoderSpec

OWN = "angler.json"
_FACTS = ("append_eos", "layer_norm", "skip_instruction", "both_ways_from")


def read_own_row(folder: Path) -> ModelRow | None:
    """What a folder's `angler.json` says, or None where there is none.

    Raises:
        ValueError: If the file is damaged.
    """
    values = read_object(folder / OWN)
    if not values:
        return None
    try:
        facts: dict[str, Any] = {name: values[name] for name in _FACTS}
        family = Instructions(templates=values["templates"], clean=values["clean"], source=OWN)
        return ModelRow(
            name=values["name"],
            architecture=values["architecture"],
            pooling=values["pooling"],
            max_tokens=values["max_tokens"],
            dim=values["dim"],
            languages=tuple(values["languages"]),
            source=OWN,
            checked="weights",
            family=family,
            **facts,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / OWN} is damaged: it lacks {error}.") from error


def write_own_row(
    folder: Path, spec: EncoderSpec, *, architecture: str, languages: tuple[str, ...]
) -> None:
    """Write what the other files of a model's folder cannot say."""
    values = {name: getattr(spec, name) for name in _FACTS} | {
        "name": spec.name,
        "architecture": architecture,
        "pooling": spec.pooling,
        "max_tokens": spec.max_tokens,
        "dim": spec.dim,
        "languages": languages,
        "templates": dict(spec.templates),
        "clean": spec.clean,
    }
    text = json.dumps(values, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / OWN).write_text(text + "\n", "utf-8")
