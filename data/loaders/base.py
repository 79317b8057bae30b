"""What every loader gives, and the one error it raises."""

from typing import NamedTuple


class UnreadableDocumentError(ValueError):
    """A document cannot become text; the message is the reason, without the file's name."""


class Parsed(NamedTuple):
    """What a loader reads out of a file's bytes."""

    title: str
    text: str
