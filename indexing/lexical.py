"""The lexical leg: BM25 over words for English, characters and bigrams for Chinese."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tantivy
from numpy.typing import NDArray

from indexing.stores.base import are_among
from indexing.words import common_words, words

COMMON_WEIGHT = 0.2
"""What a common word of a query counts; chosen on the development splits of twelve sets."""
_ANALYZER = "angler-2"
"""Name of the way to terms, kept in the engine's own description of the index."""
_ANALYZER_BEFORE = "angler"
"""The way of older indexes, which did not fold traditional characters; they stay as they are."""
_K1 = 1.2
"""The engine's own."""
_KEPT_QUERIES = 64
_HEAP_BYTES = 64_000_000
_TERMS_ALLOWED = 2_000
"""Up to so many allowed ids are part of the query; beyond, looking further down is quicker."""


class LexicalIndex:
    """A BM25 index in a folder; searching is safe from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the index that a `LexicalWriter` left in `folder`, which may be read-only."""
        # The engine writes a lock file beside an index even to read it, and a published folder is
        # never written to; so it opens a private folder of links, and then holds the files open.
        with TemporaryDirectory(prefix="angler-", ignore_cleanup_errors=True) as links:
            for path in folder.absolute().iterdir():
                (Path(links) / path.name).symlink_to(path)
            self._index = tantivy.Index.open(links)
            self._index.config_reader(reload_policy="manual")
            self._index.searcher()
        self._folds_traditional = _folds_traditional(folder)
        self._analyzer = _stemmer()
        self._schema = self._index.schema
        # A search asks for its query's terms several times.
        self._weights = lru_cache(_KEPT_QUERIES)(self._weigh)

    def __len__(self) -> int:
        return self._index.searcher().num_docs

    def search(
        self, query: str, k: int, *, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `k` best ids by BM25 (k1 = 1.2, b = 0.75).

        A word that the query repeats counts as often; a common word counts `COMMON_WEIGHT`.

        Args:
            query: What to look for.
            k: How many.
            allowed: Only these ids, ascending, if given.

        Returns:
            Scores and ids, best first; fewer than `k` where fewer texts share a term.

        Source: Robertson & Zaragoza 2009, section 3.5 (https://doi.org/10.1561/1500000019).
        """
        weights = self._weights(query)
        if not weights or not len(self):
            return np.empty(0, np.float32), np.empty(0, np.int64)
        clauses = [(tantivy.Occur.Should, self._term(*item)) for item in weights.items()]
        text = tantivy.Query.boolean_query(clauses)
        if allowed is None:
            return self._best(text, k)
        if len(allowed) <= _TERMS_ALLOWED:
            return self._best(self._only(text, allowed), k)
        return self._best_allowed(text, k, allowed)

    def ceiling(self, query: str) -> float:
        """The BM25 that no text can exceed: every term of the query, over and over."""
        return sum(self.worth(query).values()) * (_K1 + 1)

    def terms(self, query: str, text: str) -> list[tuple[str, float, int, bool]]:
        """How a query is read: (term, weight in it, texts that hold it, whether `text` does)."""
        searcher = self._index.searcher()
        held = self._weigh(text)
        return [
            (term, weight, searcher.doc_freq("text", term), term in held)
            for term, weight in self._weights(query).items()
        ]

    def worth(self, query: str) -> dict[str, float]:
        """What each term of a query tells: how rare it is, times what it counts in the query."""
        searcher = self._index.searcher()
        return {
            term: weight * _idf(searcher.doc_freq("text", term), searcher.num_docs)
            for term, weight in self._weights(query).items()
        }

    def terms_in(self, text: str) -> frozenset[str]:
        """The terms that a text holds."""
        return frozenset(self._weigh(text))

    def _best(self, query: tantivy.Query, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        searcher = self._index.searcher()
        hits = searcher.search(query, k, count=False).hits
        ids = searcher.fast_field_values("id", [address for _, address in hits])
        order = sorted(zip((-score for score, _ in hits), ids, strict=True))
        scores = np.array([-score for score, _ in order], np.float32)
        return scores, np.array([id_ for _, id_ in order], np.int64)

    def _weigh(self, query: str) -> Mapping[str, float]:
        """Each term of a query with what it counts."""
        given = list(words(query, fold_traditional=self._folds_traditional))
        weights: dict[str, float] = defaultdict(float)
        for word, term in zip(given, self._analyzer.analyze(" ".join(given)), strict=True):
            weights[term] += COMMON_WEIGHT if word in common_words() else 1.0
        return weights

    def _only(self, query: tantivy.Query, allowed: NDArray[np.int64]) -> tantivy.Query:
        ids = tantivy.Query.term_set_query(self._schema, "id", allowed.tolist())
        free = tantivy.Query.const_score_query(ids, 0.0)
        must = tantivy.Occur.Must
        return tantivy.Query.boolean_query([(must, query), (must, free)])

    def _best_allowed(
        self, query: tantivy.Query, k: int, allowed: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Look further down the ranking until `k` allowed ids were met: many are allowed."""
        depth = min(len(self), 2 * k * max(1, len(self) // len(allowed)))
        while True:
            scores, ids = self._best(query, depth)
            kept = are_among(ids, allowed)
            if kept.sum() >= k or len(ids) < depth or depth >= len(self):
                return scores[kept][:k], ids[kept][:k]
            depth = min(len(self), depth * 4)

    def _term(self, term: str, weight: float) -> tantivy.Query:
        query = tantivy.Query.term_query(self._schema, "text", term, index_option="freq")
        return query if weight == 1 else tantivy.Query.boost_query(query, weight)


def _idf(holding: int, texts: int) -> float:
    """What a term counts by how many of the texts hold it; the engine counts deleted ones too."""
    return math.log(1 + max(0.0, texts - holding + 0.5) / (holding + 0.5))


class LexicalWriter:
    """Adds to and removes from the index in a folder that nobody reads yet."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._folds_traditional = _folds_traditional(folder)
        analyzer = _ANALYZER if self._folds_traditional else _ANALYZER_BEFORE
        with _failing_as_os_error(folder):
            index = tantivy.Index(_schema(analyzer), path=str(folder))
            index.register_tokenizer(analyzer, _stemmer())
            self._writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)

    def remove(self, ids: Iterable[int]) -> None:
        """Remove texts that were there before this writer."""
        for id_ in ids:
            self._writer.delete_documents_by_term("id", int(id_))

    def add(self, texts: Iterable[tuple[int, str]]) -> None:
        """Add texts by id."""
        self.add_terms((id_, self.terms(text)) for id_, text in texts)

    def terms(self, text: str) -> str:
        """The terms of a text, parted by spaces, before they are stemmed."""
        return " ".join(words(text, fold_traditional=self._folds_traditional))

    def add_terms(self, texts: Iterable[tuple[int, str]]) -> None:
        """Add texts of which `terms` was taken before."""
        for id_, terms in texts:
            document = tantivy.Document()
            document.add_integer("id", int(id_))
            document.add_text("text", terms)
            with _failing_as_os_error(self._folder):
                self._writer.add_document(document)

    def close(self) -> None:
        """Commit, and leave nothing in the folder but the index."""
        with _failing_as_os_error(self._folder):
            self._writer.commit()
            self._writer.garbage_collect_files()
            self._writer.wait_merging_threads()
        for lock in self._folder.glob(".tantivy-*.lock"):
            lock.unlink()


def _folds_traditional(folder: Path) -> bool:
    """Whether the index in a folder, or a new one there, folds traditional characters."""
    description = folder / "meta.json"
    if not description.is_file():
        return True
    fields = json.loads(description.read_text("utf-8"))["schema"]
    text = next(field for field in fields if field["name"] == "text")
    return bool(text["options"]["indexing"]["tokenizer"] != _ANALYZER_BEFORE)


@contextmanager
def _failing_as_os_error(folder: Path) -> Iterator[None]:
    """The engine says ValueError for a full disk and every other trouble with its files."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise OSError(f"Cannot write {folder}: {error}") from error


def _schema(analyzer: str) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    # Signed: tantivy-py 0.27 deletes nothing by a term of an unsigned field.
    builder.add_integer_field("id", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name=analyzer, index_option="freq")
    return builder.build()


def _stemmer() -> tantivy.TextAnalyzer:
    tokenizer = tantivy.Tokenizer.whitespace()
    return tantivy.TextAnalyzerBuilder(tokenizer).filter(tantivy.Filter.stemmer("English")).build()
