"""Why a document is not indexed or a job failed, in the reader's language: it is said in English.

Knows no screen.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

_KEPT = " Its earlier version stays in the index."
"""Follows any reason."""


def reason_in(language: str, reason: str) -> str:
    """A reason in a language; as it is if it is in none of the texts, which is better than none."""
    texts = _texts(language)
    if reason.endswith(_KEPT) and _KEPT in texts:
        return reason_in(language, reason.removesuffix(_KEPT)) + texts[_KEPT]
    for pattern, text in _patterns(language):
        if found := pattern.fullmatch(reason):
            return text.format(*(_value_in(language, value) for value in found.groups()))
    return reason


def _value_in(language: str, value: str) -> str:
    """A value, which may be a reason itself, without its full stop."""
    told = reason_in(language, f"{value}.")
    return value if told == f"{value}." else told.rstrip("。.")


@cache
def _texts(language: str) -> Mapping[str, str]:
    """English to the language, each value a `{}`."""
    file = resources.files("app.locales") / f"reasons_{language}.toml"
    return tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    """Those with most words of their own first: what they say is not taken for a value."""
    texts = sorted(_texts(language).items(), key=lambda one: -len(one[0].replace("{}", "")))
    return [(re.compile(_pattern(english), re.DOTALL), text) for english, text in texts]


def _pattern(english: str) -> str:
    return "(.*?)".join(map(re.escape, english.split("{}")))
