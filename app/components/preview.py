"""A document's chunks as a build would make them, before anything is indexed."""

import streamlit as st

from app.components import notices
from app.components.text_view import language_of
from app.inventory import Row
from app.language import Say
from app.library import Listing
from app.marking import to_html
from app.reasons import reason_in
from app.worker import build_config
from data import UnreadableDocumentError
from encoder import MissingExtraError, ModelNotFoundError
from indexing import UsageError
from indexing.preview import Preview, preview_split

_SHOWN = 50


def show(listing: Listing, row: Row, say: Say) -> None:
    """Open the preview of a document."""

    @st.dialog(say("preview_title"), width="large")
    def look() -> None:
        st.markdown(f"**{notices.plain(row.document)}**")
        try:
            with st.spinner(say("preview_reading")):
                found = preview_of(listing, row)
        except UnreadableDocumentError as error:
            why = reason_in(say.language, str(error))
            st.error(notices.plain(why), title=say("preview_unreadable"))
            return
        except (UsageError, ModelNotFoundError, MissingExtraError, OSError) as error:
            notices.trouble(error, say("preview_unreadable"))
            return
        _chunks(found, say)

    look()


def preview_of(listing: Listing, row: Row) -> Preview:
    """The chunks of a document, split as the next update would split it."""
    if row.file is None:
        raise UsageError(f"{row.document} is no file of its own.")
    return preview_split(row.file, build_config(listing), name=row.document)


def _chunks(found: Preview, say: Say) -> None:
    st.caption(
        say(
            "preview_about",
            count=len(found.pieces),
            encoder=notices.plain(found.encoder),
            tokens=found.splitter.chunk_tokens,
        )
    )
    for number, piece in enumerate(found.pieces[:_SHOWN], start=1):
        page = found.document.page_at(piece.start)
        facts = [say("preview_tokens", count=piece.tokens)]
        if page is not None:
            facts.append(say("page", page=page))
        path = " › ".join(piece.heading)
        with st.container(border=True):
            st.markdown(f":gray-badge[{number}] {notices.plain(path)}")
            language = language_of(piece.text)
            st.html(
                f'<div class="angler-text angler-chunk" lang="{language}">'
                f"{to_html(piece.text, is_markdown=False)}</div>"
            )
            st.caption(" · ".join(facts))
    if len(found.pieces) > _SHOWN:
        st.caption(say("and_more", count=len(found.pieces) - _SHOWN))
