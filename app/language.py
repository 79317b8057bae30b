"""The page's texts by key, in the reader's language; knows no screen."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
"""Each language's code, and its name in itself."""
DEFAULT = "en"


class Say:
    """The texts of one language: `say("key", name=value)`."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = read_texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, its `{names}` filled in."""
        return self._texts[key].format(**values)


@cache
def read_texts(language: str) -> Mapping[str, str]:
    """All texts of a language, as the translators wrote them."""
    file = resources.files("app.locales") / f"{language}.toml"
    return tomllib.loads(file.read_text("utf-8"))


def preferred_language(locale: str | None) -> str:
    """The language for a browser's locale, such as `zh-Hans-CN`."""
    language = (locale or DEFAULT).replace("_", "-").partition("-")[0].lower()
    return language if language in LANGUAGES else DEFAULT
