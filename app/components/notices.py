"""What stands in the place of hits: a welcome, no hits, no index, an error."""

import shlex
from pathlib import Path

import streamlit as st

from app.address import Address
from app.components import controls
from app.examples import example_questions
from app.knowledge_base import VARIABLE, KnowledgeBase
from app.language import Say
from app.marking import to_markdown
from indexing.hits import Mode


def welcome(base: KnowledgeBase, say: Say) -> None:
    """What can be asked here, before the first question."""
    st.markdown(say("welcome"))
    questions = _examples(base, base.state, say.language)
    if questions:
        st.caption(say("examples_title"))
    with st.container(gap="xsmall"):
        for number, question in enumerate(questions):
            st.button(
                to_markdown(question),
                key=f"example_{number}",
                icon=":material/search:",
                on_click=controls.ask,
                args=(question,),
            )
    st.space("small")
    st.caption(_about(base, say))


def nothing_found(address: Address, say: Say) -> None:
    """A search without hits, and what to try instead."""
    title = say("nothing_title", query=to_markdown(address.query))
    if address.mode is not Mode.LEXICAL:
        st.info(say("nothing_other"), title=title)
        return
    st.info(say("nothing_lexical"), title=title)
    st.button(say("search_both"), on_click=controls.ask, args=(address.query, Mode.HYBRID))


def no_index(folder: Path, say: Say) -> None:
    """There is nothing to search; the command that mends it."""
    name = to_markdown(str(folder))
    st.info(say("no_index_text", folder=name), title=say("no_index_title"))
    command = f"python -m indexing.build docs/ --index {shlex.quote(str(folder))}"
    st.code(command, language="bash", wrap_lines=True)
    st.caption(say("no_index_other", variable=VARIABLE))


def trouble(error: Exception, title: str) -> None:
    """An error that we know, in its own words: they say what to do."""
    st.error(to_markdown(str(error)), title=title)


@st.cache_data(max_entries=50, show_spinner=False)
def _examples(_base: KnowledgeBase, state: str, language: str) -> list[str]:
    return example_questions(_base.index, language)


def _about(base: KnowledgeBase, say: Say) -> str:
    manifest = base.index.generation.manifest
    return say(
        "about_index",
        name=to_markdown(base.name),
        documents=f"{manifest.documents:,}",
        chunks=f"{manifest.chunks:,}",
        encoder=to_markdown(manifest.encoder.name),
    )
