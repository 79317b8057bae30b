"""Errors that a caller may want to tell apart."""


class UsageError(ValueError):
    """The call was wrong: nothing was tried."""


class ModelNotFoundError(LookupError):
    """A model is neither the default, nor a folder, nor to be had from the hub."""


class MissingExtraError(ImportError):
    """An optional part of Angler is used without the packages that it needs."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install -e '.[{extra}]'")
        self.extra = extra
