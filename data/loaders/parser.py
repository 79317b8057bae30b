"""The process that parses: files on standard input, texts or reasons on standard output."""

import json
import os
import signal
import struct
import sys
from typing import IO, Any

from data.loaders import parse
from data.loaders.base import UnreadableDocumentError, on_progress

_LENGTH = struct.Struct(">Q")


def main() -> None:
    """Parse until the input ends."""
    _limit_memory(int(sys.argv[1]) * 2**20)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries that print do not get between the messages
    on_progress(lambda: _send(replies, b""))
    while (request := _receive(sys.stdin.buffer)) is not None:
        raw = _receive(sys.stdin.buffer)
        if raw is None:
            return
        _send(replies, json.dumps(_answer(json.loads(request), raw)).encode())
        del raw


def _answer(request: dict[str, Any], raw: bytes) -> dict[str, Any]:
    try:
        parsed = parse(raw, request["loader"], request["stem"])
    except UnreadableDocumentError as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"reason": f"Reading it needs more than {sys.argv[1]} MiB of memory."}
    except RecursionError:
        return {"reason": "The file is nested too deeply to be read."}
    except Exception as error:  # noqa: BLE001 - whatever a library does not expect of a bad file
        return {"reason": f"The file is damaged or not what its name says ({_short(error)})."}
    return {
        "title": parsed.title,
        "text": parsed.text,
        "pages": parsed.pages,
        "metadata": dict(parsed.metadata),
    }


def _short(error: Exception) -> str:
    sentence = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__


def _limit_memory(size: int) -> None:
    """Let allocations fail beyond `size` bytes; where the system cannot, there is no limit."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _receive(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(head)[0]
    message = pipe.read(length)
    return message if len(message) == length else None


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


if __name__ == "__main__":
    main()
