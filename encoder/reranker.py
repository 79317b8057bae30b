"""The reranker: a query and its hits in, how well each answers it out."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from encoder.adapter_files import read_adapter
from encoder.batching import plan_batches
from encoder.files import read_object
from encoder.folder_facts import limit_of_positions
from encoder.model_folder import base_of, find_model_folder
from encoder.own_reranker import read_own_reranker
from encoder.pairs import TEMPLATES, PairTemplate, PairTokenizer, PairTokens
from encoder.registry import find_row
from encoder.rerankers import CROSS_ENCODER, RerankerRow, find_reranker
from encoder.running import at_a_time, is_out_of_memory, last_budget, workers_of
from encoder.texts import check_texts
from encoder.tokenizer import Tokenizer

log = logging.getLogger(__name__)

Pair = tuple[str, str]

_DECODERS = ("Qwen", "Llama", "Mistral", "Gemma", "OPT")
_FIRST_WINDOW, _WINDOW = 4, 16
"""Pairs that are scored before the clock is looked at; few at first, to learn the speed."""


class Scorer(Protocol):
    """An engine that runs a reranker."""

    device: str
    engine: str
    token_budget: int

    def score(self, pairs: Sequence[PairTokens]) -> NDArray[np.float32]:
        """Raw scores of a batch, shape (batch,)."""
        ...


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document of a reranked list."""

    position: int
    """Where it stood in the list that was given, from 0."""
    score: float
    """Between 0 and 1; higher is better."""


class Reranker:
    """Scores documents against a query; one reranker may serve several threads."""

    def __init__(
        self,
        name: str,
        kind: str,
        tokenizer: PairTokenizer,
        scorer: Scorer,
        languages: tuple[str, ...] = (),
        prior: float = 0.0,
    ) -> None:
        self.name = name
        self.kind = kind
        """`cross-encoder`, or the template that a language model is asked with."""
        self.languages = languages
        """Languages that it reads well, as far as the registry knows."""
        self.prior = prior
        """How far the order that it is given is to be followed, in log odds between the first and
        the last document; a reranker that was trained here says it, for others it is 0."""
        self._tokenizer = tokenizer
        self._scorer = scorer

    @property
    def device(self) -> str:
        """Where the model runs."""
        return self._scorer.device

    @property
    def engine(self) -> str:
        """What runs the model, and in which precision."""
        return self._scorer.engine

    def unknown_share(self, text: str) -> float:
        """Share of the text's tokens that it does not know, 0 to 1."""
        return self._tokenizer.unknown_share(text)

    def compute_score(
        self,
        pairs: Sequence[Pair] | Sequence[Sequence[str]] | Sequence[str],
        normalize: bool = False,
    ) -> list[float] | float:
        """Scores of (query, document) pairs, as users of FlagReranker know them.

        Args:
            pairs: A list of pairs, or one pair.
            normalize: Whether a score is put through the sigmoid, into 0 to 1; otherwise it is the
                model's logit, of any size.

        Returns:
            A list of scores, or one number for one pair; higher is better.

        Raises:
            TypeError: If an item is no pair of strings.
            ValueError: If a text holds lone surrogates.
            MemoryError: If a single pair does not fit into the memory.
        """
        is_one = len(pairs) == 2 and isinstance(pairs[0], str)
        checked = _checked([pairs] if is_one else pairs)
        scores = self._scores(checked, None)
        if normalize:
            scores = _sigmoid(scores)
        return float(scores[0]) if is_one else [float(score) for score in scores]

    def score(
        self, query: str, documents: Sequence[str], *, time_limit_s: float | None = None
    ) -> NDArray[np.float32]:
        """How well each document answers the query.

        Args:
            query: A question, as it was asked.
            documents: Texts, the most promising first.
            time_limit_s: Stop before this time is over; what is first is scored first.

        Returns:
            Shape (len(documents),), between 0 and 1, higher is better; not a number (NaN) for what
            the time did not reach.

        Raises:
            TypeError: If the query or a document is no string.
            ValueError: If a text holds lone surrogates, or the time limit is negative.
        """
        if time_limit_s is not None and not time_limit_s >= 0:
            raise ValueError(f"time_limit_s must not be negative, got {time_limit_s}.")
        if not isinstance(query, str):
            raise TypeError(f"query must be a string, got {type(query).__name__}.")
        check_texts([query])
        check_texts(documents)
        return _sigmoid(self._scores([(query, text) for text in documents], time_limit_s))

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        k: int | None = None,
        *,
        time_limit_s: float | None = None,
    ) -> list[Ranked]:
        """The best documents first; what the time did not reach is left out.

        Args:
            query: As `score`.
            documents: As `score`.
            k: How many, or all.
            time_limit_s: As `score`.

        Raises:
            TypeError, ValueError: As `score`, or if `k` is negative.
        """
        if k is not None and k < 0:
            raise ValueError(f"k must not be negative, got {k}.")
        scores = self.score(query, documents, time_limit_s=time_limit_s)
        # Equal scores keep the order that was given.
        order = np.argsort(-scores, kind="stable")
        ranked = [Ranked(int(place), float(scores[place])) for place in order]
        return [one for one in ranked if not np.isnan(one.score)][:k]

    def _scores(self, pairs: Sequence[Pair], time_limit_s: float | None) -> NDArray[np.float32]:
        start = time.perf_counter()
        scores = np.full(len(pairs), np.nan, np.float32)
        cut = scored = 0
        for window in _windows(len(pairs), limited=time_limit_s is not None):
            elapsed = time.perf_counter() - start
            if time_limit_s is not None:
                expected = elapsed / scored * len(window) if scored else 0.0
                if elapsed + expected >= time_limit_s:
                    break
            tokens = self._tokenizer.encode([pairs[place] for place in window])
            cut += sum(pair.dropped > 0 for pair in tokens)
            for batch, found in self._batches(tokens):
                scores[[window[place] for place in batch]] = found
            scored += len(window)
        if cut:
            log.info("%s: %d of %d pairs were cut to its maximum.", self.name, cut, scored)
        return scores

    def _batches(
        self, tokens: Sequence[PairTokens]
    ) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """Places of pairs that ran together, and their scores."""
        lengths = [len(pair.ids) for pair in tokens]
        workers = workers_of(self._scorer)
        batches = plan_batches(lengths, last_budget(self._scorer.token_budget, workers, lengths))

        def score(batch: list[int]) -> NDArray[np.float32]:
            return self._within_memory([tokens[place] for place in batch])

        yield from at_a_time(workers, score, iter(batches))

    def _within_memory(self, pairs: Sequence[PairTokens]) -> NDArray[np.float32]:
        try:
            return self._scorer.score(pairs)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            longest = max(len(pair.ids) for pair in pairs)
        if len(pairs) == 1:
            raise MemoryError(
                f"{self.name} has no room for a pair of {longest} tokens in the free memory of "
                f"{self.device}; free some, or load it with fewer max_tokens or on another device."
            )
        budget = max(1, min(self._scorer.token_budget, len(pairs) * longest) // 2)
        self._scorer.token_budget = budget
        log.warning("%s ran out of memory; from now on %d tokens at a time.", self.name, budget)
        middle = len(pairs) // 2
        halves = (pairs[:middle], pairs[middle:])
        return np.concatenate([self._within_memory(half) for half in halves])


def _windows(count: int, *, limited: bool) -> Iterator[range]:
    """Ranges that are scored one after the other; a single one where no time limit is set."""
    if not limited:
        yield range(count)
        return
    start, size = 0, _FIRST_WINDOW
    while start < count:
        yield range(start, min(start + size, count))
        start, size = start + size, _WINDOW


def _sigmoid(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    # Both branches stay below overflow; a NaN stays one.
    small = np.exp(-np.abs(scores.astype(np.float64)))
    return np.where(scores >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def _checked(pairs: Sequence[Any]) -> list[Pair]:
    for position, pair in enumerate(pairs):
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if not is_pair or not all(isinstance(text, str) for text in pair):
            shown = type(pair).__name__ if not isinstance(pair, (tuple, list)) else pair
            raise TypeError(f"pairs[{position}] must be a (query, document) pair, got {shown!r}.")
        try:
            check_texts(pair)
        except ValueError as error:
            raise ValueError(f"pairs[{position}]: {error}") from None
    return [(query, document) for query, document in pairs]


def load_reranker(  # noqa: PLR0913 - the choices of load_encoder, and two of its own
    model: str,
    *,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    max_tokens: int | None = None,
    template: str | PairTemplate | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    trust_remote_code: bool = False,
) -> Reranker:
    """Load a reranker.

    Args:
        model: A folder or a hub id.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, …
        backend: The engine: `torch`, `openvino` (cross-encoders on the CPU), or `auto`, the fastest
            one installed.
        dtype: `float32` (which `auto` takes), `float16`, `bfloat16`.
        max_tokens: Most tokens of a pair; its document is cut to them, and a query only where it
            takes more than three quarters of them.
        template: How a language model is asked, where that is not its authors' way or the registry
            does not know it: a key of `encoder.pairs.TEMPLATES`, or one of them with another
            instruction, `replace(TEMPLATES["qwen3"], instruction=...)`.
        revision: Branch, tag or commit on the hub.
        local_files_only: Do not ask the hub.
        trust_remote_code: Run Python code that comes with the model. Only for models you trust.

    Raises:
        ModelNotFoundError: If there is no such model, or no hub to ask.
        ValueError: If an argument is wrong, or the model is no reranker that Angler can run.
    """
    row = find_reranker(model)
    _refuse_others(model, row, trust_remote_code=trust_remote_code)
    folder = find_model_folder(model, revision=revision, local_files_only=local_files_only)
    row = row or find_reranker(folder.absolute().name)
    _refuse_others(model, row, trust_remote_code=trust_remote_code)
    own = read_own_reranker(folder)
    adapter = read_adapter(folder)
    base = base_of(adapter, local_files_only) if adapter else folder
    config = read_object(base / "config.json")
    if not config:
        raise ValueError(f"{folder} is no model folder: it holds no config.json.")
    kind = CROSS_ENCODER if adapter and own else _kind(model, config, row, template)
    asked = template if isinstance(template, PairTemplate) else TEMPLATES.get(kind)
    limit, _ = limit_of_positions(base, config)
    known = [found.max_tokens for found in (row, own) if found is not None]
    tokenizer = PairTokenizer(
        Tokenizer.load(base, trust_remote_code=trust_remote_code),
        _chosen_tokens(max_tokens, min(limit, *known) if known else limit, model),
        asked,
        config.get("bos_token_id"),
    )
    from encoder.backends.choice import load_pair_scorer

    scorer = load_pair_scorer(
        folder,
        base=base,
        pad_id=tokenizer.pad_id,
        answers=tokenizer.answers,
        backend=backend,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    languages = row.languages if row else ()
    return Reranker(model, kind, tokenizer, scorer, languages, own.prior if own else 0.0)


def _refuse_others(model: str, row: RerankerRow | None, *, trust_remote_code: bool) -> None:
    if row is None:
        if find_row(model) is not None:
            raise ValueError(
                f"{model} is an encoder, which gives embeddings; load it with load_encoder."
            )
        return
    if row.not_yet:
        raise ValueError(f"Angler does not run {row.name} yet: {row.not_yet}.")
    if row.remote_code and not trust_remote_code:
        raise ValueError(
            f"{row.name} runs only with the code that comes with it; if you trust its authors, "
            "load it with trust_remote_code=True."
        )


def _kind(
    model: str,
    config: Mapping[str, Any],
    row: RerankerRow | None,
    template: str | PairTemplate | None,
) -> str:
    """`CROSS_ENCODER`, or how a language model is asked."""
    architecture = str((config.get("architectures") or ["no architecture"])[0])
    is_causal = architecture.endswith("ForCausalLM")
    if template is not None and not is_causal:
        raise ValueError(f"{model} holds {architecture}, no language model to ask by a template.")
    if isinstance(template, str) and template not in TEMPLATES:
        raise ValueError(f"Unknown template {template!r}. Known: {', '.join(TEMPLATES)}.")
    if isinstance(template, str):
        return template
    if row is not None:
        return row.kind
    if is_causal:
        return _asked_like(config, template)
    if architecture.endswith("ForSequenceClassification") and not architecture.startswith(
        _DECODERS
    ):
        return CROSS_ENCODER
    raise ValueError(
        f"{model} holds {architecture}, which is no reranker that Angler runs: those are "
        "ForSequenceClassification of a model that reads both ways, and ForCausalLM."
    )


def _asked_like(config: Mapping[str, Any], template: PairTemplate | None) -> str:
    by_type = {"qwen3": "qwen3", "gemma": "bge-gemma"}
    model_type = str(config.get("model_type"))
    if template is None and model_type not in by_type:
        raise ValueError(
            f"Nothing says how this {model_type} model is asked; give a template: "
            f"{', '.join(TEMPLATES)}, or one of your own."
        )
    return by_type.get(model_type, "your own")


def _chosen_tokens(given: int | None, limit: int, model: str) -> int:
    if given is None:
        return limit
    if not 1 <= given <= limit:
        raise ValueError(
            f"max_tokens must be between 1 and {limit}, what {model} reads; got {given}."
        )
    return given
