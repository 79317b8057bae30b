"""An encoder whose model runs behind a web service; what it gave once is remembered."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from encoder.backends.remote import Answer, RefusedError, RemoteBackend, RemoteError, RemoteOptions
from encoder.embedding_cache import EmbeddingCache, Row, digest_of
from encoder.encoder import Encoder, OnBatch, Progress, changed_instructions
from encoder.estimating import Spans, estimated_spans, spans_of_openai
from encoder.remote_model import API, OPENAI, WITHOUT_DIMENSIONS, RemoteModel
from encoder.report import EncodeReport
from encoder.spec import EncoderSpec
from encoder.templates import fill
from encoder.texts import check_texts

log = logging.getLogger(__name__)

_MARKS = 2
"""Tokens that a service's tokenizer may put around a text."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One text on its way to the service."""

    digest: bytes
    positions: list[int]
    text: str
    """In its template, cut to what the model reads."""
    tokens: int
    """As estimated."""


class RemoteEncoder(Encoder):
    """Asks a service for what the cache does not hold; one encoder may serve several threads."""

    def __init__(
        self,
        spec: EncoderSpec,
        backend: RemoteBackend,
        spans: Spans,
        cache: EmbeddingCache,
        languages: tuple[str, ...] = (),
    ) -> None:
        """Put an encoder together; `load_remote` does it.

        Args:
            spec: What makes its vectors what they are.
            backend: The service.
            spans: Places of tokens in a text.
            cache: Where what was paid for is kept.
            languages: Languages that the model reads well.
        """
        self.spec = spec
        self.languages = languages
        self.cache = cache
        self._service = backend
        self._spans = spans
        self._heads = None
        self._noticed = set()

    @property
    def device(self) -> str:
        """`remote`."""
        return self._service.device

    @property
    def engine(self) -> str:
        """The model and the address of its service."""
        return self._service.engine

    def close(self) -> None:
        """Close connections and cache; they are opened again when they are needed."""
        self._service.close()
        self.cache.close()

    def encode_tokens(
        self, texts: Sequence[str], *, role: str = "document", task: str | None = None
    ) -> list[NDArray[np.float32]]:
        """Not to be had from a service.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"{self.engine} gives no vectors of single tokens.")

    @property
    def counts_by_words(self) -> bool:
        """No: how the service takes a text apart can only be estimated here."""
        return False

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """The place of each token as (start, end); estimated where the tokenizer is not here."""
        return self._spans(text)

    def count_tokens(self, texts: Sequence[str], *, role: str = "document") -> list[int]:
        """Tokens of each text in the role's template, as far as they can be known here."""
        template = self.spec.template(role)
        bare = self._bare(texts, template)
        return [len(self._spans(fill(template, text).composed)) + _MARKS for text in bare]

    def unknown_share(self, text: str) -> float:
        """0: nobody here knows what the service's tokenizer does not know."""
        check_texts([text])
        return 0.0

    def with_templates(self, templates: Mapping[str, str] | str) -> "RemoteEncoder":
        """As `Encoder.with_templates`."""
        spec = replace(self.spec, **changed_instructions(templates, self.spec))
        return RemoteEncoder(spec, self._service, self._spans, self.cache, self.languages)

    def _encode(
        self,
        texts: Iterable[str],
        template: str,
        progress: Progress | None,
        report: EncodeReport | None,
        first: int = 0,
        on_batch: OnBatch | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> NDArray[np.float32]:
        del known  # the service reads texts
        texts = check_texts(texts, first)
        bare = self._bare(texts, template, first)
        report = EncodeReport() if report is None else report
        # Of the text as it came, by which a caller that purges it knows it.
        digests = [digest_of(text, template) for text in texts]
        rows = self.cache.get_many(self.spec.fingerprint, digests)
        places: dict[bytes, list[int]] = {}
        for position, digest in enumerate(digests):
            places.setdefault(digest, []).append(position)
        report.texts += len(bare)
        report.duplicates += len(bare) - len(places)
        # Also what is remembered was cut once, and is told to have been.
        every = [
            self._asked(digest, where, bare[where[0]], template, report, first)
            for digest, where in places.items()
        ]
        asked = [item for item in every if item.digest not in rows]
        done = len(bare) - sum(len(item.positions) for item in asked)
        if on_batch is not None:
            kept = [position for position, digest in enumerate(digests) if digest in rows]
            on_batch(kept, _gathered(rows, [digests[place] for place in kept], self.spec.dim))
        for items, answer in self._answers(asked, first):
            self._remember(items, answer, report, first)
            rows |= dict(zip([item.digest for item in items], answer.rows, strict=True))
            where = [position for item in items for position in item.positions]
            done += len(where)
            if on_batch is not None:
                on_batch(where, _gathered(rows, [digests[place] for place in where], self.spec.dim))
            if progress is not None:
                progress(done, len(bare))
        if not asked and bare and progress is not None:
            progress(done, len(bare))
        return _gathered(rows, digests, self.spec.dim)

    def _asked(
        self,
        digest: bytes,
        positions: list[int],
        text: str,
        template: str,
        report: EncodeReport,
        first: int,
    ) -> _Asked:
        """The text in its template, its end cut off where the model would not read it."""
        spans = self._spans(text)
        around = len(self._spans(fill(template, "").composed)) + _MARKS
        room = max(1, self.spec.max_tokens - around)
        if len(spans) > room:
            text = text[: spans[room - 1][1]]
            report.truncated.add(position + first for position in positions)
        tokens = min(len(spans), room) + around
        # Services refuse an empty text.
        return _Asked(digest, positions, fill(template, text).composed or " ", tokens)

    def _answers(
        self, asked: Sequence[_Asked], first: int
    ) -> Iterator[tuple[list[_Asked], Answer]]:
        """What the service gives, request by request, as they come back."""
        if not asked:
            return
        requests = self._requests(asked)
        waiting: dict[Future[Answer], list[_Asked]] = {}
        with ThreadPoolExecutor(self._service.options.parallel, "ask") as pool:
            try:
                while True:
                    for items in requests:
                        texts = [item.text for item in items]
                        waiting[pool.submit(self._service.embed_texts, texts, self.spec.dim)] = (
                            items
                        )
                        if len(waiting) >= self._service.options.parallel:
                            break
                    if not waiting:
                        return
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        items = waiting.pop(future)
                        yield items, _result(future, items, first)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _requests(self, asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
        """Requests of not more texts and tokens than the service takes at a time."""
        items: list[_Asked] = []
        tokens = 0
        for item in asked:
            is_full = len(items) >= self._service.texts_per_request
            if items and (
                is_full or tokens + item.tokens > self._service.options.tokens_per_request
            ):
                yield items
                items, tokens = [], 0
            items.append(item)
            tokens += item.tokens
        if items:
            yield items

    def _remember(
        self, items: Sequence[_Asked], answer: Answer, report: EncodeReport, first: int
    ) -> None:
        # At once: what is paid for outlives whatever happens to the next request.
        self.cache.put_many(self.spec.fingerprint, [item.digest for item in items], answer.rows)
        estimated = sum(item.tokens for item in items)
        report.tokens += estimated if answer.tokens is None else answer.tokens
        for place in sorted(answer.shortened):
            positions = [position + first for position in items[place].positions]
            report.truncated.add(positions)
            log.warning("texts[%d] is too long for %s and was cut.", positions[0], self.engine)


def _result(future: Future[Answer], items: Sequence[_Asked], first: int) -> Answer:
    try:
        return future.result()
    except RefusedError as error:
        position = items[error.place].positions[0] + first
        raise RemoteError(f"{error} It is about texts[{position}].") from error


def _gathered(found: dict[bytes, Row], digests: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    rows = np.empty((len(digests), dim), np.float32)
    for place, digest in enumerate(digests):
        rows[place] = found[digest]
    return rows


def load_remote(
    spec: EncoderSpec,
    languages: tuple[str, ...] = (),
    *,
    options: RemoteOptions | None = None,
    cache: EmbeddingCache | None = None,
) -> RemoteEncoder:
    """Put together an encoder for a service's model; nothing is asked yet.

    Args:
        spec: As `describe_encoder` gives it for the name of such a model.
        languages: Languages that the model reads well.
        options: How the service is asked.
        cache: Where what was paid for is kept; the user's own by default.

    Raises:
        UsageError: If OpenAI's own service is meant, and there is no key.
    """
    endpoint, _, model = spec.name.partition("#")
    remote = RemoteModel(endpoint, model)
    # The fingerprint says whether the service was asked for a length of its own.
    dimensions = None if spec.config == WITHOUT_DIMENSIONS else spec.dim
    backend = RemoteBackend(remote, dimensions, options)
    is_openais = endpoint == OPENAI or (remote.row and remote.row.architecture == API)
    spans = spans_of_openai(model) if is_openais else estimated_spans
    log.info("Texts go to %s.", endpoint)
    return RemoteEncoder(
        spec, backend, spans, EmbeddingCache() if cache is None else cache, languages
    )
