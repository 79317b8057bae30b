"""Example questions from an index's own headings."""

from app.examples import choose_examples, example_questions
from data import Chunk
from indexing import open_index


def chunk(document, *heading):
    return Chunk(id=0, document=document, start=0, end=1, page=None, heading=heading, text="x")


def test_questions_come_before_topics_and_each_from_another_document():
    chunks = [
        chunk("a", "A", "Notes on the harvest of 1998"),
        chunk("a", "A", "How are apples kept in winter?"),
        chunk("b", "B", "Pears and their many enemies"),
        chunk("c", "C", "Why plums are picked at dawn"),
    ]

    got = choose_examples(chunks, "en")

    assert got[:2] == ["How are apples kept in winter?", "Why plums are picked at dawn"]
    assert got[2] == "Pears and their many enemies"


def test_headings_that_need_their_page_are_left_out():
    chunks = [
        chunk("a", "Why it does not work at all"),
        chunk("b", "What there is: a first overview"),
        chunk("c", "How"),
        chunk("d"),
    ]

    assert choose_examples(chunks, "en") == []


def test_the_language_of_the_page_is_the_language_of_the_examples():
    chunks = [chunk("a", "怎样给果树剪枝"), chunk("b", "How to prune an old apple tree")]

    assert choose_examples(chunks, "zh") == ["怎样给果树剪枝"]
    assert choose_examples(chunks, "en") == ["How to prune an old apple tree"]


def test_the_handbook_gives_three_in_each_language(handbook_index):
    index = open_index(handbook_index)

    assert len(example_questions(index, "en")) == len(example_questions(index, "zh")) == 3
