"""Asks an OpenAI-compatible service for embeddings: texts in, rows of float32 out.

It knows no templates, cache or roles. The key goes into a header and nowhere else.
"""

import base64
import email.utils
import json
import logging
import os
import random
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from encoder.remote_model import RemoteModel

log = logging.getLogger(__name__)

Rows = NDArray[np.float32]

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Answers of a service that may be another one next time."""
_TOO_MUCH = frozenset({400, 413, 422})
"""Answers to a request that may be right in smaller parts."""
_LENGTH_WORDS = ("context length", "too long", "maximum", "token", "too large", "input length")
_BATCH_WORDS = ("batch", "array too long", "too many inputs", "number of inputs")
_SHORTER = 0.75
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class RemoteError(OSError):
    """The service did not do the work."""


@dataclass(frozen=True, kw_only=True)
class RemoteOptions:
    """How a service is asked."""

    timeout_s: float = 120.0
    """Longest wait for an answer, after which it is asked again."""
    attempts: int = 6
    """How often a request is sent before the work fails."""
    longest_wait_s: float = 120.0
    """A service that asks for a longer pause (Retry-After) is not waited for."""
    texts_per_request: int = 128
    tokens_per_request: int = 50_000
    """Estimated where no tokenizer is here; OpenAI takes 300,000."""
    parallel: int = 4
    """Requests under way at a time."""
    requests_per_minute: float = 0.0
    """Most requests that are begun in a minute; 0 for no limit but the service's own."""

    def __post_init__(self) -> None:
        for name in ("attempts", "texts_per_request", "tokens_per_request", "parallel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s must be positive, got {self.timeout_s}.")
        if not (self.requests_per_minute >= 0 and self.longest_wait_s >= 0):
            raise ValueError("requests_per_minute and longest_wait_s must not be negative.")


@dataclass(frozen=True)
class Answer:
    """What a service gave for some texts."""

    rows: Rows
    tokens: int | None
    """What the service counted, if it says so."""
    shortened: frozenset[int] = frozenset()
    """Places of texts that the service found too long and that were cut for it."""


class RemoteBackend:
    """A service's model; several threads may ask through one object."""

    def __init__(
        self,
        remote: RemoteModel,
        dimensions: int | None = None,
        options: RemoteOptions | None = None,
    ) -> None:
        """Name the model; nothing is asked yet.

        Args:
            remote: The service and its model.
            dimensions: Length of an embedding to ask for, or None for the model's own. Of a model
                whose service cannot be asked, embeddings are cut here.
            options: How to ask.

        Raises:
            UsageError: If OpenAI's own service is meant, and there is no key.
        """
        self.options = options or RemoteOptions()
        self._remote = remote
        self._dimensions = dimensions
        self._key = remote.key
        self.device = "remote"
        self.engine = f"{remote.model} at {remote.endpoint}"
        self.texts_per_request = self.options.texts_per_request
        """Lowered where the service takes fewer."""
        self._pace = _Pace(self.options.requests_per_minute)
        self._lock = Lock()
        self._client: httpx2.Client | None = None
        self._process = 0

    def embed_texts(self, texts: Sequence[str], dim: int | None = None) -> Answer:
        """Embed texts in one request, or in more where the service takes less at a time.

        Args:
            texts: Not more than fit into one request, as far as is known.
            dim: The length that the rows must have; longer ones are cut. None takes any.

        Returns:
            Rows of unit length, shape (len(texts), dim).

        Raises:
            RemoteError: If the service does not answer, refuses, or answers wrongly, again and
                again.
        """
        if not texts:
            return Answer(np.empty((0, dim or 0), np.float32), 0)
        if len(texts) > self.texts_per_request:
            return self._in_halves(texts, dim)
        try:
            return self._asked(texts, dim)
        except RefusedError as refused:
            if refused.status not in _TOO_MUCH:
                raise
            if len(texts) == 1:
                return self._shorter(texts[0], dim, refused)
            if any(words in refused.reason.lower() for words in _BATCH_WORDS):
                self.texts_per_request = min(self.texts_per_request, len(texts) // 2)
            return self._in_halves(texts, dim)

    def _in_halves(self, texts: Sequence[str], dim: int | None) -> Answer:
        middle = len(texts) // 2
        first = self.embed_texts(texts[:middle], dim)
        try:
            second = self.embed_texts(texts[middle:], dim)
        except RefusedError as later:
            later.place += middle
            raise
        known = first.tokens is not None and second.tokens is not None
        return Answer(
            np.concatenate([first.rows, second.rows]),
            (first.tokens or 0) + (second.tokens or 0) if known else None,
            first.shortened | {place + middle for place in second.shortened},
        )

    def _shorter(self, text: str, dim: int | None, refused: "RefusedError") -> Answer:
        """A single text, cut until the service takes it, if its length is what it minds."""
        while any(words in refused.reason.lower() for words in _LENGTH_WORDS) and len(text) > 1:
            text = text[: int(len(text) * _SHORTER)]
            try:
                answer = self._asked([text], dim)
            except RefusedError as again:
                refused = again
            else:
                return Answer(answer.rows, answer.tokens, frozenset({0}))
        raise refused

    def _asked(self, texts: Sequence[str], dim: int | None) -> Answer:
        """One request, sent again while what goes wrong may pass."""
        for attempt in range(1, self.options.attempts + 1):
            self._pace.wait()
            try:
                return _read(
                    self._post(texts), len(texts), dim, may_cut=self._dimensions is not None
                )
            except _PassingError as error:
                last = attempt == self.options.attempts
                pause = error.wait_s if error.wait_s is not None else _pause(attempt)
                if last or pause > self.options.longest_wait_s:
                    wait = (
                        f" and asks to wait {pause:.0f} s"
                        if pause > self.options.longest_wait_s
                        else ""
                    )
                    raise RemoteError(
                        f"{self.engine} {error}{wait}; {attempt} attempts were made. What came "
                        "before is remembered, so that the work can go on later."
                    ) from error
                log.info(
                    "%s %s; attempt %d follows in %.1f s.", self.engine, error, attempt + 1, pause
                )
                self._pace.pause(pause)
        raise AssertionError("attempts is at least 1")

    def _post(self, texts: Sequence[str]) -> bytes:
        body: dict[str, Any] = {"model": self._remote.model, "input": list(texts)}
        if self._dimensions is not None and self._remote.takes_dimensions:
            body["dimensions"] = self._dimensions
        try:
            response = self._opened().post(f"{self._remote.endpoint}/embeddings", json=body)
        except httpx2.TimeoutException as error:
            raise _PassingError(f"gave no answer within {self.options.timeout_s:g} s") from error
        except httpx2.TransportError as error:
            raise _PassingError(f"cannot be reached or broke off ({_named(error)})") from error
        if response.status_code == 200:
            return response.content
        reason = _reason(response)
        self._give_up(response.status_code, reason)
        if response.status_code in _PASSING:
            raise _PassingError(
                f"answers {response.status_code} ({reason})", _wait(response.headers)
            )
        raise RefusedError(
            response.status_code,
            reason,
            f"{self.engine} refuses the request: {response.status_code} ({reason}).",
        )

    def _give_up(self, status: int, reason: str) -> None:
        """Raise what no second attempt and no smaller request can mend."""
        if status in {401, 403}:
            told = "was not accepted" if self._key else "is missing"
            raise RemoteError(
                f"{self.engine} answers {status} ({reason}): the key {told}. Set OPENAI_API_KEY, "
                f"and OPENAI_BASE_URL={self._remote.endpoint}: no other service is told the key."
            )
        if status == 404:
            raise RemoteError(
                f"{self.engine} answers 404 ({reason}): check the name of the model, and the "
                "address, which often ends in /v1."
            )
        if status == 429 and "quota" in reason.lower():
            raise RemoteError(
                f"{self.engine} answers 429 ({reason}): the account has no quota left."
            )

    def _opened(self) -> httpx2.Client:
        with self._lock:
            # Connections must not be shared with a process that was forked from this one.
            if self._client is None or self._process != os.getpid():
                headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
                timeout = httpx2.Timeout(
                    self.options.timeout_s, connect=min(10, self.options.timeout_s)
                )
                self._client = httpx2.Client(headers=headers, timeout=timeout)
                self._process = os.getpid()
                weakref.finalize(self, self._client.close)
            return self._client

    def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        with self._lock:
            if self._client is not None and self._process == os.getpid():
                self._client.close()
            self._client = None


class _Pace:
    """When the next request may begin, for all threads together."""

    def __init__(self, requests_per_minute: float) -> None:
        self._apart_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0
        self._lock = Lock()

    def wait(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                left = self._next - now
                if left <= 0:
                    self._next = now + self._apart_s
                    return
            time.sleep(left)

    def pause(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class _PassingError(Exception):
    """Something that may go away by itself."""

    def __init__(self, what: str, wait_s: float | None = None) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class RefusedError(RemoteError):
    """The service does not take the request as it is."""

    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason
        self.place = 0
        """Which of the request's texts it is about, once all others were tried apart from it."""


def _pause(attempt: int) -> float:
    """Twice as long each time, and not the same for everyone who waits."""
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (attempt - 1))
    return random.uniform(longest / 2, longest)


def _wait(headers: httpx2.Headers) -> float | None:
    """What Retry-After asks for, in seconds: a number or a date (RFC 9110, 10.2.3)."""
    given = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
    except ValueError:
        return None


def _reason(response: httpx2.Response) -> str:
    """The service's words, on one line."""
    try:
        found = response.json()
        error = found.get("error", found.get("message", found.get("detail"))) or found
        words = error.get("message", error) if isinstance(error, dict) else error
        code = error.get("code") if isinstance(error, dict) else None
        text = f"{words} [{code}]" if isinstance(code, str) else str(words)
    except (ValueError, AttributeError):
        text = response.text
    return " ".join(text.split())[:300] or "without a word"


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__


def _read(content: bytes, count: int, dim: int | None, *, may_cut: bool) -> Answer:
    """Rows from an answer; one that is not what was asked for may be right next time."""
    try:
        answer = json.loads(content)
        items = answer["data"]
        places = [item["index"] for item in items]
        vectors = [_vector(item["embedding"]) for item in items]
    except (ValueError, TypeError, KeyError) as error:
        raise _PassingError(
            f"gave an answer that is no list of embeddings ({error!r:.80})"
        ) from error
    if sorted(places) != list(range(count)):
        raise _PassingError(f"gave {len(places)} embeddings for {count} texts")
    width = _width(vectors, dim, may_cut=may_cut)
    rows = np.empty((count, width), np.float32)
    for place, vector in zip(places, vectors, strict=True):
        rows[place] = vector[:width]
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise _PassingError("gave embeddings that are not finite or zero")
    usage = answer.get("usage") or {}
    tokens = (
        usage.get("total_tokens", usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    )
    return Answer((rows / norms).astype(np.float32), tokens if isinstance(tokens, int) else None)


def _width(vectors: Sequence[NDArray[np.float32]], dim: int | None, *, may_cut: bool) -> int:
    widths = sorted({len(vector) for vector in vectors})
    wanted = widths[0] if dim is None else dim
    # A service that does not know of `dimensions` gives the whole embedding.
    fits = widths == [wanted] or (may_cut and widths[0] >= wanted)
    if not fits or not wanted:
        found = ", ".join(map(str, widths))
        raise RemoteError(
            f"The service gave embeddings of {found} values instead of {dim or 'any'}: it runs "
            "another model, or it does not know the dimensions that were asked for."
        )
    return wanted


def _vector(given: Any) -> NDArray[np.float32]:  # noqa: ANN401 - comes from outside
    if isinstance(given, str):
        return np.frombuffer(base64.b64decode(given, validate=True), dtype="<f4").astype(np.float32)
    vector = np.array(given, dtype=np.float32)
    if vector.ndim != 1:
        raise ValueError("an embedding is no list of numbers")
    return vector


def measured_dim(remote: RemoteModel, dimensions: int | None = None) -> int:
    """Length of the model's embeddings, by embedding one word.

    Raises:
        RemoteError: As `RemoteBackend.embed_texts`.
    """
    backend = RemoteBackend(remote, dimensions, RemoteOptions(attempts=3))
    try:
        return int(backend.embed_texts(["dimension"]).rows.shape[1])
    finally:
        backend.close()
