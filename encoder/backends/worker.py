"""One process of a pool: loads a model, then embeds what comes in, until the pipe closes."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any

from encoder.backends.frames import (
    NO_MEMORY,
    READY,
    ROWS,
    WRONG,
    pack_rows,
    receive,
    send,
    unpack_ids,
)
from encoder.errors import MissingExtraError
from encoder.running import Backend, is_out_of_memory
from encoder.spec import EncoderSpec


def main() -> None:
    """Serve the process that started this one; it ends when that one does, however it ends."""
    # Ctrl-C reaches the whole group: the starting process decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come among the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        _serve(sys.stdin.buffer, answers)


def _serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    options = json.loads(receive(questions)[1])
    try:
        backend = _loaded(options)
    except (ValueError, OSError, MissingExtraError, RuntimeError, MemoryError) as error:
        send(answers, WRONG, str(error).encode())
        return
    facts = {"engine": backend.engine, "token_budget": backend.token_budget}
    send(answers, READY, json.dumps(facts).encode())
    while True:
        _, content = receive(questions)
        send(answers, *_answer(backend, content))


def _loaded(options: dict[str, Any]) -> Backend:
    if options["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, options["cores"])
    from encoder.backends.choice import load_backend

    return load_backend(
        Path(options["folder"]),
        EncoderSpec.from_dict(options["spec"]),
        base=Path(options["base"]) if options["base"] else None,
        pad_id=options["pad_id"],
        backend=options["backend"],
        device=options["device"],
        dtype=options["dtype"],
        trust_remote_code=options["trust_remote_code"],
    )


def _answer(backend: Backend, content: bytes) -> tuple[bytes, bytes]:
    try:
        return ROWS, pack_rows(backend.embed(*unpack_ids(content)))
    except (RuntimeError, ValueError, MemoryError) as error:
        kind = NO_MEMORY if is_out_of_memory(error) else WRONG
        return kind, str(error).encode()
