"""What is remembered of searches."""

from dataclasses import replace

from app.address import Address
from app.knowledge_base import KnowledgeBase
from app.searching import read_hits, search


def test_a_repeated_search_is_remembered_with_its_time(handbook_index, encoder_at_hand):
    base = KnowledgeBase(handbook_index)
    address = Address(query="backup of an index", language="en")

    first, second = search(base, address), search(base, address)

    assert first == second
    assert len(first.hits) == 10


def test_sentences_follow_their_hits_to_another_rank(handbook_index, encoder_at_hand):
    base = KnowledgeBase(handbook_index)
    hits = base.index.search("backup of an index", 5)
    lower = [replace(hit, rank=hit.rank + 5) for hit in hits]

    [high], [low] = (list(read_hits(base, "backup", some)) for some in (hits, lower))

    assert {sentence.hit for sentence in high} <= {1, 2, 3, 4, 5}
    # Not in the same order: what a lower hit says counts less.
    assert sorted((s.hit - 5, s.text) for s in low) == sorted((s.hit, s.text) for s in high)


def test_hits_are_read_a_few_at_a_time_and_all_of_them(handbook_index, encoder_at_hand):
    base = KnowledgeBase(handbook_index)
    hits = base.index.search("backup of an index", 12)

    portions = [
        {sentence.hit for sentence in some} for some in read_hits(base, "backup of an index", hits)
    ]

    assert len(portions) == 3
    assert portions[0] <= set(range(1, 6))
    assert portions[1] <= set(range(6, 11))
    assert portions[2] <= {11, 12}
