"""Batches without padding: the same vectors as padded ones, for every kind of model that can."""

import logging
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.tiny_models import KINDS, save_tiny_model
from encoder import describe_encoder
from encoder.backends import packed
from encoder.backends.packed import NotPackableError, PackedModel, pack
from encoder.backends.torch import TorchBackend

SAVED = (
    "bert-mean",
    "distilbert-mean",
    "roberta-mean",
    "xlm-roberta-cls",
    "ernie-mean",
    "modernbert-cls",
    "qwen-last",
    "qwen3-last",
    "mistral-last",
)
REFUSING = {"t5": "wants position_bias", "mpnet-mean": "takes no other attention"}
LENGTHS = (5, 1, 19, 2, 11)


@pytest.fixture(scope="module")
def folder_of(model_folder, tmp_path_factory):
    """A function from a kind, of either of the two sets of small models, to its folder."""

    def make(kind):
        if kind not in KINDS:
            return model_folder(kind)
        folder = tmp_path_factory.mktemp("packed") / kind
        save_tiny_model(kind, folder)
        return folder

    return make


def load(folder, config=None, **changes):
    """A fresh engine, which may be changed; `config` overrides what its model's says."""
    import json
    import shutil
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(folder, Path(place) / "model"))
        facts = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(facts | (config or {})))
        spec = replace(describe_encoder(str(copy)).spec, **changes)
        return TorchBackend.load(
            copy, spec, pad_id=1, device="cpu", dtype="float32", trust_remote_code=False
        )


def ids_of(backend, lengths=LENGTHS, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(5, backend.model.config.vocab_size, n).tolist() for n in lengths]


def padded(rows, *, left):
    width = max(map(len, rows))
    ids, mask = np.ones((2, len(rows), width), np.int64)
    mask[:] = 0
    for place, row in enumerate(rows):
        part = slice(width - len(row), width) if left else slice(0, len(row))
        ids[place, part], mask[place, part] = row, 1
    return torch.tensor(ids), torch.tensor(mask)


PACKING = [*SAVED, *(kind for kind in KINDS if kind not in REFUSING)]


@pytest.mark.parametrize("kind", PACKING)
def test_every_kind_gives_the_vectors_of_a_padded_batch(folder_of, kind):
    backend = load(folder_of(kind))
    ids = ids_of(backend)
    want = backend.embed(ids)
    tokens = backend.embed_tokens(ids)

    assert pack(backend)

    assert isinstance(backend.call, PackedModel)
    np.testing.assert_allclose(backend.embed(ids), want, atol=1e-5)
    for got, vectors in zip(backend.embed_tokens(ids), tokens, strict=True):
        np.testing.assert_allclose(got, vectors, atol=2e-5)
    alone = np.concatenate([backend.embed([row]) for row in ids])
    np.testing.assert_allclose(alone, want, atol=1e-5)


@pytest.mark.parametrize("kind", PACKING)
@pytest.mark.parametrize("left", [True, False])
def test_the_padding_may_stand_on_either_side(folder_of, kind, left):
    backend = load(folder_of(kind))
    ids = ids_of(backend)
    want = backend.embed_tokens(ids)
    pack(backend)

    inputs, mask = padded(ids, left=left)
    with torch.inference_mode():
        found = backend.call(input_ids=inputs, attention_mask=mask).last_hidden_state

    for row, keep, vectors in zip(found, mask.bool(), want, strict=True):
        np.testing.assert_allclose(row[keep].numpy(), vectors, atol=2e-5)
        assert not row[~keep].any()


@pytest.mark.parametrize(
    "pooling", ["first_last_avg", "avg_top2", "embedding_last_mean", "cls+max"]
)
def test_poolings_of_several_layers_get_the_same_vectors(folder_of, pooling):
    backend = load(folder_of("bert-mean"), pooling=pooling, dim=16 * (1 + pooling.count("+")))
    ids = ids_of(backend)
    want = backend.embed(ids, [0, 0, 3, 1, 2])

    assert pack(backend)

    np.testing.assert_allclose(backend.embed(ids, [0, 0, 3, 1, 2]), want, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("mistral-last", {"sliding_window": 4}),
        ("modernbert-cls", {"local_attention": 6, "global_attn_every_n_layers": 2}),
        (
            "qwen-last",
            {
                "use_sliding_window": True,
                "sliding_window": 3,
                "max_window_layers": 1,
                "layer_types": ["full_attention", "sliding_attention"],
            },
        ),
    ],
)
def test_a_sliding_window_is_as_wide_as_in_a_padded_batch(folder_of, kind, config):
    backend, wide = load(folder_of(kind), config), load(folder_of(kind))
    ids = ids_of(backend)
    want = backend.embed_tokens(ids)
    assert np.abs(wide.embed_tokens(ids)[2] - want[2]).max() > 1e-3  # the window matters

    assert pack(backend)

    for got, vectors in zip(backend.embed_tokens(ids), want, strict=True):
        np.testing.assert_allclose(got, vectors, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    window=st.tuples(st.integers(-1, 5), st.integers(-1, 5)),
    shared=st.booleans(),
)
def test_texts_in_one_row_attend_as_a_direct_computation_says(lengths, window, shared):
    random = np.random.default_rng(3)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    query, key, value = random.normal(size=(3, bounds[-1], 4, 8))
    if shared:  # two heads of queries for each of keys
        key, value = key[:, :2], value[:, :2]
    row = packed._Row(torch.tensor(bounds, dtype=torch.int32), max(lengths))

    got = packed._one_by_one(*map(torch.tensor, (query, key, value)), row, 0.3, window).numpy()

    text_of = np.repeat(np.arange(len(lengths)), lengths)
    before, after = window
    for i, head in product(range(bounds[-1]), range(4)):
        of = head // 2 if shared else head
        seen = [
            j
            for j in range(bounds[-1])
            if text_of[i] == text_of[j]
            and (before < 0 or i - j <= before)
            and (after < 0 or j - i <= after)
        ]
        weights = np.exp([0.3 * query[i, head] @ key[j, of] for j in seen])
        want = weights / weights.sum() @ value[seen, of]
        np.testing.assert_allclose(got[i, head], want, atol=1e-9)


@pytest.mark.parametrize("kind", REFUSING)
def test_a_model_that_cannot_says_so_and_runs_with_padding(folder_of, kind, caplog):
    backend = load(folder_of(kind))
    ids = ids_of(backend)
    want = backend.embed(ids)

    with caplog.at_level(logging.INFO):
        assert not pack(backend)

    (record,) = caplog.records
    assert record.message.startswith("torch float32 on cpu runs with padding: ")
    assert REFUSING[kind] in record.message
    np.testing.assert_array_equal(backend.embed(ids), want)


def test_an_attention_that_mixes_texts_is_found_out(folder_of, monkeypatch, caplog):
    backend = load(folder_of("bert-mean"))
    ids = ids_of(backend)
    want = backend.embed(ids)
    right = packed._one_by_one

    def mixing(query, key, value, row, scale, window):
        whole = torch.tensor([0, len(query)], dtype=torch.int32)
        return right(query, key, value, packed._Row(whole, len(query)), scale, window)

    monkeypatch.setattr(packed, "_one_by_one", mixing)
    with caplog.at_level(logging.INFO):
        assert not pack(backend)

    assert "its vectors differ, lowest cosine 0." in caplog.text
    np.testing.assert_array_equal(backend.embed(ids), want)
    assert backend.model.config._attn_implementation == "sdpa"


def test_a_packed_model_called_by_itself_pads_as_ever(folder_of):
    backend = load(folder_of("mistral-last"), {"sliding_window": 4})
    inputs, mask = padded(ids_of(backend), left=False)
    with torch.inference_mode():
        want = backend.model(input_ids=inputs, attention_mask=mask).last_hidden_state
        assert pack(backend)
        got = backend.model(input_ids=inputs, attention_mask=mask).last_hidden_state

    real = mask.bool()
    np.testing.assert_allclose(got[real].numpy(), want[real].numpy(), atol=1e-6)


def test_threads_keep_their_texts_apart(folder_of):
    from concurrent.futures import ThreadPoolExecutor

    backend = load(folder_of("bert-mean"))
    assert pack(backend)
    batches = [ids_of(backend, (3, 9, 4), seed) for seed in range(24)]
    want = [backend.embed(batch) for batch in batches]

    with ThreadPoolExecutor(4) as threads:
        got = list(threads.map(backend.embed, batches))

    np.testing.assert_allclose(np.array(got), np.array(want), atol=1e-6)


def test_a_decoder_that_reads_both_ways_keeps_its_padding(folder_of):
    backend = load(folder_of("qwen-last"), both_ways_from=0)

    assert not pack(backend)
    with pytest.raises(NotPackableError, match="BothWays takes no other attention"):
        PackedModel(backend.model)


def test_what_mixes_neighbours_by_itself_is_not_tried(folder_of):
    backend = load(folder_of("bert-mean"))
    backend.is_unpadded = True

    assert not pack(backend)


@pytest.mark.skipif(packed._varlen() is None, reason="this torch has no such kernel")
@pytest.mark.parametrize(("heads", "shared"), [(12, 12), (16, 8)])
@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (4, 0), (4, 4)])
def test_torchs_kernel_takes_what_it_is_handed(heads, shared, window):
    """On tensors without values, which check the call and its shapes; the values want a GPU."""
    query = torch.empty(30, heads, 64, dtype=torch.bfloat16, device="meta")
    key = torch.empty(30, shared, 64, dtype=torch.bfloat16, device="meta")
    row = packed._Row(torch.tensor([0, 10, 30], dtype=torch.int32, device="meta"), 20)

    assert packed._by_kernel(query, key, key, row, 0.1, window).shape == query.shape


def test_without_torchs_kernel_a_gpu_pads(folder_of, monkeypatch):
    backend = load(folder_of("bert-mean"))

    class OnGpu:
        device, dtype = "cuda", torch.bfloat16

    monkeypatch.setattr(packed, "_varlen", lambda: None)
    assert "has no attention for texts of different lengths" in packed._obstacle(OnGpu)
    monkeypatch.undo()
    OnGpu.dtype = torch.float32
    if packed._varlen() is not None:
        assert "16 bits only" in packed._obstacle(OnGpu)
    assert packed._obstacle(backend.model) == ""
