import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.load import dumps, loads
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


# The configuration


def reload(written):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain says that `loads` may change
        return loads(written, allowed_objects=[EncoderEmbeddings], valid_namespaces=["encoder"])


def test_a_written_configuration_loads_the_same_encoder(model_folder, texts):
    written = dumps(EncoderEmbeddings(str(model_folder("bert-mean")), backend="torch", dim=12))

    read = reload(written)

    assert json.loads(written)["id"] == ["encoder", "langchain_adapter", "EncoderEmbeddings"]
    first = EncoderEmbeddings(str(model_folder("bert-mean")), backend="torch", dim=12)
    assert read.model_dump() == first.model_dump()
    assert read.embed_documents(texts) == first.embed_documents(texts)
    assert len(read.embed_query("a")) == 12


def test_a_loaded_encoder_can_be_written_too(default_encoder):
    adapter = EncoderEmbeddings(default_encoder)
    kwargs = json.loads(dumps(adapter))["kwargs"]

    assert kwargs["model"] == default_encoder.spec.name
    assert kwargs["fingerprint"] == default_encoder.spec.fingerprint
    assert adapter.encoder is default_encoder
    read = reload(dumps(adapter))
    assert read.encoder.spec == default_encoder.spec


def test_a_remote_encoder_can_be_written_too(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobodys")
    for dim in (None, 1536, 256):
        adapter = EncoderEmbeddings("openai:text-embedding-3-small", dim=dim)
        read = reload(dumps(EncoderEmbeddings(adapter.encoder)))
        assert read.encoder.spec == adapter.encoder.spec
        assert "sk-nobodys" not in dumps(adapter)


def test_another_encoder_under_the_same_name_is_refused(default_encoder):
    changed = EncoderEmbeddings(default_encoder.with_templates({"query": "ask: {text}"}))

    with pytest.raises(ValueError, match="is not the encoder that this configuration was written"):
        reload(dumps(changed))


def test_tasks_choose_the_instructions(small_encoder):
    encoder = small_encoder("bert-mean").with_templates({"sts": "alike: {text}"})
    adapter = EncoderEmbeddings(encoder, query_task="sts", document_task="sts")

    want = encoder.encode_queries(["a"], task="sts")[0]
    np.testing.assert_array_equal(adapter.embed_query("a"), want)
    np.testing.assert_allclose(adapter.embed_documents(["a"])[0], want, atol=1e-6)
    with pytest.raises(ValueError, match="has no task 'nonsense'"):
        EncoderEmbeddings(encoder, query_task="nonsense")


def test_an_unknown_choice_is_an_error(default_encoder):
    with pytest.raises(ValueError, match="batch_size"):
        EncoderEmbeddings(default_encoder, batch_size=32)


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
