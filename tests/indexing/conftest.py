"""What the tests of indexes share."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An embedding cache of its own for each test, so that none encodes less for another's sake."""
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "own-cache"))
