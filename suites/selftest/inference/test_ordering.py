"""Two orders of methods: the agreement by hand, what chance gives, and how often the interval holds a planted one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from editverdict.inference.ordering import Table, dealt, halves_agreement, order_agreement, order_interval, spearman
from editverdict.inference.replay import replayed
from editverdict.pipeline.measures.token_locality import LEAST


@pytest.mark.parametrize(
    ("second", "rho"),
    [
        ([1, 2, 3, 4], 1.0),
        ([4, 3, 2, 1], -1.0),
        ([1, 2, 4, 3], 0.8),  # 1 - 6 * 2 / 60
        ([0, 0, 5, 5], 0.8944271909999159),  # ties share ranks: 4 / sqrt(5 * 4)
        ([7, 7, 7, 7], None),
    ],
)
def test_by_hand(second: list[float], rho: float | None) -> None:
    assert spearman([1, 2, 3, 4], second) == (None if rho is None else pytest.approx(rho))


def test_so_many_methods_agree_by_chance_in_fewer_than_one_order_in_twenty() -> None:
    def by_chance(count: int) -> float:
        orders = np.array(list(permutations(range(count))))
        squares = ((orders - np.arange(count)) ** 2).sum(axis=1)
        return float((1 - 6 * squares / (count**3 - count) >= 0.7 - 1e-12).mean())

    assert by_chance(LEAST) < 0.05 < by_chance(LEAST - 1)


def world(rng: np.random.Generator, second: list[int], chains: int, noise: float) -> tuple[Table, Table]:
    """Scores of methods a tenth apart on the first side, in another order on the second, chains with noise."""
    first = np.arange(len(second)) / 10
    sides = [np.asarray(side)[:, None] + noise * rng.standard_normal((len(second), chains)) for side in (first, first)]
    return sides[0], sides[1][second]


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_interval_holds_the_planted_agreement(noise: float) -> None:
    rng = np.random.default_rng(5)
    orders = ([0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 3, 2, 5, 4, 7, 6], [3, 1, 0, 6, 2, 7, 4, 5], [7, 5, 6, 4, 3, 2, 0, 1])
    missed = []
    for number in range(24):
        second = list(orders[number % len(orders)])
        truth = spearman(list(range(8)), [float(x) for x in second])
        found = order_interval(*world(rng, second, 6, noise))
        assert found.interval is not None and truth is not None
        if not found.interval[0] <= truth <= found.interval[1]:
            missed.append((second, found))
    assert not missed


def test_clear_orders_are_decided_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    alike, against, noise = (
        order_interval(*world(rng, order, 6, spread)).interval
        for order, spread in (([*range(8)], 0.005), ([*range(7, -1, -1)], 0.005), ([*range(8)], 3.0))
    )
    assert alike is not None and against is not None and noise is not None
    assert alike[0] > 0.7 and against[1] < -0.7 and noise[0] < 0.0 < noise[1]


def test_an_order_that_leaving_out_a_chain_never_swaps_is_not_known_without_error() -> None:
    """A jackknife alone would give an interval of width zero."""
    first = np.arange(8.0)[:, None] + np.zeros((8, 6))
    second = first[[0, 1, 2, 3, 4, 5, 7, 6]]
    found = order_interval(first, second).interval
    assert found is not None and found[1] - found[0] > 0.1


def test_the_interval_is_replayed_from_what_a_row_keeps() -> None:
    found = order_interval(*world(np.random.default_rng(3), [1, 0, 3, 2, 5, 4, 7, 6], 6, 0.1))
    again = replayed(found.units, found.value, found.level, found.record())
    assert again is not None and again.interval == pytest.approx(found.interval)


def test_few_chains_and_equal_scores() -> None:
    same = np.ones((7, 6))
    assert order_interval(same, same).value is None
    assert order_interval(np.arange(7.0)[:, None], np.arange(7.0)[:, None]).interval is None
    with pytest.raises(ValueError, match="same methods and chains"):
        order_interval(np.ones((7, 6)), np.ones((7, 5)))
    with pytest.raises(ValueError, match="found 7 and 6"):
        order_agreement(np.ones((7, 6)), np.ones((6, 6)))
    with pytest.raises(ValueError, match="1 of 14 values of the second score"):
        order_agreement(np.ones((7, 2)), np.ones((7, 2)) + _nan(7, 2))


def _nan(rows: int, columns: int) -> Table:
    table = np.zeros((rows, columns))
    table[0, 0] = np.nan
    return table


def test_controls() -> None:
    table = np.arange(8.0)[:, None] + np.linspace(0, 0.1, 6)
    assert sorted(dealt(table, 3).tolist()) == table.tolist() and (dealt(table, 3) != table).any()
    assert halves_agreement(table, 0) == pytest.approx(1.0)
    noisy = [halves_agreement(np.random.default_rng(s).standard_normal((8, 6)), s) for s in range(40)]
    assert abs(np.mean([v for v in noisy if v is not None])) < 0.2
    assert halves_agreement(table[:, :1], 0) is None
