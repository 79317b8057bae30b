"""The documents as a table, and what can be done with those that are chosen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from app.components import notices, preview
from app.inventory import Row, Standing
from app.language import Say
from app.library import Library, Listing
from app.reasons import reason_in
from app.uploads import remove, remove_addresses

MOST_ROWS = 5_000
"""More are narrowed down by name or state first; a browser would choke on them."""
_DATE_PIXELS = 140
_SIGNS: Mapping[Standing, str] = {
    Standing.NEW: "+",
    Standing.CHANGED: "~",
    Standing.LEAVING: "−",
    Standing.QUEUED: "…",
    Standing.READ: "…",
    Standing.INDEXED: "✓",
    Standing.DUPLICATE: "=",
    Standing.FAILED: "!",
}
LABELS: Mapping[Standing, str] = {
    Standing.NEW: "standing_new",
    Standing.CHANGED: "standing_changed",
    Standing.LEAVING: "standing_leaving",
    Standing.QUEUED: "standing_queued",
    Standing.READ: "standing_read",
    Standing.INDEXED: "standing_indexed",
    Standing.DUPLICATE: "standing_duplicate",
    Standing.FAILED: "standing_failed",
}


def show(listing: Listing, rows: Sequence[Row], say: Say, *, may_change: bool) -> None:
    """Draw the table."""
    shown = _narrowed(rows, say)
    if len(shown) > MOST_ROWS:
        st.caption(say("too_many_rows", shown=f"{MOST_ROWS:,}", count=f"{len(shown):,}"))
    shown = shown[:MOST_ROWS]
    event = st.dataframe(
        [_cells(row, say) for row in shown],
        width="stretch",
        hide_index=True,
        height=min(38 * (len(shown) + 1), 460),
        on_select="rerun",
        selection_mode="multi-row",
        key=f"table_{listing.id}",
        column_order=_columns(shown, say),
        column_config={
            # No wider, so that a telephone shows the state beside it; the table stretches them.
            say("column_document"): st.column_config.TextColumn(width="medium"),
            say("column_reason"): st.column_config.TextColumn(width="large"),
            say("column_size"): st.column_config.NumberColumn(format="bytes", width="small"),
            say("column_state"): st.column_config.TextColumn(width="small"),
            say("column_added"): st.column_config.DatetimeColumn(
                format="YYYY-MM-DD HH:mm", width=_DATE_PIXELS
            ),
        },
    )
    chosen = [shown[number] for number in event.selection.rows if number < len(shown)]
    if not may_change:
        return
    if not chosen:
        st.caption(say("select_rows"))
        return
    _actions(listing, chosen, say)


def _narrowed(rows: Sequence[Row], say: Say) -> Sequence[Row]:
    counts = Counter(row.standing for row in rows)
    with st.container(horizontal=True, vertical_alignment="center", key="narrow"):
        wanted = st.text_input(
            say("narrow_label"),
            placeholder=say("narrow_label"),
            label_visibility="collapsed",
            key="narrow_text",
        )
        standings = st.pills(
            say("column_state"),
            [standing for standing in Standing if counts[standing]],
            format_func=lambda one: f"{say(LABELS[one])} {counts[one]:,}",
            selection_mode="multi",
            label_visibility="collapsed",
            key="narrow_standing",
        )
    words = wanted.casefold().split()
    return [
        row
        for row in rows
        if (not standings or row.standing in standings)
        and all(word in row.document.casefold() for word in words)
    ]


def _cells(row: Row, say: Say) -> dict[str, Any]:
    return {
        say("column_document"): row.document,
        say("column_state"): f"{_SIGNS[row.standing]} {say(LABELS[row.standing])}",
        say("column_reason"): reason_in(say.language, row.reason),
        say("column_size"): row.size,
        say("column_added"): datetime.fromtimestamp(row.added, UTC) if row.added else None,
    }


def _columns(rows: Sequence[Row], say: Say) -> list[str]:
    columns = [say("column_document"), say("column_state")]
    if any(row.reason for row in rows):
        columns.append(say("column_reason"))
    if any(row.size is not None for row in rows):
        columns += [say("column_size"), say("column_added")]
    return columns


def _actions(listing: Listing, chosen: Sequence[Row], say: Say) -> None:
    with st.container(horizontal=True):
        can_look = len(chosen) == 1 and chosen[0].file is not None
        if can_look and st.button(say("preview"), key="preview", icon=":material/segment:"):
            preview.show(listing, chosen[0], say)
        label = say("remove_one") if len(chosen) == 1 else say("remove_many", count=len(chosen))
        if st.button(label, key="remove", icon=":material/delete:"):
            _confirm(listing, chosen, say)


def _confirm(listing: Listing, chosen: Sequence[Row], say: Say) -> None:
    @st.dialog(say("remove_title"))
    def ask() -> None:
        owners = sorted({row.owner for row in chosen})
        st.markdown("\n".join(f"- {notices.plain(owner)}" for owner in owners[:10]))
        if len(owners) > 10:
            st.markdown(f"- {say('and_more', count=len(owners) - 10)}")
        st.caption(say("remove_text"))
        if st.button(say("remove_confirm"), type="primary", key="remove_confirm"):
            remove(listing, owners)
            remove_addresses(Library.of_environment(), listing, set(owners))
            st.rerun()

    ask()
