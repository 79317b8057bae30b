"""Errors of an index that a caller may want to tell apart."""

from pathlib import Path

from encoder.errors import UsageError as UsageError


class IndexNotFoundError(FileNotFoundError):
    """There is no index in the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"No index in {folder}. Build one: python -m indexing.build SOURCE --index {folder}"
        )


class CorruptIndexError(OSError):
    """A file of the index is missing or is not what was published."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(
            f"The index is damaged: {file} {what}. Restore the folder from a copy, or delete it "
            "and build again."
        )
        self.file = file
        self.what = what


class BackupError(OSError):
    """A backup is damaged, or no backup; the index is as it was."""

    def __init__(self, file: Path, what: str) -> None:
        super().__init__(f"The backup {file} {what}. Nothing was changed; use another copy of it.")
        self.file = file


class IndexMismatchError(ValueError):
    """The index was built with an encoder whose vectors do not fit the given one's."""

    def __init__(self, folder: Path, built: str, given: str, differences: list[str]) -> None:
        super().__init__(
            f"The index in {folder} was built with {built}, and {given} differs: "
            f"{'; '.join(differences)}. Use {built}, or build a new index."
        )
        self.differences = differences


class PrecisionMismatchError(IndexMismatchError):
    """The encoder is that of the index, in another precision."""

    def __init__(self, folder: Path, name: str, built: str, given: str, dtype: str) -> None:
        ValueError.__init__(
            self,
            f"The index in {folder} was built with {name} in {built}, and this is {name} in "
            f"{given}, whose vectors differ. Leave the dtype out or set it to {dtype}, or change "
            f"the index: python -m indexing.reembed --index {folder} --encoder {name} --dtype ...",
        )
        self.differences = [f"{given} instead of {built}"]


class IndexLockedError(OSError):
    """Another process is writing the index."""


class StoreError(OSError):
    """A store that other programs share cannot be used, or refuses what is asked of it."""


class RowsMissingError(StoreError):
    """A shared store holds nothing of an index, not even the place for its rows."""


class BuildFailedError(RuntimeError):
    """A build stopped; the index is as it was before."""


class BuildStoppedError(KeyboardInterrupt):
    """A build was interrupted; the index is as it was, and the same call goes on from there."""
