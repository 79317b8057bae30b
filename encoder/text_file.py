"""A file of texts, one per line, read as it is needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 2**20
_MARK = b"\xef\xbb\xbf"


def read_lines(file: BinaryIO, name: str) -> Iterator[str]:
    r"""The lines without their ends; only \n and \r\n end a line.

    Args:
        file: UTF-8, perhaps with a byte order mark.
        name: What the messages call it.

    Raises:
        ValueError: If a line is not UTF-8.
    """
    before = 0
    # Iterating over bytes splits at \n alone: a text may hold other separators of Unicode's.
    for number, line in enumerate(file, 1):
        content = line.removeprefix(_MARK) if number == 1 else line
        try:
            yield content.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            place = before + len(line) - len(content) + error.start
            raise ValueError(
                f"{name} is not UTF-8 ({error.reason} at byte {place}, line {number})."
            ) from error
        before += len(line)


def count_lines(path: Path) -> int:
    """How many lines a file has, the last one with or without an end."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")
