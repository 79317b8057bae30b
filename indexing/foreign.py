"""Another library's text splitter in place of ours: its chunks, at their places in the text."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Protocol

from indexing.errors import UsageError
from indexing.sentences import Span

_SHOWN = 60


class ForeignSplitter(Protocol):
    """What is asked of it; every LangChain `TextSplitter` has it."""

    def split_text(self, text: str) -> Sequence[Any]:
        """The chunks, in the order of the text: strings, or objects with a `page_content`."""
        ...


def name_of(splitter: ForeignSplitter) -> str:
    """Its class and a digest of its settings: equal names stand for equal chunks."""
    kind = type(splitter)
    settings = {key: _setting(value) for key, value in sorted(vars(splitter).items())}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return f"{kind.__module__}.{kind.__qualname__}:{digest[:16]}"


def _setting(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_setting(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _setting(one) for key, one in value.items()}
    # Neither an address in memory nor anything else that differs from run to run.
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def foreign_spans(text: str, splitter: ForeignSplitter, document: str) -> list[Span]:
    """Where a splitter's chunks stand in the text, by their start.

    A chunk that stands there more than once is taken to go on where the one before ended, else to
    be the next that reaches beyond it.

    Raises:
        UsageError: If a chunk does not stand in the text as it is.
    """
    spans: set[Span] = set()
    last: Span = (-1, 0)
    for number, found in enumerate(splitter.split_text(text), start=1):
        chunk = str(getattr(found, "page_content", found)).strip()
        if not chunk:
            continue
        start = _place(text, chunk, last)
        if start < 0:
            raise UsageError(
                f"Chunk {number} that {type(splitter).__name__} made of {document} does not stand "
                f"in its text as it is: {chunk[:_SHOWN]!r}. Use a splitter that changes nothing, "
                "or Angler's own."
            )
        last = (start, start + len(chunk))
        spans.add(last)
    return sorted(spans)


def _place(text: str, chunk: str, last: Span) -> int:
    after = last[1]
    while after < len(text) and text[after].isspace():
        after += 1
    if text.startswith(chunk, after):
        return after
    reaching_beyond = max(last[0] + 1, last[1] - len(chunk) + 1)
    start = text.find(chunk, reaching_beyond)
    return start if start >= 0 else text.find(chunk)
