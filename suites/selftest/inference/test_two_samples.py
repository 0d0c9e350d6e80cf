"""A statistic of two samples: whose error counts, and what is left out together; sizes of signed quantities."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from editverdict.inference.intervals import Estimate, jackknife_interval, t_interval
from editverdict.inference.replay import replayed
from editverdict.inference.standard_errors import Shared
from editverdict.inference.two_samples import NOBODY, Sample, two_sample_interval, without_each

SINGLES, CHAINS, WORLDS = 20, 6, 400


def log_ratio(units: Sample, others: Sample) -> float:
    return math.log2(units.mean() / others.mean())


def holds(found: Estimate, truth: float) -> bool:
    assert found.interval is not None
    return found.interval[0] <= truth <= found.interval[1]


def test_the_error_of_a_common_denominator_counts() -> None:
    """Half-normal single edits, chains that differ little: as if their mean were known, an interval holds nothing."""
    rng, covered = np.random.default_rng(0), {"known": 0, "nobody's": 0, "dealt": 0}
    for _ in range(WORLDS):
        singles = np.abs(rng.standard_normal(SINGLES)) / math.sqrt(2.0 / math.pi)
        chains = 2.0 ** (-1.5 + 0.1 * rng.standard_normal(CHAINS))
        covered["known"] += holds(t_interval(np.log2(chains / singles.mean()).tolist()), -1.5)
        for name, owner in (("nobody's", [NOBODY] * SINGLES), ("dealt", [i % CHAINS for i in range(SINGLES)])):
            covered[name] += holds(two_sample_interval(log_ratio, chains, singles, owner), -1.5)
    assert covered["known"] < 0.7 * WORLDS
    assert min(covered["nobody's"], covered["dealt"]) >= 0.965 * WORLDS


def test_what_both_samples_have_in_common_counts_as_it_is() -> None:
    """Single edits as large as their chains: a chain left out with its own leaves the ratio as it was."""
    sizes = np.exp(np.random.default_rng(1).standard_normal(CHAINS))
    owner = [i % CHAINS for i in range(3 * CHAINS)]
    together = two_sample_interval(log_ratio, 4.0 * sizes, sizes[owner], owner)
    assert together.value == pytest.approx(2.0) and together.interval == pytest.approx((2.0, 2.0))
    apart = two_sample_interval(log_ratio, 4.0 * sizes, sizes[owner], [NOBODY] * len(owner))
    assert apart.shared is not None and apart.interval is not None and apart.interval[1] > 3.0


def test_who_is_left_out_with_whom() -> None:
    units, others = np.arange(3.0), np.arange(5.0)
    by_unit, one_by_one = without_each(units, others, [0, 1, 0, NOBODY, NOBODY])
    assert [left.tolist() for _, left in by_unit] == [[1, 3, 4], [0, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert [left.tolist() for _, left in one_by_one] == [[0, 1, 2, 4], [0, 1, 2, 3]]
    # All of them are one unit's: nothing would be left without it.
    by_unit, one_by_one = without_each(units, others, [1] * 5)
    assert all(len(left) == 5 for _, left in by_unit) and len(one_by_one) == 5


def test_too_few_of_either_sample() -> None:
    one, many = np.array([2.0]), np.array([1.0, 2.0, 3.0])
    assert two_sample_interval(log_ratio, many[:0], many, [NOBODY] * 3).value is None
    assert two_sample_interval(log_ratio, many, many[:0], []).value is None
    alone = two_sample_interval(log_ratio, one, many, [0] * 3)
    assert alone.value == 0.0 and alone.interval is None and alone.n_units == 1
    unsure = two_sample_interval(log_ratio, many, one, [0])
    assert unsure.interval is None and unsure.n_units == 3
    assert replayed(unsure.units, unsure.value, unsure.level, unsure.record()) is None
    with pytest.raises(ValueError, match="one owner per member"):
        two_sample_interval(log_ratio, many, many, [0])


@pytest.mark.parametrize("value", [-1.5, -0.1, 0.0, 0.1, 1.5])
def test_a_size_is_the_folded_interval_and_is_replayed(value: float) -> None:
    signed = jackknife_interval(value, [value - 0.05, value + 0.02, value, value + 0.03], shared=Shared(0.05, 19))
    size = signed.size()
    assert signed.interval is not None and size.interval is not None and size.value == abs(value)
    ends = [abs(end) for end in signed.interval]
    low = 0.0 if signed.interval[0] < 0.0 < signed.interval[1] else min(ends)
    assert size.interval == pytest.approx((low, max(ends)))
    again = replayed(size.units, size.value, size.level, json.loads(json.dumps(size.record())))
    assert again is not None and again.interval == size.interval and again.value == size.value
    more = signed.size(0.4)
    assert more.interval is not None and more.interval == pytest.approx((low, max(ends) + 0.4))


def test_a_mean_of_absolute_values_shows_noise_and_a_size_does_not() -> None:
    """The truth is zero; absolute values per unit call it one and more."""
    rng, decided = np.random.default_rng(2), {"per unit": 0, "folded last": 0}
    for _ in range(WORLDS):
        units = (2.0 * rng.standard_normal(24)).tolist()
        by_name = {"per unit": t_interval([abs(u) for u in units]), "folded last": t_interval(units).size()}
        for name, found in by_name.items():
            assert found.interval is not None
            decided[name] += found.interval[0] > 0.8
    assert decided["per unit"] > 0.1 * WORLDS and decided["folded last"] <= 0.01 * WORLDS


def test_the_size_of_nothing() -> None:
    assert t_interval([]).size().value is None
    one = t_interval([-2.0]).size()
    assert one.value == 2.0 and one.units == (2.0,) and one.interval is None
