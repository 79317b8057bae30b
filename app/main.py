"""Page set-up and navigation; started by `python -m streamlit run app/main.py`."""

import os
from functools import partial
from pathlib import Path

import streamlit as st

# Before torch comes in: its threads must not spin while they wait, which on a busy machine turns
# a query of 10 ms into one of 500 ms.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from app import access
from app.components import controls, frame
from app.views import ask, documents, search


def main() -> None:
    """Draw the page that the address asks for."""
    look = Path(__file__).parent / "components"
    # A file of ours: Streamlit's own icons for the browser's tab are fetched from the internet.
    st.set_page_config(page_title="Angler", page_icon=look / "icon.svg", layout="centered")
    st.html(look / "style.css")
    say = controls.language()
    frame.own_words(say)
    if not access.is_guarded(st.get_option("server.address")):
        frame.refuse(say)
        return
    pages = [
        st.Page(
            partial(search.show, say),
            title=say("nav_search"),
            icon=":material/search:",
            url_path="search",
            default=True,
        ),
        st.Page(
            partial(ask.show, say),
            title=say("nav_ask"),
            icon=":material/forum:",
            url_path="ask",
        ),
        st.Page(
            partial(documents.show, say),
            title=say("nav_documents"),
            icon=":material/folder_open:",
            url_path="documents",
        ),
    ]
    page = st.navigation(pages, position="top")
    frame.header(say)
    page.run()


main()
