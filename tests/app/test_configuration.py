"""Streamlit's settings that readers rely on."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SETTINGS = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))


def test_the_page_is_served_to_this_machine_only_and_reports_to_nobody():
    assert SETTINGS["server"]["address"] == "127.0.0.1"
    assert SETTINGS["server"]["headless"] is True
    assert SETTINGS["browser"]["gatherUsageStats"] is False


def test_no_traceback_reaches_the_reader():
    assert SETTINGS["client"]["showErrorDetails"] == "none"
    assert SETTINGS["client"]["toolbarMode"] == "minimal"
