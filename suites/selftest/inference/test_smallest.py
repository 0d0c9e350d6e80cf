"""The smallest of several means: what it is, when it is decided, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from editverdict.inference.intervals import replayed, t_interval
from editverdict.inference.regions import decide
from editverdict.inference.rows import Region
from editverdict.inference.smallest import smallest_mean

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
