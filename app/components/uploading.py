"""Taking in files, folders and web addresses; whatever is refused says why."""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app.components import notices
from app.language import Say
from app.library import Library, LibraryError, Listing
from app.uploads import MOST_UPLOAD_MIB, Upload, add_address, add_file

_ROUND = "upload_round"
_TAKEN, _REFUSED = "taken", "refused"
_SHOWN = 10
_LINKS = ("links_0", "links_1", "links_2", "links_3")


def show(library: Library, listing: Listing, say: Say) -> None:
    """Draw the places to drop things into."""
    files, folder, web = st.tabs([say("add_files"), say("add_folder"), say("add_web")])
    # A new key empties the box, and with it the server's memory of what was dropped.
    number = st.session_state.get(_ROUND, 0)
    with files:
        sent = st.file_uploader(
            say("add_files_label"),
            accept_multiple_files=True,
            key=f"files_{number}",
            label_visibility="collapsed",
        )
    with folder:
        sent += st.file_uploader(
            say("add_folder_label"),
            accept_multiple_files="directory",
            key=f"folder_{number}",
            label_visibility="collapsed",
        )
    with web:
        _web(library, listing, say)
    if sent:
        _take(listing, sent, say)
    _report(say)


def _take(listing: Listing, sent: list[UploadedFile], say: Say) -> None:
    refused, taken = [], 0
    for one in sent:
        try:
            add_file(listing, Upload(one.name, one, one.size))
            taken += 1
        except LibraryError as error:
            refused.append((one.name, notices.reason(error, say)))
    _note(taken, refused)
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    st.rerun()


def _web(library: Library, listing: Listing, say: Say) -> None:
    with st.form("web_form", border=False, clear_on_submit=True):
        lines = st.text_area(say("add_web_label"), placeholder="https://…", key="web_lines")
        links = st.selectbox(
            say("links_label"),
            [0, 1, 2, 3],
            index=min(3, listing.facts.links),
            format_func=lambda count: say(_LINKS[count]),
            key="web_links",
        )
        if not st.form_submit_button(say("add_web_button")) or not lines.strip():
            return
    refused, taken = [], 0
    for line in filter(None, map(str.strip, lines.splitlines())):
        try:
            add_address(library, listing, line)
            taken += 1
        except LibraryError as error:
            refused.append((line, notices.reason(error, say)))
    library.change(listing, links=links)
    _note(taken, refused)
    st.rerun()


def _note(taken: int, refused: list[tuple[str, str]]) -> None:
    st.session_state[_TAKEN], st.session_state[_REFUSED] = taken, refused


def _report(say: Say) -> None:
    taken, refused = st.session_state.pop(_TAKEN, 0), st.session_state.pop(_REFUSED, [])
    if taken:
        st.toast(say("taken", count=taken), icon=":material/check:")
    if refused:
        lines = [
            f"- **{notices.plain(name[:80])}** {notices.plain(why)}"
            for name, why in refused[:_SHOWN]
        ]
        if len(refused) > _SHOWN:
            lines.append(f"- {say('and_more', count=len(refused) - _SHOWN)}")
        st.error("\n".join(lines), title=say("refused_title", count=len(refused)))
    st.caption(say("add_note", most=MOST_UPLOAD_MIB))
