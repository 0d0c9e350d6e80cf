"""Remainder and homogeneity against maps whose curvature is known; steps through the depth of a network."""

from __future__ import annotations

import math

import pytest
import torch

from editverdict.geometry.depth import every_second, largest_step, steps_between
from editverdict.geometry.linearity import first_order_remainder, homogeneity_gap
from editverdict.numerics.random_matrices import standard_normal

LINEAR, CURVED = standard_normal((50, 8), 1), standard_normal((50, 8), 2)


def change(t: float, curvature: float) -> torch.Tensor:
    """A map with a known second-order term: t j + t^2 curvature q."""
    return t * LINEAR + t * t * curvature * CURVED


def test_a_linear_map_has_neither() -> None:
    assert first_order_remainder(change(1.0, 0.0), LINEAR) == 0.0
    assert homogeneity_gap(change(1.0, 0.0), change(2.0, 0.0)) == 0.0


@pytest.mark.parametrize("curvature", [1e-3, 0.1, 3.0])
def test_both_equal_the_share_of_the_second_order_term(curvature: float) -> None:
    once = change(1.0, curvature)
    share = curvature * float(CURVED.norm() / once.norm())
    assert first_order_remainder(once, LINEAR) == pytest.approx(share, rel=1e-9)
    assert homogeneity_gap(once, change(2.0, curvature)) == pytest.approx(share, rel=1e-9)


def test_a_third_order_term_counts_three_times_in_the_homogeneity() -> None:
    def cubic(t: float) -> torch.Tensor:
        return t * LINEAR + t**3 * 0.01 * CURVED

    ratio = homogeneity_gap(cubic(1.0), cubic(2.0)) / first_order_remainder(cubic(1.0), LINEAR)
    assert ratio == pytest.approx(3.0, rel=1e-9)


def test_a_wrong_or_absent_prediction_is_found() -> None:
    assert first_order_remainder(LINEAR, torch.zeros_like(LINEAR)) == pytest.approx(1.0)
    assert first_order_remainder(LINEAR, -LINEAR) == pytest.approx(2.0)
    assert first_order_remainder(LINEAR, LINEAR.roll(1, 0)) > 1.0  # rows of other samples
    assert homogeneity_gap(LINEAR, LINEAR) == pytest.approx(0.5)  # a map that saturates


def test_nothing_is_no_share() -> None:
    zero = torch.zeros(4, 3)
    for measure in (first_order_remainder, homogeneity_gap):
        with pytest.raises(ValueError, match="zero"):
            measure(zero, zero)
        with pytest.raises(ValueError, match="not finite"):
            measure(torch.full((4, 3), math.inf), zero)
        with pytest.raises(ValueError, match="shape"):
            measure(zero, torch.zeros(4, 2))


# --------------------------------------------------------------------------- depth
def test_steps_are_factors_up_or_down() -> None:
    assert steps_between([1.0, 4.0, 2.0, 2.0]) == pytest.approx([4.0, 2.0, 1.0])
    assert largest_step([9.0, 0.05]) == pytest.approx(180.0) == largest_step([0.05, 9.0])
    assert largest_step([3.0, 3.0, 3.0]) == 1.0


def test_a_change_of_size_zero_has_no_factor() -> None:
    for wrong in ([1.0, 0.0], [1.0, math.nan], [1.0, math.inf], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="positive"):
            largest_step(wrong)
    with pytest.raises(ValueError, match="two layers"):
        largest_step([1.0])


def test_every_second_entry_is_taken_from_the_other() -> None:
    assert every_second([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]) == [1.0, 20.0, 3.0, 40.0]
    with pytest.raises(ValueError, match="length"):
        every_second([1.0], [1.0, 2.0])
