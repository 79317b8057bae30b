"""Queries worded from a sentence."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.wordings import asked, phrase
from indexing.words import common_words

OPENINGS = (
    *("How many", "How much", "What year", "What is", "When"),
    *("Who", "Where", "Which", "What", "How", "Why"),
)
SENTENCE = (
    "In 1854 the Anglican bishop Smith (of Ballarat) led an armed rebellion against the Crown."
)


def many(make, sentence=SENTENCE, count=200):
    return {make(sentence, random.Random(seed)) for seed in range(count)}


def test_a_phrase_has_words_of_the_sentence_in_their_order_without_common_ones():
    kept = ["1854", "Anglican", "bishop", "Smith", "Ballarat", "led", "armed", "rebellion", "Crown"]

    found = many(phrase)

    for one in found:
        words = one.split()
        assert 2 <= len(words) <= 6
        start = kept.index(words[0])
        assert kept[start : start + len(words)] == words
    assert len(found) > 10


def test_a_question_asks_for_the_year_a_name_or_a_word_that_it_leaves_out():
    words = {word.strip(".,()") for word in SENTENCE.split()}
    by_opening = {}

    for one in many(asked):
        assert one.endswith("?")
        opening = next(o for o in OPENINGS if one.startswith(f"{o} "))
        rest = one[len(opening) : -1].split()
        assert set(rest) <= words
        assert len(rest) >= 4
        by_opening.setdefault(opening, []).append(rest)

    assert by_opening.keys() == set(OPENINGS)
    assert not any("1854" in rest for rest in by_opening["When"])
    names = {"Anglican", "Smith", "Ballarat", "Crown"}
    assert all(names - set(rest) for rest in by_opening["Who"])


def test_names_of_several_words_are_taken_out_whole():
    clause = "the treaty was signed by Otto Bismarck Schoenhausen in a railway carriage"

    found = {one for one in many(asked, clause) if one.startswith(("Who", "Where"))}

    assert found
    assert not any(name in one for one in found for name in ("Otto", "Bismarck", "Schoenhausen"))


@pytest.mark.parametrize(
    "sentence", ["", "Short one.", "\u5728\u8d26\u6237\u9875\u9762\u91cd\u7f6e\u5bc6\u7801\u3002"]
)
def test_of_too_few_words_nothing_is_asked(sentence):
    assert many(asked, sentence, 20) == {""}


@given(sentence=st.text(max_size=200), seed=st.integers(0, 9))
def test_any_text_gives_a_query_or_nothing_and_the_same_again(sentence, seed):
    for make in (phrase, asked):
        assert make(sentence, random.Random(seed)) == make(sentence, random.Random(seed))
    typed = phrase(sentence, random.Random(seed)).split()
    assert not any(word.casefold() in common_words() for word in typed)
