"""What is remembered of searches, and how hits are read."""

from dataclasses import replace

import pytest

from app.access import EVERYBODY, Reader
from app.address import Address
from app.knowledge_base import KnowledgeBase, SharedEncoders
from app.library import Library
from app.searching import Found, Opened, filter_of, read_hits, search
from indexing.filters import Comparison


@pytest.fixture
def opened(handbook_index, encoder_at_hand):
    [listing] = Library(None, handbook_index).all()
    return Opened(listing=listing, base=KnowledgeBase(handbook_index, "handbook"))


def found_of(opened, hits):
    ranks = [hit.rank for hit in hits]
    return Found(
        hits=hits,
        home=dict.fromkeys(ranks, opened),
        original=dict(zip(ranks, hits, strict=True)),
        seconds=0.0,
    )


def test_a_repeated_search_is_remembered_with_its_time(opened):
    address = Address(query="backup of an index", language="en")

    first, second = (search([opened], address, EVERYBODY) for _ in range(2))

    assert (first.hits, first.seconds) == (second.hits, second.seconds)
    assert len(first.hits) == 10


def test_sentences_follow_their_hits_to_another_rank(opened):
    hits = opened.base.index.search("backup of an index", 5)
    lower = [replace(hit, rank=hit.rank + 5) for hit in hits]

    [high], [low] = (list(read_hits(found_of(opened, some), "backup")) for some in (hits, lower))

    assert {sentence.hit for sentence in high} <= {1, 2, 3, 4, 5}
    # Not in the same order: what a lower hit says counts less.
    assert sorted((s.hit - 5, s.text) for s in low) == sorted((s.hit, s.text) for s in high)


def test_hits_are_read_a_few_at_a_time_and_all_of_them(opened):
    hits = opened.base.index.search("backup of an index", 12)

    portions = [
        {sentence.hit for sentence in some}
        for some in read_hits(found_of(opened, hits), "backup of an index")
    ]

    assert len(portions) == 3
    assert portions[0] <= set(range(1, 6))
    assert portions[1] <= set(range(6, 11))
    assert portions[2] <= {11, 12}


class Restricted(Reader):
    """A reader who may see one page only."""

    def filter_for(self, listing):
        return Comparison("path", "==", "en/documents.md")


@pytest.mark.parametrize("asked", ["", 'path == "en/chunking.md"', 'path != "x" or page >= 0'])
def test_no_filter_of_a_link_widens_what_a_reader_may_see(opened, asked):
    reader = Restricted()
    address = Address(query="documents", filter=asked, language="en")

    found = search([opened], address, reader)

    assert {hit.document for hit in found.hits} <= {"en/documents.md"}
    assert 'path == "en/documents.md"' in filter_of(address, opened.listing, reader)
    assert filter_of(Address(language="en"), opened.listing, EVERYBODY) is None


def test_an_encoder_is_loaded_once_for_all_who_need_it(opened, monkeypatch):
    loads = []
    monkeypatch.setattr("app.knowledge_base.load_built", lambda spec: loads.append(spec) or spec)
    spec = opened.base.index.generation.manifest.encoder
    shared = SharedEncoders(most=1)

    assert shared.load(spec) is shared.load(spec)
    shared.load(replace(spec, dim=128))
    shared.load(spec)

    assert [one.dim for one in loads] == [spec.dim, 128, spec.dim]
