"""The worst of three trends, planted collapses, and what centring over features makes of any sample."""

from __future__ import annotations

import math

import pytest
import torch

from editverdict.geometry.collapse import (
    centred_over_features,
    planted_leading,
    planted_low_half,
    rank_excess,
    ratio_excess,
    worst_excess,
)
from editverdict.geometry.spectrum import exp_entropy
from editverdict.numerics.random_matrices import standard_normal, wishart_singular_values
from editverdict.numerics.spectrum import exact_spectrum


def test_a_flat_spectrum_exceeds_both_thresholds_by_all_there_is() -> None:
    flat = torch.ones(64, dtype=torch.float64)
    assert rank_excess(flat) == pytest.approx(math.log10(1 / 0.85))
    assert ratio_excess(flat) == pytest.approx(6.0) == worst_excess(flat)


def test_the_worst_trend_decides() -> None:
    sigma = torch.ones(64, dtype=torch.float64)
    sigma[-1] = 1e-8  # sigma_min vanishes, but the rank is full
    assert ratio_excess(sigma) == pytest.approx(-2.0)
    assert worst_excess(sigma) == pytest.approx(rank_excess(sigma)) and worst_excess(sigma) > 0
    low = torch.logspace(0, -3, 64, dtype=torch.float64)  # the rank is low, but nothing vanishes
    assert rank_excess(low) < 0 and worst_excess(low) == pytest.approx(3.0)
    both = planted_low_half(sigma)
    assert worst_excess(both) < 0


def test_sigma_min_is_the_direction_that_is_named() -> None:
    sigma = torch.tensor([1.0, 0.5, 1e-9], dtype=torch.float64)
    assert ratio_excess(sigma, 1) == pytest.approx(math.log10(0.5e6))
    with pytest.raises(ValueError, match="zero"):
        ratio_excess(torch.tensor([1.0, 0.0]))


def test_noise_of_any_size_is_no_collapse() -> None:
    for n, d in ((200, 50), (3000, 60)):
        assert worst_excess(wishart_singular_values(n, d, 3)) > 3.0


def test_planted_spectra() -> None:
    sigma = wishart_singular_values(500, 48, 1)
    low = planted_low_half(sigma, 1e-8)
    assert torch.equal(low[:24], sigma[:24]) and bool((low[24:] == 1e-8 * sigma[0]).all())
    assert worst_excess(low) == pytest.approx(rank_excess(low)) and rank_excess(low) < -0.2
    few = planted_leading(sigma, 0.125)
    assert torch.equal(few[:6], sigma[:6]) and not few[6:].any() and exp_entropy(few) <= 6.0
    assert int((planted_leading(sigma[:3], 0.125) > 0).sum()) == 1
    with pytest.raises(ValueError, match="share"):
        planted_leading(sigma, 0.0)


def test_centring_over_features_makes_one_null_direction_of_noise() -> None:
    x = (standard_normal((400, 24), 5) + 0.3).to(torch.float32)
    found = centred_over_features(x)
    own = exact_spectrum([x], 24)
    assert float(own.sigma[-1] / own.sigma[0]) > 0.3  # nothing collapses
    assert found.ratio_exact < 1e-14 and found.along_ones > 1 - 1e-9
    assert 1e-10 < found.ratio_float32 < 1e-6  # rounding takes the place of zero
    assert found.ratio_second > 0.3  # one direction, and no more
    with pytest.raises(ValueError, match="n > d"):
        centred_over_features(x[:20])
