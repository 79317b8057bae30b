"""Instructions: the words that a model wants around a text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

PLACE = "{text}"
"""Where a template takes the text. Only the first one counts; other braces are ordinary text."""

ROLES = ("query", "document")


@dataclass(frozen=True, slots=True)
class Filled:
    """A text inside its template; `composed[start:end]` is the text itself."""

    composed: str
    start: int
    end: int


def check_template(template: str) -> str:
    """Return the template, or raise ValueError if it has no place for the text."""
    if PLACE not in template:
        raise ValueError(f"A template must contain {PLACE}, got {template!r}.")
    return template


def unwrap(template: str, text: str) -> str | None:
    """The bare text of one that already stands in the template; None of any other text."""
    before, _, after = template.partition(PLACE)
    if not before.strip() or not text.startswith(before) or not text.endswith(after):
        return None
    return text[len(before) : len(text) - len(after)] if len(text) >= len(before + after) else None


def clean_for_prompteol(text: str) -> str:
    """Give a sentence the form that PromptEOL's quotation wants: no double quotes, a full stop.

    Source: https://github.com/kongds/scaling_sentemb
    """
    text = text.strip().replace('"', "'")
    if text.endswith("?"):
        return text[:-1] + "."
    return text if not text or text[-1] in ".'" else text + "."


CLEANERS: Mapping[str, Callable[[str], str]] = {"": str, "prompteol": clean_for_prompteol}
"""How a text may be prepared before it is put into its template."""


def fill(template: str, text: str) -> Filled:
    """Put a text into its template. Braces in the text are harmless."""
    before, _, after = template.partition(PLACE)
    return Filled(before + text + after, len(before), len(before) + len(text))
