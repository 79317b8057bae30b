"""Fixtures that several packages' tests share."""

import hashlib
import os
import re

# Nothing here may ask a hub; without this, a wrong name would cost a time-out.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

from encoder import Encoder, EncoderSpec, load_encoder


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """No test reads or fills the cache of the person who runs it."""
    before = os.environ.get("ANGLER_CACHE")
    os.environ["ANGLER_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("ANGLER_CACHE")
    if before is not None:
        os.environ["ANGLER_CACHE"] = before


@pytest.fixture(scope="session")
def default_encoder() -> Encoder:
    """The embedded default in float32 through torch, loaded once."""
    return load_encoder(device="cpu", backend="torch")


AT_ONCE = 4
"""Texts of a batch of the encoder of words."""


class WordEncoder:
    """A deterministic encoder without a model: texts that share words are near each other.

    Its tokens are words and single Chinese characters; it is quick, and safe after a fork.
    """

    languages = ("en", "zh")
    device = "cpu"
    weighs_words = False
    counts_by_words = False

    def __init__(self, **changes):
        facts = {"name": "words", "weights": "w" * 64, "config": "c" * 64, "tokenizer": "t" * 64}
        facts |= {"pooling": "mean", "max_tokens": 64, "dim": 32}
        self.spec = EncoderSpec(**(facts | changes))
        self.dim = self.spec.dim
        self.encoded = []
        """Every text that was encoded as a document, for tests of what is not encoded again."""

    def token_spans(self, text):
        return [match.span() for match in re.finditer(r"[一-鿿]|[^\W一-鿿]+|[^\w\s]", text)]

    def count_tokens(self, texts, *, role="document"):
        return [len(self.token_spans(text)) + 2 for text in texts]

    def unknown_share(self, text):
        return 0.0

    def encode_documents(self, texts, *, task=None, progress=None, on_batch=None):
        rows = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            self.encoded += some
            rows.append(self._embed(some))
            if on_batch is not None:
                on_batch(list(range(start, start + len(some))), rows[-1])
        return np.concatenate(rows)

    def encode_queries(self, texts, *, task=None):
        return self._embed(texts)

    def _embed(self, texts):
        rows = np.array([self._row(text) for text in texts], np.float32).reshape(-1, self.dim)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _row(self, text):
        words = [text[start:end].lower() for start, end in self.token_spans(text)]
        return 0.01 + sum((self._word(word) for word in words), np.zeros(self.dim))

    def _word(self, word):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).normal(size=self.dim)


@pytest.fixture
def word_encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture(scope="session")
def make_word_encoder():
    return WordEncoder
