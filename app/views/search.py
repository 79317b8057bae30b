"""The search screen: a question, a short quoted answer, and the hits below it."""

from collections.abc import Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.address import Address
from app.components import controls, notices
from app.components.answer_card import answer_html, quotable, waiting_html
from app.components.hit_card import hit_html
from app.components.text_view import span_in
from app.knowledge_base import ERRORS, KnowledgeBase, index_folder, open_knowledge_base
from app.language import Say
from app.searching import Found, read_hits, search
from indexing import IndexNotFoundError
from indexing.hits import Mode

_SCORE_HELP: Mapping[Mode, str] = {
    Mode.HYBRID: "help_hybrid",
    Mode.DENSE: "help_dense",
    Mode.LEXICAL: "help_lexical",
}
_BLIND: Mapping[Mode, str] = {Mode.HYBRID: "blind_hybrid", Mode.DENSE: "blind_dense"}


def show() -> None:
    """Draw the screen."""
    say = controls.read_link()
    address = controls.show(say)
    controls.write_link(address)
    base = _open(say)
    if base is None:
        return
    if not address.query:
        notices.welcome(base, say)
        return
    try:
        _results(base, address, say)
    except ERRORS as error:
        notices.trouble(error, say("search_trouble_title"))


def _open(say: Say) -> KnowledgeBase | None:
    folder = index_folder()
    try:
        return open_knowledge_base(folder)
    except IndexNotFoundError:
        notices.no_index(folder, say)
    except ERRORS as error:
        notices.trouble(error, say("trouble_title"))
    return None


def _results(base: KnowledgeBase, address: Address, say: Say) -> None:
    if address.mode is not Mode.LEXICAL:
        _warm(base, say)
    found = search(base, address)
    if not found.hits:
        notices.nothing_found(address, say)
        return
    answer = st.container()
    _summary(base, found, address, say)
    cards = [st.empty() for _ in found.hits]
    for card, hit in zip(cards, found.hits, strict=True):
        card.html(hit_html(hit, None, say))
    with answer:
        _warm(base, say)
        _read(base, address.query, found, cards, say)


def _warm(base: KnowledgeBase, say: Say) -> None:
    if not base.is_warm:
        with st.spinner(say("warming")):
            base.wait_until_warm()


def _summary(base: KnowledgeBase, found: Found, address: Address, say: Say) -> None:
    key = "summary_one" if len(found.hits) == 1 else "summary_many"
    st.caption(
        say(key, count=len(found.hits), time=_time(found.seconds)),
        help=say(_SCORE_HELP[address.mode]),
    )
    if address.mode in _BLIND and base.is_blind_to(address.query):
        st.caption(f":material/info: {say(_BLIND[address.mode])}")


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(1, round(seconds * 1000))} ms"


def _read(
    base: KnowledgeBase, query: str, found: Found, cards: list[DeltaGenerator], say: Say
) -> None:
    """Draw the answer, and mark the best sentence of each hit, as they are read."""
    hits = {hit.rank: hit for hit in found.hits}
    slot = st.empty()
    slot.html(waiting_html(say))
    for number, sentences in enumerate(read_hits(base, query, found.hits)):
        if number == 0:
            quotes = quotable(sentences)
            slot.html(answer_html(quotes, hits, say)) if quotes else slot.empty()
        best = {sentence.hit: sentence for sentence in reversed(sentences)}
        for rank, sentence in best.items():
            mark = span_in(hits[rank], sentence)
            cards[rank - 1].html(hit_html(hits[rank], mark, say))
