"""The handbook's index, and the page on top of an index."""

from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from streamlit.runtime.scriptrunner import RerunData
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from app import jobs, worker
from app.jobs import Outcome, Recorder
from app.library import Facts, Library
from app.uploads import Upload, add_file
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


@pytest.fixture
def library(tmp_path):
    """A library of its own, empty."""
    return Library(tmp_path / "home")


@pytest.fixture
def run_dialog(monkeypatch):
    """Runs the open dialog alone, as a browser does when something in it is touched.

    `AppTest` only ever runs the whole page, which closes a dialog.
    """

    def run(page):
        *_, dialog = page._fragment_storage._fragments
        with monkeypatch.context() as patch:
            name = "streamlit.testing.v1.local_script_runner.RerunData"
            patch.setattr(name, partial(RerunData, fragment_id=dialog))
            return page.run()

    return run


def put(listing, name, text):
    """Hand a text over as a browser would."""
    content = text.encode()
    return add_file(listing, Upload(name, BytesIO(content), len(content)))


@pytest.fixture
def base(library):
    """A knowledge base with two documents, not indexed yet."""
    made = library.create(Facts(name="Notes"))
    put(made, "anglers.md", "# Anglers\n\nAn angler catches fish with a rod and a line.")
    put(made, "tax.md", "# Tax\n\nThe tax office wants the form before June.")
    return made


@pytest.fixture
def do(encoder_at_hand):
    """Does a job as the worker does, in this process."""

    def run(listing, kind, **choices):
        with jobs._opened(listing.folder) as connection:
            number = jobs._insert(connection, kind, choices)
        record = Recorder(listing.folder, number)
        report = worker._do(listing.folder, record)
        record.end(Outcome.DONE, report=report)
        return report

    return run


@pytest.fixture
def open_home(encoder_at_hand, monkeypatch):
    """Opens a page on a library, as a browser with a locale would by a link."""

    def open_on(library, page, *, locale="en-GB", **parameters):
        monkeypatch.delenv("ANGLER_INDEX", raising=False)
        monkeypatch.setenv("ANGLER_HOME", str(library.home))
        found = AppTest.from_file(ROOT / "app" / "main.py", default_timeout=60)
        found.context = {"locale": locale}
        if page != "search":  # `switch_page` knows pages that are files only
            found._page_hash = calc_hash(page)
        found.query_params.update(parameters)
        return found.run()

    return open_on
