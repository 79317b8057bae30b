"""The handbook's index, and the page on top of an index."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from indexing import build_index

ROOT = Path(__file__).parent.parent.parent
HANDBOOK = [str(ROOT / "docs" / "en"), str(ROOT / "docs" / "zh")]


@pytest.fixture(scope="session")
def handbook_index(tmp_path_factory, default_encoder):
    """An index of the whole handbook in both languages."""
    folder = tmp_path_factory.mktemp("demo") / "handbook"
    build_index(HANDBOOK, folder, encoder=default_encoder)
    return folder


@pytest.fixture
def encoder_at_hand(default_encoder, monkeypatch):
    """Spares each page that a test opens from loading the same encoder again."""
    monkeypatch.setattr("encoder.encoder.load_encoder", lambda *_, **__: default_encoder)


@pytest.fixture
def open_page(encoder_at_hand, monkeypatch):
    """Opens the page on an index, as a browser with a locale would by a link."""

    def open_on(folder, *, locale="en-GB", **parameters):
        monkeypatch.setenv("ANGLER_INDEX", str(folder))
        page = AppTest.from_file(ROOT / "app" / "main.py", default_timeout=60)
        page.context = {"locale": locale}
        page.query_params.update(parameters)
        return page.run()

    return open_on
