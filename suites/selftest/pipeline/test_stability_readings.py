"""Readings of the stability and depth claims on planted numbers: what controls and units say, without a model."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from editverdict.geometry.depth import largest_step
from editverdict.pipeline.measures.continuity import BREAK, worst_break
from editverdict.pipeline.measures.stability import cosines, trend_step, trends


# --------------------------------------------------------------------------- depth continuity: the planted break
@pytest.mark.parametrize("sizes", [[0.03, 9.0, 0.03, 9.0], [9.0, 0.03, 9.0, 0.03], [1.0, 1.0], [0.1, 5.0, 0.4]])
def test_a_planted_break_never_undoes_what_is_there(sizes: list[float]) -> None:
    """The old control always took the 2nd, 4th, ... layer: level where these are three hundred times the others."""
    assert largest_step(worst_break(sizes)) >= BREAK * (1 - 1e-12)
    assert math.log10(largest_step(worst_break(sizes))) > 1.0


def test_a_jump_up_and_down_is_broken_further() -> None:
    assert worst_break([0.03, 9.0, 0.03, 9.0]) == pytest.approx([0.0001, 9.0, 0.0001, 9.0])


# --------------------------------------------------------------------------- decay: trends of chains
FALLING, RISING, LEVEL = [0.9, 0.8, 0.7], [0.7, 0.8, 0.9], [0.8, 0.8, 0.8]
T = [1, 5, 10]


def test_a_chain_without_a_trend_leaves_the_case_open_and_is_named() -> None:
    """It counted as a rho of zero, no evidence of any decay; left out, others would decide."""
    found = trends(T, [FALLING, LEVEL, FALLING, FALLING, FALLING, FALLING, FALLING])
    assert (found.value, found.interval, found.n_units) == (None, None, 0)
    assert found.note is not None and found.note.endswith("chains 1")
    assert trends(T, [FALLING, RISING]).value == pytest.approx(0.0)


def test_the_step_of_a_rho_is_the_largest_gap_between_its_values() -> None:
    for count in (2, 3, 4, 5):
        values = {
            round(float(stats.spearmanr(range(count), p).statistic), 9) for p in itertools.permutations(range(count))
        }
        ordered = sorted(values)
        assert trend_step(count) == pytest.approx(max(b - a for a, b in itertools.pairwise(ordered)))


def test_six_chains_of_three_t_cannot_show_a_decay() -> None:
    """All six fall all the way: a Student t interval, which sees no spread, ended at -.76."""
    found = trends(T, [FALLING] * 6)
    assert found.value == pytest.approx(-1.0) and found.interval is not None
    assert found.interval[1] == pytest.approx(-1 + 2 * (1 - 0.005 ** (1 / 6)), abs=0.01)
    six_up = trends(T, [RISING] * 6).interval
    assert six_up is not None and six_up[0] > -0.5  # that they do not decay, six can show
    nineteen, twenty = (trends(T, [FALLING] * n).interval for n in (18, 20))
    assert nineteen is not None and twenty is not None and nineteen[1] > -0.5 > twenty[1]


@pytest.mark.parametrize("spread", [0.0, 3.0])
def test_wrong_decisions_at_the_threshold_are_rare_however_chains_differ(spread: float) -> None:
    """Mean rho -.5 (the truth is at the threshold); chains alike, or each with a trend of its own. t: 3 and 14%."""
    generator = np.random.default_rng(5)
    drift = {0.0: -0.57, 3.0: -2.16}[spread]
    wrong = 0
    for _ in range(400):
        own = generator.normal(drift, spread, (6, 1)) if spread else np.full((6, 1), drift)
        curves = generator.normal(size=(6, 3)) + own * np.log(T)
        interval = trends(T, curves.tolist()).interval
        assert interval is not None
        wrong += interval[1] <= -0.5
    assert wrong <= 4


# --------------------------------------------------------------------------- loss: the thirty-fold control
def chain(*by_layer: float) -> Any:
    return SimpleNamespace(angles={n: {"10": {"largest_angle": c, "mean": c}} for n, c in enumerate(by_layer)})


def test_layers_of_a_chain_are_no_units_of_a_control() -> None:
    """Three chains of six layers were eighteen units, so that one more chain changed nothing of the interval."""
    found = cosines([chain(*[0.1] * 6), chain(*[0.5] * 6), chain(*[0.9] * 5, 0.0)], range(6))
    assert found.units == (0.1, 0.5, 0.9)
    assert found.interval is not None and found.interval[1] > 0.7  # three such chains decide nothing
    assert cosines([chain(0.1, 0.1)], range(2)).interval is None  # one chain is one unit
