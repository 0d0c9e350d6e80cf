"""Intervals: closed forms, coverage by simulation, and what they refuse."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from editverdict.inference import intervals as iv
from editverdict.inference.bias import bias_from_fractions, jackknife_bias
from editverdict.inference.replay import replayed
from editverdict.inference.standard_errors import Shared, shared_error, standard_error, total_error


def test_t_interval_closed_form() -> None:
    estimate = iv.t_interval([1.0, 2.0, 3.0, 4.0], level=0.95)
    half = 3.182446305284263 * math.sqrt(5 / 3) / 2  # t(0.975, 3) from tables
    assert estimate.value == 2.5
    assert estimate.interval == pytest.approx((2.5 - half, 2.5 + half), rel=1e-12)
    assert (estimate.n_units, estimate.units, estimate.level) == (4, (1.0, 2.0, 3.0, 4.0), 0.95)


def test_t_interval_agrees_with_scipy() -> None:
    units = np.random.default_rng(1).normal(size=23)
    ours = iv.t_interval(units.tolist(), 0.99).interval
    theirs = stats.ttest_1samp(units, 0.0).confidence_interval(0.99)
    assert ours == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_empty_is_missing_and_one_unit_has_no_interval() -> None:
    empty, one = iv.t_interval([]), iv.t_interval([0.3])
    assert (empty.value, empty.interval, empty.n_units) == (None, None, 0)
    assert (one.value, one.interval, one.n_units) == (0.3, None, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_units_are_an_error_with_their_count(bad: float) -> None:
    with pytest.raises(ValueError, match="2 of 4 units"):
        iv.t_interval([1.0, bad, bad, 2.0])
    with pytest.raises(ValueError, match="1 of 2 leave-one-out"):
        iv.jackknife_interval(1.0, [1.0, bad])
    with pytest.raises(ValueError, match="1 of 2 units of the second side"):
        iv.paired_contrast([1.0, 2.0], [1.0, bad])


@pytest.mark.parametrize("level", [0.0, 1.0, 99.0, math.nan])
def test_wrong_level_is_an_error(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        iv.t_interval([1.0], level)


@pytest.mark.parametrize("resolution", [-0.1, math.nan, math.inf])
def test_wrong_resolution_is_an_error(resolution: float) -> None:
    with pytest.raises(ValueError, match="resolution"):
        iv.t_interval([1.0, 2.0], resolution=resolution)


def test_resolution_floors_the_spread_of_identical_units() -> None:
    assert iv.t_interval([0.7] * 20).interval == (0.7, 0.7)
    low, high = iv.t_interval([0.7] * 20, resolution=0.1).interval or (0.0, 0.0)
    half = stats.t.ppf(0.995, 19) * 0.1 / math.sqrt(12) / math.sqrt(20)
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), rel=1e-12)
    spread = [0.0, 1.0] * 10
    assert iv.t_interval(spread, resolution=0.1).interval == iv.t_interval(spread).interval


@given(value=st.floats(-1e6, 1e6), n=st.integers(2, 50))
def test_identical_units_give_exactly_their_value(value: float, n: int) -> None:
    assert iv.t_interval([value] * n).interval == (value, value)


@given(units=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), shift=st.floats(-1e3, 1e3))
def test_interval_contains_its_value_and_moves_with_it(units: list[float], shift: float) -> None:
    first, second = iv.t_interval(units), iv.t_interval([u + shift for u in units])
    assert first.interval is not None and second.interval is not None and first.value is not None
    assert first.interval[0] <= first.value <= first.interval[1]
    assert second.interval == pytest.approx(tuple(end + shift for end in first.interval), abs=1e-8)


def test_t_interval_coverage_at_99_percent() -> None:
    rng = np.random.default_rng(20240501)
    for n, draw in ((6, rng.normal), (20, rng.normal), (20, rng.logistic)):
        worlds = draw(3.0, 2.0, size=(4000, n))
        hits = [low <= 3.0 <= high for low, high in (iv.t_interval(w.tolist()).interval or (1, 0) for w in worlds)]
        assert np.mean(hits) == pytest.approx(0.99, abs=0.015), n


def _leave_one_out(blocks: np.ndarray, statistic) -> list[float]:  # type: ignore[no-untyped-def]
    return [statistic(np.delete(blocks, b, axis=0)) for b in range(len(blocks))]


def test_jackknife_of_a_mean_is_the_t_interval() -> None:
    units = np.random.default_rng(2).gamma(2.0, size=20)
    jackknife = iv.jackknife_interval(float(units.mean()), _leave_one_out(units, lambda x: float(x.mean())))
    assert jackknife.interval == pytest.approx(iv.t_interval(units.tolist()).interval, rel=1e-12)
    assert jackknife.units == pytest.approx(units.tolist())


def test_jackknife_standard_error_formula() -> None:
    full, loo = 2.0, [1.9, 2.2, 2.05, 1.7]
    se = math.sqrt(3 / 4 * sum((x - np.mean(loo)) ** 2 for x in loo))
    half = stats.t.ppf(0.995, 3) * se
    assert iv.jackknife_interval(full, loo).interval == pytest.approx((full - half, full + half), rel=1e-12)


def test_jackknife_with_fewer_than_two_blocks_has_no_interval() -> None:
    assert iv.jackknife_interval(2.0, []).interval is None
    assert iv.jackknife_interval(2.0, [2.0]).interval is None
    assert iv.jackknife_interval(2.0, []).value == 2.0


def test_jackknife_coverage_of_a_log_variance() -> None:
    rng = np.random.default_rng(7)
    blocks, size, worlds, hits = 20, 25, 4000, 0
    for sample in rng.normal(0.0, 3.0, size=(worlds, blocks, size)):
        count, total, square = size * blocks, sample.sum(), (sample**2).sum()
        n = count - size
        left_total, left_square = total - sample.sum(axis=1), square - (sample**2).sum(axis=1)
        loo = np.log((left_square - left_total**2 / n) / (n - 1))
        full = math.log((square - total**2 / count) / (count - 1))
        low, high = iv.jackknife_interval(full, loo.tolist()).interval or (1.0, 0.0)
        hits += low <= math.log(9.0) <= high
    assert hits / worlds == pytest.approx(0.99, abs=0.015)


@pytest.mark.parametrize("bias", [0.4, -0.4, 0.0])
def test_bias_widens_to_the_hull_with_the_corrected_interval(bias: float) -> None:
    plain = iv.jackknife_interval(2.0, [1.9, 2.2, 2.05, 1.7]).interval
    wide = iv.jackknife_interval(2.0, [1.9, 2.2, 2.05, 1.7], bias=bias).interval
    assert plain is not None and wide is not None
    corrected = (plain[0] - bias, plain[1] - bias)
    assert wide == pytest.approx((min(plain[0], corrected[0]), max(plain[1], corrected[1])))


@pytest.mark.parametrize("power", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("scale", [3.0, -3.0])
def test_bias_from_fractions_is_exact_for_power_laws(power: float, scale: float) -> None:
    n = 4096.0
    values = [5.0 + scale * m**-power for m in (n, n / 2, n / 4)]
    assert bias_from_fractions(*values) == pytest.approx(scale * n**-power, rel=1e-6)


def test_bias_from_fractions_is_conservative_elsewhere() -> None:
    quick = [1 + m**-2.0 for m in (40.0, 20.0, 10.0)]
    assert bias_from_fractions(*quick) > 40.0**-2
    assert bias_from_fractions(1.0, 1.1, 1.1) == pytest.approx(0.1 / (math.sqrt(2) - 1))  # no decay visible
    assert bias_from_fractions(1.0, 1.1, 0.9) == pytest.approx(0.1 / (math.sqrt(2) - 1))  # noise
    assert bias_from_fractions(1.0, 1.0, 2.0) == 0.0
    with pytest.raises(ValueError, match="not finite"):
        bias_from_fractions(1.0, math.nan, 1.0)


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(-10, 10))
def test_bias_is_between_one_and_two_and_a_half_differences(a: float, b: float, c: float) -> None:
    bias = bias_from_fractions(a, b, c)
    assert abs(b - a) <= abs(bias) * (1 + 1e-9) and abs(bias) <= 2.4143 * abs(b - a)


def test_a_range_of_biases_widens_to_both_sides() -> None:
    left = [1.9, 2.2, 2.05, 1.7]
    plain, wide = iv.jackknife_interval(2.0, left).interval, iv.jackknife_interval(2.0, left, bias=(-0.3, 0.2)).interval
    assert plain is not None and wide == pytest.approx((plain[0] - 0.2, plain[1] + 0.3))
    same = iv.jackknife_interval(2.0, left, bias=(0.1, 0.2)).interval
    assert same == pytest.approx((plain[0] - 0.2, plain[1]))  # the estimate itself stays covered
    shared = iv.t_interval([1.0, 2.0, 4.0], bias=0.5).interval
    alone = iv.t_interval([1.0, 2.0, 4.0]).interval
    assert alone is not None and shared == pytest.approx((alone[0] - 0.5, alone[1]))
    with pytest.raises(ValueError, match="readings of the bias"):
        iv.jackknife_interval(2.0, left, bias=(math.nan, 0.2))


@pytest.mark.parametrize(("power", "blocks"), [(0.5, 20), (0.5, 40), (1.0, 20)])
def test_jackknife_bias_of_power_laws(power: float, blocks: int) -> None:
    """Exact at p = 1/2 up to the blocks' own size; twice the bias at p = 1; zero for a mean."""
    n = 4096.0
    full, left = 5.0 + n**-power, [5.0 + (n * (1 - 1 / blocks)) ** -power] * blocks
    assert jackknife_bias(full, left) == pytest.approx(2 * power * n**-power, rel=0.06)
    units = np.random.default_rng(0).normal(size=blocks)
    means = [(units.sum() - unit) / (blocks - 1) for unit in units]
    assert jackknife_bias(float(units.mean()), means) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="at least 2 blocks"):
        jackknife_bias(1.0, [1.0])


def test_spectrum_interval_is_hulled_over_all_readings() -> None:
    full, left = 0.8, [0.79, 0.805, 0.8, 0.79]
    plain = iv.jackknife_interval(full, left).interval
    found = iv.spectrum_interval(full, left, 0.78, 0.75, further=[0.5])
    readings = (bias_from_fractions(full, 0.78, 0.75), jackknife_bias(full, left), 0.5)
    assert plain is not None and found.bias == (min(readings), 0.5)
    assert found.interval == pytest.approx((plain[0] - 0.5, plain[1] - min(readings)))


def test_seeds_need_twenty_and_show_percentiles() -> None:
    few, many = iv.seeds_interval(range(19)), iv.seeds_interval(range(21))
    assert few.interval is None and few.note == "19 of 20 seeds" and few.value == 9.0
    assert many.interval == iv.t_interval(range(21)).interval
    assert many.percentiles == (1.0, 19.0)
    assert iv.seeds_interval([]).value is None


def test_paired_contrast_sees_what_unpaired_spread_hides() -> None:
    base = np.random.default_rng(3).normal(0, 100, size=12)
    contrast = iv.paired_contrast((base + 1 + 0.1 * np.arange(12)).tolist(), base.tolist())
    assert contrast.interval is not None and contrast.interval[0] > 0
    assert contrast.value == pytest.approx(1.55)


def test_paired_contrast_refuses_unequal_lengths_and_scales_resolution() -> None:
    with pytest.raises(ValueError, match="found 2 and 1"):
        iv.paired_contrast([1.0, 2.0], [1.0])
    low, high = iv.paired_contrast([0.5] * 4, [0.5] * 4, resolution=0.1).interval or (0, 0)
    assert high - low == pytest.approx(2 * stats.t.ppf(0.995, 3) * 0.1 / math.sqrt(6) / 2)


@pytest.mark.parametrize(
    "estimate",
    [
        iv.t_interval([0.1, 0.2, 0.4], resolution=0.1),
        iv.jackknife_interval(0.3, [0.31, 0.28, 0.29, 0.4], bias=0.02),
        iv.jackknife_interval(0.3, [0.31, 0.28, 0.29, 0.4], bias=(-0.1, 0.02)),
        iv.t_interval([0.1, 0.2, 0.4], bias=-0.1),
        iv.seeds_interval([0.1 * k for k in range(25)]),
        iv.paired_contrast([0.1, 0.2], [0.4, 0.3], resolution=0.05),
        iv.t_interval([0.1]),
    ],
)
def test_replay_is_bit_equal(estimate: iv.Estimate) -> None:
    stored = json.loads(json.dumps(estimate.record()))
    assert stored == estimate.record()  # a row reads back equal to what was written
    again = replayed(estimate.units, estimate.value, estimate.level, stored)
    assert again is not None
    assert (again.value, again.interval, again.n_units) == (estimate.value, estimate.interval, estimate.n_units)


def test_replay_needs_a_record() -> None:
    assert replayed((1.0, 2.0), 1.5, 0.99, None) is None
    assert replayed((), 1.5, 0.99, {"method": "t"}) is None
    assert replayed((1.0, 2.0), 1.5, 0.99, {"method": "tarot"}) is None


def test_an_error_that_all_units_share_widens_the_interval() -> None:
    units = [1.0, 2.0, 3.0, 4.0]
    alone, both = iv.t_interval(units), iv.t_interval(units, shared=Shared(0.5, 9))
    error, dof = total_error(units, 0.0, Shared(0.5, 9))
    own = standard_error(units)
    assert error == pytest.approx(math.hypot(own, 0.5)) and alone.value == both.value
    assert dof == pytest.approx(error**4 / (own**4 / 3 + 0.5**4 / 9))
    assert both.interval[1] - both.value == pytest.approx(stats.t.ppf(0.995, dof) * error)
    assert total_error(units) == (own, 3) and iv.t_interval(units, shared=Shared(0.0, 9)).interval == alone.interval


def test_intervals_of_units_on_common_texts_cover() -> None:
    """Edits and texts both vary: without the texts' share the interval covers far too seldom, with it as it says."""
    rng = np.random.default_rng(0)
    hits = {"alone": 0, "both": 0}
    worlds = 600
    for _ in range(worlds):
        edits, texts = rng.normal(size=(20, 1)), 3.0 * rng.normal(size=(1, 20))
        values = edits + texts + rng.normal(size=(20, 20))
        units = values.mean(1).tolist()
        shared = shared_error([float(np.delete(values, block, 1).mean()) for block in range(20)])
        for name, one in (("alone", iv.t_interval(units)), ("both", iv.t_interval(units, shared=shared))):
            hits[name] += one.interval[0] <= 0.0 <= one.interval[1]
    assert hits["alone"] / worlds < 0.9 and 0.975 <= hits["both"] / worlds <= 1.0


def test_a_shared_error_takes_two_blocks() -> None:
    with pytest.raises(ValueError, match="at least two blocks"):
        shared_error([1.0])


def test_a_shared_error_is_replayed() -> None:
    one = iv.t_interval([1.0, 2.0, 4.0], shared=Shared(0.25, 5))
    again = replayed(one.units, one.value, one.level, json.loads(json.dumps(one.record())))
    assert again is not None and again.interval == one.interval and again.shared == one.shared
