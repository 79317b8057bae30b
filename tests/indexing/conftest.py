"""What the tests of indexes share."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An embedding cache of its own for each test, so that none encodes less for another's sake."""
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "own-cache"))


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    """One real server for all tests that need one."""
    from tests.indexing.milvus_server import TOKEN, MilvusServer

    server = MilvusServer(tmp_path_factory.mktemp("milvus"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANGLER_MILVUS_TOKEN", TOKEN)
        server.start()
        yield server
        server.remove()


@pytest.fixture(scope="session")
def lite_uri(tmp_path_factory):
    """A folder of Milvus Lite for all tests that do not need one of their own."""
    from indexing.stores.milvus import release_lite

    path = tmp_path_factory.mktemp("lite") / "milvus.db"
    yield str(path)
    release_lite(path)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server with pgvector; its address stands in the environment."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import pgserver

    from tests.indexing.bridges import POSTGRES

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o755)  # started by root, it runs as a user of its own
        server = pgserver.get_server(Path(folder) / "data")
        server.psql("create database angler")
        address = server.get_uri("angler").replace("postgresql:", "postgresql+psycopg:")
        patch.setenv(POSTGRES, address)
        yield server
        server.cleanup()


@pytest.fixture(params=["lite", pytest.param("server", marks=pytest.mark.engines)])
def milvus_uri(request):
    """Milvus in each of its forms."""
    if request.param == "lite":
        return request.getfixturevalue("lite_uri")
    return request.getfixturevalue("milvus_server").uri
