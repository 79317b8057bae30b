"""Page set-up and navigation; started by `python -m streamlit run app/main.py`."""

import os
from pathlib import Path

import streamlit as st

# Before torch comes in: its threads must not spin while they wait, which on a busy machine turns
# a query of 10 ms into one of 500 ms.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from app.views import search


def main() -> None:
    """Draw the page that the address asks for."""
    look = Path(__file__).parent / "components"
    # A file of ours: Streamlit's own icons for the browser's tab are fetched from the internet.
    st.set_page_config(page_title="Angler", page_icon=look / "icon.svg", layout="centered")
    st.html(look / "style.css")
    pages = [st.Page(search.show, title="Angler", url_path="search", default=True)]
    # One page needs no menu; a second one makes it appear.
    st.navigation(pages, position="hidden" if len(pages) == 1 else "top").run()


main()
