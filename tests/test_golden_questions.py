"""The golden questions point to pages and headings that exist, in both languages."""

from collections import Counter
from pathlib import Path

import data.samples
from data import load_golden
from indexing.structure import sections

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
QUESTIONS = load_golden(Path(data.samples.__file__).parent / "golden.jsonl")


def test_every_question_names_a_page_and_a_heading_that_exist():
    headings = {
        page.relative_to(DOCS).as_posix(): [
            s.heading[-1:] for s in sections(page.read_text("utf-8"))
        ]
        for page in DOCS.rglob("*.md")
    }

    for question in QUESTIONS:
        assert question.document in headings, question
        assert headings[question.document].count((question.heading,)) == 1, question


def test_there_are_enough_questions_in_each_language():
    counts = Counter(question.language for question in QUESTIONS)

    assert counts["en"] >= 30
    assert counts["zh"] >= 30
    assert all(q.document.startswith(f"{q.language}/") for q in QUESTIONS)


def test_no_question_is_asked_twice():
    assert len({question.question for question in QUESTIONS}) == len(QUESTIONS)


def test_no_question_copies_its_heading():
    for question in QUESTIONS:
        assert question.heading not in question.question


def test_both_languages_have_the_same_pages_and_every_page_is_asked_about():
    pages = {lang: {page.name for page in (DOCS / lang).glob("*.md")} for lang in ("en", "zh")}
    asked = {question.document for question in QUESTIONS}

    assert pages["en"] == pages["zh"]
    assert len(pages["en"]) >= 12
    assert asked == {f"{language}/{page}" for language in pages for page in pages[language]}
