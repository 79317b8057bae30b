"""The kept versions of an index, backups, and documents that say the same."""

import time
from datetime import datetime
from pathlib import Path

import streamlit as st

from app import jobs
from app.backups import list_backups
from app.components import job_panel, notices
from app.jobs import Kind
from app.language import Say
from app.library import Library, Listing
from indexing.errors import CorruptIndexError, IndexNotFoundError
from indexing.generation import current_folder, finished_generations
from indexing.manifest import Manifest

_DOWNLOADED_MIB = 200
"""A larger backup is copied from the server's disk instead: the page would hold it in memory."""
_SHOWN = 50


def show(library: Library, listing: Listing, say: Say, *, is_busy: bool) -> None:
    """Draw them."""
    st.subheader(say("versions_title"), anchor=False)
    _versions(listing, say, is_busy=is_busy)
    st.subheader(say("backups_title"), anchor=False)
    _backups(library, listing, say, is_busy=is_busy)
    st.subheader(say("near_title"), anchor=False)
    _near(listing, say, is_busy=is_busy)


def _versions(listing: Listing, say: Say, *, is_busy: bool) -> None:
    st.caption(say("versions_text"))
    if not listing.has_index:
        st.caption(say("versions_none"))
        return
    try:
        live = current_folder(listing.index)
    except (IndexNotFoundError, CorruptIndexError) as error:
        notices.trouble(error, say("trouble_title"))
        return
    for folder in sorted(finished_generations(listing.index), reverse=True):
        _version(listing, folder, say, is_live=folder == live, is_busy=is_busy)


def _version(listing: Listing, folder: Path, say: Say, *, is_live: bool, is_busy: bool) -> None:
    try:
        manifest = Manifest.read(folder)
    except CorruptIndexError as error:
        st.error(notices.plain(str(error)))
        return
    made = datetime.fromtimestamp(folder.stat().st_mtime).astimezone()
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        facts = say(
            "version_facts",
            number=manifest.generation,
            time=f"{made:%Y-%m-%d %H:%M}",
            documents=f"{manifest.documents:,}",
            chunks=f"{manifest.chunks:,}",
            encoder=notices.plain(manifest.encoder.name),
        )
        st.markdown(facts, width="stretch")
        if is_live:
            st.badge(say("version_live"), color="green")
        elif st.button(
            say("version_back"),
            key=f"back_{manifest.generation}",
            disabled=is_busy,
            icon=":material/history:",
        ):
            job_panel.begin(listing, Kind.ROLLBACK, say, to=manifest.generation)


def _backups(library: Library, listing: Listing, say: Say, *, is_busy: bool) -> None:
    st.caption(say("backups_text"))
    if st.button(say("back_up"), key="back_up", icon=":material/archive:", disabled=is_busy):
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{listing.id[:8]}.kb.zip"
        job_panel.begin(listing, Kind.BACKUP, say, file=name)
    for file in list_backups(library.home) if library.home else []:
        if f"-{listing.id[:8]}." in file.name:
            _backup(file, say)


def _backup(file: Path, say: Say) -> None:
    size_mib = file.stat().st_size / 2**20
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(f"{notices.plain(file.name)} · {size_mib:.1f} MiB", width="stretch")
        if size_mib <= _DOWNLOADED_MIB:
            st.download_button(
                say("download"),
                data=file.read_bytes,
                file_name=file.name,
                mime="application/zip",
                key=f"download_{file.name}",
                icon=":material/download:",
                on_click="ignore",
            )
        else:
            st.caption(say("backup_large"))


def _near(listing: Listing, say: Say, *, is_busy: bool) -> None:
    st.caption(say("near_text"))
    if st.button(
        say("near_find"),
        key="near_find",
        icon=":material/content_copy:",
        disabled=is_busy or not listing.has_index,
    ):
        job_panel.begin(listing, Kind.NEAR_DUPLICATES, say)
    report = jobs.last_report(listing, Kind.NEAR_DUPLICATES)
    if report is None:
        return
    pairs = [
        {
            say("near_first"): pair["first"],
            say("near_second"): pair["second"],
            say("near_share"): pair["similarity"],
        }
        for pair in report["near"]
    ] + [
        {say("near_first"): pair["file"], say("near_second"): pair["of"], say("near_share"): 1.0}
        for pair in report["same"]
    ]
    if not pairs:
        st.caption(say("near_none"))
        return
    share = st.column_config.NumberColumn(format="percent", width="small")
    st.dataframe(
        pairs,
        hide_index=True,
        width="stretch",
        column_config={say("near_share"): share},
        key="near_table",
    )
