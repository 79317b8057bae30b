import numpy as np
import pytest
from scipy import stats

from data.significance import compare_means, mean_interval


def test_the_interval_is_near_that_of_the_normal_approximation():
    values = np.random.default_rng(1).random(400)

    low, high = mean_interval(values.tolist())

    error = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - error, abs=0.003)
    assert high == pytest.approx(values.mean() + error, abs=0.003)


def test_equal_values_have_an_interval_without_width():
    assert mean_interval([0.25] * 7) == (0.25, 0.25)


def test_p_is_that_of_an_independent_permutation_test():
    draw = np.random.default_rng(2)
    first = draw.random(40)
    second = first + draw.normal(0.03, 0.1, 40)
    want = stats.permutation_test(
        (second - first,),
        np.mean,
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(3),
    )

    got = compare_means(first.tolist(), second.tolist())

    assert got.difference == pytest.approx((second - first).mean())
    assert got.p == pytest.approx(want.pvalue, abs=0.03)
    assert got.interval.low < got.difference < got.interval.high


def test_what_differs_clearly_has_a_small_p_and_what_is_equal_one():
    first = [0.1, 0.2, 0.3, 0.2, 0.1] * 6

    assert compare_means(first, [x + 0.5 for x in first]).p < 0.002
    assert compare_means(first, first).p == 1.0


def test_the_order_of_the_systems_only_turns_the_sign():
    first, second = [0.1, 0.9, 0.4, 0.2], [0.3, 0.8, 0.9, 0.4]

    there, back = compare_means(first, second), compare_means(second, first)

    assert there.difference == -back.difference
    assert there.p == back.p


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0, 2.0])])
def test_other_numbers_of_queries_are_refused(first, second):
    with pytest.raises(ValueError, match="same queries twice"):
        compare_means(first, second)
