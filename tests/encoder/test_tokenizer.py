import time
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoder import EncoderSpec
from encoder.tokenizer import Tokenizer, Tokens

QUICK = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Words, blanks, Chinese, emoji of several code points, marks that are tokens, combining accents.
PIECES = [
    "password ",
    "reset",
    " ",
    "\n",
    "密码",
    "。",
    "🦩",
    "👩‍🚀",
    "é",
    "e\u0301",
    "[SEP]",
    "</s>",
    "{text}",
]
TEXT = st.text(max_size=80) | st.lists(st.sampled_from(PIECES)).map("".join)
LONG = st.lists(st.sampled_from(PIECES), min_size=40, max_size=60).map("".join)


def spec(max_tokens, *, append_eos=False):
    facts = {"name": "m", "weights": "w", "config": "c", "tokenizer": "t"}
    return EncoderSpec(pooling="mean", dim=4, max_tokens=max_tokens, append_eos=append_eos, **facts)


@pytest.fixture(scope="session")
def library_tokenizer(model_folder):
    from transformers import AutoTokenizer

    return cache(lambda kind: AutoTokenizer.from_pretrained(model_folder(kind)))


@pytest.fixture(
    scope="session", params=["bert-mean", "roberta-mean", "xlm-roberta-cls", "qwen-last"]
)
def flavour(request):
    """WordPiece, byte-level BPE with two marks, Unigram, byte-level BPE with an end mark."""
    return request.param


# --- the cut ---


@QUICK
@given(
    text=TEXT | LONG,
    prefix=st.sampled_from(["", "query: ", "为这个句子生成表示："]),
    room=st.integers(0, 20),
)
def test_the_cut_behind_a_plain_prefix_is_that_of_transformers(
    small_tokenizer, library_tokenizer, flavour, text, prefix, room
):
    library = library_tokenizer(flavour)
    max_tokens = len(library(prefix)["input_ids"]) + 1 + room
    want = library(prefix + text, truncation=True, max_length=max_tokens)["input_ids"]

    (got,) = small_tokenizer(flavour).encode([text], prefix + "{text}", spec(max_tokens))

    assert got.ids == want


@QUICK
@given(text=TEXT | LONG, max_tokens=st.integers(24, 40))
def test_words_behind_the_text_and_the_marks_survive_the_cut(
    small_tokenizer, flavour, text, max_tokens
):
    tokenizer = small_tokenizer(flavour)
    (bare,) = tokenizer.encode([""], "Text:\n{text}\nEnd.", spec(512))
    (whole,) = tokenizer.encode([text], "Text:\n{text}\nEnd.", spec(10_000))

    (got,) = tokenizer.encode([text], "Text:\n{text}\nEnd.", spec(max_tokens))

    assert len(got.ids) <= max_tokens
    if len(whole.ids) <= max_tokens:
        assert got == whole == Tokens(whole.ids, 0)
    else:
        assert got.ids[:3] == bare.ids[:3]
        assert got.ids[-3:] == bare.ids[-3:]
        assert got.dropped == len(whole.ids) - len(got.ids)
        assert any(
            got.ids == whole.ids[:place] + whole.ids[place + got.dropped :]
            for place in range(len(got.ids))
        )


def test_the_cut_takes_the_end_of_the_text_and_counts_it(small_tokenizer):
    tokenizer = small_tokenizer("bert-mean")
    template = "query: {text} !"

    (whole,) = tokenizer.encode(["a b c d e f"], template, spec(11))
    (got,) = tokenizer.encode(["a b c d e f"], template, spec(9))

    assert whole.dropped == 0
    assert len(whole.ids) == 11  # [CLS] query : a b c d e f ! [SEP]
    assert got == Tokens(whole.ids[:7] + whole.ids[9:], dropped=2)


def test_an_instruction_that_leaves_room_for_nothing_else_is_kept_whole(small_tokenizer):
    tokenizer = small_tokenizer("bert-mean")

    (got,) = tokenizer.encode(["a b c"], "query: {text}", spec(4))

    assert got == Tokens(tokenizer.encode([""], "query: {text}", spec(4))[0].ids, dropped=3)


@pytest.mark.parametrize("text", ["", "a", "a b c d"])
def test_an_instruction_longer_than_the_model_reads_is_refused(small_tokenizer, text):
    with pytest.raises(
        ValueError, match="m reads at most 3 tokens, but the instruction alone takes 4"
    ):
        small_tokenizer("bert-mean").encode([text], "query: {text}", spec(3))


def test_a_mark_written_in_a_text_is_cut_like_any_word(small_tokenizer):
    (got,) = small_tokenizer("bert-mean").encode(["[SEP]" * 50], "{text}", spec(7))

    assert len(got.ids) == 7
    assert got.dropped == 45


# --- texts of which only the beginning is looked at ---


@QUICK
@given(
    pieces=st.lists(st.sampled_from(PIECES), min_size=100, max_size=400),
    template=st.sampled_from(["{text}", "query: {text}", "Text:\n{text}\nEnd.", '"{text}"']),
    room=st.integers(300, 900),
)
def test_a_text_that_is_cut_before_it_is_tokenised_has_the_ids_of_the_whole(
    small_tokenizer, flavour, monkeypatch, pieces, template, room
):
    monkeypatch.setattr("encoder.tokenizer.MARGIN", 128)
    tokenizer, text = small_tokenizer(flavour), "".join(pieces)
    (want,) = tokenizer._encode([text], template, spec(40), len(text))

    (got,) = tokenizer._encode([text], template, spec(40), room)

    assert got.ids == want.ids
    assert (got.dropped > 0) == (want.dropped > 0)


@pytest.mark.parametrize(
    "text",
    [
        "reset my password, then 密码。 " * 9000,
        "怎么重置密码？这是一段很长的中文" * 12_000,
        "word" * 50_000,
        " " * 200_000 + "reset my password " * 50,
        "a\n\n" * 60_000,
        "🦩" * 60_000,
        "[SEP]</s>" * 30_000,
        "x " * 300 + "y" * 200_000,
    ],
    ids=["words", "Chinese", "one word", "blanks first", "lines", "emoji", "marks", "words, one"],
)
def test_a_huge_text_has_the_ids_of_the_whole(small_tokenizer, flavour, text):
    tokenizer = small_tokenizer(flavour)
    template = "query: {text} !"
    (want,) = tokenizer._encode([text], template, spec(64), len(text))

    short, got = tokenizer.encode(["a", text], template, spec(64))

    assert got.ids == want.ids
    assert short.dropped == 0


@pytest.mark.parametrize("sentence", ["How do I reset it? ", "怎么重置密码？"])
def test_ten_million_characters_take_the_time_of_a_few_thousand(default_encoder, sentence):
    text = sentence * (10_000_000 // len(sentence))
    start = time.perf_counter()

    got = default_encoder.encode_documents([text])

    assert time.perf_counter() - start < 5, "0.1 s where nothing else runs; the whole takes 10"
    np.testing.assert_allclose(
        got, default_encoder.encode_documents([text[:5000]]), rtol=0, atol=1e-5
    )


# --- the end mark ---


@pytest.fixture(scope="session")
def without_marks(model_folder):
    """A decoder's tokenizer that adds nothing by itself, as some published ones."""
    from tokenizers.processors import ByteLevel
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder("qwen-last"))
    backend = tokenizer.backend_tokenizer
    backend.post_processor = ByteLevel(trim_offsets=False)
    return Tokenizer(backend, tokenizer.pad_token_id, None, tokenizer.eos_token_id, ())


@QUICK
@given(text=st.text(max_size=80), max_tokens=st.integers(10, 40))
def test_a_missing_end_mark_is_added_once_and_never_cut(without_marks, text, max_tokens):
    (bare,) = without_marks.encode([text], "Q: {text}", spec(10_000))

    (got,) = without_marks.encode([text], "Q: {text}", spec(max_tokens, append_eos=True))

    assert got.ids == [*bare.ids[: max_tokens - 1], 2]


def test_an_end_mark_that_the_tokenizer_adds_is_not_added_again(small_tokenizer):
    tokenizer = small_tokenizer("qwen-last")

    for text in ("", "reset", "reset my password " * 20):
        want = tokenizer.encode([text], "{text}", spec(12))

        assert want[0].ids[-1] == 2
        assert tokenizer.encode([text], "{text}", spec(12, append_eos=True)) == want


def test_without_an_end_mark_in_the_vocabulary_none_is_added(without_marks):
    tokenizer = Tokenizer(without_marks._backend, 0, None, None, ())

    assert tokenizer.encode(["a b"], "{text}", spec(9, append_eos=True)) == tokenizer.encode(
        ["a b"], "{text}", spec(9)
    )


# --- counts and places ---


@pytest.mark.parametrize("append_eos", [False, True])
def test_a_count_is_the_length_before_any_cut(small_tokenizer, without_marks, texts, append_eos):
    for tokenizer in (small_tokenizer("bert-mean"), without_marks):
        long = spec(10_000, append_eos=append_eos)

        got = tokenizer.count(texts, "query: {text}", spec(12, append_eos=append_eos))

        assert got == [len(item.ids) for item in tokenizer.encode(texts, "query: {text}", long)]


@QUICK
@given(text=TEXT)
def test_spans_are_places_in_the_text_in_order(small_tokenizer, flavour, text):
    spans = small_tokenizer(flavour).spans(text)

    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    covered = {place for start, end in spans for place in range(start, end)}
    if flavour == "roberta-mean":
        assert {place for place in range(len(text)) if not text[place].isspace()} <= covered


def test_spans_are_the_words(small_tokenizer):
    text = "Reset 密码, unhappily"

    spans = small_tokenizer("bert-mean").spans(text)

    assert [text[start:end] for start, end in spans][:4] == ["Reset", "密", "码", ","]
    assert "".join(text[start:end] for start, end in spans) == "Reset密码,unhappily"
    assert small_tokenizer("bert-mean").spans("") == []


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("hello", 0.0),
        ("hello 🦩", 0.5),
        ("🦩", 1.0),
        ("hello 🦩 world!", 0.25),
        (" ", 0.0),
    ],
)
def test_the_unknown_share_counts_tokens_without_marks(small_tokenizer, text, share):
    assert small_tokenizer("bert-mean").unknown_share(text) == share


def test_a_tokenizer_of_bytes_knows_everything(small_tokenizer, without_marks):
    assert small_tokenizer("roberta-mean").unknown_share("🦩 密码") == 0.0
    assert without_marks.unknown_share("🦩 密码") == 0.0


# --- loading ---


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"model": {"type": "None"}}'])
def test_a_damaged_tokenizer_is_named(model_folder, tmp_path, content):
    for file in ("config.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((model_folder("qwen-last") / file).read_bytes())
    (tmp_path / "tokenizer.json").write_text(content)

    with pytest.raises(ValueError, match="holds no tokenizer that can be read") as caught:
        Tokenizer.load(tmp_path)

    assert str(tmp_path) in str(caught.value)


def test_a_cut_or_padding_saved_with_the_tokenizer_is_not_applied(model_folder, tmp_path):
    from tokenizers import Tokenizer as Library

    folder = model_folder("bert-mean")
    for file in ("config.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    library = Library.from_file(str(folder / "tokenizer.json"))
    library.enable_truncation(4)
    library.enable_padding(length=32)
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)

    short, long = tokenizer.encode(["a", "a b c d e f"], "{text}", spec(64))

    assert (len(short.ids), len(long.ids)) == (3, 8)
