"""bge-m3's weights of words as a leg: kept in the generation, searched, fused, updated."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tiny_models import add_m3_heads, save_tiny_model
from data import BeirDataset, BeirDocument
from encoder import load_encoder
from encoder.heads import lexical_score
from indexing import build_index, open_index, writing
from indexing.fusion import Fusion, FusionMethod
from indexing.fusion_choice import Judged, choose_fusion
from indexing.hits import Mode
from indexing.judged import DatasetRankings
from indexing.purging import purge_index
from indexing.reencoding import reembed_index
from indexing.sparse import SparseRows, SparseWriter
from indexing.work import job

TEXTS = {
    "trains": "The night train leaves at ten. It has beds.",
    "trams": "A tram leaves every five minutes.",
    "money": "Refunds are paid within a month.",
    "zh": "退款在一个月内支付。",
    "beds": "Beds are made of wood.",
}
QUERY = "when does the train leave"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m3") / "bge-m3"
    save_tiny_model("xlm-roberta", folder)
    add_m3_heads(folder)
    return load_encoder(str(folder), device="cpu", backend="torch")


def built(folder, encoder, texts):
    lines = [json.dumps({"id": id_, "text": text}) for id_, text in texts.items()]
    build_index(["-"], folder, encoder=encoder, lines=lines)
    return open_index(folder, encoder=encoder)


@pytest.fixture(scope="module")
def index(tmp_path_factory, encoder):
    return built(tmp_path_factory.mktemp("sparse") / "kb", encoder, TEXTS)


def computed(index, query, allowed=None):
    """The score of every chunk that shares a weight with the query, straight from the heads."""
    ids = index.generation.chunk_ids().tolist() if allowed is None else allowed
    texts = index.generation.embedded_texts(ids)
    heads = index.encoder.encode_heads([texts[id_] for id_ in ids])
    (asked,) = index.encoder.encode_heads([query], role="query").lexical
    scores = {id_: lexical_score(asked, row) for id_, row in zip(ids, heads.lexical, strict=True)}
    return {id_: score for id_, score in scores.items() if score > 0}


def found(index, query, **choices):
    return index.ask(query, **choices).sparse(1000)


def assert_as_computed(index, query=QUERY):
    want = computed(index, query)
    assert want
    assert found(index, query) == pytest.approx(want, rel=1e-4)


def test_scores_equal_those_of_the_heads(index):
    assert index.generation.weighs_words
    for query in (QUERY, "退款", "beds of wood"):
        assert_as_computed(index, query)


def test_the_best_come_first_and_no_more_than_wanted(index):
    everything = found(index, QUERY)
    scores = list(everything.values())

    assert scores == sorted(scores, reverse=True)
    assert list(index.ask(QUERY).sparse(2)) == list(everything)[:2]


def test_the_dense_leg_is_what_it_is_without_the_heads(index):
    (row,) = index.encoder.encode_queries([QUERY])
    ids = index.generation.chunk_ids().tolist()
    texts = index.generation.embedded_texts(ids)
    rows = index.encoder.encode_documents([texts[id_] for id_ in ids])

    got = index.ask(QUERY).dense(10)

    assert got == pytest.approx(dict(zip(ids, (rows @ row).tolist(), strict=True)), abs=1e-5)


def test_hybrid_joins_three_legs_by_value(index):
    asked = index.ask(QUERY)
    dense, lexical, sparse = asked.dense(100), asked.lexical(100), asked.sparse(100)
    trust = max(0.0, 1 - asked.unknown_share / 0.25)
    share = 0.4 * trust
    shares = (share, (1 - share) * (1 - 0.5 * trust), (1 - share) * 0.5 * trust)

    def stretched(leg, low):
        return {id_: (score - low) / (max(leg.values()) - low) for id_, score in leg.items()}

    legs = [
        stretched(dense, min(dense.values())),
        stretched(lexical, 0.0 if len(lexical) < len(dense) else min(lexical.values())),
        stretched(sparse, 0.0 if len(sparse) < len(dense) else min(sparse.values())),
    ]
    for hit in index.search(QUERY, 10):
        want = sum(part * leg.get(hit.chunk, 0) for part, leg in zip(shares, legs, strict=True))
        assert hit.score == pytest.approx(want, abs=1e-6)
        assert hit.scores.sparse == sparse.get(hit.chunk)
    assert trust > 0


def test_a_filter_holds_for_this_leg_too(index):
    only = ["trams", "zh", "money"]
    expression = f"path in {json.dumps(only)}"
    allowed = [chunk.id for name in only for chunk in index.generation.chunks_of(name)]

    got = found(index, QUERY, filter=expression)

    assert got == pytest.approx(computed(index, QUERY, allowed), rel=1e-4)
    assert {hit.document for hit in index.search(QUERY, filter=expression)} <= set(only)


def test_changed_new_and_deleted_documents_are_followed(tmp_path, encoder):
    built(tmp_path / "kb", encoder, TEXTS)
    later = {**TEXTS, "trains": "The train leaves at noon now.", "new": "Leave the train here."}
    del later["trams"]

    index = built(tmp_path / "kb", encoder, later)

    assert index.generation.delta is not None
    assert len(index.generation.deleted)
    assert {index.generation.chunks([id_])[id_].document for id_ in found(index, QUERY)} <= {*later}
    assert_as_computed(index)


def test_folding_and_rewriting_keep_the_weights(tmp_path, encoder, monkeypatch):
    built(tmp_path / "kb", encoder, TEXTS)
    monkeypatch.setattr(writing, "FOLD_CHUNKS", 0)
    monkeypatch.setattr(writing, "FOLD_SHARE", 0.0)
    folded = built(tmp_path / "kb", encoder, {**TEXTS, "new": "Leave the train here."})
    assert folded.generation.delta is None
    assert_as_computed(folded)

    with job(tmp_path / "kb", "purge") as work:
        purge_index(tmp_path / "kb", work)

    assert_as_computed(open_index(tmp_path / "kb", encoder=encoder))


def test_what_did_not_change_is_not_encoded_again(tmp_path, encoder, monkeypatch):
    built(tmp_path / "kb", encoder, TEXTS)
    read = []
    inner = encoder.encode_heads
    monkeypatch.setattr(
        encoder, "encode_heads", lambda texts, **k: read.extend(texts) or inner(texts, **k)
    )

    built(tmp_path / "kb", encoder, {**TEXTS, "new": "A new text.", "copy": TEXTS["beds"]})

    assert read == ["A new text."]


def test_an_index_that_began_without_the_leg_goes_on_without(tmp_path, encoder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "_heads", None)
        built(tmp_path / "kb", encoder, TEXTS)

    index = built(tmp_path / "kb", encoder, {**TEXTS, "new": "Leave the train here."})

    assert not index.generation.weighs_words
    assert found(index, QUERY) is None
    assert all(hit.scores.sparse is None for hit in index.search(QUERY))
    assert "sparse" not in index.search(QUERY)[0].as_dict()["scores"]


def test_an_index_that_changes_to_such_an_encoder_gets_the_leg(tmp_path, encoder, word_encoder):
    built(tmp_path / "kb", word_encoder, TEXTS)

    reembed_index(tmp_path / "kb", encoder)

    assert_as_computed(open_index(tmp_path / "kb", encoder=encoder))


def test_explain_shows_the_place_in_this_leg(index):
    got = index.explain(QUERY, "trains")

    everything = found(index, QUERY)
    (chunk,) = index.generation.chunks_of("trains")
    assert got.sparse.chunk == chunk.id
    assert got.sparse.rank == list(everything).index(chunk.id) + 1
    assert got.sparse.score == everything[chunk.id]


def test_a_judged_set_is_searched_by_three_legs(encoder):
    dataset = BeirDataset(
        name="small",
        split="test",
        corpus={id_: BeirDocument("", text) for id_, text in TEXTS.items()},
        queries={"q": QUERY},
        qrels={"q": {"trains": 1}},
    )
    rankings = DatasetRankings(dataset, encoder)

    (judged,) = rankings.judged()

    (query,) = encoder.encode_heads([QUERY], role="query").lexical
    rows = encoder.encode_heads(list(TEXTS.values())).lexical
    scores = {place: lexical_score(query, row) for place, row in enumerate(rows)}
    want = {place: score for place, score in scores.items() if score > 0}
    assert judged.sparse == pytest.approx(want, rel=1e-4)
    (hybrid,) = rankings.rankings(Mode.HYBRID)
    fused = Fusion().fuse(judged.dense, judged.lexical, judged.unknown_share, judged.sparse)
    assert hybrid == dict(fused)


# Rows by themselves

ROWS = st.lists(
    st.dictionaries(st.integers(0, 9), st.floats(0.0625, 4, width=32), max_size=6), max_size=8
)


@given(ROWS, st.dictionaries(st.integers(0, 9), st.floats(0.0625, 4, width=32), max_size=6))
def test_rows_score_as_by_definition_and_come_back(tmp_path_factory, rows, query):
    folder = tmp_path_factory.mktemp("rows")
    writer = SparseWriter(folder)
    writer.add(rows)
    writer.close()

    got = SparseRows(folder)

    want = [lexical_score(query, row) for row in rows]
    np.testing.assert_allclose(got.scores(query), np.array(want, np.float32), rtol=1e-5)
    assert got.rows(range(len(rows))) == rows


# Fusion


def test_the_leg_counts_its_share_of_the_words_part():
    fusion = Fusion(dense_share=0.2, sparse_share=0.25)

    got = dict(fusion.fuse({1: 1.0, 4: 0.0, 2: 0.0}, {2: 5.0}, 0.0, {1: 0.5, 3: 0.25}))

    # Both legs of words end early, so that 0 is their floor.
    want = {1: 0.2 + 0.8 * 0.25, 2: 0.8 * 0.75, 3: 0.8 * 0.25 * 0.5, 4: 0.0}
    assert got == pytest.approx(want)


def test_an_encoder_that_cannot_read_the_query_has_no_say_in_this_leg_either():
    got = dict(Fusion().fuse({1: 1.0}, {2: 5.0}, 0.5, {3: 1.0}))

    assert got == {2: 1.0, 1: 0.0, 3: 0.0}


def test_reciprocal_ranks_take_the_leg_too():
    fusion = Fusion(method=FusionMethod.RRF, dense_share=0.5, sparse_share=1.0)

    got = dict(fusion.fuse({1: 1.0}, {2: 5.0}, 0.0, {2: 1.0, 3: 0.5}))

    assert got == pytest.approx({1: 0.5 / 61, 2: 0.5 / 61, 3: 0.5 / 62})


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="sparse_share must be between 0 and 1"):
        Fusion(sparse_share=share)


def test_a_fusion_that_was_kept_before_there_was_this_leg_is_read():
    assert Fusion.from_dict({"method": "convex", "dense_share": 0.7}) == Fusion(dense_share=0.7)


def test_questions_choose_the_legs_share():
    wrong, right = 1, 2
    judged = [Judged({}, {wrong: 2.0, right: 1.0}, 0.0, {right: 1}, {right: 1.0})] * 20

    assert choose_fusion(judged).sparse_share > 0.5
