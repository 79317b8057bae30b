"""The documents screen: what a knowledge base holds, and everything that changes it."""

from collections.abc import Sequence

import streamlit as st

from app import jobs
from app.access import EVERYBODY, chosen, visible
from app.components import (
    base_picker,
    controls,
    file_table,
    job_panel,
    notices,
    settings,
    uploading,
    versions,
)
from app.inventory import WAITING, Row, inventory
from app.jobs import Kind
from app.language import Say
from app.library import Library, LibraryError, Listing
from indexing import BuildFailedError


def show(say: Say) -> None:
    """Draw the screen."""
    library = Library.of_environment()
    listing = _listing(library, say)
    controls.write_page_link({"kb": listing.id} if listing else {}, say)
    if listing is None:
        return
    try:
        rows = inventory(listing)
    except BuildFailedError as error:
        notices.trouble(error, say("trouble_title"))
        return
    if not EVERYBODY.may_change(listing):
        st.info(say("not_managed_text"), title=say("not_managed_title"))
        file_table.show(listing, rows, say, may_change=False)
        return
    is_busy = jobs.is_running(listing)
    job_panel.show(listing, say)
    files, kept, more = st.tabs([say("tab_files"), say("tab_versions"), say("tab_settings")])
    with files:
        _files(library, listing, rows, say, is_busy=is_busy)
    with kept:
        versions.show(library, listing, say, is_busy=is_busy)
    with more:
        settings.show(library, listing, say, is_busy=is_busy)


def _listing(library: Library, say: Say) -> Listing | None:
    """The knowledge base that the link or the reader names."""
    named = st.query_params.get("kb", "")
    listings = visible(library, EVERYBODY)
    if named and all(listing.id != named for listing in listings):
        try:
            chosen(library, EVERYBODY, named)
        except LibraryError as error:
            notices.refused(error, say)
    return base_picker.show(library, listings, named, say)


def _files(
    library: Library, listing: Listing, rows: Sequence[Row], say: Say, *, is_busy: bool
) -> None:
    waiting = sum(row.standing in WAITING for row in rows)
    uploading.show(library, listing, say)
    if not rows:
        st.info(say("no_files_text"), title=say("no_files_title"))
        return
    _update_button(listing, waiting, say, is_busy=is_busy)
    file_table.show(listing, rows, say, may_change=True)


def _update_button(listing: Listing, waiting: int, say: Say, *, is_busy: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        label = say("update_waiting", count=waiting) if waiting else say("update_again")
        if st.button(
            label,
            key="update",
            type="primary" if waiting else "secondary",
            icon=":material/sync:",
            disabled=is_busy,
            help=say("update_help"),
        ):
            job_panel.begin(listing, Kind.UPDATE, say)
