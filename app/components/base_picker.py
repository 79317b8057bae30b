"""Which knowledge base a page is about, and making a new one."""

from collections.abc import Sequence

import streamlit as st

from app.backups import begin_restore, list_backups
from app.components import job_panel, notices
from app.jobs import Kind
from app.language import Say
from app.library import (
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    Facts,
    Library,
    LibraryError,
    Listing,
    clean_name,
)
from encoder import known_models

_OPEN = "open_base"


def show(library: Library, listings: Sequence[Listing], named: str, say: Say) -> Listing | None:
    """Draw the choice and return what is chosen; None where there is nothing to choose."""
    by_id = {listing.id: listing for listing in listings}
    wanted = st.session_state.pop(_OPEN, None) or named
    if wanted in by_id and st.session_state.get("base_last_link") != wanted:
        st.session_state["base"] = wanted
    if st.session_state.get("base") not in by_id:
        st.session_state.pop("base", None)
    with st.container(horizontal=True, vertical_alignment="bottom", key="bases_row"):
        chosen = None
        if by_id:
            chosen = st.selectbox(
                say("base_label"),
                list(by_id),
                format_func=lambda id_: by_id[id_].name,
                key="base",
                label_visibility="collapsed",
            )
        if library.home is not None and st.button(
            say("new_base"), key="new_base", icon=":material/add:"
        ):
            _make(library, say)
    st.session_state["base_last_link"] = chosen
    if chosen is None:
        _welcome(library, say)
        return None
    listing = by_id[chosen]
    if listing.facts.description:
        st.caption(notices.plain(listing.facts.description))
    return listing


def open_(listing: Listing) -> None:
    """Choose a knowledge base from the next run on."""
    st.session_state[_OPEN] = listing.id


def _welcome(library: Library, say: Say) -> None:
    st.info(say("no_bases_text"), title=say("no_bases_title"))
    if library.home is None:
        return
    if st.button(say("first_base"), type="primary", key="first_base", icon=":material/add:"):
        _make(library, say)
    backups = list_backups(library.home)
    if backups:
        st.caption(say("no_bases_backups"))


def _make(library: Library, say: Say) -> None:
    @st.dialog(say("new_base"))
    def ask() -> None:
        blank, restored = st.tabs([say("new_base_empty"), say("new_base_restored")])
        with blank:
            _make_empty(library, say)
        with restored:
            _make_restored(library, say)

    ask()


def _make_empty(library: Library, say: Say) -> None:
    with st.form("new_base_form", border=False):
        name = st.text_input(say("name_label"), max_chars=LONGEST_NAME, key="new_name")
        description = st.text_area(
            say("description_label"), max_chars=LONGEST_DESCRIPTION, key="new_description"
        )
        encoder = encoder_choice("", "new_encoder", say)
        if st.form_submit_button(say("create"), type="primary"):
            try:
                facts = Facts(
                    name=clean_name(name), description=description.strip(), encoder=encoder
                )
                open_(library.create(facts))
            except LibraryError as error:
                notices.refused(error, say)
                return
            st.rerun()


def encoder_choice(now: str, key: str, say: Say) -> str:
    """Which encoder to use; empty for the embedded one."""
    names = ["", *known_models()]
    if now not in names:
        names.append(now)
    chosen = st.selectbox(
        say("encoder_label"),
        names,
        index=names.index(now),
        format_func=lambda name: name or say("encoder_default"),
        accept_new_options=True,
        help=say("encoder_help"),
        key=key,
    )
    return (chosen or "").strip()


def _make_restored(library: Library, say: Say) -> None:
    backups = list_backups(library.home) if library.home else []
    with st.form("restore_form", border=False):
        kept = st.selectbox(
            say("restore_kept"),
            backups,
            format_func=lambda path: path.name,
            index=None,
            key="restore_kept",
            placeholder=say("restore_none"),
        )
        sent = st.file_uploader(say("restore_sent"), type=["zip"], key="restore_sent")
        if not st.form_submit_button(say("restore"), type="primary"):
            return
        if kept is None and sent is None:
            st.error(say("restore_nothing"))
            return
        try:
            if sent is not None:
                listing = begin_restore(library, sent)
                sent.seek(0)
                file = listing.folder / "restored.kb.zip"
                file.write_bytes(sent.getbuffer())
            elif kept is not None:
                listing, file = begin_restore(library, kept), kept
        except LibraryError as error:
            notices.refused(error, say)
            return
        job_panel.begin(listing, Kind.RESTORE, say, file=str(file), rerun=False)
        open_(listing)
        st.rerun()
