"""The encoder: texts in, one unit vector each out."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder.heads import HeadEmbeddings, TokenHeads, load_heads, pooled_rows
from encoder.model_folder import ModelDescription, describe_encoder
from encoder.registry import ModelRow, find_row, known_instructions
from encoder.remote_model import find_remote
from encoder.report import EncodeReport
from encoder.running import Backend, Closable, Item, Runner, TokenBackend, prepared_ahead
from encoder.spec import EncoderSpec
from encoder.static_model import find_static
from encoder.streaming import StreamProgress, resume_embeddings, windows, write_embeddings
from encoder.templates import CLEANERS, PLACE, ROLES, unwrap
from encoder.texts import check_list, check_texts, in_parts, places_of
from encoder.tokenizer import Tokenizer, Tokens

log = logging.getLogger(__name__)

QUANTISED = ("int8", "int4")
"""Precisions of the weights, which give vectors of their own."""
PRECISE = "torch float32"
"""The engine to which texts go whose values are not finite in another."""

Progress = Callable[[int, int], None]
"""Called with (texts done, texts in all)."""
OnBatch = Callable[[list[int], NDArray[np.float32]], None]
"""Called with the positions of texts that are done, and their embeddings, shape (n, dim)."""


class Encoder:
    """Turns texts into embeddings; one encoder may serve several threads."""

    def __init__(
        self,
        spec: EncoderSpec,
        tokenizer: Tokenizer,
        backend: Backend,
        languages: tuple[str, ...] = (),
        precise: Callable[[], Backend] | None = None,
        heads: TokenHeads | None = None,
    ) -> None:
        """Put an encoder together; `load_encoder` does it for a model.

        Args:
            spec: What makes its vectors what they are.
            tokenizer: The model's.
            backend: The engine that runs the model.
            languages: Languages that the model reads well.
            precise: Loads an engine that runs the model in float32, where `backend` does not.
            heads: The model's heads beside its dense one.
        """
        self.spec = spec
        self._heads = heads
        self.languages = languages
        """Languages that the model reads well, as far as the registry knows."""
        self._tokenizer = tokenizer
        self._backend = backend
        self._precise = precise
        self._runner = Runner(backend, precise)
        self._noticed: set[str] = set()

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.spec.dim

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self._backend.device

    @property
    def engine(self) -> str:
        """What runs the model, and in which precision: `openvino bfloat16 on cpu`."""
        return self._backend.engine

    def in_float32(self) -> Backend:
        """The engine that runs the model in float32, loaded where `engine` says another one."""
        return self._backend if self._precise is None else self._precise()

    @property
    def weighs_words(self) -> bool:
        """Whether the model also gives each word of a text a weight, as bge-m3 does."""
        return self._heads is not None and isinstance(self._backend, TokenBackend)

    def close(self) -> None:
        """End the processes of an encoder on several devices; needless for any other."""
        if isinstance(self._backend, Closable):
            self._backend.close()

    def __enter__(self) -> "Encoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def encode_queries(
        self, texts: Sequence[str], *, task: str | None = None, report: EncodeReport | None = None
    ) -> NDArray[np.float32]:
        """Embed questions, with the query instruction of the model or of a named task.

        Args:
            texts: Equal ones are encoded once.
            task: One of `spec.tasks`.
            report: Is told which texts were cut and what else happened to them.

        Returns:
            Shape (len(texts), dim), rows of unit length.

        Raises:
            TypeError: If `texts` is one string, or an item is no string.
            ValueError: If the model has no such task, or a text holds lone surrogates or no tokens.
            MemoryError: If a single text does not fit into the memory.
            ArithmeticError: If a text gives values that are not finite, in float32 too.
        """
        return self._encode(texts, self.spec.template("query", task), None, report)

    def encode_documents(
        self,
        texts: Sequence[str],
        *,
        task: str | None = None,
        progress: Progress | None = None,
        report: EncodeReport | None = None,
        on_batch: OnBatch | None = None,
        ids: Sequence[Sequence[int] | None] | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts to be found, with the document instruction of the model or of a named task.

        Takes, returns and raises the same as `encode_queries`. `on_batch` gets embeddings as they
        are made, so that they can be kept while the others are still to come. `ids` are the tokens
        of each text, special ones included, where the caller knows them from splitting it.
        """
        template = self.spec.template("document", task)
        pairs = zip(texts, ids, strict=True) if ids is not None else ()
        known = {text: tokens for text, tokens in pairs if tokens is not None}
        return self._encode(texts, template, progress, report, on_batch=on_batch, known=known)

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
        """Embed texts whose first one is at the position `first` of the caller's."""
        bare = self._bare(texts, template, first)
        report = EncodeReport() if report is None else report
        embeddings = np.empty((len(bare), self.spec.dim), dtype=np.float32)
        done = 0
        parts = self._parts(bare, template, report, first, known)
        for batch, rows in self._runner.embed(parts, report):
            where = [position - first for item in batch for position in item.positions]
            repeats = [len(item.positions) for item in batch]
            embeddings[where] = rows if len(where) == len(batch) else rows.repeat(repeats, axis=0)
            done += len(where)
            if on_batch is not None:
                on_batch(where, embeddings[where])
            if progress is not None:
                progress(done, len(bare))
        return embeddings

    def _parts(
        self,
        texts: Sequence[str],
        template: str,
        report: EncodeReport,
        first: int = 0,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> Iterator[list[Item]]:
        """The different texts, tokenised part by part and counted in the report."""
        places = places_of(texts, first)
        report.texts += len(texts)
        report.duplicates += len(texts) - len(places)
        parts = list(in_parts(places))

        def tokenised() -> Iterator[list[Item]]:
            for part in parts:
                tokens = self._tokens(part, template, known or {})
                items = [Item(places[text], item) for text, item in zip(part, tokens, strict=True)]
                _count(items, report)
                yield items

        return prepared_ahead(tokenised()) if len(parts) > 1 else tokenised()

    def _tokens(
        self, texts: Sequence[str], template: str, known: Mapping[str, Sequence[int]]
    ) -> list[Tokens]:
        """Of each text; those that are known and fit are taken as they are."""
        most = self.spec.max_tokens
        rest = [text for text in texts if text not in known or len(known[text]) > most]
        fresh = dict(zip(rest, self._tokenizer.encode(rest, template, self.spec), strict=True))
        return [fresh[text] if text in fresh else Tokens(list(known[text]), 0) for text in texts]

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        role: str = "document",
        task: str | None = None,
        progress: StreamProgress | None = None,
        report: EncodeReport | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Embed texts that need not fit into memory; equal ones near each other are encoded once.

        Args:
            texts: Any number, also from a generator; a few thousand are held at a time.
            role: `query` or `document`.
            task: One of `spec.tasks`.
            progress: Called with (texts done, texts in all if `texts` has a length).
            report: As `encode_queries`.

        Yields:
            The embeddings in the order of the texts, some thousand rows at a time.

        Raises:
            As `encode_queries`, when the text's turn comes.
        """
        check_list(texts)
        template = self.spec.template(role, task)
        total = len(texts) if isinstance(texts, Sized) else None
        return self._stream(texts, template, progress, report, total=total)

    def _stream(
        self,
        texts: Iterable[str],
        template: str,
        progress: StreamProgress | None,
        report: EncodeReport | None,
        first: int = 0,
        total: int | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        def shifted(done: int, _: int) -> None:
            if progress is not None:
                progress(first + done, total)

        for window in windows(texts, self.spec.dim, first):
            yield self._encode(window, template, shifted, report, first)
            first += len(window)

    def encode_to_file(
        self,
        texts: Iterable[str],
        path: str | Path,
        *,
        role: str = "document",
        task: str | None = None,
        progress: StreamProgress | None = None,
        resume: bool = False,
    ) -> EncodeReport:
        """Embed texts into a .npy file, in flat memory; read it with `np.load(mmap_mode="r")`.

        The file appears, or takes the place of an old one, when all rows are in it.

        Args:
            texts: As `encode_stream`.
            path: The file; float32, shape (texts, dim).
            role: As `encode_stream`.
            task: As `encode_stream`.
            progress: As `encode_stream`.
            resume: Keep what an error or an end of the process cuts off, beside the file, and go
                on from there when called again with the same texts.

        Returns:
            What happened to the texts.

        Raises:
            OSError: If the file cannot be written.
            ValueError: As `encode_queries`, or if what is to be resumed is of other texts.
        """
        check_list(texts)
        template = self.spec.template(role, task)
        path = Path(path)
        report = EncodeReport()
        total = len(texts) if isinstance(texts, Sized) else None

        def encode(texts: Iterable[str], first: int) -> Iterator[NDArray[np.float32]]:
            return self._stream(texts, template, progress, report, first, total)

        if resume:
            identity = {"encoder": self.spec.fingerprint, "template": template}
            report.resumed = resume_embeddings(texts, path, self.dim, encode, identity)
        else:
            write_embeddings(texts, path, self.dim, encode)
        return report

    def encode_tokens(
        self, texts: Sequence[str], *, role: str = "document", task: str | None = None
    ) -> list[NDArray[np.float32]]:
        """The vector of every token, before pooling; special and instruction tokens included.

        Returns:
            For each text shape (tokens, width of the model), rows not normalised.

        Raises:
            TypeError: As `encode_queries`, or if the engine has no token vectors.
            ValueError, MemoryError, ArithmeticError: As `encode_queries`.
        """
        template = self.spec.template(role, task)
        bare = self._bare(texts, template)
        arrays: dict[int, NDArray[np.float32]] = {}
        report = EncodeReport()
        parts = self._parts(bare, template, report)
        for batch, found in self._runner.embed_tokens(parts, report):
            for item, rows in zip(batch, found, strict=True):
                arrays |= dict.fromkeys(item.positions, rows)
        return [arrays[position] for position in range(len(bare))]

    def encode_heads(
        self,
        texts: Sequence[str],
        *,
        role: str = "document",
        task: str | None = None,
        with_multi: bool = True,
    ) -> HeadEmbeddings:
        """Embed texts by every head of bge-m3 in one run: dense, weights of words, token vectors.

        Args:
            texts: As `encode_queries`.
            role: `query` or `document`.
            task: One of `spec.tasks`.
            with_multi: Whether the token vectors are wanted, which take the most room.

        Raises:
            TypeError: As `encode_tokens`, or if the model has a dense head only.
            ValueError, MemoryError, ArithmeticError: As `encode_queries`.
        """
        if self._heads is None:
            raise TypeError(f"{self.spec.name} has a dense head only; bge-m3 has others.")
        template = self.spec.template(role, task)
        bare = self._bare(texts, template)
        lexical: dict[int, dict[int, float]] = {}
        multi: dict[int, NDArray[np.float32]] = {}
        dense = np.empty((len(bare), self.spec.dim), dtype=np.float32)
        report = EncodeReport()
        for batch, found in self._runner.embed_tokens(self._parts(bare, template, report), report):
            for item, rows in zip(batch, found, strict=True):
                dense[item.positions] = pooled_rows(rows, self.spec)
                weights = self._heads.lexical(rows, item.tokens.ids)
                lexical |= dict.fromkeys(item.positions, weights)
                if with_multi:
                    multi |= dict.fromkeys(item.positions, self._heads.multi(rows))
        places = range(len(bare))
        vectors = [multi[i] for i in places] if with_multi else []
        return HeadEmbeddings(dense, [lexical[i] for i in places], vectors)

    @property
    def counts_by_words(self) -> bool:
        """Whether a part of a document, cut at spaces or marks, has the tokens that it has in it.

        Then they need not be counted anew for each part.
        """
        return self._tokenizer.counts_by_words(self.spec.template("document"), self.spec)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """The place of each of the text's tokens as (start, end), without special tokens."""
        return self._tokenizer.spans(text)

    def token_ids(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The text's tokens, and the place of each as (start, end), without special tokens."""
        return self._tokenizer.read(text)

    def document_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text as a document, special tokens included, before any cut.

        For encoders that count by words, whose documents have no instruction.
        """
        return self._tokenizer.ids(texts)

    def count_tokens(self, texts: Sequence[str], *, role: str = "document") -> list[int]:
        """Tokens of each text in the role's template, special tokens included, before any cut."""
        template = self.spec.template(role)
        return self._tokenizer.count(self._bare(texts, template), template, self.spec)

    def with_templates(self, templates: Mapping[str, str] | str) -> "Encoder":
        """The same model with other instructions: another encoder, with another fingerprint.

        Args:
            templates: Template by role or task, to be put over the encoder's own; or the name of
                a family of `known_instructions()`, which takes their place.

        Raises:
            ValueError: If there is no such family, or a template has no place for the text.
        """
        spec = replace(self.spec, **changed_instructions(templates, self.spec))
        return Encoder(
            spec, self._tokenizer, self._backend, self.languages, self._precise, self._heads
        )

    def _bare(self, texts: Iterable[str], template: str, first: int = 0) -> list[str]:
        """The texts without an instruction that they already carry; the template puts it back."""
        texts = check_texts(texts, first)
        bare = [unwrap(template, text) for text in texts]
        carrying = [position for position, text in enumerate(bare) if text is not None]
        if carrying and template not in self._noticed:
            self._noticed.add(template)
            log.warning(
                "texts[%d] already carries the instruction %r, which is not put in twice; "
                "give %s the bare text.",
                first + carrying[0],
                template,
                self.spec.name,
            )
        clean = CLEANERS[self.spec.clean]
        pairs = zip(bare, texts, strict=True)
        return [clean(text if inner is None else inner) for inner, text in pairs]

    def unknown_share(self, text: str) -> float:
        """Share of the text's tokens that the encoder does not know, 0 to 1."""
        return self._tokenizer.unknown_share(text)

    def unknown_among(self, ids: Sequence[int]) -> float:
        """The same of tokens, special ones not among them."""
        return self._tokenizer.unknown_among(ids)


def changed_instructions(templates: Mapping[str, str] | str, spec: EncoderSpec) -> dict[str, Any]:
    """The fields of a spec that other templates change; see `Encoder.with_templates`."""
    if not isinstance(templates, str):
        together = {**spec.templates, **templates}
        # A role with the bare text is one without an instruction: two names for one identity.
        empty = [role for role in ROLES if together.get(role) == PLACE]
        return {"templates": {name: together[name] for name in together if name not in empty}}
    if templates not in known_instructions():
        known = ", ".join(known_instructions())
        raise ValueError(f"Unknown instructions {templates!r}. Known: {known}.")
    family = known_instructions()[templates]
    return {"templates": family.templates, "clean": family.clean}


def _count(items: Sequence[Item], report: EncodeReport) -> None:
    for item in items:
        # Encoders with special tokens embed even "", others have nothing to pool.
        if not item.tokens.ids:
            raise ValueError(
                f"texts[{item.positions[0]}] has no tokens, and this encoder adds none; "
                "leave it out."
            )
        report.tokens += len(item.tokens.ids)
        if item.tokens.dropped:
            report.truncated.add(item.positions)


def load_encoder(
    model: str | None = None,
    *,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    dim: int | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
) -> Encoder:
    """Load an encoder.

    Args:
        model: A folder, a hub id, or None for the embedded default (all-MiniLM-L6-v2); or a model
            behind an OpenAI-compatible service: `openai:MODEL` or `http://HOST:PORT/v1#MODEL`.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`, …; several, as
            in `cuda:0,cuda:1` or `cpu,cpu`, run in a process each until the encoder is closed.
        backend: The engine: `torch`, `openvino` (CPU), `remote` (the name is that of a model behind
            the service of OPENAI_BASE_URL), `static` (tables of vectors, and nothing else), or
            `auto`, the fastest one installed.
        dtype: `float32`, `float16`, `bfloat16`, `int8` (on the CPU by nncf through OpenVINO, on a
            GPU by bitsandbytes), on a GPU `int4`, or `auto`: bfloat16 through OpenVINO where the
            processor has instructions for it (cosines to float32 above 0.999), else float32.
        dim: Keep only the first `dim` values of each embedding (Matryoshka models).
        revision: Branch, tag or commit on the hub.
        local_files_only: Do not ask the hub.
        trust_remote_code: Run Python code that comes with the model. Only for models you trust.

    Raises:
        ModelNotFoundError: If there is no such model, or no hub to ask.
        ValueError: If an argument or the model folder is wrong.
    """
    if remote := find_remote(model, backend):
        model = remote.name
    else:
        _check_own_code(find_row(model) if model else None, trust_remote_code)
    found = describe_encoder(model, dim=dim, revision=revision, local_files_only=local_files_only)
    return load_described(
        found, device=device, backend=backend, dtype=dtype, trust_remote_code=trust_remote_code
    )


def _check_own_code(row: ModelRow | None, trust_remote_code: bool) -> None:
    # Without its code the library may run another architecture under the same name, unnoticed.
    if row is not None and row.remote_code and not (trust_remote_code or row.not_yet):
        raise ValueError(
            f"{row.name} runs rightly only with the code that comes with it; if you trust its "
            "authors, load it with trust_remote_code=True."
        )


def load_described(
    found: ModelDescription,
    *,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Encoder:
    """Load what `describe_encoder` found, perhaps after the caller changed its spec.

    Another pooling, layer, maximum or template is another encoder with a fingerprint of its own:
    `replace(found, spec=replace(found.spec, pooling="cls_avg"))`. The rest is as `load_encoder`.

    Raises:
        ValueError: If an argument or the model folder is wrong.
    """
    if found.spec.endpoint:
        if dtype != "auto":
            raise ValueError(
                f"{found.spec.name} runs behind a service, in the service's own precision; leave "
                f"the dtype out, got {dtype!r}."
            )
        from encoder.remote_encoder import load_remote

        return load_remote(found.spec, found.languages)
    if files := find_static(found.folder):
        _check_choices(found.spec.name, device, backend, dtype)
        from encoder.backends.static import load_static

        words, table = load_static(files, found.spec)
        return Encoder(found.spec, words, table, found.languages)
    _check_own_code(found.row, trust_remote_code)
    for sentence in (*found.guesses, *found.disagreements):
        log.warning(sentence)
    tokenizer = Tokenizer.load(found.tokenizer_folder, trust_remote_code=trust_remote_code)
    from encoder.backends.choice import load_backend, precision_of

    # Weights of eight or four bits give other vectors, which must not meet in one index.
    devices = [name.strip() for name in device.split(",")]
    spec = replace(found.spec, precision=precision_of(dtype, devices[0]))

    @cache
    def load(backend: str, dtype: str) -> Backend:
        return load_backend(
            found.folder,
            spec,
            base=found.base,
            pad_id=tokenizer.pad_id,
            backend=backend,
            device=devices[0],
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )

    def start_pool() -> Backend:
        from encoder.backends.pool import WorkerPool

        return WorkerPool(
            devices,
            found.folder,
            spec,
            base=found.base,
            pad_id=tokenizer.pad_id,
            backend=backend,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )

    engine = load(backend, dtype) if len(devices) == 1 else start_pool()
    is_exact = engine.engine.startswith(PRECISE) or dtype in QUANTISED
    precise = None if is_exact else partial(load, "torch", "float32")
    heads = load_heads(found.folder, tokenizer.marks)
    return Encoder(spec, tokenizer, engine, found.languages, precise, heads)


def _check_choices(name: str, device: str, backend: str, dtype: str) -> None:
    """Refuse what a table of vectors cannot be loaded with."""
    allowed = {
        "device": (device, ("auto", "cpu")),
        "backend": (backend, ("auto", "static")),
        "dtype": (dtype, ("auto", "float32")),
    }
    for choice, (given, values) in allowed.items():
        if given not in values:
            raise ValueError(
                f"{name} is a table of vectors, which is looked up on the CPU in float32; {choice} "
                f"must be {' or '.join(values)}, got {given!r}."
            )
