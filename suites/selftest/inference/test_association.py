"""Association within T: planted truths, ties, what is missing, the interval's coverage, the permutation test."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from editverdict.inference import association as a
from editverdict.inference.replay import replayed

STEPS = (2, 5, 10)
Array = NDArray[np.float64]


def drifting(rng: np.random.Generator, n: int = 12) -> tuple[Array, Array]:
    """Both sides move with T, one up and one down, and have nothing else in common."""
    trend = 10.0 * np.asarray(STEPS)
    return trend + rng.normal(size=(n, 3)), -trend + rng.normal(size=(n, 3))


def linked(rng: np.random.Generator, rho: float, n: int, shared: bool = False) -> tuple[Array, Array]:
    """A planted correlation within T; shared: a chain has the same values at every T."""
    shape = (n, 1) if shared else (n, 3)
    x = rng.normal(size=shape)
    y = rho * x + math.sqrt(1 - rho * rho) * rng.normal(size=shape)
    return np.broadcast_to(x, (n, 3)), np.broadcast_to(y, (n, 3))


# --------------------------------------------------------------------------- the statistic
def test_two_trends_without_a_link_have_a_spearman_of_minus_one_and_no_association() -> None:
    rng = np.random.default_rng(1)
    worlds = [drifting(rng) for _ in range(200)]
    naive = [a.spearman_trend(x[0], y[0]) for x, y in worlds]
    assert all(trend is not None and trend.rho == pytest.approx(-1) for trend in naive)
    found = [a.within_t_association(x, y) for x, y in worlds]
    assert abs(np.mean([value or 0.0 for value in found])) < 0.05
    p_values = [a.permutation_p(x, y, draws=199, seed=i) or 0.0 for i, (x, y) in enumerate(worlds)]
    assert 0.3 < np.mean(p_values) < 0.7


def test_a_planted_link_is_found_beneath_an_opposite_trend() -> None:
    rng = np.random.default_rng(2)
    x, y = linked(rng, -0.97, 20)
    trend = 50.0 * np.asarray(STEPS)
    assert (a.spearman_trend((x + trend)[0], (y + trend)[0]) or a.Trend(0, 1, 0, 1)).rho == pytest.approx(1)
    found = a.association_interval(x + trend, y + trend)
    assert found.value is not None and found.interval is not None
    assert found.value < -0.85 and found.interval[1] < -0.5
    assert (a.permutation_p(x + trend, y + trend, "less") or 1) < 0.001


def test_one_step_is_spearmans_rho_with_ties() -> None:
    x, y = [3.0, 1.0, 2.0, 2.0, 5.0, 4.0], [0.5, 0.5, 0.0, 1.0, 1.0, 0.5]
    found = a.within_t_association([[v] for v in x], [[v] for v in y])
    assert found == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)


def test_several_steps_are_pooled_by_hand() -> None:
    x, y = [[1.0, 9.0], [2.0, 7.0], [3.0, 8.0]], [[3.0, 5.0], [2.0, 5.0], [1.0, 5.0]]
    # T = 1: ranks -1 0 1 against 1 0 -1; T = 2: y does not vary, so that nothing counts.
    assert a.within_t_association(x, y) == -1.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=8), st.integers(0, 99))
def test_only_ranks_within_t_count(pairs: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(len(pairs), 2)), np.asarray(pairs, dtype=float)
    own = a.within_t_association(x, y)
    assert own == a.within_t_association(np.exp(x) + np.asarray([0.0, 100.0]), y * [1.0, 7.0])
    mirrored = a.within_t_association(-x, y)
    assert mirrored == (None if own is None else pytest.approx(-own))
    assert own is None or -1 - 1e-12 <= own <= 1 + 1e-12


def test_missing_is_not_zero() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    flat = np.ones((6, 3)) * [0.2, 0.4, 0.9]  # a trend in T, and no chain differs from another
    assert a.within_t_association(x, flat) is None
    assert a.mean_association([(x, x), (x, flat)]) is None
    assert a.permutation_p(x, flat) is None
    found = a.association_interval(x, flat)
    assert (found.value, found.interval) == (None, None) and "never varies" in str(found.note)
    assert a.association_interval([], []).value is None
    assert a.spearman_trend([1, 2, 3], [4, 4, 4]) is None and a.spearman_trend([1, 2], [1, 2]) is None


def test_wrong_input_is_named() -> None:
    x = np.zeros((6, 3))
    with pytest.raises(ValueError, match="same chains and steps"):
        a.within_t_association(x, np.zeros((5, 3)))
    with pytest.raises(ValueError, match="1 of 18 values of the second side are not finite"):
        a.within_t_association(x, np.where(np.arange(18).reshape(6, 3) == 4, np.nan, 0.0))
    with pytest.raises(ValueError, match=r"\[chains\]\[steps\]"):
        a.within_t_association(np.zeros(6), np.zeros(6))
    with pytest.raises(ValueError, match="sided"):
        a.permutation_p(x, x, "both")  # type: ignore[arg-type]


# --------------------------------------------------------------------------- interval
def test_interval_is_over_chains_is_replayed_and_stays_within_minus_one_and_one() -> None:
    x, y = linked(np.random.default_rng(3), -0.8, 8)
    found = a.mean_interval([(x, y), (x[:, 1:], y[:, 1:])])
    assert found.n_units == len(found.units) == 8 and found.method == "jackknife"
    assert found.interval is not None and found.interval[0] == -1.0
    assert replayed(found.units, found.value, found.level, found.record()) == found


def test_several_sides_give_their_mean() -> None:
    rng = np.random.default_rng(4)
    x, sides = rng.normal(size=(8, 3)), [rng.normal(size=(8, 3)) for _ in range(3)]
    each = [a.association_interval(x, side).value for side in sides]
    assert a.mean_interval([(x, side) for side in sides]).value == pytest.approx(
        np.mean([value or 0 for value in each])
    )
    assert a.mean_interval([(x, sides[0])]) == a.association_interval(x, sides[0])
    with pytest.raises(ValueError, match="same chains"):
        a.mean_interval([(x, sides[0]), (x[:5], sides[1][:5])])


def test_an_association_that_rests_on_one_chain_has_no_interval() -> None:
    x = np.random.default_rng(5).normal(size=(6, 2))
    lone = np.zeros((6, 2))
    lone[2] = 1.0
    found = a.association_interval(x, lone)
    assert found.value is not None and found.interval is None and "without one of its 6 chains" in str(found.note)


def test_six_chains_that_agree_perfectly_are_no_certainty() -> None:
    x = np.arange(6.0)[:, None] * np.ones(3)
    low, high = a.association_interval(x, -x).interval or (0.0, 0.0)
    assert low == -1.0 and -0.9 < high < -0.5


@pytest.mark.parametrize("shared", [False, True], ids=["independent-in-T", "same-at-every-T"])
@pytest.mark.parametrize("rho", [0.0, -0.5, -0.9])
def test_coverage_at_99_percent_with_six_chains(rho: float, shared: bool) -> None:
    rng = np.random.default_rng(6)
    truth, worlds = 6 / math.pi * math.asin(rho / 2), 300  # Spearman's rho of normal pairs
    found = [a.association_interval(*linked(rng, rho, 6, shared)).interval or (0.0, 0.0) for _ in range(worlds)]
    assert np.mean([low <= truth <= high for low, high in found]) >= 0.97


# --------------------------------------------------------------------------- permutation test
def test_exhaustive_p_by_hand() -> None:
    x, y = np.arange(5.0)[:, None], np.asarray([5.0, 4.0, 3.0, 1.0, 2.0])[:, None]
    rho = stats.spearmanr(x[:, 0], y[:, 0]).statistic
    every = [stats.spearmanr(order, y[:, 0]).statistic for order in permutations(range(5))]
    assert a.permutation_p(x, y) == pytest.approx(np.mean(np.abs(every) >= abs(rho) - 1e-9))
    assert a.permutation_p(x, y, "less") == pytest.approx(np.mean(np.asarray(every) <= rho + 1e-9))
    assert a.permutation_p(x, y, "greater") == pytest.approx(np.mean(np.asarray(every) >= rho - 1e-9))


def test_a_chain_stays_a_chain() -> None:
    # Three times the same values are no more evidence than once: 2 of 6! orders agree as well.
    x = np.arange(6.0)[:, None]
    once, thrice = a.permutation_p(x, -x), a.permutation_p(x * np.ones(3), -x * np.ones(3))
    assert once == thrice == a.smallest_p(6) == pytest.approx(2 / 720)


def test_random_permutations_agree_with_all_of_them_and_follow_the_seed() -> None:
    x, y = linked(np.random.default_rng(7), -0.5, 7)
    exact, drawn = a.permutation_p(x, y), a.permutation_p(x, y, exhaustive=False, draws=4000, seed=1)
    assert drawn == pytest.approx(exact, abs=0.03)
    assert drawn == a.permutation_p(x, y, exhaustive=False, draws=4000, seed=1)
    x, y = linked(np.random.default_rng(8), -0.99, 12)
    assert a.permutation_p(x, y, draws=99) == 0.01  # one of a hundred, the one observed


def test_permutation_p_is_uniform_without_a_link() -> None:
    rng = np.random.default_rng(9)
    found = [a.permutation_p(*linked(rng, 0.0, 6, shared=True)) or 0.0 for _ in range(300)]
    assert np.mean([p <= 0.05 for p in found]) <= 0.085 and np.mean(found) == pytest.approx(0.5, abs=0.07)


def test_permuting_within_t_keeps_each_steps_values_and_breaks_the_link() -> None:
    x = np.arange(18.0).reshape(6, 3)
    dealt = [a.permuted_within_t(x, seed) for seed in range(300)]
    assert all(np.array_equal(np.sort(one, axis=0), x) for one in dealt)
    assert any(not np.array_equal(np.argsort(one[:, 0]), np.argsort(one[:, 1])) for one in dealt)
    assert np.mean([a.within_t_association(one, x) or 0.0 for one in dealt]) == pytest.approx(0.0, abs=0.05)
    assert np.array_equal(a.permuted_within_t(x, 3), dealt[3])


# --------------------------------------------------------------------------- one chain, as the paper has it
def test_trend_has_the_papers_p_and_the_smallest_p_of_its_steps() -> None:
    x, y = [1, 2, 5, 10, 20, 50, 100, 500, 1000], [0.9, 0.9, 0.8, 0.9, 0.5, 0.3, 0.3, 0.1, 0.2]
    theirs, ours = stats.spearmanr(x, y), a.spearman_trend(x, y)
    assert ours is not None
    assert [ours.rho, ours.p] == pytest.approx([theirs.statistic, theirs.pvalue])
    assert [ours.n_steps, ours.smallest_p] == pytest.approx([9, 2 / 362880])
    perfect = a.spearman_trend([1, 2, 3, 4], [4, 3, 2, 1])
    assert perfect is not None and perfect.p == 0.0 and perfect.smallest_p == pytest.approx(1 / 12)
    with pytest.raises(ValueError, match="two steps"):
        a.smallest_p(1)
