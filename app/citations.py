"""A model's words in, the same words out with every number checked against a real passage."""

import re
from collections.abc import Iterator

_OPEN, _CLOSE = "[［【", "]］】"
_NUMBERS = re.compile(r"\s*(\d{1,4})(?:\s*[,，、;；]\s*(\d{1,4}))*\s*")
_LONGEST = 40
"""Characters of brackets that may still turn out to be a citation."""


class CitationReader:
    """Takes a model's words as they come and passes on what is sure.

    A citation that names no passage is dropped, so what is shown never points nowhere; several
    numbers in one pair of brackets become one pair each.
    """

    def __init__(self, passages: int) -> None:
        """Cite passages 1 to `passages`."""
        self.cited: list[int] = []
        """Numbers that were cited, in the order of their first mention."""
        self.invented: list[int] = []
        """Numbers that were cited and do not exist."""
        self._passages = passages
        self._held = ""

    def feed(self, text: str) -> str:
        """Words that have come; returns those that can be shown."""
        self._held += text
        return "".join(self._sure())

    def end(self) -> str:
        """What was held back to the last."""
        rest, self._held = self._held, ""
        return rest

    def _sure(self) -> Iterator[str]:
        while self._held:
            start = next((n for n, one in enumerate(self._held) if one in _OPEN), None)
            if start is None:
                yield self._held
                self._held = ""
                return
            yield self._held[:start]
            self._held = self._held[start:]
            end = next((n for n, one in enumerate(self._held) if one in _CLOSE), None)
            if end is None:
                if len(self._held) <= _LONGEST and "\n" not in self._held:
                    return  # the rest is on its way
                yield self._held[0]
                self._held = self._held[1:]
                continue
            inner, behind = self._held[1:end], self._held[end + 1 :]
            if _NUMBERS.fullmatch(inner):
                yield self._checked(inner)
                self._held = behind
            else:
                yield self._held[0]
                self._held = self._held[1:]

    def _checked(self, inner: str) -> str:
        found = ""
        for number in map(int, re.findall(r"\d+", inner)):
            if 1 <= number <= self._passages:
                if number not in self.cited:
                    self.cited.append(number)
                found += f"[{number}]"
            else:
                self.invented.append(number)
        return found
