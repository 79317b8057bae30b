import time
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer

from data import Document
from encoder import Encoder, describe_encoder
from encoder.tokenizer import Tokenizer
from indexing.errors import UsageError
from indexing.splitting import SplitterConfig, split_document
from indexing.structure import sections

HANDBOOK = sorted((Path(__file__).parents[2] / "docs").glob("??/*.md"))


class Unrun:
    """A backend that runs nothing: counting tokens needs no weights."""

    device = "none"
    token_budget = 0

    def embed(self, ids):
        raise AssertionError("nothing is encoded here")


class ByteLevelCounter:
    """A byte-level BPE that knows little of Chinese: several tokens to a character."""

    counts_by_words = False

    def __init__(self):
        texts = [path.read_text("utf-8") for path in HANDBOOK if path.parent.name == "en"]
        self._tokenizer = ByteLevelBPETokenizer(add_prefix_space=False)
        self._tokenizer.train_from_iterator(texts, vocab_size=1500, show_progress=False)

    def token_spans(self, text):
        return self._tokenizer.encode(text).offsets

    def count_tokens(self, texts):
        return [len(self._tokenizer.encode(f"passage: {text}").ids) for text in texts]


@cache
def make_counter(name):
    if name == "bytes":
        return ByteLevelCounter()
    description = describe_encoder()
    return Encoder(description.spec, Tokenizer.load(description.folder), Unrun())


@pytest.fixture(params=["words", "bytes"])
def counter(request):
    return make_counter(request.param)


def split(text, counter, *, title="Guide", chunk_tokens=64, overlap_tokens=0):
    document = Document(id="d", title=title, text=text, source="d")
    config = SplitterConfig(chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens)
    return split_document(document, counter, config)


def tokens_read(text, encoder):
    """As the model gets them."""
    (found,) = encoder._tokenizer.encode([text], "{text}", encoder.spec)
    return found.ids


def texts(pieces):
    return [piece.text for piece in pieces]


def is_visible(character):
    return character.isprintable() and not character.isspace()


# Values


def test_pieces_know_their_tokens_where_words_are_read_one_by_one():
    text = "# Reset\n\nPress the re-set button (5 s). Wait, don't go!\n\n## 中文\n\n按住重置按钮。"

    pieces = split(text, make_counter("words"))

    assert [piece.heading for piece in pieces] == [("Reset",), ("Reset", "中文")]
    want = [tokens_read(piece.embedded, make_counter("words")) for piece in pieces]
    assert [piece.ids for piece in pieces] == want
    assert [piece.ids for piece in split(text, make_counter("bytes"))] == [None, None]


def test_a_short_section_is_one_chunk_under_its_title_and_headings(counter):
    text = "# Guide\n\nHello there.\n\n## Passwords\n\nClick *Reset*.\n\n点击“重置”。\n"

    got = [(piece.heading, piece.text, piece.embedded) for piece in split(text, counter)]

    assert got == [
        (("Guide",), "Hello there.", "Guide\nHello there."),
        (
            ("Guide", "Passwords"),
            "Click *Reset*.\n\n点击“重置”。",
            "Guide > Passwords\nClick *Reset*.\n\n点击“重置”。",
        ),
    ]


def test_without_title_and_heading_the_text_stands_alone(counter):
    [piece] = split("Hello there.", counter, title="")

    assert piece.embedded == "Hello there."


def test_a_heading_that_nothing_follows_stands_for_itself(counter):
    text = "# A\n## B\ntext\n## C\n# D\n"

    got = [(piece.heading, piece.text) for piece in split(text, counter)]

    assert got == [(("A", "B"), "text"), (("A", "C"), "## C"), (("D",), "# D")]


@pytest.mark.parametrize(
    "text", ["", " \n\n\t\u3000\n", "\u200b", "\u2060\n\u200d\ufeff \u00ad", "# \n", "#\n\n##\n"]
)
def test_what_cannot_be_seen_makes_no_chunk(text, counter):
    assert [piece for piece in split(text, counter) if not any(map(is_visible, piece.text))] == []
    assert split(f"# A\n{text}\n# B\ntext", counter)[-1].text == "text"


def test_a_section_of_marks_without_width_counts_as_empty(counter):
    text = "# A\n\u200b\n## B\ntext\n## C\n\u2060 \u3000\n"

    assert texts(split(text, counter)) == ["text", "## C\n\u2060"]


def test_sentences_are_packed_until_the_chunk_is_full():
    # 2 special tokens, 1 for the header, and 5 + 1 + 1 for each sentence.
    counter = make_counter("words")
    text = "One two three four five. " * 6

    pieces = split(text, counter, title="Guide", chunk_tokens=16)

    assert texts(pieces) == ["One two three four five. One two three four five."] * 3
    assert [piece.tokens for piece in pieces] == [15, 15, 15]


def test_the_last_sentences_are_repeated_up_to_the_overlap():
    counter = make_counter("words")
    text = "One two three. Four five. Six seven. Eight nine. Ten eleven. Twelve one."

    pieces = split(text, counter, title="", chunk_tokens=16, overlap_tokens=6)

    assert texts(pieces) == [
        "One two three. Four five. Six seven. Eight nine.",
        "Six seven. Eight nine. Ten eleven. Twelve one.",
    ]
    assert texts(split(text, counter, title="", chunk_tokens=16, overlap_tokens=5)) == [
        "One two three. Four five. Six seven. Eight nine.",
        "Eight nine. Ten eleven. Twelve one.",
    ]


def test_chunks_break_between_paragraphs_where_that_wastes_less_than_half():
    counter = make_counter("words")
    text = "One two three four five six.\n\nOne two three. Four five six. Seven."

    pieces = split(text, counter, title="", chunk_tokens=16, overlap_tokens=8)

    assert texts(pieces) == [
        "One two three four five six.",
        "One two three. Four five six. Seven.",
    ]


def test_a_small_paragraph_is_filled_up_with_the_next():
    counter = make_counter("words")
    text = "One two.\n\nOne two three. Four five six. Seven eight nine."

    pieces = split(text, counter, title="", chunk_tokens=16)

    assert texts(pieces) == ["One two.\n\nOne two three. Four five six.", "Seven eight nine."]


def test_lists_are_cut_between_items_and_code_between_lines():
    counter = make_counter("words")
    items = ["- one two. three\n  four five six", "- six seven. eight\n  nine ten. Yes"]
    code = ["```\na b c\n- c d e f\ne f g", "```"]

    pieces = split("\n".join([*items, "", *code]), counter, title="", chunk_tokens=16)

    assert texts(pieces) == [*items, *code]


def test_a_long_sentence_is_cut_at_clauses_and_a_long_clause_between_words():
    counter = make_counter("words")
    text = "one two three four five six seven, one two three four five six, " + "ten " * 20

    pieces = split(text, counter, title="", chunk_tokens=16)

    assert texts(pieces) == [
        "one two three four five six seven,",
        "one two three four five six,",
        " ".join(["ten"] * 14),
        " ".join(["ten"] * 6),
    ]


def test_chinese_is_cut_at_its_sentences():
    counter = make_counter("words")
    text = "怎么重置密码？点击重置。然后等待邮件！打开它，按提示做。"

    pieces = split(text, counter, title="", chunk_tokens=16)

    assert texts(pieces) == ["怎么重置密码？点击重置。", "然后等待邮件！", "打开它，按提示做。"]


def test_a_chunk_may_be_full_to_its_last_token(counter):
    # The line end behind the header is a token of some tokenizers, and of others none.
    pieces = split("%" * 300, counter, title="Guide", chunk_tokens=32)

    assert {piece.tokens for piece in pieces[:-1]} == {32}


def test_the_header_takes_at_most_a_third(counter):
    title = "A very long title " * 20
    text = f"# {'And headings 很长的标题 ' * 20}\n" + "One two three. " * 30

    pieces = split(text, counter, title=title, chunk_tokens=48)

    headers = {piece.embedded.removesuffix(piece.text) for piece in pieces}
    assert len(headers) == 1
    header = headers.pop()
    assert header.startswith("A very long title A very")
    assert header.endswith("\n")
    assert 13 <= len(counter.token_spans(header.rstrip())) <= 16
    assert max(piece.tokens for piece in pieces) <= 48


def test_a_title_that_is_one_endless_word_is_cut(counter):
    [piece] = split("text", counter, title="x" * 100_000, chunk_tokens=48)

    assert piece.tokens <= 48
    assert len(piece.embedded) < 600
    assert piece.embedded.endswith("\ntext")


def test_a_title_that_is_also_the_heading_stands_once(counter):
    [piece] = split("# Guide\n## Guide\ntext", counter, title="Guide")

    assert piece.embedded == "Guide\ntext"


@pytest.mark.parametrize("word", ["x" * 50_000, "dGhlIHF1aWNr" * 5000, "\u0e01" * 20_000])
def test_an_endless_word_is_cut_although_it_is_one_unknown_token(word, counter):
    pieces = split(word, counter, chunk_tokens=64)

    assert "".join(texts(pieces)) == word
    assert max(len(piece.text) for piece in pieces) <= 64 * 32
    assert max(piece.tokens for piece in pieces) <= 64


def test_an_instruction_that_leaves_no_room_is_refused():
    counter = make_counter("words")
    templates = {**counter.spec.templates, "document": "word " * 20 + "{text}"}
    wordy = Encoder(replace(counter.spec, templates=templates), counter._tokenizer, Unrun())

    with pytest.raises(UsageError, match=r"Of 16 tokens in a chunk, 23 go to .* --chunk-tokens"):
        split("text", wordy, chunk_tokens=16)

    assert texts(split("text", wordy, chunk_tokens=24)) == ["text"]


def test_a_character_of_more_tokens_than_there_is_room_for_ends_the_cut():
    counter = make_counter("bytes")
    room = counter.count_tokens([""])[0]
    assert len(counter.token_spans("\U0001f9ff")) == 4

    class Tight:
        counts_by_words = False

        def token_spans(self, text):
            return counter.token_spans(text)

        def count_tokens(self, texts):
            return [count - room + 14 for count in counter.count_tokens(texts)]

    pieces = split("\U0001f9ff\U0001f9ff a b", Tight(), title="", chunk_tokens=16)

    assert texts(pieces) == ["\U0001f9ff", "\U0001f9ff", "a b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chunk_tokens": 15}, "chunk_tokens must be at least 16, got 15"),
        ({"chunk_tokens": 64, "overlap_tokens": 33}, r"half of chunk_tokens \(64\), got 33"),
        ({"chunk_tokens": 64, "overlap_tokens": -1}, r"half of chunk_tokens \(64\), got -1"),
    ],
)
def test_a_wrong_configuration_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SplitterConfig(**values)


def test_equal_configurations_have_equal_digests():
    one = SplitterConfig(chunk_tokens=64, overlap_tokens=8)

    assert one.digest == SplitterConfig(chunk_tokens=64, overlap_tokens=8).digest
    assert one.digest != SplitterConfig(chunk_tokens=64, overlap_tokens=9).digest
    assert one.digest != SplitterConfig(chunk_tokens=65, overlap_tokens=8).digest


# Properties


_WORDS = st.sampled_from(
    [
        *(
            "cat",
            "password",
            "Reset",
            "3.14",
            "e.g.",
            "electroencephalography",
            "x" * 130,
            "a" * 40,
        ),
        *("密码", "怎么重置登录密码", "。", "，", "！", "「你好」", "né", "ﷺ", "кот", "ก" * 9),
        *("https://example.org/a?b=1", "`code`", "a_b", ".", ",", "?", "|"),
        *("\u200b", "\u3000", "\U0001f600", "[SEP]", "a\x1cb", "e\u0301", "\uac00", "##ing"),
    ]
)
_SENTENCES = st.lists(_WORDS, min_size=1, max_size=30).map(" ".join)
_BLOCKS = st.one_of(
    _SENTENCES,
    st.lists(_SENTENCES, min_size=1, max_size=6).map(". ".join),
    st.lists(_SENTENCES, min_size=1, max_size=4)
    .map("".join)
    .map(lambda text: text.replace(" ", "")),
    st.lists(_SENTENCES, min_size=1, max_size=5).map(lambda rows: "- " + "\n- ".join(rows)),
    st.lists(_SENTENCES, min_size=1, max_size=5).map(
        lambda rows: f"```\n{chr(10).join(rows)}\n```"
    ),
    st.lists(_SENTENCES, max_size=4).map(
        lambda rows: "| a | b |\n|---|---|\n| " + " |\n| ".join(rows)
    ),
    st.sampled_from(["", "   ", "\u200b", "---", "```", "Title\n==="]),
    st.text(max_size=40).map(lambda text: text.replace("\r", "")),
)
_HEADINGS = st.builds(lambda n, title: f"{'#' * n} {title}", st.integers(1, 4), _SENTENCES)
_DOCUMENTS = st.lists(_BLOCKS | _HEADINGS, max_size=12).map("\n\n".join)
_SIZES = st.tuples(st.sampled_from([16, 24, 40, 100]), st.sampled_from([0, 4, 8]))
_TITLES = st.sampled_from(["", "Guide", "一个很长的标题 with words in it " * 3])
_QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_QUICK
@given(_DOCUMENTS, _TITLES, _SIZES)
@example("# A\n\u200b\n## B", "", (16, 0))
def test_pieces_keep_their_promises(counter, text, title, sizes):
    chunk_tokens, overlap_tokens = sizes
    pieces = split(
        text, counter, title=title, chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens
    )

    for piece in pieces:
        assert piece.text == text[piece.start : piece.end]
        assert piece.embedded.endswith(piece.text)
        assert piece.text.strip() == piece.text
        assert piece.tokens == counter.count_tokens([piece.embedded])[0]
        assert piece.ids is None or list(piece.ids) == tokens_read(piece.embedded, counter)
        assert piece.tokens <= chunk_tokens or len(piece.text) == 1
    for one, next_one in pairwise(pieces):
        assert one.start < next_one.start
        assert one.end < next_one.end
        repeated = text[next_one.start : one.end]
        assert len(counter.token_spans(repeated)) <= overlap_tokens
    again = split(
        text, counter, title=title, chunk_tokens=chunk_tokens, overlap_tokens=overlap_tokens
    )
    assert again == pieces


@_QUICK
@given(_DOCUMENTS, _SIZES)
def test_pieces_cover_all_but_headings_and_cross_none(counter, text, sizes):
    pieces = split(text, counter, chunk_tokens=sizes[0], overlap_tokens=sizes[1])

    covered = {place for piece in pieces for place in range(piece.start, piece.end)}
    for section in sections(text):
        own = [p for p in pieces if section.heading_start <= p.start < section.end]
        assert all(piece.end <= section.end for piece in own)
        assert {piece.heading for piece in own} <= {section.heading}
        body = range(section.start, section.end)
        assert not [text[i] for i in body if is_visible(text[i]) and i not in covered]
        if any(is_visible(text[i]) for i in body):
            assert all(piece.start >= section.start for piece in own)


@_QUICK
@given(_DOCUMENTS, _DOCUMENTS, _BLOCKS, _SIZES)
def test_an_edit_in_one_section_leaves_the_others_alone(counter, before, after, edited, sizes):
    def others(middle):
        text = f"# One\n\n{plain(before)}\n\n# Two\n\n{middle}\n\n# Three\n\n{plain(after)}\n"
        pieces = split(text, counter, chunk_tokens=sizes[0], overlap_tokens=sizes[1])
        return [piece.embedded for piece in pieces if piece.heading[:1] != ("Two",)]

    assert others("Nothing was here.") == others(plain(edited))


def plain(text):
    """Without what would open a fence or a heading of the first level."""
    return (
        text.replace("```", "")
        .replace("~~~", "")
        .replace("# ", "")
        .replace("=", "")
        .replace("#", "")
    )


@pytest.mark.parametrize("path", HANDBOOK[::5], ids=lambda path: "/".join(path.parts[-2:]))
def test_the_handbook_fills_its_chunks(path):
    counter = make_counter("words")
    text = path.read_text("utf-8")

    pieces = split(text, counter, chunk_tokens=128, overlap_tokens=16)

    assert max(piece.tokens for piece in pieces) <= 128
    covered = {place for piece in pieces for place in range(piece.start, piece.end)}
    for section in sections(text):
        assert not "".join(
            text[i] for i in range(section.start, section.end) if i not in covered
        ).strip()


# Size


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("word " * 200_000, id="words"),
        pytest.param("One two three. " * 66_000, id="sentences"),
        pytest.param("密码" * 250_000, id="chinese"),
        pytest.param("x" * 1_000_000, id="one word"),
        pytest.param("." * 1_000_000, id="dots"),
        pytest.param("a" + " " * 1_000_000 + "b", id="spaces"),
        pytest.param("- a\n" * 100_000, id="items"),
        pytest.param("```\n" + "\n" * 100_000 + "```\n", id="empty lines"),
        pytest.param("```\n" + "\u200b\n" * 100_000 + "```\n", id="unseen lines"),
        pytest.param("# A\n\n" * 5_000, id="headings"),
    ],
)
def test_a_large_text_is_split_in_seconds(text):
    counter = make_counter("words")
    started = time.process_time()

    split(text, counter, chunk_tokens=256, overlap_tokens=32)

    assert time.process_time() - started < 10
