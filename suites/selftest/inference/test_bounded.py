"""Gaffke's bound: closed forms, coverage, agreement with its p values, replay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from editverdict.inference.bounded import at_least_edge_p, at_most_edge_p, bounded_mean, units_to_exclude
from editverdict.inference.intervals import bounded_interval, t_interval
from editverdict.inference.proportions import clopper_pearson
from editverdict.inference.pvalues import alpha, case_p_values
from editverdict.inference.replay import replayed
from editverdict.inference.rows import Region

SPAN = (-1.0, 1.0)


@pytest.mark.parametrize(("count", "total"), [(0, 6), (6, 6), (4, 6), (3, 12)])
def test_of_yes_or_no_units_it_is_clopper_and_pearsons(count: int, total: int) -> None:
    units = [1.0] * count + [0.0] * (total - count)
    assert bounded_mean(units, (0.0, 1.0), 0.99) == pytest.approx(clopper_pearson(count, total, 0.99), abs=0.006)


def test_units_at_a_bound_leave_room_to_the_other() -> None:
    low, high = bounded_mean([-1.0] * 6, SPAN, 0.99)
    assert low == -1.0 and high == pytest.approx(-1 + 2 * (1 - 0.005 ** (1 / 6)), abs=0.01)
    assert units_to_exclude(SPAN, -0.5, 0.99) == 19 == math.ceil(math.log(0.005) / math.log(0.75))
    with pytest.raises(ValueError, match="strictly within"):
        units_to_exclude(SPAN, -1.0, 0.99)


@pytest.mark.parametrize("share", [0.5, 0.75, 0.95])
def test_two_points_are_covered_where_t_is_not(share: float) -> None:
    generator = np.random.default_rng(3)
    truth = 1 - 2 * share
    missed = {"bounded": 0, "t": 0}
    for _ in range(300):
        units = np.where(generator.random(6) < share, -1.0, 1.0).tolist()
        low, high = bounded_mean(units, SPAN, 0.99)
        missed["bounded"] += not low <= truth <= high
        interval = t_interval(units, resolution=0.5).interval
        assert interval is not None
        missed["t"] += not interval[0] <= truth <= interval[1]
    assert missed["bounded"] <= 7
    assert missed["t"] >= 30 or share != 0.75


@pytest.mark.parametrize("op", ["<=", ">", "within"])
def test_p_values_and_replay_agree_with_the_interval(make_row: Any, op: str) -> None:
    region = Region(op="within", low=-0.7, high=0.4) if op == "within" else Region(op=op, threshold=-0.3)  # type: ignore[arg-type]
    for units in ([-1.0] * 12, [-1.0, -0.5] * 6, [0.5] * 12, [1.0] * 6, [-0.2, 0.0] * 30):
        estimate = bounded_interval(units, SPAN)
        row = make_row(estimate=estimate, expected=region)
        p = case_p_values(row)
        assert (p.support < alpha(0.99)) == (row.verdict == "supported"), (units, row.interval)
        assert (p.refute < alpha(0.99)) == (row.verdict == "refuted"), (units, row.interval)
        assert replayed(row.units, row.estimate, row.level, estimate.record()) == estimate


def test_what_it_refuses() -> None:
    for wrong in ([], [1.5], [math.nan]):
        with pytest.raises(ValueError, match="unit"):
            bounded_mean(wrong, SPAN, 0.99)
    assert bounded_interval([0.5], SPAN).interval is None and bounded_interval([], SPAN).value is None
    assert at_most_edge_p([-1.0] * 6, SPAN, 1.0) == 0.0 and at_least_edge_p([1.0] * 6, SPAN, -1.0) == 0.0
