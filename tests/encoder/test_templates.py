import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.templates import check_template, fill


@settings(deadline=None)
@given(before=st.text(), after=st.text(), text=st.text())
def test_a_text_is_put_between_the_words_and_found_again(before, after, text):
    template = before.replace("{text}", "") + "{text}" + after

    filled = fill(template, text)

    assert filled.composed == template.replace("{text}", text, 1)
    assert filled.composed[filled.start : filled.end] == text


@pytest.mark.parametrize(
    "text", ["{", "}", "{}", "{0}", "{text}", "{text!r:>{width}}", "%s $x \\1"]
)
def test_braces_in_a_text_are_harmless(text):
    assert fill("query: {text} {end}", text).composed == f"query: {text} {{end}}"


def test_only_the_first_place_takes_the_text():
    assert fill("{text}, said {text}", "x").composed == "x, said {text}"


@pytest.mark.parametrize("template", ["", "query: ", "{ text }", "{TEXT}", "{}", "{text"])
def test_a_template_without_a_place_is_refused(template):
    with pytest.raises(ValueError, match=r"must contain \{text\}, got"):
        check_template(template)


def test_a_template_with_a_place_is_returned():
    assert check_template("query: {text}") == "query: {text}"
