"""The lexical leg: BM25 over words for English, characters and bigrams for Chinese."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tantivy
from numpy.typing import NDArray

_HAN = (
    r"\u2e80-\u2fdf\u3005-\u3007\u3041-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    r"\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Chinese, Japanese and Korean characters: scripts that do not part their words."""
_RUN = re.compile(rf"(?P<han>[{_HAN}]+)|(?P<word>[^\W_{_HAN}]+)")
_LONGEST_WORD = 64
_ANALYZER = "angler"
_HEAP_BYTES = 64_000_000
_TERMS_ALLOWED = 2_000
"""Up to so many allowed ids are part of the query; beyond, looking further down is quicker."""


def words(text: str) -> Iterator[str]:
    """The terms of a text: lower-cased words, and each Chinese character and pair of characters.

    Full-width forms are folded to half-width (NFKC); accents and case do not count.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    for run in _RUN.finditer(folded):
        if run["word"] is not None:
            yield _without_accents(run["word"])[:_LONGEST_WORD]
        else:
            yield from run["han"]
            yield from map("".join, pairwise(run["han"]))


def _without_accents(word: str) -> str:
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFD", word)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


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
        self._analyzer = _stemmer()
        self._index.register_tokenizer(_ANALYZER, self._analyzer)
        self._schema = self._index.schema

    def __len__(self) -> int:
        return self._index.searcher().num_docs

    def search(
        self, query: str, k: int, *, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `k` best ids by BM25 (k1 = 1.2, b = 0.75).

        Args:
            query: What to look for.
            k: How many.
            allowed: Only these ids, if given.

        Returns:
            Scores and ids, best first; fewer than `k` where fewer texts share a term.

        Source: Robertson & Zaragoza 2009, section 3.5 (https://doi.org/10.1561/1500000019).
        """
        terms = Counter(self._analyzer.analyze(" ".join(words(query))))
        if not terms or not len(self):
            return np.empty(0, np.float32), np.empty(0, np.int64)
        clauses = [(tantivy.Occur.Should, self._term(*term)) for term in terms.items()]
        text = tantivy.Query.boolean_query(clauses)
        if allowed is None:
            return self._best(text, k)
        if len(allowed) <= _TERMS_ALLOWED:
            return self._best(self._only(text, allowed), k)
        return self._best_allowed(text, k, allowed)

    def _best(self, query: tantivy.Query, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        searcher = self._index.searcher()
        hits = searcher.search(query, k, count=False).hits
        ids = searcher.fast_field_values("id", [address for _, address in hits])
        order = sorted(zip((-score for score, _ in hits), ids, strict=True))
        scores = np.array([-score for score, _ in order], np.float32)
        return scores, np.array([id_ for _, id_ in order], np.int64)

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
            kept = np.isin(ids, allowed)
            if kept.sum() >= k or len(ids) < depth or depth >= len(self):
                return scores[kept][:k], ids[kept][:k]
            depth = min(len(self), depth * 4)

    def _term(self, term: str, count: int) -> tantivy.Query:
        query = tantivy.Query.term_query(self._schema, "text", term, index_option="freq")
        return query if count == 1 else tantivy.Query.boost_query(query, float(count))


class LexicalWriter:
    """Adds to and removes from the index in a folder that nobody reads yet."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        with _failing_as_os_error(folder):
            index = tantivy.Index(_schema(), path=str(folder))
            index.register_tokenizer(_ANALYZER, _stemmer())
            self._writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)

    def remove(self, ids: Iterable[int]) -> None:
        """Remove texts that were there before this writer."""
        for id_ in ids:
            self._writer.delete_documents_by_term("id", int(id_))

    def add(self, texts: Iterable[tuple[int, str]]) -> None:
        """Add texts by id."""
        for id_, text in texts:
            document = tantivy.Document()
            document.add_integer("id", int(id_))
            document.add_text("text", " ".join(words(text)))
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


@contextmanager
def _failing_as_os_error(folder: Path) -> Iterator[None]:
    """The engine says ValueError for a full disk and every other trouble with its files."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise OSError(f"Cannot write {folder}: {error}") from error


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    # Signed: tantivy-py 0.27 deletes nothing by a term of an unsigned field.
    builder.add_integer_field("id", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
    return builder.build()


def _stemmer() -> tantivy.TextAnalyzer:
    tokenizer = tantivy.Tokenizer.whitespace()
    return tantivy.TextAnalyzerBuilder(tokenizer).filter(tantivy.Filter.stemmer("English")).build()
