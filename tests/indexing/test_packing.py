"""Tables, code, numbered clauses, what is never cut inside, and what an edit changes."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Document
from indexing.splitting import SplitterConfig, split_document

_TOKEN = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")


class Words:
    """One token for each word, digit, mark and Chinese character; no instruction."""

    counts_by_words = False

    def token_spans(self, text):
        return [match.span() for match in _TOKEN.finditer(text)]

    def count_tokens(self, texts):
        return [len(_TOKEN.findall(text)) for text in texts]


def split(text, chunk_tokens=16, overlap_tokens=0, version=2, title=""):
    document = Document(id="d", title=title, text=text, source="d")
    config = SplitterConfig(
        chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens, version=version
    )
    pieces = split_document(document, Words(), config)
    assert all(text[piece.start : piece.end] == piece.text for piece in pieces)
    assert all(piece.tokens <= chunk_tokens for piece in pieces)
    return pieces


def texts(pieces):
    return [piece.text for piece in pieces]


# Tables


def table(rows):
    return "| city | rain |\n|---|---|\n" + "".join(f"| {row} | much |\n" for row in rows)


def test_a_tables_columns_stand_before_each_group_of_its_rows():
    text = table(["Aachen", "Bonn", "Celle", "Dresden", "Essen"])

    pieces = split(text, 24, title="Rain")

    # 1 for the title, 5 for the names where they are repeated, 5 for a row, 9 for |---|---|.
    assert texts(pieces) == [
        "| city | rain |\n|---|---|\n| Aachen | much |",
        "| Bonn | much |\n| Celle | much |\n| Dresden | much |",
        "| Essen | much |",
    ]
    assert [piece.embedded for piece in pieces] == [
        f"Rain\n{pieces[0].text}",
        f"Rain\n| city | rain |\n{pieces[1].text}",
        f"Rain\n| city | rain |\n{pieces[2].text}",
    ]


def test_a_table_without_bars_at_its_edges_is_one_too():
    text = "city | rain\n---|---\n" + "".join(f"{city} | much\n" for city in "ABCDEFGH")

    pieces = split(text, 16)

    assert len(pieces) > 1
    assert all(p.embedded.startswith("city | rain\n") for p in pieces)


def test_names_that_take_over_half_of_a_chunk_are_not_repeated():
    names = "| " + " | ".join(f"column {letter}" for letter in "abcdef") + " |"
    text = f"{names}\n|-|-|-|-|-|-|\n" + "| x | x | x | x | x | x |\n" * 3

    pieces = split(text, 20)

    assert [piece.embedded for piece in pieces] == texts(pieces)


def test_text_behind_a_table_is_filled_in_and_knows_no_columns_of_its_own():
    text = table(["Aachen"]) + "\nIt rains.\n"

    [piece] = split(text, 32)

    assert piece.text == text.strip()
    assert piece.embedded == piece.text


# Code


def test_code_is_cut_between_functions_then_at_empty_lines_then_at_lines():
    one = "def one():\n    a\n\n    b\n"
    two = "@mark\ndef two():\n    c\n    d\n"
    long = "def long():\n    a a a a a a a\n    b b b b\n\n" + "    c c c c c c c c c c c\n" * 2
    text = f"```\n{one}\n{two}\n{long}```\n"

    pieces = split(text, 17)

    assert texts(pieces) == [
        f"```\n{one}".strip(),
        two.strip(),
        "def long():\n    a a a a a a a\n    b b b b",
        "c c c c c c c c c c c",
        "c c c c c c c c c c c\n```",
    ]


# Numbered clauses


@pytest.mark.parametrize(
    "labels",
    [
        ("第三条", "第四条", "第十二条"),
        ("Article 5.", "Article 6.", "Article 7."),
        ("1.2.3", "1.2.4", "1.3"),
        ("§ 8", "§ 9", "§ 10"),
        ("Section IV:", "Section V:", "Section VI:"),
    ],
)
@pytest.mark.parametrize("between", ["\n", "\n\n"])
def test_numbered_clauses_are_kept_whole_where_they_fit(labels, between):
    clauses = [f"{label} One two three. Four five six. Seven." for label in labels]

    pieces = split(between.join(clauses), 18)

    assert texts(pieces) == clauses


def test_a_clause_keeps_its_paragraphs_and_items():
    clauses = [
        "第一条 甲方提供货物。\n\n（一）按时；\n\n（二）足量。",
        "第二条 乙方付款。\n\n逾期计息。",
    ]

    pieces = split("\n\n".join(clauses), 32)

    assert texts(pieces) == clauses


def test_the_title_of_a_chapter_stays_with_its_first_clause():
    before = "第九条 一二三四五六七八九十。"
    after = "第二章 责任\n\n第十条 一二三四五六七八。"

    assert texts(split(f"{before}\n\n{after}", 24)) == [before, after]


def test_a_clause_that_is_too_long_is_cut_at_sentences_behind_its_label():
    text = "Article 5. " + "One two three four five. " * 6

    pieces = split(text, 17)

    assert pieces[0].text == "Article 5. One two three four five. One two three four five."
    assert all(piece.text.endswith("five.") for piece in pieces)


def test_a_number_in_a_sentence_begins_no_clause():
    text = "See 第三条 and\nArticle nine, 1.5 litres."

    assert texts(split(text, 32)) == [text]


# Never cut inside


WHOLE = [
    "《你好！世界，再见。》",
    "https://example.org/a?b=1,2;c=3",
    "3.14159",
    "1,000,000",
    "12:30:05",
]


@pytest.mark.parametrize("whole", WHOLE)
@pytest.mark.parametrize("before", range(20))
def test_titles_addresses_and_numbers_are_never_cut(whole, before):
    text = "啊" * before + whole + "是" * 40

    pieces = split(text, 40)

    assert sum(whole in piece.text for piece in pieces) == 1


def test_a_title_does_not_end_its_sentence():
    text = "《你好！》是一本好书。它很好看呢。"

    assert texts(split(text, 16)) == ["《你好！》是一本好书。", "它很好看呢。"]


def test_what_has_no_room_at_all_is_cut_after_all():
    text = "https://example.org/" + "a/" * 40

    pieces = split(text, 16)

    assert "".join(texts(pieces)) == text


# Properties


_LINES = st.sampled_from(
    [
        *(
            "第三条 甲方。乙方！",
            "第二章 总则",
            "Article 5. One two.",
            "1.2.3 Scope",
            "（一）按时；",
        ),
        *(
            "| a | b |",
            "|---|---|",
            "| 1 | 2 |",
            "a | b",
            "---|---",
            "```",
            "def f():",
            "    x = 1",
        ),
        *(
            "《你好！》好。",
            "See https://x.org/a?b=1, or 3.14.",
            "One two three. Four five six seven.",
            "",
        ),
        *("# Title", "## 第一节", "- item one", "**第五条** text", "1.1.1.1.1.1.1.1.1", "第" * 30),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_LINES, max_size=40).map("\n".join),
    st.sampled_from([16, 24, 48]),
    st.sampled_from([0, 8]),
    st.sampled_from([1, 2]),
)
def test_chunks_cover_the_text_in_every_version(text, chunk_tokens, overlap, version):
    pieces = split(text, chunk_tokens, overlap, version)

    covered = {place for piece in pieces for place in range(piece.start, piece.end)}
    headings = {heading for piece in pieces for heading in piece.heading}
    left = "".join(c if i not in covered else "\n" for i, c in enumerate(text))
    for line in left.split("\n"):
        assert not line.strip() or line.lstrip("# ").strip() in headings, line


def sentence(generator):
    words = [generator.choice("abcdefghij") * generator.randint(1, 9) for _ in range(7)]
    return " ".join(words).capitalize() + "."


@pytest.mark.parametrize("between", [" ", "\n\n"], ids=["sentences", "paragraphs"])
@pytest.mark.parametrize("overlap", [0, 8])
@pytest.mark.parametrize("seed", range(5))
def test_an_edit_changes_only_chunks_near_it(between, overlap, seed):
    generator = random.Random(seed)
    sentences = [sentence(generator) for _ in range(600)]
    edited = [*sentences[:200], "Something else was put in here.", *sentences[200:]]

    before, after = (texts(split(between.join(all_), 64, overlap)) for all_ in (sentences, edited))

    # The sentences are equally long: without anchors, no later chunk would be as it was.
    assert len(set(after) - set(before)) <= 12
    place = next(i for i, text in enumerate(after) if text not in set(before))
    assert after[:place] == before[:place]
    assert place > 15


def test_the_first_version_splits_as_it_always_did():
    text = "第一条 一二三四五六。\n第二条 一二三四五六。\n\n" + table("ABCD")

    old, new = split(text, version=1), split(text)

    assert texts(old) == [
        "第一条 一二三四五六。",
        "第二条 一二三四五六。",
        "| city | rain |\n|---|---|",
        "| A | much |\n| B | much |\n| C | much |",
        "| D | much |",
    ]
    assert [piece.embedded for piece in old] == texts(old)
    assert texts(new) != texts(old)


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match="version 3 is not known here, only of 1, 2"):
        SplitterConfig(chunk_tokens=64, version=3)
