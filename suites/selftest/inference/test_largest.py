"""The largest of several associations: ends that hold in every dimension, near ties and apart, with their p values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from editverdict.inference.association import Pair, association_interval
from editverdict.inference.largest import CASES, largest_association, magnitude
from editverdict.inference.pvalues import case_p_values
from editverdict.inference.replay import replayed
from editverdict.inference.rows import Region

Array = NDArray[np.float64]


def drawn(rng: np.random.Generator, n: int, links: tuple[float, ...], kept: float = 0.5) -> dict[str, Pair]:
    """One side and several others, each with its own correlation; part of a chain's values is the same at every T."""

    def noise() -> Array:
        return math.sqrt(kept) * rng.standard_normal((n, 1)) + math.sqrt(1 - kept) * rng.standard_normal((n, 3))

    x = noise()
    return {f"d{i}": (x, r * x + math.sqrt(1 - r * r) * noise()) for i, r in enumerate(links)}


def rho(r: float) -> float:
    return 6.0 / math.pi * math.asin(r / 2.0)


def test_one_dimension_is_the_association_itself() -> None:
    pairs = drawn(np.random.default_rng(0), 12, (-0.8,))
    assert largest_association(pairs) == association_interval(*pairs["d0"])


def test_no_dimension_hides_behind_the_others() -> None:
    pairs = drawn(np.random.default_rng(1), 48, (-0.99, -0.99, 0.0))
    found = largest_association(pairs)
    assert found.note == "largest: d2" and abs(found.value or 1) < 0.3 and found.parts == 3
    opposite = drawn(np.random.default_rng(1), 48, (-0.99, 0.98, 0.0))
    size = largest_association(opposite, size=True)
    assert (size.value or 0) > 0.9 and size.interval is not None and size.interval[0] > 0.8


def test_the_upper_end_is_every_dimensions_own_and_the_lower_one_is_corrected() -> None:
    for seed in range(10):
        pairs = drawn(np.random.default_rng(seed), 14, (-0.7, -0.75, -0.6, -0.9))
        own = {d: association_interval(*pair).interval or (math.nan, math.nan) for d, pair in pairs.items()}
        found = largest_association(pairs)
        assert found.interval is not None
        assert found.interval[1] >= min(1.0, max(high for _, high in own.values())) - 1e-12
        name = str(found.note).removeprefix("largest: ")
        strict = association_interval(*pairs[name], 1 - 0.01 / 4).interval
        assert strict is not None and found.interval[0] <= strict[0] + 1e-12 <= own[name][0] + 2e-12


def test_the_interval_can_be_computed_again_from_what_a_row_stores() -> None:
    for size in (False, True):
        found = largest_association(drawn(np.random.default_rng(2), 9, (-0.7, 0.6, -0.2)), size=size)
        again = replayed(found.units, found.value, found.level, found.record())
        assert again == replace(found, note=None, parts=1)


@pytest.mark.parametrize("links", [(-0.7, -0.7, -0.7), (0.0, 0.0, 0.0), (-0.9, -0.3, -0.35)])
@pytest.mark.parametrize("n", [6, 12])
def test_coverage_does_not_suffer_from_ties(links: tuple[float, ...], n: int) -> None:
    rng, missed = np.random.default_rng(3), 0
    for _ in range(60):
        pairs = drawn(rng, n, links, kept=0.9)
        for size in (False, True):
            truth = max(abs(rho(r)) if size else rho(r) for r in links)
            low, high = largest_association(pairs, size=size).interval or (math.nan, math.nan)
            missed += not low - 1e-12 <= truth <= high + 1e-12
    assert missed <= 5  # of 120, at 99%: six would be one chance in a thousand


def test_p_values_after_a_correction_are_those_of_the_worst_dimension(make_row: Any) -> None:
    pairs = drawn(np.random.default_rng(4), 24, (-0.9, -0.85, -0.8))
    pairs |= drawn(np.random.default_rng(5), 24, (-0.9,), kept=0.95)
    for threshold in (-0.7, -0.6, -0.5, -0.4, -0.3, -0.2):
        region = Region(op="<=", threshold=threshold)
        joint = case_p_values(make_row(estimate=largest_association(pairs), expected=region)).support
        single = [
            case_p_values(make_row(estimate=association_interval(*pair), expected=region)).support
            for pair in pairs.values()
        ]
        if 0.005 / CASES <= joint <= 0.005:
            assert joint >= max(single) - 1e-12


def test_what_is_missing_is_named() -> None:
    pairs = drawn(np.random.default_rng(5), 8, (-0.9, -0.9))
    flat = pairs | {"d1": (pairs["d1"][0], np.ones((8, 3)))}
    found = largest_association(flat)
    assert found.value is None and "no association with d1" in str(found.note)
    one = np.ones((8, 3))
    one[0] = 2.0
    alone = largest_association(pairs | {"d1": (pairs["d1"][0], one)})
    assert alone.interval is None and "no interval of d1" in str(alone.note)
    with pytest.raises(ValueError, match="same chains"):
        largest_association({"a": pairs["d0"], "b": (pairs["d1"][0][:5], pairs["d1"][1][:5])})
    with pytest.raises(ValueError, match="no dimension"):
        largest_association({})
    assert magnitude(found) == found
