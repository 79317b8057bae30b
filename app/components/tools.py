"""Below the search box: filters, reranking, results as a file, and why a document is missing."""

import os
from collections.abc import Sequence
from datetime import date

import streamlit as st

from app.access import EVERYBODY
from app.address import LONGEST_FILTER, Address
from app.components import controls, notices
from app.components.why_table import show_explanation
from app.exporting import as_csv, as_json, rows
from app.language import Say
from app.searching import RERANKER, Found, Opened, filter_of
from indexing.filter_parser import parse_filter
from indexing.filters import Among, And, Comparison, Filter, FilterError, Holds, render_filter


def filters(say: Say) -> None:
    """Draw the filter's controls; what they say goes into the box and the link."""
    state = st.session_state
    label = say("filter_on") if state.get("filter") else say("filter")
    with st.popover(label, icon=":material/filter_list:"):
        with st.form("filter_form", border=False):
            languages = st.pills(
                say("filter_language"), ["en", "zh"], selection_mode="multi", key="filter_languages"
            )
            name = st.text_input(say("filter_path"), key="filter_path")
            since = st.date_input(say("filter_since"), value=None, key="filter_since")
            written = st.text_input(
                say("filter_written"),
                value=state.get("filter", ""),
                max_chars=LONGEST_FILTER,
                help=say("filter_help"),
            )
            is_set = st.form_submit_button(say("filter_set"), type="primary")
        if is_set:
            _set(languages or [], name.strip(), since, written.strip(), say)
        if state.get("filter") and st.button(say("filter_clear"), key="filter_clear"):
            state["filter"] = ""
            controls.touch()
            st.rerun()


def _set(languages: Sequence[str], name: str, since: date | None, written: str, say: Say) -> None:
    parts: list[Filter] = []
    if languages:
        parts.append(Among("language", tuple(languages)))
    if name:
        parts.append(Holds(name, "path"))
    if since is not None:
        parts.append(Comparison("date", ">=", since))
    try:
        if written and not parts:
            parts.append(parse_filter(written))
        text = render_filter(And(tuple(parts)) if len(parts) > 1 else parts[0]) if parts else ""
    except FilterError as error:
        notices.trouble(error, say("filter_bad"))
        return
    st.session_state["filter"] = text
    controls.touch()
    st.rerun()


def reranking(say: Say) -> None:
    """Draw the reranking's switch, where the administrator has chosen a reranker."""
    if os.environ.get(RERANKER):
        st.toggle(say("rerank"), key="rerank", help=say("rerank_help"), on_change=controls.touch)


def files(found: Found, address: Address, say: Say) -> None:
    """Draw the buttons for results as a file."""
    names = {rank: one.listing.name for rank, one in found.home.items()}
    table = rows(found.hits, names)
    with st.container(horizontal=True, gap="small", key="files"):
        st.download_button(
            "CSV",
            data=lambda: as_csv(table),  # made when it is asked for: the page need not wait
            file_name="hits.csv",
            mime="text/csv",
            icon=":material/download:",
            type="tertiary",
            on_click="ignore",
            help=say("export_help"),
        )
        st.download_button(
            "JSON",
            data=lambda: as_json(address.query, table),
            file_name="hits.json",
            mime="application/json",
            icon=":material/download:",
            type="tertiary",
            on_click="ignore",
            help=say("export_help"),
        )


def missing(opened: Sequence[Opened], address: Address, say: Say) -> None:
    """Draw the question why some document was not found."""
    with st.expander(say("why_not"), icon=":material/help:"):
        with st.form("why_not_form", border=False):
            document = st.text_input(say("why_not_label"), key="why_not_document")
            if not st.form_submit_button(say("why")) or not document.strip():
                return
        reasons = []
        for one in opened:
            expression = filter_of(address, one.listing, EVERYBODY)
            try:
                found = one.base.index.explain(address.query, document.strip(), filter=expression)
            except LookupError as error:
                reasons.append(str(error))
                continue
            show_explanation(found, say)
            return
        st.error("  \n".join(map(notices.plain, reasons)))
