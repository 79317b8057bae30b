"""Waiting for the encoders of the knowledge bases that are asked."""

from collections.abc import Sequence

import streamlit as st

from app.language import Say
from app.searching import Opened


def warm(opened: Sequence[Opened], say: Say) -> None:
    """Return once all are ready, with a word about it where that takes a while."""
    if not all(one.base.is_warm for one in opened):
        with st.spinner(say("warming")):
            for one in opened:
                one.base.wait_until_warm()
