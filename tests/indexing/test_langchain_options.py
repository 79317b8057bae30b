"""The configuration of a LangChain store: what it says is taken, what is wrong is told."""

import pytest

from indexing.errors import UsageError
from indexing.stores.langchain_options import bridge_options, facts_of, resolved

QDRANT = "langchain_qdrant:QdrantVectorStore"


def test_a_configuration_is_read_with_its_defaults():
    got = bridge_options(
        QDRANT,
        """
        make = "construct_instance"
        most-rows = 7
        in-memory = true
        [arguments]
        collection_name = "kb_{fingerprint}"
        [search]
        ef = 3
        """,
    )

    assert (got.make, got.most_rows, got.in_memory) == ("construct_instance", 7, True)
    assert (got.most_bytes, got.most_k, got.embeddings) == (4 << 20, 1000, None)
    assert got.arguments == {"collection_name": "kb_{fingerprint}"}
    assert (got.add, got.search, got.delete) == ({}, {"ef": 3}, {})


@pytest.mark.parametrize(
    ("store_class", "config", "message"),
    [
        ("Qdrant", "", "--store-class must be module:Class, such as .*; got 'Qdrant'."),
        ("os:system", "", "os is none of the packages .* ANGLER_STORE_MODULES=os."),
        (QDRANT, "= 3", "The file of --store-config is no TOML: "),
        (QDRANT, "rows = 3", "unknown key 'rows'. Known: add, arguments, delete, .*most-rows"),
        (QDRANT, "most-rows = 0", "most-rows must be a whole number above 0, got 0."),
        (QDRANT, "in-memory = 1", "in-memory must be true or false, got 1."),
        (QDRANT, "arguments = 1", "arguments must be a table, got 1."),
        (
            QDRANT,
            '[arguments]\nurl = "postgresql://me:secret@host/db"',
            r"arguments.url holds a password, .* Write url = \{ env = \"NAME\" \}",
        ),
        (
            QDRANT,
            "[arguments]\nallow_dangerous_deserialization = true",
            "arguments.allow_dangerous_deserialization is not allowed",
        ),
        (QDRANT, '[arguments.client]\ncall = "x"', "client.call must be module:name, got 'x'."),
        (QDRANT, '[arguments.client]\ncall = "os:system"', "os is none of the packages"),
        (
            QDRANT,
            '[arguments]\nclients = [{ call = "langchain_community.tools:ShellTool" }]',
            "langchain_community.tools is none of the packages",
        ),
    ],
)
def test_a_wrong_configuration_is_told(store_class, config, message):
    with pytest.raises(UsageError, match=message) as caught:
        bridge_options(store_class, config)

    assert "secret" not in str(caught.value)


def test_other_modules_are_named_in_the_environment(monkeypatch):
    monkeypatch.setenv("ANGLER_STORE_MODULES", "own, weaviate.auth")

    assert bridge_options("own.stores:Mine", "").store_class == "own.stores:Mine"
    assert bridge_options(QDRANT, '[arguments.key]\ncall = "weaviate.auth:AuthApiKey"')


def test_placeholders_and_variables_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("ANGLER_SOME_KEY", "key")
    facts = facts_of(tmp_path, "f" * 64, 48)
    value = {
        "path": "{index}/store",
        "dim": "{dim}",
        "names": ["kb_{fingerprint}_{dim}"],
        "key": {"env": "ANGLER_SOME_KEY"},
        "host": {"env": "ANGLER_NO_HOST", "default": "here"},
        "number": 3,
    }

    assert resolved(value, facts) == {
        "path": f"{tmp_path}/store",
        "dim": 48,
        "names": [f"kb_{'f' * 32}_48"],
        "key": "key",
        "host": "here",
        "number": 3,
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{home}/x", r"unknown placeholder \{home\}. Known: \{index\}, \{fingerprint\}, \{dim\}."),
        ({"env": "ANGLER_NO_SUCH"}, "asks for ANGLER_NO_SUCH in the environment. Set it."),
    ],
)
def test_what_cannot_be_filled_in_is_told(tmp_path, value, message):
    with pytest.raises(UsageError, match=message):
        resolved(value, facts_of(tmp_path, "f" * 64, 8))
