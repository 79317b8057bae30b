"""What stands in the place of hits: a welcome, no hits, no index, an error."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app.address import Address
from app.components import controls
from app.examples import SHOWN, example_questions
from app.knowledge_base import KnowledgeBase
from app.language import Say
from app.library import INDEX_VARIABLE, LibraryError
from app.marking import to_markdown
from indexing.hits import Mode

_DESCRIBED = 5


def welcome(bases: Sequence[KnowledgeBase], say: Say) -> None:
    """What can be asked here, before the first question."""
    st.markdown(say("welcome"))
    questions = [one for base in bases for one in _examples(base, base.state, say.language)][:SHOWN]
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
    for base in bases[:_DESCRIBED]:
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
    st.caption(say("no_index_other", variable=INDEX_VARIABLE))


def trouble(error: Exception, title: str) -> None:
    """An error that we know, in its own words: they say what to do."""
    st.error(to_markdown(str(error)), title=title)


_REASONS = {
    "no_such_base": "no_such_base",
    "no_home": "no_home",
    "name_taken": "name_taken",
    "name_empty": "name_empty",
    "name_long": "name_long",
    "not_managed": "not_managed_text",
    "bad_address": "bad_address",
    "too_many_addresses": "too_many_addresses",
    "bad_file_name": "bad_file_name",
    "too_large": "too_large",
    "bad_format": "bad_format",
    "bad_backup": "bad_backup",
}


def reason(error: LibraryError, say: Say) -> str:
    """Why something was refused, in the reader's language."""
    return say(_REASONS[error.key], **error.values)


def refused(error: LibraryError, say: Say) -> None:
    """Something that cannot be done as it was asked for."""
    st.error(plain(reason(error, say)))


def plain(text: str) -> str:
    """A text of anybody's, shown as it stands."""
    return to_markdown(text)


def nothing_indexed(say: Say) -> None:
    """There are knowledge bases, or none, but nothing in them that could be searched."""
    st.info(say("nothing_indexed_text"), title=say("nothing_indexed_title"))


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
