"""Texts before they meet a tokenizer: checked, equal ones once, the long ones first."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

PART_TEXTS = 256
PART_BYTES = 2**20
"""At most so much is tokenised at a time: enough to keep the tokenizer's threads busy."""


def check_texts(texts: Iterable[str], first: int = 0) -> list[str]:
    """The texts as a list, if all of them can be encoded.

    Args:
        texts: Of any length, or none.
        first: Position of the first one, for the messages.

    Raises:
        TypeError: If `texts` is one string or nothing to go through, or an item is no string.
        ValueError: If an item holds lone surrogates.
    """
    check_list(texts)
    items = list(texts)
    for position, text in enumerate(items, first):
        check_text(text, position)
    return items


def check_list(texts: object) -> None:
    """Raise TypeError if these are no texts to go through one by one."""
    if isinstance(texts, str):
        raise TypeError("texts must be a list of strings, got one string; put it in a list.")
    if isinstance(texts, bytes | bytearray):
        raise TypeError("texts must be a list of strings, got bytes; decode them, into a list.")
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a list of strings, got {type(texts).__name__}.")


def check_text(text: Any, position: int) -> None:  # noqa: ANN401 - that is what is checked
    """Raise TypeError or ValueError if the item at a position cannot be encoded."""
    if not isinstance(text, str):
        raise TypeError(f"texts[{position}] must be a string, got {type(text).__name__}.")
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"texts[{position}] holds lone surrogates, which are no characters; "
            "decode it again with errors='replace'."
        ) from error


def places_of(texts: Sequence[str], first: int = 0) -> dict[str, list[int]]:
    """Each different text with all its positions, counted from `first`; the longest texts first.

    Bytes stand in for tokens, which nobody knows yet: a Chinese character of three bytes and an
    English word of five take about one token each.
    """
    places: dict[str, list[int]] = {}
    for position, text in enumerate(texts, first):
        places.setdefault(text, []).append(position)
    if len(places) == 1:
        return places
    return dict(sorted(places.items(), key=lambda place: -_bytes(place[0])))


def in_parts(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in their order, in portions to be tokenised at a time."""
    part: list[str] = []
    size = 0
    for text in texts:
        part.append(text)
        size += _bytes(text)
        if len(part) >= PART_TEXTS or size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
