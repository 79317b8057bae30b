"""Filtered search: every leg finds only what the filter lets through, and the best of it."""

import json

import numpy as np
import pytest

from indexing import build_index, open_index
from indexing import generation as generation_module
from indexing import lexical as lexical_module
from indexing.filter_parser import parse_filter
from indexing.filters import FilterError

WORDS = ("train", "hotel", "office", "password", "cat", "invoice", "parcel", "refund")


def line(number, **more):
    rng = np.random.default_rng(number)
    text = " ".join(rng.choice(WORDS, 6))
    metadata = {"year": 2000 + number % 30, "group": "odd" if number % 2 else "even", **more}
    return json.dumps({"id": f"d{number}", "text": text, "metadata": metadata})


@pytest.fixture(scope="module")
def index(tmp_path_factory, make_word_encoder):
    folder = tmp_path_factory.mktemp("filtered") / "kb"
    encoder = make_word_encoder()
    build_index(["-"], folder, encoder=encoder, lines=[line(n) for n in range(300)])
    # A delta: some documents change their facts, some are new.
    changed = [line(n, group="moved", year=1) for n in range(0, 40)]
    lines = changed + [line(n) for n in range(40, 330)]
    build_index(["-"], folder, encoder=encoder, lines=lines)
    assert open_index(folder, encoder=encoder).generation.delta is not None
    return open_index(folder, encoder=encoder)


def year(hit):
    return hit.metadata["year"]


@pytest.fixture(params=["few", "many"])
def ways(request, monkeypatch):
    """Both ways of searching: the allowed chunks alone, and the whole with a selection."""
    if request.param == "many":
        monkeypatch.setattr(generation_module, "EXACT_ALLOWED", 0)
        monkeypatch.setattr(lexical_module, "_TERMS_ALLOWED", 0)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("mode", ["dense", "lexical"])
@pytest.mark.parametrize(
    "expression",
    ["year == 2007", "year >= 2010 and group == 'even'", "group == 'moved'", "year > 0"],
)
def test_filtered_hits_are_the_best_of_those_that_the_filter_lets_through(index, mode, expression):
    tree = parse_filter(expression)
    let_through = {
        "year == 2007": lambda m: m["year"] == 2007,
        "year >= 2010 and group == 'even'": lambda m: m["year"] >= 2010 and m["group"] == "even",
        "group == 'moved'": lambda m: m["group"] == "moved",
        "year > 0": lambda m: True,
    }[expression]
    everything = index.search("train to the office", 330, mode=mode)
    want = [hit for hit in everything if let_through(hit.metadata)]

    for k in (1, 5, 330):
        got = index.search("train to the office", k, mode=mode, filter=tree)
        assert [hit.score for hit in got] == pytest.approx([h.score for h in want[:k]], abs=1e-5)
        assert all(let_through(hit.metadata) for hit in got)
    assert {hit.chunk for hit in got} == {hit.chunk for hit in want}


def test_hybrid_search_is_filtered_in_both_legs(index):
    hits = index.search("cat", 20, filter="year in (2001, 2002)")

    assert len(hits) == 18
    assert {year(hit) for hit in hits} == {2001, 2002}
    assert {hit.chunk for hit in hits} <= set(index.generation.allowed(parse_filter("year < 2003")))


def test_changed_documents_are_judged_by_their_new_facts(index):
    assert len(index.search("cat", 400, mode="dense", filter="group == 'moved'")) == 40
    assert len(index.search("cat", 400, mode="dense", filter="group == 'even'")) == 145


def test_a_filter_that_lets_nothing_through_finds_nothing(index):
    for mode in ("dense", "lexical", "hybrid"):
        assert index.search("cat", mode=mode, filter="year == 1900") == []


def test_true_and_1_are_told_apart(index):
    assert len(index.search("cat", 400, mode="dense", filter="year == 1")) == 40
    assert index.search("cat", 400, mode="dense", filter="year == true") == []


def test_a_field_that_no_document_has_is_refused_with_those_there_are(index):
    with pytest.raises(FilterError) as caught:
        index.search("cat", filter="yeer == 2020")

    assert str(caught.value) == (
        "No document has the field 'yeer' that the filter asks for. "
        "Known: path, title, language, date, heading, page, group, year."
    )


def test_a_filter_that_cannot_be_read_is_refused(index):
    with pytest.raises(FilterError, match="character 6: write == to compare"):
        index.search("cat", filter="year = 2020")


def test_a_retriever_takes_a_filter(index):
    documents = index.as_retriever(k=3, filter="year == 2005").invoke("cat")

    assert {document.metadata["year"] for document in documents} == {2005}
