"""Instructions: the words that a model wants around a text."""

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


def fill(template: str, text: str) -> Filled:
    """Put a text into its template. Braces in the text are harmless."""
    before, _, after = template.partition(PLACE)
    return Filled(before + text + after, len(before), len(before) + len(text))
