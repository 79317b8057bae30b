"""Why a document was found, or not."""

import json

import numpy as np
import pytest

from data import GoldenQuestion
from indexing import build_index, explain, open_index
from indexing.calibrating import calibrate_index
from indexing.filters import FilterError
from indexing.legs import FUSED_DEPTH
from indexing.reranking import Reranking
from indexing.stores.base import SearchResult

TOPICS = ("train", "hotel", "office", "cat", "tax")


def line(n):
    text = f"{TOPICS[n % 5]} text number{n} about {TOPICS[n % 3]}"
    return json.dumps({"id": f"docs/{n}.md", "text": text, "metadata": {"year": 2000 + n % 10}})


@pytest.fixture(scope="module")
def index(tmp_path_factory, make_word_encoder):
    folder = tmp_path_factory.mktemp("explained") / "kb"
    encoder = make_word_encoder(max_tokens=16)
    lines = [line(n) for n in range(160)]
    build_index(["-"], folder, encoder=encoder, lines=lines)
    numbered = [GoldenQuestion(question=f"number{n}", document=f"docs/{n}.md") for n in range(40)]
    calibrate_index(folder, encoder, numbered)
    return open_index(folder, encoder=encoder)


QUERY = "hotel number7 unheard"


@pytest.mark.parametrize("document", ["docs/7.md", "docs/1.md", "docs/4.md"])
def test_ranks_and_scores_are_those_of_the_lists(index, document):
    got = index.explain(QUERY, document)

    for mode, place in (("dense", got.dense), ("lexical", got.lexical), ("hybrid", got.fused)):
        hits = {hit.document: hit for hit in index.search(QUERY, 1000, mode=mode)}
        hit = hits.get(document)
        if hit is None:
            assert (place.rank, place.chunk, place.score) == (None, None, None)
        elif mode != "hybrid" or place.rank is not None:
            assert (place.rank, place.chunk) == (hit.rank, hit.chunk)
            assert place.score == pytest.approx(hit.score, abs=1e-5)
    assert not got.dense_is_missed
    assert got.document == document
    assert got.text == index.generation.text(document)


def test_terms_and_tokens_are_named(index):
    got = index.explain(QUERY, "docs/7.md")

    assert [(t.term, t.chunks, t.is_in_chunk) for t in got.terms] == [
        ("hotel", sum("hotel" in line(n) for n in range(160)), True),
        ("number7", 1, True),
        ("unheard", 0, False),
    ]
    assert [token.text for token in got.query_tokens] == ["hotel", "number7", "unheard"]
    assert not got.query_is_cut
    assert got.most_tokens == 16
    assert index.explain(QUERY + " word" * 20, "docs/7.md").query_is_cut


def test_the_part_of_the_filter_that_drops_the_document_is_named(index):
    got = index.explain(QUERY, "docs/7.md", filter='year == 2003 and "docs/" in path')

    assert got.dropped_by == ("year == 2003",)
    assert (got.dense.rank, got.lexical.rank, got.fused.rank) == (None, None, None)
    assert index.explain(QUERY, "docs/7.md", filter="year == 2007").dropped_by == ()


def test_ranks_are_among_what_the_filter_lets_through(index):
    got = index.explain(QUERY, "docs/17.md", filter="year == 2007")

    hits = index.search(QUERY, 100, mode="dense", filter="year == 2007")
    assert got.dense.rank == next(hit.rank for hit in hits if hit.document == "docs/17.md")


def test_a_miss_of_an_approximate_search_is_seen(index, monkeypatch):
    exact = index.explain(QUERY, "docs/7.md")
    assert exact.dense.rank <= FUSED_DEPTH
    search = type(index.generation).search

    def forgetful(self, queries, k, **which):
        scores, ids = search(self, queries, k, **which)
        scores[ids == exact.dense.chunk], ids[ids == exact.dense.chunk] = -np.inf, -1
        return SearchResult(scores, ids)

    monkeypatch.setattr(type(index.generation), "search", forgetful)
    got = index.explain(QUERY, "docs/7.md")

    assert got.dense_is_missed
    assert got.dense == exact.dense


def test_the_reranked_list_is_one_more(index):
    class Last:
        def score(self, query, documents, *, time_limit_s=None):
            return np.arange(len(documents), dtype=np.float32)

    got = index.explain(QUERY, "docs/7.md", rerank=Reranking(model=Last(), depth=10))

    assert (got.fused.rank, got.reranked.rank, got.reranked.score) == (1, 10, 0.0)
    assert index.explain(QUERY, "docs/7.md").reranked is None


def test_relevance_is_that_of_a_hit(index):
    hit = index.search(QUERY, 1)[0]
    got = index.explain(QUERY, hit.document)

    assert got.relevance == hit.relevance is not None
    assert got.better_than == hit.better_than


def test_a_document_that_is_not_there_is_refused_with_what_may_be_meant(index):
    with pytest.raises(LookupError, match=r"no document '7\.md'\. Did you mean: docs/7\.md"):
        index.explain(QUERY, "7.md")
    with pytest.raises(ValueError, match="query is empty"):
        index.explain(" ", "docs/7.md")
    with pytest.raises(FilterError, match="No document has the field"):
        index.explain(QUERY, "docs/7.md", filter="colour == 1")


def test_the_command_prints_one_object_or_lines(index, monkeypatch, capsys):
    monkeypatch.setattr("indexing.retriever.open_index", lambda *a, **k: index)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["explain", *arguments, "--index", "kb"])
        with pytest.raises(SystemExit) as caught:
            explain.main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    code, out, _ = call(QUERY, "--document", "docs/7.md", "--json")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(index.explain(QUERY, "docs/7.md").as_dict()))
    code, out, _ = call(QUERY, "--document", "docs/7.md", "--filter", "year == 2003")
    assert code == 0
    assert "dropped by the filter: year == 2003" in out
    assert "fused    not in the list" in out
    code, out, err = call(QUERY, "--document", "nothing")
    assert (code, out) == (1, "")
    assert "The index holds no document 'nothing'" in err
    assert call(" ", "--document", "docs/7.md")[0] == 2
