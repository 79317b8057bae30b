import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder import EncoderSpec
from indexing.answers import (
    COSINE_SHARE,
    HIT_WEIGHT,
    ScoredSentence,
    answer,
    score_sentences,
)
from indexing.hits import Hit, Scores


class FakeEncoder:
    """Gives each text the embedding that it was told; the query is (1, 0)."""

    spec = EncoderSpec(
        name="fake", weights="w", config="c", tokenizer="t", pooling="mean", max_tokens=9, dim=2
    )

    def __init__(self, cosines=None, unknown=0.0):
        self._cosines = cosines or {}
        self._unknown = unknown
        self.read = []

    def encode_documents(self, texts):
        self.read += texts
        cosines = np.array([self._cosines.get(text, 0.0) for text in texts], np.float32)
        return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)

    def encode_queries(self, texts):
        return np.array([[1, 0]] * len(texts), np.float32)

    def unknown_share(self, text):
        return self._unknown


def make_hit(text, *, rank=1, start=0, document="guide.md", scores=None):
    scores = scores or Scores(fused=1.0)
    return Hit(
        rank=rank,
        score=scores.last,
        scores=scores,
        relevance=None,
        document=document,
        title="Guide",
        source=document,
        page=None,
        heading=(),
        text=text,
        start=start,
        end=start + len(text),
        chunk=rank,
    )


def made(text, score):
    return ScoredSentence(hit=1, document="d", start=0, end=len(text), text=text, score=score)


def read_sentences(text):
    encoder = FakeEncoder()
    score_sentences("question", [make_hit(text)], encoder)
    return encoder.read


def test_sentences_are_exact_quotes_with_their_place_in_the_document():
    document = (
        "Preface.  Reset your password on the account page.\nThen log in again. 点击重置按钮。"
    )
    hit = make_hit(document[10:], start=10, rank=2)

    got = score_sentences("password", [hit], FakeEncoder())

    assert {sentence.text for sentence in got} == {
        "Reset your password on the account page.",
        "Then log in again.",
        "点击重置按钮。",
    }
    assert all(document[s.start : s.end] == s.text for s in got)
    assert {(s.hit, s.document) for s in got} == {(2, "guide.md")}


def test_scores_join_cosine_and_share_of_words():
    # Of the query's words each stands in one of two sentences: they weigh the same.
    hit = make_hit("The password is here. The invoice is there.")
    cosines = {"The password is here.": 0.2, "The invoice is there.": 0.6}

    got = score_sentences("password invoice", [hit], FakeEncoder(cosines))

    assert [(s.text, s.score) for s in got] == [
        ("The invoice is there.", pytest.approx(COSINE_SHARE * 0.6 + (1 - COSINE_SHARE) * 0.5)),
        ("The password is here.", pytest.approx(COSINE_SHARE * 0.2 + (1 - COSINE_SHARE) * 0.5)),
    ]


def test_an_encoder_that_cannot_read_the_query_has_no_say():
    hit = make_hit("The password is here. The invoice is there.")
    cosines = {"The invoice is there.": 1.0}

    got = score_sentences("password", [hit], FakeEncoder(cosines, unknown=1.0))

    assert [(s.text, s.score) for s in got] == [
        ("The password is here.", 1.0),
        ("The invoice is there.", 0.0),
    ]


def test_an_opposite_meaning_counts_as_none():
    hit = make_hit("The password is here. The invoice is there.")
    cosines = {"The password is here.": -1.0}

    got = score_sentences("password", [hit], FakeEncoder(cosines))

    assert got[0].score == pytest.approx(1 - COSINE_SHARE)


def test_an_encoder_that_has_no_say_encodes_nothing():
    encoder = FakeEncoder(unknown=0.3)

    assert score_sentences("password", [make_hit("The password is here.")], encoder)
    assert encoder.read == []


def test_an_encoder_that_knows_some_of_the_query_has_some_say():
    hit = make_hit("The password is here.")
    encoder = FakeEncoder({"The password is here.": 0.5}, unknown=0.125)  # trust of a half

    (got,) = score_sentences("password", [hit], encoder)

    assert got.score == pytest.approx(COSINE_SHARE / 2 * 0.5 + (1 - COSINE_SHARE / 2))


def test_rare_words_count_more():
    hit = make_hit("The page of passwords. The page of invoices. The page of people.")

    got = score_sentences("page invoices", [hit], FakeEncoder(unknown=1.0))

    assert got[0].text == "The page of invoices."
    by_text = {sentence.text: sentence.score for sentence in got}
    assert by_text["The page of people."] == pytest.approx(0.559616 / 1.475907, rel=1e-4)


def test_only_the_first_hits_are_read():
    hits = [make_hit(f"This is sentence {rank}.", rank=rank) for rank in range(1, 9)]

    assert {s.hit for s in score_sentences("sentence", hits, FakeEncoder())} == {1, 2, 3, 4, 5}
    assert {s.hit for s in score_sentences("sentence", hits, FakeEncoder(), hits_read=1)} == {1}


def test_equal_scores_keep_the_order_of_the_hits():
    hits = [make_hit("The very same text.", rank=rank) for rank in (1, 2, 3)]

    assert [s.hit for s in score_sentences("other", hits, FakeEncoder())] == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "Yes. No. OK!", "好。是。", "\n\n"])
def test_without_a_telling_sentence_there_is_none_and_nothing_is_encoded(text):
    encoder = FakeEncoder()

    assert score_sentences("question", [make_hit(text)], encoder) == []
    assert score_sentences("question", [], encoder) == []
    assert encoder.read == []


def test_list_items_and_rows_are_sentences_of_their_own_and_code_is_none():
    text = (
        "Do this:\n"
        "- Open the account page\n"
        "- Click the reset button and\n"
        "  wait for the mail\n"
        "\n"
        "| Error code | What it means |\n"
        "|------------|---------------|\n"
        "| E-4012 | The account is locked |\n"
        "\n"
        "```bash\n"
        "python -m indexing.build docs\n"
        "python -m indexing.search query\n"
        "```\n"
    )

    assert read_sentences(text) == [
        "- Open the account page",
        "- Click the reset button and\n  wait for the mail",
        "| Error code | What it means |",
        "| E-4012 | The account is locked |",
    ]


def test_a_quote_begins_behind_the_indentation():
    assert read_sentences("  - An item further in.\n") == ["- An item further in."]


def test_no_sentence_goes_over_an_empty_line():
    assert read_sentences("A paragraph without an end\n\nAnother of the kind") == [
        "A paragraph without an end",
        "Another of the kind",
    ]


@given(st.text(st.sampled_from("ab.。 \n-|`#密码!"), max_size=80), st.integers(0, 1000))
def test_places_are_right_for_any_text(text, start):
    document = " " * start + text

    for sentence in score_sentences("ab", [make_hit(text, start=start)], FakeEncoder()):
        assert document[sentence.start : sentence.end] == sentence.text
        assert sentence.text == sentence.text.strip()
        assert 0 <= sentence.score <= 1


def test_the_best_sentences_are_quoted():
    sentences = [made("one", 0.8), made("two", 0.7), made("three", 0.61), made("four", 0.6)]

    assert [s.text for s in answer(sentences)] == ["one", "two", "three"]


def test_weaker_sentences_are_left_out():
    sentences = [made("one", 1.0), made("two", 0.75), made("three", 0.74)]

    assert [s.text for s in answer(sentences)] == ["one", "two"]


def test_repetitions_are_left_out_and_do_not_count():
    sentences = [made(text, 0.8) for text in ("one", "one", "two", "one", "three", "four")]

    assert [s.text for s in answer(sentences)] == ["one", "two", "three"]


def test_without_sentences_or_without_any_that_answers_nothing_is_quoted():
    assert answer([]) == []
    assert answer([made("one", 0.0), made("two", 0.0)]) == []


ENGLISH = (
    "Welcome to the shop. We sell books and games for the whole family. "
    "To reset your password, open the account page and click on Forgot password. "
    "Deliveries take three to five working days. Our office is closed on Sundays."
)
CHINESE = (
    "欢迎光临本店。我们出售图书和玩具。要重置登录密码，请在账户页面点击“忘记密码”。"
    "快递需要三到五个工作日。客服周日休息。"
)


@pytest.mark.parametrize(
    ("query", "beginning"),
    [
        ("How do I reset my password?", "To reset your password"),
        ("when will my parcel arrive", "Deliveries take three to five"),
        ("Are you open at the weekend?", "Our office is closed"),
    ],
)
def test_the_sentence_that_answers_an_english_question_wins(default_encoder, query, beginning):
    got = answer(score_sentences(query, [make_hit(ENGLISH)], default_encoder))

    assert got[0].text.startswith(beginning)


@pytest.mark.parametrize(
    ("query", "beginning"),
    [
        ("怎样重置登录密码？", "要重置登录密码"),
        ("快递要几天", "快递需要"),
        ("周日休息吗", "客服周日"),
    ],
)
def test_the_sentence_that_shares_the_words_of_a_chinese_question_wins(
    default_encoder, query, beginning
):
    got = answer(score_sentences(query, [make_hit(CHINESE)], default_encoder))

    assert got[0].text.startswith(beginning)


FIRST, SECOND = "Free some room on the disk.", "Every disk has its own room."


def scored(first, second):
    """The scores of two sentences with the cosines 0.5 and 0.55, in two hits."""
    hits = [make_hit(FIRST, scores=first), make_hit(SECOND, rank=2, scores=second)]
    found = score_sentences("unheard", hits, FakeEncoder({FIRST: 0.5, SECOND: 0.55}))
    by_hit = {sentence.hit: sentence.score for sentence in found}
    assert by_hit[1] == pytest.approx(COSINE_SHARE * 0.5, abs=1e-6)
    return by_hit[2]


@pytest.mark.parametrize(
    ("first", "second", "behind"),
    [
        (Scores(fused=0.9), Scores(fused=0.8), 0.1),
        (Scores(fused=0.9), Scores(fused=0.9), 0.0),
        (Scores(dense=0.7), Scores(dense=0.65), 0.05),
        (Scores(lexical=20.0), Scores(lexical=19.0), 0.05),
        (Scores(fused=0.5, rerank=0.8), Scores(fused=0.9, rerank=0.7), 0.1),
    ],
)
def test_a_sentence_loses_by_what_its_hit_is_behind_the_best(first, second, behind):
    want = COSINE_SHARE * 0.55 - HIT_WEIGHT * behind

    assert scored(first, second) == pytest.approx(max(0, want), abs=1e-6)


def test_a_hit_far_behind_has_nothing_to_say():
    assert scored(Scores(fused=1.0), Scores(fused=0.1)) == 0.0


def test_a_hit_that_the_reranker_did_not_reach_is_not_before_those_that_it_read():
    hits = [
        make_hit("One of the trains.", scores=Scores(fused=0.2, rerank=0.6)),
        make_hit("Two of the trains.", rank=2, scores=Scores(fused=0.1, rerank=0.3)),
        make_hit("Three of the trains.", rank=3, scores=Scores(fused=0.9)),
    ]

    found = score_sentences("trains", hits, FakeEncoder())

    assert [sentence.hit for sentence in found] == [1, 2, 3]
    assert found[1].score == pytest.approx(1 - COSINE_SHARE - HIT_WEIGHT * 0.3)
    assert found[2].score == found[1].score
