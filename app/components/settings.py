"""What a knowledge base is called and how it is read, and the ways to erase."""

import streamlit as st

from app import jobs
from app.components import base_picker, controls, job_panel, notices
from app.jobs import Kind
from app.language import Say
from app.library import (
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    Library,
    LibraryError,
    Listing,
    clean_name,
)


def show(library: Library, listing: Listing, say: Say, *, is_busy: bool) -> None:
    """Draw them."""
    _names(library, listing, say)
    st.subheader(say("encoder_title"), anchor=False)
    _encoder(library, listing, say, is_busy=is_busy)
    st.subheader(say("purge_title"), anchor=False)
    st.caption(say("purge_text"))
    if st.button(say("purge"), key="purge", icon=":material/cleaning_services:", disabled=is_busy):
        job_panel.begin(listing, Kind.PURGE, say)
    st.subheader(say("delete_title"), anchor=False)
    st.caption(say("delete_text"))
    if st.button(say("delete"), key="delete", icon=":material/delete_forever:", disabled=is_busy):
        _confirm(library, listing, say)


def _names(library: Library, listing: Listing, say: Say) -> None:
    with st.form(f"names_{listing.id}", border=False):
        name = st.text_input(
            say("name_label"), listing.name, max_chars=LONGEST_NAME, key=f"name_{listing.id}"
        )
        description = st.text_area(
            say("description_label"),
            listing.facts.description,
            max_chars=LONGEST_DESCRIPTION,
            key=f"description_{listing.id}",
        )
        if not st.form_submit_button(say("save")):
            return
    try:
        library.change(listing, name=clean_name(name), description=description.strip())
    except LibraryError as error:
        notices.refused(error, say)
        return
    st.toast(say("saved"), icon=":material/check:")
    st.rerun()


def _encoder(library: Library, listing: Listing, say: Say, *, is_busy: bool) -> None:
    st.caption(say("encoder_text"))
    now = listing.facts.encoder
    wanted = base_picker.encoder_choice(now, f"encoder_{listing.id}", say)
    if wanted == now:
        return
    label = say("encoder_change") if listing.has_index else say("save")
    if st.button(label, key="encoder_change", type="primary", disabled=is_busy):
        if listing.has_index:
            job_panel.begin(listing, Kind.REEMBED, say, encoder=wanted)
        else:
            library.change(listing, encoder=wanted)
            st.rerun()


def _confirm(library: Library, listing: Listing, say: Say) -> None:
    @st.dialog(say("delete_title"))
    def ask() -> None:
        st.markdown(say("delete_confirm_text", name=notices.plain(listing.name)))
        typed = st.text_input(say("name_label"), key="delete_name")
        is_meant = typed.strip() == listing.name
        if st.button(say("delete"), type="primary", key="delete_confirm", disabled=not is_meant):
            if jobs.is_running(listing):
                st.error(say("job_other"))
                return
            library.delete(listing)
            controls.write_page_link({}, say)  # which named what is no longer there
            st.rerun()

    ask()
