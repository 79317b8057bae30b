"""What every loader gives, the errors it raises, and how it says that it is still at work."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class UnreadableDocumentError(ValueError):
    """A document cannot become text; the message is the reason, without the file's name."""


class Parsed(NamedTuple):
    """What a loader reads out of a file's bytes."""

    title: str
    text: str
    """Empty where there are pages."""
    pages: tuple[str, ...] = ()
    """The text of each page or slide, where the format has them."""
    metadata: Mapping[str, Any] = {}
    """Plain values about the file, such as the sender of a mail."""


Loader = Callable[[bytes, str], Parsed]
"""The file's bytes and its stem (the title where the text has none) → title and text."""


def missing_extra(what: str, extra: str) -> UnreadableDocumentError:
    """The reason where a file's format needs packages that are not installed."""
    return UnreadableDocumentError(f"{what} needs an extra: pip install -e '.[{extra}]'")


_listeners: list[Callable[[], None]] = []


def on_progress(listener: Callable[[], None]) -> None:
    """Call `listener` whenever a loader that may take minutes has finished a page."""
    _listeners.append(listener)


def report_progress() -> None:
    """Say that one more page is done."""
    for listener in _listeners:
        listener()
