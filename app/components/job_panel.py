"""The job of a knowledge base: how far it is while it runs, and how the last one ended."""

import time
from typing import Any

import streamlit as st

from app import jobs
from app.components import notices
from app.jobs import Job, JobRunningError, Kind, Outcome
from app.language import Say
from app.library import Listing
from app.reasons import reason_in

_SHOWN_FOR_S = 24 * 3600.0
"""How long a job that went well is worth a line."""
_LABELS = {
    Kind.UPDATE: "job_update",
    Kind.PURGE: "job_purge",
    Kind.REEMBED: "job_reembed",
    Kind.ROLLBACK: "job_rollback",
    Kind.BACKUP: "job_backup",
    Kind.RESTORE: "job_restore",
    Kind.NEAR_DUPLICATES: "job_near_duplicates",
}


def show(listing: Listing, say: Say) -> None:
    """Draw the newest job."""
    job = jobs.last(listing)
    if job is None:
        return
    if job.is_running:
        _running(listing, say)
    else:
        _ended(listing, job, say)


def begin(listing: Listing, kind: Kind, say: Say, *, rerun: bool = True, **choices: Any) -> None:  # noqa: ANN401 - JSON values
    """Begin a job and show it, or say why not."""
    try:
        jobs.start(listing, kind, **choices)
    except JobRunningError:
        st.warning(say("job_other"))
        return
    if rerun:
        st.rerun()


def _running(listing: Listing, say: Say) -> None:
    @st.fragment(run_every=1.0)
    def follow() -> None:
        job = jobs.last(listing)
        if job is None or not job.is_running:
            st.rerun()
        with st.container(border=True, key="job"):
            _progress(job, say)
            _stop_buttons(listing, job, say)

    follow()


def _progress(job: Job, say: Say) -> None:
    now = time.time()
    label = say(_LABELS[job.kind])
    if job.moved is None:
        st.progress(0.0, text=f"**{label}** · {say('job_waiting')}")
        return
    facts = [f"**{label}**"]
    if job.total:
        facts.append(say("job_count", done=f"{job.done:,}", total=f"{job.total:,}"))
    rate, left = job.rate(now), job.left_s(now)
    if rate is not None and job.done < job.total:
        facts.append(say("job_rate", rate=f"{rate:.1f}" if rate < 10 else f"{rate:,.0f}"))
    if left is not None and job.done < job.total:
        facts.append(say("job_left", time=duration(left, say)))
    if job.total and job.done >= job.total:
        facts.append(say("job_finishing"))
    share = job.done / job.total if job.total else 0.0
    st.progress(min(1.0, share), text=" · ".join(facts))
    if job.current:
        st.caption(notices.plain(job.current.rpartition("/")[2]))


def _stop_buttons(listing: Listing, job: Job, say: Say) -> None:
    asked = st.session_state.get("stop_asked") == (listing.id, job.id)
    label = say("job_kill") if asked else say("job_cancel")
    if st.button(label, key="job_stop", icon=":material/stop_circle:", help=say("job_stop_help")):
        jobs.cancel(listing, job, at_once=asked)
        st.session_state["stop_asked"] = (listing.id, job.id)


def _ended(listing: Listing, job: Job, say: Say) -> None:
    label = say(_LABELS[job.kind])
    if job.outcome is Outcome.DONE:
        if time.time() - (job.ended or 0) < _SHOWN_FOR_S:
            ago = duration(time.time() - (job.ended or 0), say)
            st.caption(
                f":material/check_circle: {say('job_done', job=label, time=ago)}{_found(job, say)}"
            )
        return
    if job.outcome is Outcome.FAILED:
        reason = reason_in(say.language, job.message)
        st.error(notices.plain(reason), title=say("job_failed", job=label))
    else:
        key = "job_cancelled" if job.outcome is Outcome.CANCELLED else "job_interrupted"
        st.warning(say("job_resume_text"), title=say(key, job=label))
    if st.button(say("job_again"), key="job_again", icon=":material/play_arrow:"):
        begin(listing, job.kind, say, **job.choices)


def _found(job: Job, say: Say) -> str:
    """What a job that went well has changed, in a few words."""
    keys = {"added": "found_added", "updated": "found_updated", "deleted": "found_deleted"}
    keys |= {"failed": "found_failed"}
    parts = [say(text, count=job.report[key]) for key, text in keys.items() if job.report.get(key)]
    return f" {' · '.join(parts)}" if parts else ""


def duration(seconds: float, say: Say) -> str:
    """A time in the largest unit that fits."""
    if seconds < 90:
        return say("seconds", count=max(1, round(seconds)))
    if seconds < 5400:
        return say("minutes", count=round(seconds / 60))
    return say("hours", count=round(seconds / 3600))
