"""The search box and its choices, and the language, kept in step with the page's link."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from app.address import COUNTS, DEFAULT_COUNT, DEFAULT_MODE, LONGEST_QUERY, Address
from app.language import LANGUAGES, Say, preferred_language
from app.library import Listing
from indexing.hits import Mode

MODE_LABELS: Mapping[Mode, str] = {
    Mode.HYBRID: "mode_hybrid",
    Mode.DENSE: "mode_dense",
    Mode.LEXICAL: "mode_lexical",
}
_WRITTEN = "written_parameters"
_TOUCHED = "was_touched"
_ADDRESS = "last_address"


def language() -> Say:
    """The reader's language: the link's, else the one chosen before, else the browser's."""
    state, named = st.session_state, st.query_params.get("lang", "")
    is_fresh = _WRITTEN not in state or st.query_params.to_dict() != state[_WRITTEN]
    if "language" not in state or (is_fresh and not state.get(_TOUCHED)):
        before = state.get("language") or _browser_language()
        state["language"] = named if named in LANGUAGES else before
    return Say(state["language"])


def read_link() -> None:
    """Fill the controls from the link, unless the link only repeats what they hold."""
    state = st.session_state
    parameters = st.query_params.to_dict()
    # A link that this page did not write is a fresh one, or the browser's back button. A reader's
    # own change may arrive before the browser has heard of the link written last: it goes first.
    is_touched = state.pop(_TOUCHED, False)
    is_back = "query" not in state and not parameters and _ADDRESS in state
    is_fresh = _WRITTEN not in state or (not is_touched and parameters != state[_WRITTEN])
    if is_back or is_fresh or "query" not in state:
        address = Address.read(parameters, state["language"])
        if is_back:  # from another page, whose link knows nothing of this one's
            address = state[_ADDRESS]
        state["query"], state["mode"] = address.query, address.mode
        state["count"], state["bases"] = address.count, list(address.bases)
        state["filter"], state["rerank"] = address.filter, address.rerank
        state[_WRITTEN] = parameters


def write_link(address: Address) -> None:
    """Bring the link into step with the controls."""
    st.session_state[_ADDRESS] = address
    _write(address.parameters(_browser_language()))


def write_page_link(parameters: Mapping[str, str], say: Say) -> None:
    """Bring the link of a page without a search into step with what it shows."""
    st.session_state.pop(_TOUCHED, None)
    own = {} if say.language == _browser_language() else {"lang": say.language}
    _write({**parameters, **own})


def _write(parameters: dict[str, str]) -> None:
    if parameters != st.session_state.get(_WRITTEN):
        st.query_params.from_dict(parameters)
        st.session_state[_WRITTEN] = parameters


def show(say: Say, listings: Sequence[Listing], more: Callable[[], None]) -> Address:
    """Draw the controls and return what they hold.

    Args:
        say: The reader's language.
        listings: What can be searched.
        more: Draws further controls behind them.
    """
    query = st.text_input(
        say("query_label"),
        type="search",
        key="query",
        placeholder=say("query_placeholder"),
        max_chars=LONGEST_QUERY,
        label_visibility="collapsed",
        on_change=touch,
    )
    with st.container(horizontal=True, gap="medium", key="choices"):
        mode, count = _mode(say), _count(say)
    bases = choose_bases(say, listings)
    with st.container(horizontal=True, gap="medium", vertical_alignment="center", key="more"):
        more()
    return Address(
        query=query.strip(),
        mode=mode,
        count=count,
        language=say.language,
        bases=tuple(bases),
        filter=st.session_state.get("filter", ""),
        rerank=bool(st.session_state.get("rerank", False)),
    )


def ask(query: str, mode: Mode | None = None) -> None:
    """Put a question into the box; for buttons."""
    touch()
    st.session_state["query"] = query
    if mode is not None:
        st.session_state["mode"] = mode


def _mode(say: Say) -> Mode:
    chosen = st.segmented_control(
        say("mode_label"),
        list(MODE_LABELS),
        format_func=lambda mode: say(MODE_LABELS[mode]),
        key="mode",
        required=True,
        help=say("mode_help"),
        on_change=touch,
    )
    return chosen or DEFAULT_MODE


def _count(say: Say) -> int:
    chosen = st.segmented_control(
        say("count_label"), COUNTS, key="count", required=True, on_change=touch
    )
    return chosen or DEFAULT_COUNT


def choose_bases(say: Say, listings: Sequence[Listing], key: str = "bases") -> list[str]:
    """Draw the choice of knowledge bases and return those chosen; none means all of them."""
    names = {listing.id: listing.name for listing in listings}
    held = [id_ for id_ in st.session_state.get(key, ()) if id_ in names]
    if len(names) < 2:
        return held
    st.session_state[key] = held
    chosen = st.pills(
        say("bases_label"),
        list(names),
        format_func=names.__getitem__,
        selection_mode="multi",
        key=key,
        help=say("bases_help"),
        on_change=touch,
    )
    return [id_ for id_ in names if id_ in (chosen or ())]


def touch() -> None:
    """Note that the reader has changed something, which then comes before the link."""
    st.session_state[_TOUCHED] = True


def _browser_language() -> str:
    return preferred_language(st.context.locale)
