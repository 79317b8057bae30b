"""Why a document was found, or not: its place in each list, and what stood in its way."""

from html import escape

import streamlit as st

from app.components import notices
from app.language import Say
from indexing.explaining import Explanation, Place


def show_explanation(found: Explanation, say: Say) -> None:
    """Draw everything that decided about a document."""
    st.markdown(f"**{notices.plain(found.document)}**")
    places = {
        say("why_dense"): found.dense,
        say("why_lexical"): found.lexical,
        say("why_fused"): found.fused,
    }
    if found.reranked is not None:
        places[say("why_reranked")] = found.reranked
    for column, (name, place) in zip(st.columns(len(places)), places.items(), strict=True):
        column.metric(name, _rank(place, say), _score(place, say), delta_color="off")
    for note in _notes(found, say):
        st.markdown(f"- {note}")
    tokens = " ".join(
        escape(one.text) if one.is_known else f'<span class="unknown">{escape(one.text)}</span>'
        for one in found.query_tokens
    )
    st.caption(say("why_tokens"))
    st.html(f'<p class="angler-tokens">{tokens}</p>')
    if found.terms:
        st.caption(say("why_terms"))
        st.dataframe(
            [
                {
                    say("why_term"): one.term,
                    say("why_term_here"): one.is_in_chunk,
                    say("why_term_chunks"): one.chunks,
                }
                for one in found.terms
            ],
            hide_index=True,
            width="stretch",
        )


def _rank(place: Place, say: Say) -> str:
    return say("why_nowhere") if place.rank is None else say("why_rank", rank=place.rank)


def _score(place: Place, say: Say) -> str | None:
    return None if place.score is None else say("score", score=f"{place.score:.3f}")


def _notes(found: Explanation, say: Say) -> list[str]:
    notes = [say("why_dropped", part=notices.plain(part)) for part in found.dropped_by]
    if found.dense_is_missed:
        notes.append(say("why_missed"))
    if found.query_is_cut:
        notes.append(say("why_query_cut"))
    if found.chunk_tokens > found.most_tokens:
        notes.append(say("why_chunk_cut", count=found.chunk_tokens, most=found.most_tokens))
    if found.relevance is not None and found.better_than is not None:
        relevance, share = f"{found.relevance:.2f}", f"{found.better_than:.0%}"
        notes.append(say("why_relevance", relevance=relevance, share=share))
    return notes
