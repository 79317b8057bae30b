"""The folder of one training: who writes it, what it holds, whether it can go on."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encoder.errors import UsageError
from encoder.files import read_object

MANIFEST = "manifest.json"
"""What was done; there once the training is over."""
BEGUN = "begun.json"
"""What the training is: data and choices, to go on with nothing else."""
CHECKPOINTS = "checkpoints"
"""There while the training is not over."""
TUNED = "tuned.safetensors"
"""The trained weights before any average, for exports."""
CONFIG = "train.toml"
"""The choices that took effect."""
_LOCK = ".lock"


@contextmanager
def opened_run(folder: Path, identity: Mapping[str, Any], *, resume: bool) -> Iterator[Path]:
    """Take a folder for one training, and nobody else.

    Args:
        folder: A new one, or that of a training that was cut off.
        identity: Data and choices; a training goes on only with the same.
        resume: Go on with what the folder holds.

    Raises:
        UsageError: If the folder is in use, holds something else, or another training.
    """
    if not is_main_process():  # the first process checks and holds the folder for all
        yield folder
        return
    _check_folder(folder, identity, resume)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise UsageError(
                f"{folder} is in use by another training (process {lock.read().strip()}); wait for "
                "it, or give another folder."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        write_json(folder / BEGUN, identity)
        try:
            yield folder
        except BaseException:
            if not any((folder / CHECKPOINTS).glob("*")) and not (folder / MANIFEST).is_file():
                (folder / BEGUN).unlink()  # there is nothing to go on with
                (folder / CONFIG).unlink(missing_ok=True)
            raise


def is_main_process() -> bool:
    """Whether this is the first or the only process of a training; torchrun numbers them."""
    return os.environ.get("RANK", "0") == "0"


def _check_folder(folder: Path, identity: Mapping[str, Any], resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder.")
    begun = read_object(folder / BEGUN)
    if not begun:
        if folder.is_dir() and any(
            path.name not in {_LOCK, CHECKPOINTS} for path in folder.iterdir()
        ):
            raise UsageError(f"{folder} holds other files; give a new or an empty folder.")
        if resume:
            raise UsageError(f"{folder} holds no training to go on with; leave --resume out.")
        return
    if (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} holds a finished training; give another folder.")
    if not resume:
        raise UsageError(
            f"{folder} holds a training that was cut off; --resume goes on with it, or give "
            "another folder."
        )
    _check_same(folder, begun, json.loads(json.dumps(identity)))


def _is_foreign(path: Path) -> bool:
    is_ours = path.name == _LOCK or (path.name == CHECKPOINTS and not any(path.iterdir()))
    return not is_ours


def _check_same(folder: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for part in ("config", "data", "model", "texts to keep"):
        before, after = begun.get(part), now.get(part)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            keys = sorted(before.keys() | after.keys())
            key = next(key for key in keys if before.get(key) != after.get(key))
            what = f"{key} {before.get(key)!r}, not {after.get(key)!r}"
        else:
            what = f"another choice of {part}"
        raise UsageError(f"The training in {folder} was begun with {what}; go on with the same.")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object so that the file is old or new and never half."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")
    part.replace(path)
