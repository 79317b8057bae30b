"""Gets a model's folder from a hub or its cache: Hugging Face's, or ModelScope's."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from encoder.errors import ModelNotFoundError
from encoder.registry import ModelRow, find_row
from encoder.rerankers import find_reranker

MODELSCOPE = "modelscope:"
"""Before an id: the model is to come from ModelScope."""
_NEEDLESS = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot"]
_DEFAULT_REVISIONS = ("master", "main")


def fetch(model: str, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The folder of a hub's model, downloaded if it has to be and may be.

    A model comes from ModelScope if its id says so (`modelscope:owner/name`), if it is nowhere
    else, or if ModelScope's cache already holds it under the id that was asked for; all others
    come from Hugging Face.

    Args:
        model: An id.
        revision: Branch, tag or commit on the hub.
        local_files_only: Do not ask the hub.

    Raises:
        ModelNotFoundError: If there is no such model, or no hub to ask.
    """
    row = find_row(model)
    name = model.removeprefix(MODELSCOPE)
    is_modelscope = model.startswith(MODELSCOPE) or (row is not None and row.only_on != "")
    if is_modelscope or (row is not None and name in row.aliases):
        if (cached := _in_modelscope_cache(name, row, revision)) is not None:
            return cached
        if is_modelscope:
            return _from_modelscope(name, row, revision, local_files_only)
    return _from_hugging_face(model, row, revision, local_files_only)


def _from_hugging_face(
    model: str, row: ModelRow | None, revision: str | None, local_files_only: bool
) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                row.name if row else model,
                revision=revision,
                local_files_only=local_files_only,
                ignore_patterns=_NEEDLESS,
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        is_known = row is not None or find_reranker(model) is not None
        known = "a model of the registry" if is_known else "no model of the registry"
        raise ModelNotFoundError(
            f"Cannot load the model {model!r} ({known}): it is no folder here, it was not "
            f"downloaded before, and the model hub gave no such model or was out of reach "
            f"({type(error).__name__}). Check the name and the network, or give a folder."
        ) from error


def _from_modelscope(
    name: str, row: ModelRow | None, revision: str | None, local_files_only: bool
) -> Path:
    where = row.source if row else f"https://modelscope.cn/models/{name}"
    if find_spec("modelscope") is None:
        raise ModelNotFoundError(
            f"{name} is to come from ModelScope: it is not in {_cache()}, and the package that "
            f"downloads from there is not installed: pip install modelscope; or download it from "
            f"{where} and give its folder."
        )
    from modelscope import snapshot_download  # type: ignore[import-not-found,unused-ignore]

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                local_files_only=local_files_only,
                ignore_patterns=_NEEDLESS,
            )
        )
    except Exception as error:  # its errors have no common class of their own
        reason = " ".join(str(error).split())[:200]
        raise ModelNotFoundError(
            f"ModelScope gave no {name} ({type(error).__name__}: {reason}). Check the name and "
            f"the network, or download it from {where} and give its folder."
        ) from error


def _in_modelscope_cache(name: str, row: ModelRow | None, revision: str | None) -> Path | None:
    """The newest layout first; the older ones do not say which revision they hold."""
    for known in dict.fromkeys((name, *(row.aliases if row else ()))):
        for folder in _places(known, revision):
            if (folder / "config.json").is_file():
                return folder
    return None


def _places(name: str, revision: str | None) -> Iterator[Path]:
    snapshots = _cache() / "models" / name.replace("/", "--") / "snapshots"
    if revision is not None:
        yield snapshots / revision
        return
    yield from (snapshots / usual for usual in _DEFAULT_REVISIONS)
    owner, _, short = name.rpartition("/")
    for between in ("models", "hub/models", "hub"):
        yield _cache() / between / owner / short.replace(".", "___")


def _cache() -> Path:
    return Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").expanduser()
