"""The search screen: a question, a short quoted answer, and the hits below it."""

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.access import EVERYBODY, visible
from app.address import Address
from app.components import controls, hit_actions, notices, tools
from app.components.answer_card import answer_html, quotable, waiting_html
from app.components.hit_card import hit_html
from app.components.text_view import span_in
from app.components.warming import warm
from app.knowledge_base import ERRORS
from app.language import Say
from app.library import Library, LibraryError, Listing
from app.marking import Span
from app.opening import open_all, searchable
from app.searching import Found, Opened, read_hits, search
from indexing.filters import FilterError
from indexing.hits import Mode

_SCORE_HELP: Mapping[Mode, str] = {
    Mode.HYBRID: "help_hybrid",
    Mode.DENSE: "help_dense",
    Mode.LEXICAL: "help_lexical",
}
_BLIND: Mapping[Mode, str] = {Mode.HYBRID: "blind_hybrid", Mode.DENSE: "blind_dense"}


def show(say: Say) -> None:
    """Draw the screen."""
    controls.read_link()
    listings = searchable(visible(Library.of_environment(), EVERYBODY))
    _refuse_unknown(listings, say)
    address = controls.show(say, listings, partial(_more, say))
    controls.write_link(address)
    if not listings:
        notices.nothing_indexed(say)
        return
    opened = open_all([one for one in listings if one.id in (address.bases or (one.id,))], say)
    if not opened:
        return
    if not address.query:
        notices.welcome([one.base for one in opened], say)
        return
    try:
        _results(opened, address, say)
    except FilterError as error:
        notices.trouble(error, say("filter_bad"))
    except ERRORS as error:
        notices.trouble(error, say("search_trouble_title"))


def _more(say: Say) -> None:
    tools.filters(say)
    tools.reranking(say)


def _refuse_unknown(listings: Sequence[Listing], say: Say) -> None:
    """Say so if a link names a knowledge base that does not exist for this reader."""
    known = {listing.id for listing in listings}
    if any(id_ not in known for id_ in st.session_state.get("bases", ())):
        notices.refused(LibraryError("no_such_base", "There is no such knowledge base."), say)


def _results(opened: Sequence[Opened], address: Address, say: Say) -> None:
    if address.mode is not Mode.LEXICAL:
        warm(opened, say)
    found = search(opened, address, EVERYBODY)
    if not found.hits:
        notices.nothing_found(address, say)
        tools.missing(opened, address, say)
        return
    answer = st.container()
    _summary(opened, found, address, say)
    names = _names(opened, found)
    cards, actions = [], []
    for hit in found.hits:
        cards.append(st.empty())
        actions.append(st.container())
        cards[-1].html(hit_html(hit, None, say, names[hit.rank]))
    tools.files(found, address, say)
    tools.missing(opened, address, say)
    with answer:
        warm(opened, say)
        marks = _read(address.query, found, cards, names, say)
    for hit, place in zip(found.hits, actions, strict=True):
        with place:
            hit_actions.show(found, hit.rank, address, marks.get(hit.rank), say)


def _names(opened: Sequence[Opened], found: Found) -> Mapping[int, str]:
    """The knowledge base to name on each hit's card, where there are several."""
    several = len(opened) > 1
    return {rank: one.listing.name if several else "" for rank, one in found.home.items()}


def _summary(opened: Sequence[Opened], found: Found, address: Address, say: Say) -> None:
    key = "summary_one" if len(found.hits) == 1 else "summary_many"
    st.caption(
        say(key, count=len(found.hits), time=_time(found.seconds)),
        help=say(_SCORE_HELP[address.mode]),
    )
    if address.mode in _BLIND and all(one.base.is_blind_to(address.query) for one in opened):
        st.caption(f":material/info: {say(_BLIND[address.mode])}")


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(1, round(seconds * 1000))} ms"


def _read(
    query: str, found: Found, cards: list[DeltaGenerator], names: Mapping[int, str], say: Say
) -> dict[int, Span]:
    """Draw the answer, and mark the best sentence of each hit, as they are read.

    Returns:
        What was marked, by rank.
    """
    marks: dict[int, Span] = {}
    hits = {hit.rank: hit for hit in found.hits}
    slot = st.empty()
    slot.html(waiting_html(say))
    for number, sentences in enumerate(read_hits(found, query)):
        if number == 0:
            quotes = quotable(sentences)
            slot.html(answer_html(quotes, hits, say)) if quotes else slot.empty()
        best = {sentence.hit: sentence for sentence in reversed(sentences)}
        for rank, sentence in best.items():
            marks[rank] = span_in(hits[rank], sentence)
            cards[rank - 1].html(hit_html(hits[rank], marks[rank], say, names[rank]))
    return marks
