"""Rank correlations counted exactly, against scipy and against going through all orders."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from editverdict.ledger import orders, ranks
from editverdict.ledger.ranges import Range


@pytest.mark.parametrize("ranked", [(1, 1, 1, 1, 1), (1, 2, 1, 1), (2, 1, 2)])
def test_arrangements_are_those_of_all_orders(ranked: ranks.Structure) -> None:
    mine = np.array(ranks.doubled_ranks(ranked))
    found = ranks.all_arrangements(ranked)
    assert len(found) == 2**4 - 1, "every structure of five values but the one in which all are equal"
    for one in found:
        values = ranks.doubled_ranks(one.valued)
        rho = [stats.spearmanr(order, values).statistic for order in permutations(mine)]
        different, count = np.unique(np.round(rho, 9), return_counts=True)
        np.testing.assert_allclose(one.rho, different, atol=1e-8)
        assert one.count.tolist() == count.tolist()


def test_permutation_p_is_that_of_scipy() -> None:
    values, ranked = [1.0, 2.0, 2.0, 3.0, 5.0, 7.0], [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]
    rho = float(stats.spearmanr(ranked, values).statistic)

    def statistic(order: np.ndarray) -> float:
        return float(stats.spearmanr(order, values).statistic)

    exact = stats.permutation_test((ranked,), statistic, permutation_type="pairings", n_resamples=math.inf).pvalue
    one = next(a for a in ranks.all_arrangements((1,) * 6) if a.valued == (1, 2, 1, 1, 1))
    assert one.p(rho) == pytest.approx(exact)
    assert one.p(0.0) == 1.0
    untied = next(a for a in ranks.all_arrangements((1,) * 6) if a.valued == (1,) * 6)
    assert untied.smallest_p == pytest.approx(2 / math.factorial(6))


def test_t_approximation_is_that_of_scipy() -> None:
    for n, seed in ((5, 0), (9, 1), (30, 2)):
        x, y = np.random.default_rng(seed).normal(size=(2, n))
        found = stats.spearmanr(x, y)
        assert float(ranks.t_approximation(float(found.statistic), n)) == pytest.approx(found.pvalue)
    assert ranks.p_of(Range(-0.1, 0.2), 9).high == 1.0
    assert float(ranks.t_approximation(1.0, 9)) == 0.0


def test_lattice_without_ties_is_evenly_spaced() -> None:
    one = next(a for a in ranks.all_arrangements((1,) * 9) if a.valued == (1,) * 9)
    np.testing.assert_allclose(np.diff(one.rho), 12 / (9**3 - 9))
    assert one.count.sum() == math.factorial(9)


def test_lattice_names_the_ties_of_a_value() -> None:
    values = [0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 6.0, 7.0, 9.0]
    found = stats.spearmanr([8, 5, 9, 6, 7, 4, 3, 1, 2], values)
    rho, p = (Range(v - 5e-5, v + 5e-5) for v in (float(found.statistic), float(found.pvalue)))
    matches = ranks.lattice(9).matching(rho, p)
    assert (5, 1, 1, 1, 1) in {one.valued for one, _ in matches}
    assert not ranks.lattice(9).matching(rho, Range(0.5, 0.6)), "the p belongs to it"
    assert not ranks.lattice(9).matching(Range(1.2, 1.3), Range(0.0, 1.0))


def test_too_many_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="not for 11"):
        ranks.all_arrangements((1,) * 11)
    with pytest.raises(ValueError, match="not for 10"):
        orders.all_orders(10)


def test_structures_in_words() -> None:
    assert ranks.ties((1, 3, 1, 2)) == "3+2 tied"
    assert ranks.ties((1, 1)) == "no ties"
    assert ranks.simplest([(1, 3), (3, 1), (1, 1, 2), (1, 1, 1, 1)], most=2) == "no ties or 2 tied or 1 more"
    assert ranks.simplest([]) == "none"


def test_structures_of_printed_values() -> None:
    assert orders.structures_of((2, 1), 0) == {(2, 1), (1, 1, 1)}
    assert orders.structures_of((1, 1), 1) == {(1, 1, 1), (2, 1), (1, 2)}


@pytest.mark.parametrize("levels", [(2, 1, 1, 0), (1, 0, 0, 0), (0, 1, 2, 3)])
def test_reachable_is_what_orders_of_equal_prints_give(levels: tuple[int, ...]) -> None:
    every = orders.structures_of(tuple(np.bincount(levels)), 1)
    vectors = orders.rank_vectors(levels, every)
    want = set()
    for place in range(5):
        rising = np.insert(np.delete(np.arange(5), place), 4, place)
        want |= {round(float(stats.spearmanr(rising, v).statistic), 6) for v in vectors if len(set(v.tolist())) > 1}
    assert set(np.round(orders.reachable(levels, 1), 6).tolist()) == want


def test_number_of_orders_counts_what_is_gone_through() -> None:
    assert orders.number_of_orders([3]) == 13
    assert orders.number_of_orders([2, 1, 3]) == 3 * 13


def test_shared_orders_hold_the_true_one_and_only_fitting_ones() -> None:
    series = [3, 1, 2, 5, 4, 6]
    values = ([0.9, 0.8, 0.8, 0.4, 0.5, 0.1], [0.2, 0.6, 0.3, 0.1, 0.1, 0.05])
    demands = []
    for value in values:
        rho = float(stats.spearmanr(series, value).statistic)
        levels = tuple(int(v) for v in np.unique(value[:-1], return_inverse=True)[1])
        structures = orders.structures_of(tuple(np.bincount(levels).tolist()), 1)
        demands.append((levels, structures, Range(rho - 5e-5, rho + 5e-5)))
    found = orders.shared_orders(tuple(demands), 6)
    assert [2 * s - 7 for s in series] in found.orders.tolist()
    assert len(found.orders) < math.factorial(6)
    falls, nearest = found.nearest_to_rising()
    assert falls == sum(nearest[i] > nearest[j] for i in range(5) for j in range(i + 1, 5))
    # the last locality lies below all others, and nothing else gives these two rho
    assert all(None in places for places in found.further)
    nothing = orders.shared_orders(((*demands[0][:2], Range(1.1, 1.2)),), 6)
    assert len(nothing.orders) == 0
    assert nothing.further == (frozenset(),)


def test_a_step_that_is_not_printed_is_recovered() -> None:
    """Three equal zeros, two of them printed: rho is one that only a third zero explains."""
    series, value = [1, 2, 3, 4, 5, 6], [0.9, 0.8, 0.7, 0.0, 0.0, 0.0]
    rho = float(stats.spearmanr(series, value).statistic)
    every = orders.structures_of((2, 1, 1, 1), 1)
    (places,) = orders.shared_orders((((3, 2, 1, 0, 0), every, Range(rho - 1e-6, rho + 1e-6)),), 6).further
    assert places == {0}
