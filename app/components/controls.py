"""The search box, its choices and the language switch, kept in step with the page's link."""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import streamlit as st

from app.address import COUNTS, DEFAULT_COUNT, DEFAULT_MODE, LONGEST_QUERY, Address
from app.language import LANGUAGES, Say, preferred_language
from indexing.hits import Mode

MODE_LABELS: Mapping[Mode, str] = {
    Mode.HYBRID: "mode_hybrid",
    Mode.DENSE: "mode_dense",
    Mode.LEXICAL: "mode_lexical",
}
_WRITTEN = "written_parameters"
_TOUCHED = "was_touched"


def read_link() -> Say:
    """Fill the controls from the link, unless the link only repeats what they hold."""
    state = st.session_state
    parameters = st.query_params.to_dict()
    # A link that this page did not write is a fresh one, or the browser's back button. A reader's
    # own change may arrive before the browser has heard of the link written last: it goes first.
    is_touched = state.pop(_TOUCHED, False)
    if _WRITTEN not in state or (not is_touched and parameters != state[_WRITTEN]):
        address = Address.read(parameters, _browser_language())
        state["query"], state["mode"] = address.query, address.mode
        state["count"], state["language"] = address.count, address.language
        state[_WRITTEN] = parameters
    return Say(state["language"])


def write_link(address: Address) -> None:
    """Bring the link into step with the controls."""
    parameters = address.parameters(_browser_language())
    if parameters != st.session_state[_WRITTEN]:
        st.query_params.from_dict(parameters)
        st.session_state[_WRITTEN] = parameters


def show(say: Say) -> Address:
    """Draw the controls and return what they hold."""
    _header(say)
    query = st.text_input(
        say("query_label"),
        type="search",
        key="query",
        placeholder=say("query_placeholder"),
        max_chars=LONGEST_QUERY,
        label_visibility="collapsed",
        on_change=_touch,
    )
    with st.container(horizontal=True, gap="medium", key="choices"):
        mode, count = _mode(say), _count(say)
    return Address(query=query.strip(), mode=mode, count=count, language=say.language)


def ask(query: str, mode: Mode | None = None) -> None:
    """Put a question into the box; for buttons."""
    _touch()
    st.session_state["query"] = query
    if mode is not None:
        st.session_state["mode"] = mode


def _header(say: Say) -> None:
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.html(f'<h1 class="angler-name"><img alt="" src="{_icon()}">Angler</h1>', width="content")
        st.segmented_control(
            say("language_label"),
            list(LANGUAGES),
            format_func=LANGUAGES.__getitem__,
            key="language",
            required=True,
            label_visibility="collapsed",
            on_change=_touch,
        )


@cache
def _icon() -> str:
    image = Path(__file__).with_name("icon.svg").read_bytes()
    return f"data:image/svg+xml;base64,{b64encode(image).decode()}"


def _mode(say: Say) -> Mode:
    chosen = st.segmented_control(
        say("mode_label"),
        list(MODE_LABELS),
        format_func=lambda mode: say(MODE_LABELS[mode]),
        key="mode",
        required=True,
        help=say("mode_help"),
        on_change=_touch,
    )
    return chosen or DEFAULT_MODE


def _count(say: Say) -> int:
    chosen = st.segmented_control(
        say("count_label"), COUNTS, key="count", required=True, on_change=_touch
    )
    return chosen or DEFAULT_COUNT


def _touch() -> None:
    st.session_state[_TOUCHED] = True


def _browser_language() -> str:
    return preferred_language(st.context.locale)
