"""The conversation: answers with numbered citations, quoted or in a language model's words."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.access import EVERYBODY, visible
from app.answering import ChatModel, Exchange, ModelFailedError, answer, rewrite, widened
from app.asking import Evidence, gather
from app.chat_models import ChatSettings, load_chat
from app.citations import CitationReader
from app.components import controls, notices
from app.components.answer_card import quotable
from app.components.turn_card import quoted_html, sources_html, worded_html
from app.components.warming import warm
from app.knowledge_base import ERRORS
from app.language import Say
from app.library import Library
from app.opening import open_all, searchable
from app.searching import Opened, read_hits
from encoder import MissingExtraError

_TURNS = "turns"
LONGEST_QUESTION = 1_000


@dataclass(kw_only=True)
class Turn:
    """A question and what stands below it, as it was drawn."""

    question: str
    html: str = ""
    sources: str = ""
    note: str = ""
    """A key of the locale: why the answer is quoted, or that there is none."""
    spoken: str = ""
    """The answer in plain words, for the model to remember."""


def show(say: Say) -> None:
    """Draw the screen."""
    controls.write_page_link({}, say)
    listings = searchable(visible(Library.of_environment(), EVERYBODY))
    if not listings:
        notices.nothing_indexed(say)
        return
    chosen = controls.choose_bases(say, listings, "ask_bases")
    opened = open_all([one for one in listings if not chosen or one.id in chosen], say)
    if not opened:
        return
    turns: list[Turn] = st.session_state.setdefault(_TURNS, [])
    model = _model(say)
    _head(turns, model, say)
    for turn in turns:
        with st.chat_message("user", avatar=":material/person:"):
            st.text(turn.question)
        with st.chat_message("assistant", avatar=":material/menu_book:"):
            _draw(turn, say)
    question = st.chat_input(say("ask_placeholder"), max_chars=LONGEST_QUESTION, key="ask_box")
    if question and question.strip():
        _answer(opened, model, turns, question.strip(), say)


def _head(turns: list[Turn], model: ChatModel | None, say: Say) -> None:
    if not turns:
        st.markdown(say("ask_welcome"))
        name = notices.plain(model.name) if model else ""
        st.caption(say("ask_worded", model=name) if model else say("ask_quoted"))
        return
    if st.button(say("ask_new"), key="ask_new", icon=":material/restart_alt:"):
        turns.clear()
        st.rerun()


def _model(say: Say) -> ChatModel | None:
    """The language model that the administrator chose, if it can be had."""
    settings = ChatSettings.of_environment()
    if settings is None:
        return None
    try:
        return _loaded(settings)
    except (MissingExtraError, ModelFailedError) as error:
        notices.trouble(error, say("chat_down"))
        return None


@st.cache_resource(show_spinner=False, max_entries=2)
def _loaded(settings: ChatSettings) -> ChatModel:
    return load_chat(settings)


def _answer(
    opened: Sequence[Opened],
    model: ChatModel | None,
    turns: list[Turn],
    question: str,
    say: Say,
) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.text(question)
    turn = Turn(question=question)
    with st.chat_message("assistant", avatar=":material/menu_book:"):
        slot = st.empty()
        try:
            warm(opened, say)
            _fill(turn, opened, model, turns, slot, say)
        except ERRORS as error:
            notices.trouble(error, say("search_trouble_title"))
            return
        slot.empty()
        _draw(turn, say)
    turns.append(turn)


def _fill(
    turn: Turn,
    opened: Sequence[Opened],
    model: ChatModel | None,
    turns: Sequence[Turn],
    slot: DeltaGenerator,
    say: Say,
) -> None:
    history = [Exchange(question=one.question, answer=one.spoken) for one in turns]
    with slot, st.spinner(say("ask_searching")):
        other = rewrite(model, turn.question, history) if model else None
        legs = [turn.question, other or widened(turn.question, history) or ""]
        evidence = gather(opened, legs, EVERYBODY, say.language)
    if evidence.is_refused:
        turn.note = "ask_not_found"
        turn.spoken = say("ask_not_found")
        return
    prefix = f"t{len(turns) + 1}"
    turn.sources = sources_html(evidence.found, prefix, say, several=len(opened) > 1)
    if model is not None and _worded(turn, model, evidence, history, prefix, slot, say):
        return
    _quoted(turn, evidence, prefix, say)


def _worded(
    turn: Turn,
    model: ChatModel,
    evidence: Evidence,
    history: Sequence[Exchange],
    prefix: str,
    slot: DeltaGenerator,
    say: Say,
) -> bool:
    """Let the model answer; False if it gave nothing that can be shown."""
    hits = evidence.found.hits
    reader = CitationReader(len(hits))
    text = ""
    try:
        for piece in answer(model, turn.question, hits, history, reader=reader):
            text += piece
            slot.html(worded_html(text, prefix, say))
    except ModelFailedError as error:
        turn.note = error.key
        return False
    turn.html, turn.spoken = worded_html(text, prefix, say), text
    return True


def _quoted(turn: Turn, evidence: Evidence, prefix: str, say: Say) -> None:
    sentences = next(iter(read_hits(evidence.found, turn.question)), [])
    quotes = quotable(sentences)
    if not quotes:
        turn.note = "ask_not_found"
        turn.sources = ""
    turn.html = quoted_html(quotes, evidence.found, prefix, say)
    turn.spoken = " ".join(sentence.text for sentence in quotes)


def _draw(turn: Turn, say: Say) -> None:
    if turn.note == "ask_not_found":
        st.info(say("ask_not_found_text"), title=say("ask_not_found"))
    elif turn.note:
        st.warning(say("chat_quoted_instead"), title=say(_NOTES[turn.note]))
    if turn.html:
        st.html(turn.html)
    if turn.sources:
        st.html(turn.sources)


_NOTES = {
    key: key
    for key in (
        "chat_down",
        "chat_slow",
        "chat_refused",
        "chat_broken",
        "chat_garbled",
        "chat_uncited",
    )
}
