import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.templates import check_template, clean_for_prompteol, fill, unwrap


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


# --- texts that already carry their instruction ---


@settings(deadline=None)
@given(before=st.text(), after=st.text(), text=st.text())
def test_a_filled_template_is_unwrapped_to_its_text(before, after, text):
    template = before.replace("{text}", "") + "{text}" + after
    words = template.partition("{text}")[0].strip()

    assert unwrap(template, fill(template, text).composed) == (text if words else None)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("query: {text}", "a query: x"),
        ("query: {text}", "Query: x"),
        ("query: {text}", "query:x"),
        ("{text} in one word", "it in one word"),
        ("  {text}", "  x"),
        ('say "{text}"', 'say "x'),
        ("ab{text}ba", "aba"),
        ("{text}", ""),
    ],
)
def test_another_text_is_not_unwrapped(template, text):
    assert unwrap(template, text) is None


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (' He said "no" ', "He said 'no'"),
        ("A cat", "A cat."),
        ("A cat.", "A cat."),
        ("Is it a cat?", "Is it a cat."),
        ("A cat!", "A cat!."),
        ("它是猫", "它是猫."),
        ("", ""),
    ],
)
def test_prompteol_s_sentences_have_no_double_quotes_and_a_full_stop(text, want):
    assert clean_for_prompteol(text) == want
