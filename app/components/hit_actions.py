"""What can be done with one hit: see more of it, ask why, say whether it is right."""

from html import escape

import streamlit as st

from app.access import EVERYBODY
from app.address import Address
from app.components import notices
from app.components.text_view import is_markdown, language_of
from app.components.why_table import show_explanation
from app.feedback import note_thumb, save_golden
from app.language import Say
from app.marking import Span, to_html
from app.pages import has_pages, pages_of
from app.searching import Found, filter_of
from data import UnreadableDocumentError
from encoder import MissingExtraError
from indexing import Hit


def show(found: Found, rank: int, address: Address, mark: Span | None, say: Say) -> None:
    """Draw the buttons of a hit."""
    hit, home = found.original[rank], found.home[rank]
    with st.container(horizontal=True, gap="small", key=f"actions_{rank}"):
        if st.button(say("neighbours"), key=f"near_{rank}", type="tertiary"):
            _neighbours(found, rank, say)
        if has_pages(hit) and st.button(say("page_image"), key=f"page_{rank}", type="tertiary"):
            _pages(found, rank, say)
        if st.button(say("why"), key=f"why_{rank}", type="tertiary"):
            _why(found, rank, address, say)
        if not EVERYBODY.may_change(home.listing):
            return
        quote = hit.text[mark[0] : mark[1]] if mark else ""
        st.button(
            say("right_answer"),
            key=f"golden_{rank}",
            type="tertiary",
            help=say("right_answer_help"),
            on_click=_golden,
            args=(found, rank, address.query, quote, say),
        )
        key = f"thumb_{rank}_{hit.chunk}_{hash(address.query)}"
        st.feedback("thumbs", key=key, on_change=_thumb, args=(found, rank, address.query, key))


def _thumb(found: Found, rank: int, query: str, key: str) -> None:
    value = st.session_state.get(key)
    if value is not None:
        note_thumb(found.home[rank].listing, query, found.hits[rank - 1], is_up=value == 1)


def _golden(found: Found, rank: int, query: str, quote: str, say: Say) -> None:
    is_new = save_golden(found.home[rank].listing, query, found.original[rank], quote)
    st.toast(say("golden_saved" if is_new else "golden_known"), icon=":material/check:")


def _neighbours(found: Found, rank: int, say: Say) -> None:
    @st.dialog(say("neighbours_title"), width="large")
    def look() -> None:
        hit = found.original[rank]
        try:
            wide = found.home[rank].base.index.window(hit, 1, 1)
        except LookupError as error:
            st.error(notices.plain(str(error)))
            return
        mark = (hit.start - wide.start, hit.end - wide.start)
        st.html(_text_html(wide, mark))

    look()


def _text_html(hit: Hit, mark: Span) -> str:
    text = to_html(hit.text, mark, is_markdown=is_markdown(hit))
    return (
        f'<p class="angler-place">{escape(hit.document)}</p>'
        f'<div class="angler-text" lang="{language_of(hit.text)}">{text}</div>'
    )


def _pages(found: Found, rank: int, say: Say) -> None:
    @st.dialog(say("page_title"), width="large")
    def look() -> None:
        hit, home = found.original[rank], found.home[rank]
        try:
            with st.spinner(say("preview_reading")):
                views = pages_of(home.listing, home.base.index, hit)
        except (UnreadableDocumentError, LookupError, OSError, ValueError) as error:
            text = say("page_gone") if isinstance(error, OSError) else notices.plain(str(error))
            st.error(text)
            return
        except MissingExtraError as error:
            notices.trouble(error, say("page_title"))
            return
        for view in views:
            caption = say("page", page=view.page)
            st.image(view.png, caption=f"{hit.document}, {caption}", width="stretch")
            if not view.boxes:
                st.caption(say("page_unmarked"))

    look()


def _why(found: Found, rank: int, address: Address, say: Say) -> None:
    @st.dialog(say("why_title"), width="large")
    def look() -> None:
        home = found.home[rank]
        expression = filter_of(address, home.listing, EVERYBODY)
        explained = home.base.index.explain(
            address.query, found.original[rank].document, filter=expression
        )
        show_explanation(explained, say)

    look()
