"""What every page has around it: the name, the language switch, and the way to the others."""

import json
from base64 import b64encode
from functools import cache
from pathlib import Path

import streamlit as st

from app.components import controls
from app.language import LANGUAGES, Say


def header(say: Say) -> None:
    """Draw the name and the language switch."""
    with st.container(
        horizontal=True,
        horizontal_alignment="distribute",
        vertical_alignment="center",
        key="header",
    ):
        st.html(f'<p class="angler-name"><img alt="" src="{_icon()}">Angler</p>', width="content")
        st.segmented_control(
            say("language_label"),
            list(LANGUAGES),
            format_func=LANGUAGES.__getitem__,
            key="language",
            required=True,
            label_visibility="collapsed",
            on_change=controls.touch,
        )


def own_words(say: Say) -> None:
    """Let Streamlit's boxes for files, which speak English only, speak the reader's language."""
    words = {"choose": say("upload_choose"), "drop": say("upload_drop")}
    values = "".join(
        f"--angler-{key}: {json.dumps(text, ensure_ascii=False)};" for key, text in words.items()
    )
    st.html(f"<style>:root {{{values}}}</style>")


def refuse(say: Say) -> None:
    """Say that the page is not served to the network without a guard."""
    st.error(say("unguarded_text"), title=say("unguarded_title"))


@cache
def _icon() -> str:
    image = Path(__file__).with_name("icon.svg").read_bytes()
    return f"data:image/svg+xml;base64,{b64encode(image).decode()}"
