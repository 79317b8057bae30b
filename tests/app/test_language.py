"""Every text exists in every language, is used, and takes the same values."""

import ast
from pathlib import Path
from string import Formatter

import pytest

from app.language import DEFAULT, LANGUAGES, Say, preferred_language, read_texts

APP = Path(__file__).parent.parent.parent / "app"
WANT = read_texts(DEFAULT)


def names(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def nodes(kind):
    trees = [ast.parse(path.read_text("utf-8")) for path in sorted(APP.rglob("*.py"))]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, kind)]


def said():
    """Each call `say("key", ...)` with a key that can be read off."""
    for call in nodes(ast.Call):
        is_say = isinstance(call.func, ast.Name) and call.func.id == "say"
        if is_say and isinstance(call.args[0], ast.Constant):
            yield call


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_all_texts_with_the_same_values(language):
    texts = read_texts(language)

    assert set(texts) == set(WANT)
    assert {key: names(text) for key, text in texts.items()} == {
        key: names(text) for key, text in WANT.items()
    }
    assert all(text.strip() for text in texts.values())


def test_there_is_a_file_for_each_language_and_no_other():
    others = {language for language in LANGUAGES if language != DEFAULT}
    names = {*LANGUAGES, *(f"reasons_{language}" for language in others)}
    assert {path.stem for path in (APP / "locales").glob("*.toml")} == names


def test_no_text_is_missing_and_each_is_given_its_values():
    calls = list(said())

    assert len(calls) > 20
    for call in calls:
        key = call.args[0].value
        assert key in WANT
        assert {keyword.arg for keyword in call.keywords} == names(WANT[key])


def test_no_text_is_unused():
    literals = {node.value for node in nodes(ast.Constant) if isinstance(node.value, str)}

    assert set(WANT) <= literals


def test_chinese_texts_are_chinese():
    for key, text in read_texts("zh").items():
        assert any("\u4e00" <= character <= "\u9fff" for character in text), key


def test_values_are_filled_in():
    assert Say("en")("page", page=3) == "page 3"
    assert Say("zh")("page", page=3) == "第 3 页"


@pytest.mark.parametrize(
    ("locale", "want"),
    [("zh", "zh"), ("zh_TW", "zh"), ("ZH-CN", "zh"), ("en-US", "en"), ("fr", "en"), ("", "en")],
)
def test_a_locale_chooses_a_language(locale, want):
    assert preferred_language(locale) == want
