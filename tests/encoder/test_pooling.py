import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.pooling import Pooling, pool
from encoder.spec import POOLINGS

MASKS = {
    "right": [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
    "left": [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]],
    "mixed": [[0, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]],
}


def looped(vectors, mask, pooling):
    """The three definitions, one text at a time."""
    rows = []
    for row, flags in zip(vectors, mask, strict=True):
        real = [vector for vector, flag in zip(row, flags, strict=True) if flag]
        chosen = {"cls": real[0], "mean": sum(real) / len(real), "last": real[-1]}
        rows.append(chosen[pooling])
    return np.array(rows)


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("mask_dtype", [torch.long, torch.bool, torch.float32])
def test_pooling_is_the_loop_over_real_tokens_wherever_the_padding_stands(
    pooling, side, mask_dtype
):
    mask = np.array(MASKS[side])
    vectors = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    want = looped(vectors, mask, pooling)
    vectors[mask == 0] = np.nan

    got = pool(torch.tensor(vectors), torch.tensor(mask, dtype=mask_dtype), pooling)

    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", Pooling)
@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    garbage=st.sampled_from([0.0, 1e30, float("inf"), float("nan")]),
)
def test_padding_never_changes_the_embedding(pooling, lengths, before, after, garbage):
    generator = torch.Generator().manual_seed(sum(lengths))
    width = before + max(lengths) + after
    padded = torch.full((len(lengths), width, 3), garbage)
    mask = torch.zeros((len(lengths), width), dtype=torch.long)
    want = []
    for row, length in enumerate(lengths):
        lone = torch.randn((1, length, 3), generator=generator)
        padded[row, before : before + length] = lone
        mask[row, before : before + length] = 1
        want.append(pool(lone, torch.ones((1, length)), pooling))

    got = pool(padded, mask, pooling)

    torch.testing.assert_close(got, torch.cat(want), rtol=0, atol=1e-6)


def test_sixteen_bit_vectors_are_averaged_in_float32():
    vectors = torch.full((1, 4096, 1), 1.0, dtype=torch.float16)
    vectors[0, 0] = 2048.0  # a running sum in float16 would get stuck here

    got = pool(vectors, torch.ones((1, 4096)), Pooling.MEAN)

    assert got.dtype == torch.float32
    assert got.item() == pytest.approx((2048 + 4095) / 4096)


@pytest.mark.parametrize("pooling", Pooling)
def test_a_plain_string_names_the_pooling_as_well(pooling):
    vectors, mask = torch.randn(2, 3, 4), torch.tensor([[1, 1, 0], [1, 1, 1]])

    assert torch.equal(pool(vectors, mask, str(pooling)), pool(vectors, mask, pooling))


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="max"):
        pool(torch.zeros(1, 1, 1), torch.ones(1, 1), "max")


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
