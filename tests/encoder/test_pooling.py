import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.pooling import Pooling, needs_hidden_states, needs_word_vectors, pool
from encoder.spec import POOLINGS

MASKS = {
    "right": [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
    "left": [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]],
    "mixed": [[0, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]],
}


POOLED = [*Pooling, "mean+max", "last+first_last_avg"]


def real_rows(vectors, flags):
    return [vector for vector, flag in zip(vectors, flags, strict=True) if flag]


def mean(rows):
    return sum(rows) / len(rows)


def looped(layers, words, mask, pooling):
    """The definitions, one text at a time; `layers` are the hidden states, the last one last."""
    texts = []
    for text, flags in enumerate(mask):
        rows = real_rows(layers[-1][text], flags)
        largest = np.array([max(values) for values in zip(*rows, strict=True)])
        weights = range(1, len(rows) + 1)
        weighted = sum(weight * row for weight, row in zip(weights, rows, strict=True))
        known = {
            "cls": rows[0],
            "mean": mean(rows),
            "last": rows[-1],
            "max": largest,
            "cls_avg": (rows[0] + mean(rows)) / 2,
            "cls_max": (rows[0] + largest) / 2,
            "mean_sqrt_len": sum(rows) / len(rows) ** 0.5,
            "weighted_mean": weighted / sum(weights),
            "first_last_avg": (mean(real_rows(layers[1][text], flags)) + mean(rows)) / 2,
            "embedding_last_mean": (mean(real_rows(words[text], flags)) + mean(rows)) / 2,
            "input_last_mean": (mean(real_rows(layers[0][text], flags)) + mean(rows)) / 2,
            "avg_top2": (mean(real_rows(layers[-2][text], flags)) + mean(rows)) / 2,
        }
        texts.append(np.concatenate([known[name] for name in pooling.split("+")]))
    return np.array(texts)


def pooled(arrays, mask, pooling):
    """`arrays`: word vectors, then the hidden states."""
    words, *layers = map(torch.as_tensor, arrays)
    return pool(layers[-1], mask, pooling, hidden_states=layers, word_vectors=words)


@pytest.mark.parametrize("pooling", POOLED)
@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("mask_dtype", [torch.long, torch.bool, torch.float32])
def test_pooling_is_the_loop_over_real_tokens_wherever_the_padding_stands(
    pooling, side, mask_dtype
):
    mask = np.array(MASKS[side])
    # Below zero, so that padding counted as 0 would be the largest value.
    arrays = np.random.default_rng(0).normal(size=(5, 3, 5, 4)).astype(np.float32) - 5
    want = looped(arrays[1:], arrays[0], mask, pooling)
    arrays[:, mask == 0] = np.nan

    got = pooled(arrays, torch.tensor(mask, dtype=mask_dtype), pooling)

    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("pooling", POOLED)
@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    garbage=st.sampled_from([0.0, 1e30, float("inf"), float("nan")]),
)
def test_padding_never_changes_the_embedding(pooling, lengths, before, after, garbage):
    generator = torch.Generator().manual_seed(sum(lengths))
    width = before + max(lengths) + after
    padded = torch.full((4, len(lengths), width, 3), garbage)
    mask = torch.zeros((len(lengths), width), dtype=torch.long)
    want = []
    for row, length in enumerate(lengths):
        lone = torch.randn((4, 1, length, 3), generator=generator)
        padded[:, row, before : before + length] = lone[:, 0]
        mask[row, before : before + length] = 1
        want.append(pooled(lone, torch.ones((1, length)), pooling))

    got = pooled(padded, mask, pooling)

    torch.testing.assert_close(got, torch.cat(want), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["first_last_avg", "avg_top2", "embedding_last_mean"])
def test_a_pooling_over_more_than_the_last_layer_says_what_it_needs(pooling):
    layers = pooling != "embedding_last_mean"

    assert needs_hidden_states(f"cls+{pooling}") is layers
    assert needs_word_vectors(f"cls+{pooling}") is not layers
    with pytest.raises(ValueError, match=f"^The pooling {pooling} needs the "):
        pool(torch.zeros(1, 2, 3), torch.ones(1, 2), pooling)


def test_the_other_poolings_need_the_last_layer_alone():
    needy = [name for name in Pooling if needs_hidden_states(name) or needs_word_vectors(name)]

    assert sorted(needy) == ["avg_top2", "embedding_last_mean", "first_last_avg", "input_last_mean"]


def test_sixteen_bit_vectors_are_averaged_in_float32():
    vectors = torch.full((1, 4096, 1), 1.0, dtype=torch.float16)
    vectors[0, 0] = 2048.0  # a running sum in float16 would get stuck here

    got = pool(vectors, torch.ones((1, 4096)), Pooling.MEAN)

    assert got.dtype == torch.float32
    assert got.item() == pytest.approx((2048 + 4095) / 4096)


@pytest.mark.parametrize("pooling", Pooling)
def test_a_plain_string_names_the_pooling_as_well(pooling):
    arrays, mask = torch.randn(4, 2, 3, 4), torch.tensor([[1, 1, 0], [1, 1, 1]])

    assert torch.equal(pooled(arrays, mask, str(pooling)), pooled(arrays, mask, pooling))


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="median"):
        pool(torch.zeros(1, 1, 1), torch.ones(1, 1), "median")


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2,), (2, 3, 1)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"mask must have shape \(2, 3\), got"):
        pool(torch.zeros(2, 3, 4), torch.ones(shape), Pooling.MEAN)


@pytest.mark.parametrize("pooling", Pooling)
def test_a_text_without_real_tokens_is_refused(pooling):
    with pytest.raises(ValueError, match="at least one token"):
        pool(torch.zeros(2, 3, 4), torch.tensor([[1, 1, 0], [0, 0, 0]]), pooling)


def test_the_spec_knows_the_same_poolings():
    assert tuple(Pooling) == POOLINGS
