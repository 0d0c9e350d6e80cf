"""Regions: edges exactly, and the properties that a threshold must have."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from editverdict.inference import regions
from editverdict.inference.rows import Region

ONE_SIDED = ("<=", "<", ">=", ">")
numbers = st.integers(-400, 400).map(lambda k: k / 4)  # quarters: exact in binary, and edges coincide often
spans = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


def region(op: str, threshold: float) -> Region:
    return Region.model_validate({"op": op, "threshold": threshold})


def within(low: float, high: float) -> Region:
    return Region(op="within", low=low, high=high)


@pytest.mark.parametrize(
    ("op", "interval", "decision"),
    [
        ("<=", (0.0, 1.0), "supported"),
        ("<", (0.0, 1.0), "inconclusive"),
        (">=", (1.0, 2.0), "supported"),
        (">", (1.0, 2.0), "inconclusive"),
        ("<=", (1.0, 2.0), "inconclusive"),
        ("<", (1.0, 2.0), "refuted"),
        (">=", (0.0, 1.0), "inconclusive"),
        (">", (0.0, 1.0), "refuted"),
        ("<=", (1.0, 1.0), "supported"),
        ("<", (1.0, 1.0), "refuted"),
        (">=", (1.0, 1.0), "supported"),
        (">", (1.0, 1.0), "refuted"),
        (">", (1.5, math.inf), "supported"),
        ("<", (-math.inf, math.inf), "inconclusive"),
    ],
)
def test_edges_of_one_sided_regions(op: str, interval: tuple[float, float], decision: str) -> None:
    assert regions.decide(region(op, 1.0), interval) == decision


@pytest.mark.parametrize(
    ("interval", "decision"),
    [
        ((-0.25, 0.25), "supported"),
        ((0.25, 0.25), "supported"),
        ((0.25, 0.3), "inconclusive"),
        ((-0.3, -0.25), "inconclusive"),
        ((-1.0, 1.0), "inconclusive"),
        ((math.nextafter(0.25, 1), 0.3), "refuted"),
        ((-0.5, math.nextafter(-0.25, -1)), "refuted"),
    ],
)
def test_edges_of_within(interval: tuple[float, float], decision: str) -> None:
    assert regions.decide(within(-0.25, 0.25), interval) == decision


def test_no_interval_decides_nothing() -> None:
    assert regions.decide(region(">", 0.0), None) == "inconclusive"


def test_direction_and_effect() -> None:
    assert [regions.direction(region(op, 0.0)) for op in ONE_SIDED] == [-1, -1, 1, 1]
    assert regions.direction(within(0, 1)) == 0
    assert regions.effect(region("<=", 5.0), 2.0) == -2.0
    assert regions.effect(region(">", 5.0), 2.0) == 2.0
    assert regions.effect(within(0.0, 4.0), 5.0) == -3.0 == regions.effect(within(0.0, 4.0), -1.0)


@pytest.mark.parametrize("interval", [(1.0, 0.0), (math.nan, 1.0), (0.0, math.nan)])
def test_impossible_intervals_are_errors(interval: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="low <= high"):
        regions.decide(region(">", 0.0), interval)


def test_incomplete_regions_are_errors() -> None:
    with pytest.raises(ValueError, match="needs a threshold"):
        regions.decide(Region(op=">"), (0.0, 1.0))
    with pytest.raises(ValueError, match="needs low < high"):
        regions.decide(within(1.0, 1.0), (0.0, 1.0))


def test_margin_examples() -> None:
    assert regions.margin_to_flip(region(">=", 0.5), (0.011, 0.031)) == pytest.approx(0.469)
    assert regions.margin_to_flip(region("<=", 0.5), (0.1, 0.2), "supported") == pytest.approx(0.3)
    assert regions.margin_to_flip(region(">", 0.0), (-1.0, 3.0)) == 1.0
    assert regions.margin_to_flip(region(">=", 1.0), (1.0, 2.0)) == 0.0
    assert regions.margin_to_flip(within(-1, 1), (-0.5, 0.75)) == 0.25
    assert regions.margin_to_flip(within(-1, 1), (1.5, 2.0)) == 0.5
    assert regions.margin_to_flip(within(-1, 1), (0.5, 1.25)) == 0.25  # widen to 1.25, or narrow to 0.5
    assert regions.margin_to_flip(within(-1, 1), (0.875, 1.5)) == 0.125
    assert regions.margin_to_flip(within(-1, 1), (-3.0, 2.0)) == 2.0  # across the centre: only widening helps
    assert regions.margin_to_flip(region(">", 0.0), (-math.inf, math.inf)) == math.inf
    with pytest.raises(ValueError, match="not refuted"):
        regions.margin_to_flip(region(">", 0.0), (1.0, 2.0), "refuted")


@given(op=st.sampled_from(ONE_SIDED), threshold=numbers, span=spans, step=st.integers(0, 100).map(lambda k: k / 4))
def test_a_kinder_threshold_never_hurts(op: str, threshold: float, span: tuple[float, float], step: float) -> None:
    order = {"refuted": 0, "inconclusive": 1, "supported": 2}
    before = regions.decide(region(op, threshold), span)
    after = regions.decide(region(op, threshold - regions.direction(region(op, 0.0)) * step), span)
    assert order[after] >= order[before]


@given(ends=spans, span=spans, step=st.integers(0, 100).map(lambda k: k / 4))
def test_a_wider_equivalence_margin_never_hurts(
    ends: tuple[float, float], span: tuple[float, float], step: float
) -> None:
    assume(ends[0] < ends[1])
    order = {"refuted": 0, "inconclusive": 1, "supported": 2}
    wider = within(ends[0] - step, ends[1] + step)
    assert order[regions.decide(wider, span)] >= order[regions.decide(within(*ends), span)]


@given(op=st.sampled_from(ONE_SIDED), threshold=numbers, span=spans)
def test_margin_flips_just_beyond_and_not_before(op: str, threshold: float, span: tuple[float, float]) -> None:
    verdict = regions.decide(region(op, threshold), span)
    margin = regions.margin_to_flip(region(op, threshold), span, verdict)
    assert margin >= 0
    _check_flip(lambda move: regions.decide(region(op, threshold + move), span), verdict, margin)


@given(ends=spans, span=spans)
def test_margin_of_within_flips_just_beyond_and_not_before(
    ends: tuple[float, float], span: tuple[float, float]
) -> None:
    assume(ends[1] - ends[0] > 1.0)
    verdict = regions.decide(within(*ends), span)
    margin = regions.margin_to_flip(within(*ends), span, verdict)

    def moved(move: float) -> str:
        low, high = ends[0] - move, ends[1] + move
        return regions.decide(within(low, high), span) if low < high else verdict

    _check_flip(moved, verdict, margin)


def _check_flip(decide_at, verdict: str, margin: float) -> None:  # type: ignore[no-untyped-def]
    tiny = 1 / 64  # margins are multiples of 1/8
    beyond = {decide_at(margin + tiny), decide_at(-margin - tiny)}
    assert beyond != {verdict}
    if margin > tiny:
        assert {decide_at(margin - tiny), decide_at(tiny - margin)} == {verdict}
