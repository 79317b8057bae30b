import subprocess
import sys

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from encoder.langchain_adapter import EncoderEmbeddings


class UsesTheDefault:
    @pytest.fixture(autouse=True)
    def _shares_the_loaded_default(self, default_encoder):
        self.params = {"encoder": default_encoder}

    @property
    def embeddings_class(self):
        return EncoderEmbeddings

    @property
    def embedding_model_params(self):
        return self.params


class TestUnit(UsesTheDefault, EmbeddingsUnitTests):
    pass


class TestIntegration(UsesTheDefault, EmbeddingsIntegrationTests):
    pass


@pytest.fixture
def small(small_encoder):
    return EncoderEmbeddings(small_encoder("bert-mean"))


def test_queries_and_documents_get_their_own_instruction(small, small_encoder, texts):
    encoder = small_encoder("bert-mean")

    np.testing.assert_array_equal(small.embed_documents(texts), encoder.encode_documents(texts))
    for text in texts:
        np.testing.assert_array_equal(small.embed_query(text), encoder.encode_queries([text])[0])
    assert np.abs(np.subtract(small.embed_query("a"), small.embed_documents(["a"])[0])).max() > 1e-3


async def test_the_asynchronous_methods_give_the_same_values(small, texts):
    assert await small.aembed_documents(texts) == small.embed_documents(texts)
    assert await small.aembed_query(texts[0]) == small.embed_query(texts[0])


def test_values_are_plain_floats_in_lists(small):
    (row,) = small.embed_documents(["a"])

    assert isinstance(small, Embeddings)
    assert {type(value) for value in [*row, *small.embed_query("a")]} == {float}
    assert small.embed_documents([]) == []


def test_a_folder_is_loaded(model_folder, small, texts):
    got = EncoderEmbeddings(str(model_folder("bert-mean")))

    assert got.encoder.spec.fingerprint == small.encoder.spec.fingerprint
    # The default engine may run in 16 bit.
    cosines = np.sum(np.multiply(got.embed_documents(texts), small.embed_documents(texts)), axis=1)
    assert cosines.min() > 0.999


def test_nothing_means_the_default(default_encoder):
    assert EncoderEmbeddings().encoder.spec == default_encoder.spec


def test_without_langchain_the_extra_is_named():
    code = """
import sys
sys.modules["langchain_core"] = None
from encoder import MissingExtraError
try:
    import encoder.langchain_adapter
except MissingExtraError as error:
    print(error, error.extra, sep="|")
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    want = "The LangChain adapter needs an extra: pip install -e '.[langchain]'|langchain\n"
    assert done.stdout == want
