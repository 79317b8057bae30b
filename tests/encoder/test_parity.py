"""Other libraries' vectors, recorded by `make parity`, beside Angler's from the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import parity
from benchmarks.tiny_models import KINDS

FILE = Path(__file__).parent / "peers.json"


@pytest.fixture(scope="module")
def recorded():
    return json.loads(FILE.read_text("utf-8"))


@pytest.fixture(scope="module")
def records(recorded):
    return parity.read_records(recorded)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return parity.our_vectors(tmp_path_factory.mktemp("parity"))


@pytest.mark.parametrize("peer", ["sentence-transformers", "FlagEmbedding", "angle-emb"])
@pytest.mark.parametrize("model", [parity.EMBEDDED, *KINDS])
def test_the_vectors_are_those_of_other_libraries(records, ours, peer, model):
    some = [r for r in records if r.peer == peer and r.model == model and not parity.fault(r)]

    assert bool(some) == (model != "t5" or peer == "sentence-transformers")
    for record in some:
        worst = parity.difference(ours(model, record.pooling), record.vectors)
        assert worst <= parity.TOLERANCE, (record.pooling, record.side)


def test_every_kind_is_compared_with_both_sides_and_three_poolings(records):
    got = {(r.model, r.pooling, r.side) for r in records if r.peer == "sentence-transformers"}

    want = {(k, p, s) for k in KINDS for p in parity.POOLINGS for s in ("left", "right")}
    assert got == want | {(parity.EMBEDDED, "mean", "right")}


def test_where_a_library_is_wrong_the_direct_computation_is_ours(records, ours, tmp_path):
    wrong = [record for record in records if parity.fault(record)]

    assert {(r.model, r.pooling) for r in wrong} >= {("bert", "mean"), ("llama", "cls")}
    for record in wrong:
        folder = tmp_path / record.model
        want = alone(folder, record.model, record.pooling)
        assert parity.difference(want, record.vectors) > 0.01, "the library is right after all"
        assert np.abs(ours(record.model, record.pooling) - want).max() <= parity.TOLERANCE


def alone(folder, kind, pooling):
    """One text at a time through transformers, so that there is no padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    if not folder.exists():
        parity.save_tiny_model(kind, folder)
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in parity.TEXTS:
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        rows.append({"cls": hidden[0], "mean": hidden.mean(0), "last": hidden[-1]}[pooling])
    return np.array([row / np.linalg.norm(row) for row in rows])


def test_bge_m3_s_heads_and_scores_are_those_of_flagembedding(recorded, tmp_path):
    assert parity.m3_difference(recorded["m3"], tmp_path / "m3") <= parity.TOLERANCE


def test_models_that_are_not_made_the_same_any_more_are_noticed(recorded):
    other = recorded | {"digests": {"bert": "0" * 64}}

    with pytest.raises(ValueError, match="The small bert has other weights; run `make parity`"):
        parity.read_records(other)
    with pytest.raises(ValueError, match="of other texts"):
        parity.read_records(recorded | {"texts": ["x"]})
