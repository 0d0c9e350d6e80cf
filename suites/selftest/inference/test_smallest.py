"""The smallest of several means: what it is, when it is decided, and how often it is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from editverdict.inference.intervals import t_interval
from editverdict.inference.pvalues import case_p_values
from editverdict.inference.regions import decide
from editverdict.inference.replay import replayed
from editverdict.inference.rows import Region, Row
from editverdict.inference.smallest import Part, smallest_mean, weakest_part
from editverdict.inference.standard_errors import Shared

ABOVE = Region(op=">", threshold=0.0, origin="convention", ref="zero")


def test_the_part_with_the_smallest_mean_is_named_and_its_units_are_kept() -> None:
    found = smallest_mean({"rel": [0.5, 0.6, 0.7], "loc": [0.1, 0.2, 0.3]})
    assert found.value == pytest.approx(0.2) and found.units == (0.1, 0.2, 0.3) and "loc" in str(found.note)


def test_a_part_that_is_not_the_smallest_but_wide_holds_support_back() -> None:
    narrow, wide = [0.20, 0.21, 0.19, 0.20, 0.21, 0.19], [1.0, -0.4, 1.1, -0.5, 0.9, -0.3]
    assert decide(ABOVE, smallest_mean({"a": narrow}).interval) == "supported"
    both = smallest_mean({"a": narrow, "b": wide})
    assert both.value == pytest.approx(0.2) and decide(ABOVE, both.interval) == "inconclusive"
    assert both.interval is not None and t_interval(wide).interval is not None
    assert both.interval[0] == pytest.approx(t_interval(wide).interval[0])  # type: ignore[index]


def test_one_part_is_its_own_interval_and_the_row_can_be_replayed() -> None:
    units = [0.1, 0.3, 0.2, 0.4]
    assert smallest_mean({"a": units}).interval == pytest.approx(t_interval(units).interval)
    found = smallest_mean({"a": units, "b": [1.0, 1.2, 0.9, 1.1]}, resolution={"a": 0.1, "b": 0.0})
    again = replayed(found.units, found.value, found.level, found.record())
    assert again is not None and again.interval == pytest.approx(found.interval)


def test_identical_parts_at_zero_are_no_effect() -> None:
    assert decide(ABOVE, smallest_mean({"a": [0.0] * 6, "b": [0.0] * 6}).interval) == "refuted"


@pytest.mark.parametrize("parts", [{}, {"a": [1.0, 2.0], "b": [1.0]}])
def test_parts_must_have_the_same_units(parts: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="equally many units"):
        smallest_mean(parts)


@pytest.mark.parametrize(("means", "wrong"), [((0.0, 0.0, 0.0, 0.0), "supported"), ((0.01,) * 4, "refuted")])
def test_wrong_decisions_are_rare(means: tuple[float, ...], wrong: str) -> None:
    """At zero, "> 0" is false; just above it is true, and the smallest of four lies below by chance."""
    rng, count = np.random.default_rng(0), 0
    for _ in range(2000):
        drawn = {str(i): (m + 0.1 * rng.normal(size=6)).tolist() for i, m in enumerate(means)}
        count += decide(ABOVE, smallest_mean(drawn).interval) == wrong
    # One-sided alpha .005: 10 of 2,000 are expected at the most.
    assert count <= 20


# --------------------------------------------------------------------------- parts in units of their own
def part(mean: float, spread: float = 0.1, **more: object) -> Part:
    return Part(tuple(mean + spread * x for x in (-1.5, -0.9, -0.3, 0.3, 0.9, 1.5)), **more)  # type: ignore[arg-type]


def test_the_weakest_part_is_that_of_the_least_t_value_whatever_its_units() -> None:
    parts = {"percent": part(30.0, 20.0), "shares": part(0.4, 0.01)}
    found = weakest_part(parts)
    assert found.note == "weakest: percent" and found.value == pytest.approx(30.0)
    scaled = weakest_part({"percent": parts["percent"].over(100.0), "shares": parts["shares"]})
    assert scaled.note == found.note and decide(ABOVE, scaled.interval) == decide(ABOVE, found.interval)


def test_support_needs_every_part_and_no_correction() -> None:
    """Each part alone is just above zero at 99%: so is the joint statement (intersection-union)."""
    units = part(0.185).units
    assert decide(ABOVE, t_interval(units).interval) == "supported"
    corrected = t_interval(units, 1 - 0.01 / 3).interval
    assert decide(ABOVE, corrected) == "inconclusive"
    assert decide(ABOVE, weakest_part({n: Part(units) for n in "abc"}).interval) == "supported"
    weak = weakest_part({"a": Part(units), "b": Part(units), "c": part(0.1)})
    assert weak.note == "weakest: c" and decide(ABOVE, weak.interval) == "inconclusive"


def test_refutation_is_corrected_for_the_choice() -> None:
    units = part(-0.185).units
    assert decide(ABOVE, weakest_part({"a": Part(units)}).interval) == "refuted"
    assert decide(ABOVE, weakest_part({"a": Part(units), "b": part(5.0), "c": part(5.0)}).interval) == "inconclusive"
    assert decide(ABOVE, weakest_part({"a": part(-0.3), "b": part(5.0), "c": part(5.0)}).interval) == "refuted"


def test_a_correction_over_cases_takes_every_part_into_account(make_row: Callable[..., Row]) -> None:
    """Holm over cases asks for p values far below the level at which the interval was moved: there Bonferroni's factor
    over the parts is more than that shift."""
    units = (-0.05, -0.06, -0.04, -0.055, -0.045, -0.07)
    four = smallest_mean({"a": units, "b": (1.0,) * 6, "c": (1.0,) * 6, "d": (1.0,) * 6})
    alone = smallest_mean({"a": units})
    rows = [make_row(units, estimate=found, expected=ABOVE) for found in (alone, four)]
    one, all_four = (case_p_values(row).refute for row in rows)
    assert one < 1e-3 and all_four == pytest.approx(4 * one)
    assert [row.verdict for row in rows] == ["refuted", "refuted"] and four.record()["parts"] == 4


def test_a_precise_part_that_fails_is_not_hidden_behind_a_noisy_one() -> None:
    found = weakest_part({"noisy": part(-0.5, 1.0), "precise": part(-0.4, 0.01)})
    assert found.note == "weakest: precise" and decide(ABOVE, found.interval) == "refuted"


def test_an_error_that_all_units_share_is_in_it_and_the_row_can_be_replayed() -> None:
    parts = {"a": part(0.3, shared=Shared(0.2, 19)), "b": part(0.9)}
    found = weakest_part(parts)
    assert found.note == "weakest: a" and decide(ABOVE, found.interval) == "inconclusive"
    assert decide(ABOVE, weakest_part(parts | {"a": part(0.3)}).interval) == "supported"
    again = replayed(found.units, found.value, found.level, found.record())
    assert again is not None and again.interval == pytest.approx(found.interval)


def test_single_units_have_no_interval_and_no_units_are_an_error() -> None:
    found = weakest_part({"a": Part((0.3,)), "b": Part((0.1,))})
    assert found.interval is None and found.value == pytest.approx(0.1)
    with pytest.raises(ValueError, match="parts with units"):
        weakest_part({"a": Part(())})
    assert decide(ABOVE, weakest_part({"a": Part((0.0,) * 6), "b": part(1.0)}).interval) == "refuted"


@pytest.mark.parametrize(("truth", "wrong"), [((0.0, 1.0, 1.0), "supported"), ((0.01,) * 3, "refuted")])
def test_wrong_joint_decisions_are_rare(truth: tuple[float, ...], wrong: str) -> None:
    """Least favourable: one part at zero and the others far above; all parts just above zero."""
    rng, count = np.random.default_rng(2), 0
    for _ in range(2000):
        drawn = {str(i): Part(tuple((m + s * rng.normal(size=6)).tolist())) for i, (m, s) in enumerate(
            zip(truth, (0.1, 0.2, 0.4), strict=True))}  # fmt: skip
        count += decide(ABOVE, weakest_part(drawn).interval) == wrong
    assert count <= 20
