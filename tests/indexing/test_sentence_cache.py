"""The memory of sentences: what it gives is what the encoder gives, and it asks only once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexing import build_index, open_index
from indexing.sentence_cache import SentenceCache


def test_sentences_are_encoded_once_and_come_in_their_order(word_encoder):
    cache, texts = SentenceCache(), ["red fox", "blue sea", "red fox", "green hill"]

    first = cache.embeddings(word_encoder, texts)
    again = cache.embeddings(word_encoder, texts[::-1])

    np.testing.assert_array_equal(first, word_encoder._embed(texts))
    np.testing.assert_array_equal(again, first[::-1])
    assert sorted(word_encoder.encoded) == ["blue sea", "green hill", "red fox"]


def test_those_that_were_asked_for_last_are_remembered(word_encoder):
    cache = SentenceCache(most=2)
    for texts in (["a", "b"], ["a"], ["c"]):
        cache.embeddings(word_encoder, texts)
    word_encoder.encoded.clear()

    got = cache.embeddings(word_encoder, ["a", "c", "b"])

    assert word_encoder.encoded == ["b"]
    np.testing.assert_array_equal(got, word_encoder._embed(["a", "c", "b"]))


def test_more_sentences_than_are_remembered_all_come(word_encoder):
    texts = [f"word{n}" for n in range(30)]

    got = SentenceCache(most=3).embeddings(word_encoder, texts)

    np.testing.assert_array_equal(got, word_encoder._embed(texts))


def test_another_encoder_has_embeddings_of_its_own(word_encoder, make_word_encoder):
    cache, other = SentenceCache(), make_word_encoder(weights="x" * 64)

    cache.embeddings(word_encoder, ["fox"])
    cache.embeddings(other, ["fox"])

    assert (word_encoder.encoded, other.encoded) == (["fox"], ["fox"])


def test_threads_share_it(word_encoder):
    cache = SentenceCache(most=8)
    lists = [[f"w{(start + n) % 20}" for n in range(6)] for start in range(60)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda texts: cache.embeddings(word_encoder, texts), lists))

    for texts, rows in zip(lists, found, strict=True):
        np.testing.assert_array_equal(rows, word_encoder._embed(texts))


@pytest.fixture
def index(tmp_path, word_encoder):
    (tmp_path / "a.md").write_text("# Foxes\n\nA red fox sleeps in its den. It hunts at night.\n")
    build_index([str(tmp_path / "a.md")], tmp_path / "kb", encoder=word_encoder)
    return open_index(tmp_path / "kb", encoder=word_encoder)


def test_an_index_encodes_the_sentences_of_a_hit_once(index, word_encoder):
    hits = index.search("red fox", 1)
    first = index.sentences("red fox", hits)
    word_encoder.encoded.clear()

    assert index.sentences("red fox", hits) == first
    assert index.sentences("hunts at night", hits)[0].text == "It hunts at night."
    assert word_encoder.encoded == []
