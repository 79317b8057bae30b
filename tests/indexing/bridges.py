"""Stores of LangChain for the tests: what a build needs to be told of each."""

import socket
from pathlib import Path

from indexing.config import BuildConfig
from indexing.generation import current_folder, open_current
from indexing.manifest import Manifest
from indexing.shared_reader import BridgeReader
from indexing.stores.factory import open_bridge
from tests.indexing.test_milvus_index import World, lines_of

IN_MEMORY = "langchain_core.vectorstores:InMemoryVectorStore"
POSTGRES = "ANGLER_TEST_POSTGRES"
CONFIGS = {
    "qdrant": (
        "langchain_qdrant:QdrantVectorStore",
        """
        make = "construct_instance"
        most-rows = 100
        [arguments]
        collection_name = "angler_{fingerprint}"
        client_options = { path = "{index}/store", force_disable_check_same_thread = true }
        """,
    ),
    "chroma": (
        "langchain_chroma:Chroma",
        """
        [arguments]
        collection_name = "angler_{fingerprint}"
        collection_metadata = { "hnsw:space" = "ip" }
        persist_directory = "{index}/store"
        """,
    ),
    "pgvector": (
        "langchain_postgres:PGVector",
        f"""
        [arguments]
        collection_name = "angler_{{fingerprint}}"
        connection = {{ env = "{POSTGRES}" }}
        engine_args = {{ pool_pre_ping = true }}
        """,
    ),
    "annoy": (
        "langchain_community.vectorstores:Annoy",
        """
        in-memory = true
        [arguments]
        metric = "dot"
        trees = 50
        """,
    ),
    "memory": (IN_MEMORY, ""),
}


def config_file(folder: Path, text: str) -> str:
    """A configuration in a file of its own."""
    path = folder / "given.toml"
    path.write_text("\n".join(line.strip() for line in text.splitlines()), "utf-8")
    return str(path)


class BridgeWorld(World):
    """The same documents in an index with a store of LangChain and in one with the exact store."""

    def __init__(self, folder, kind, encoder):
        super().__init__(folder, None, encoder)
        self.store_class, text = CONFIGS[kind]
        self.config = BuildConfig(
            store="langchain",
            store_class=self.store_class,
            store_config=config_file(folder, text),
        )

    def store(self):
        """The rows of the live generation."""
        live = open_current(self.index, with_stores=False)
        return BridgeReader(live).store

    def rows(self):
        """How many of all chunks that were ever given an id have a row."""
        manifest = Manifest.read(current_folder(self.index))
        store = open_bridge(
            manifest.store_options,
            manifest.encoder.fingerprint,
            self.index,
            manifest.encoder.dim,
        )
        import numpy as np

        return len(store.present(np.arange(1, manifest.next_id)))


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


__all__ = ["CONFIGS", "IN_MEMORY", "POSTGRES", "BridgeWorld", "closed_port", "lines_of"]
