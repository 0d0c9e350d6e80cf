"""Effective ranks, decay, planted spectra, perturbation norms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editverdict.geometry.perturbation import paired_change, relative_change
from editverdict.geometry.spectrum import (
    condition_number,
    decay_slope,
    effective_ranks,
    energy_count,
    excess_decay,
    exp_entropy,
    exp_entropy_energy,
    participation_ratio,
    plant_direction,
    planted_half_rank,
    planted_sigma_min,
    power_law,
    sigma_min_ratio,
    stable_rank,
    threshold_count,
)
from editverdict.numerics.random_matrices import standard_normal, wishart_singular_values
from editverdict.numerics.spectrum import exact_spectrum, sample_spectrum


def test_flat_and_single_spectra_have_rank_d_and_one() -> None:
    flat, single = torch.full((40,), 3.0), torch.tensor([2.0] + [0.0] * 39)
    for measure in (exp_entropy, exp_entropy_energy, participation_ratio, stable_rank):
        assert measure(flat) == pytest.approx(40.0)
        assert measure(single) == pytest.approx(1.0)


def test_closed_forms_for_two_values() -> None:
    sigma = torch.tensor([3.0, 1.0], dtype=torch.float64)
    assert exp_entropy(sigma) == pytest.approx((4 / 3) ** 0.75 * 4**0.25)
    assert exp_entropy_energy(sigma) == pytest.approx((10 / 9) ** 0.9 * 10**0.1)
    assert participation_ratio(sigma) == pytest.approx(100 / 82)
    assert stable_rank(sigma) == pytest.approx(10 / 9)
    assert energy_count(sigma, 0.9) == 1 and energy_count(sigma, 0.91) == 2 and energy_count(sigma, 1.0) == 2
    assert threshold_count(sigma, 0.5) == 1
    assert {"exp_entropy", "energy_90", "energy_95", "energy_99", "above_0.01"} <= set(effective_ranks(sigma))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30), st.floats(1e-3, 1e3))
def test_ranks_ignore_scale_and_stay_in_range(values: list[float], scale: float) -> None:
    sigma = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    for measure in (exp_entropy, exp_entropy_energy, participation_ratio, stable_rank):
        assert measure(sigma * scale) == pytest.approx(measure(sigma), rel=1e-9)
        assert 1.0 - 1e-9 <= measure(sigma) <= len(values) + 1e-9
    assert stable_rank(sigma) <= participation_ratio(sigma) + 1e-9  # order of Renyi entropies
    assert participation_ratio(sigma) <= exp_entropy_energy(sigma) + 1e-9


def test_planted_half_rank_is_a_collapse() -> None:
    sigma = wishart_singular_values(6000, 60, 0)
    assert exp_entropy(sigma) / 60 > 0.95
    assert exp_entropy(planted_half_rank(sigma)) / 60 < 0.5 + 1e-9
    assert int((planted_half_rank(torch.ones(5)) > 0).sum()) == 3


@pytest.mark.parametrize("sigma", [torch.zeros(3), torch.tensor([1.0, -1.0]), torch.tensor([1.0, math.nan])])
def test_what_is_no_spectrum_has_no_rank(sigma: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="singular values"):
        exp_entropy(sigma)


@settings(max_examples=20, deadline=None)
@given(st.floats(-2.0, 3.0), st.integers(10, 200))
def test_decay_of_a_power_law_is_its_exponent(exponent: float, d: int) -> None:
    assert decay_slope(power_law(d, exponent)).slope == pytest.approx(-exponent, abs=1e-9)


def test_decay_looks_only_at_the_inner_directions() -> None:
    sigma = power_law(100, 1.0)
    sigma[:4], sigma[95:] = 1e6, 0.0
    fit = decay_slope(sigma)  # k = 5 .. 95
    assert fit.slope == pytest.approx(-1.0) and fit.n == 91
    sigma[94] = 0.0
    with pytest.raises(ValueError, match="positive"):
        decay_slope(sigma)


def test_excess_decay_is_nil_for_noise_and_seen_for_a_power_law() -> None:
    rng = np.random.default_rng(0)
    noise = [excess_decay(wishart_singular_values(400, 100, rng), 400) for _ in range(20)]
    assert abs(np.mean(noise)) < 0.02
    assert np.abs(noise).max() < 0.05
    assert excess_decay(power_law(100, 1.0), 100_000) < -0.9


def test_condition_number_of_identified_and_of_all_directions() -> None:
    x = standard_normal((500, 10), 1)
    found = sample_spectrum(x)
    assert condition_number(found) == pytest.approx(float(found.sigma[0] / found.sigma[-1]))
    hidden = planted_sigma_min(found)
    assert sigma_min_ratio(hidden, "all") == pytest.approx(1e-8)
    assert sigma_min_ratio(hidden) == pytest.approx(float(found.sigma[-2] / found.sigma[0]))
    assert condition_number(planted_sigma_min(found, 0.0), "all") == math.inf
    with pytest.raises(ValueError, match="all samples are equal"):
        sigma_min_ratio(sample_spectrum(torch.ones(5, 3)))


def test_a_planted_direction_is_seen_in_exact_mode_only() -> None:
    x = standard_normal((600, 24), 2) @ standard_normal((24, 24), 3) + 4.0
    before = exact_spectrum([x], 24)
    planted = plant_direction(x, before, 1e-8)
    after = exact_spectrum(torch.split(planted, 100), 24)
    assert sigma_min_ratio(after) == pytest.approx(1e-8, rel=1e-4)
    assert condition_number(after) == pytest.approx(1e8, rel=1e-4)
    torch.testing.assert_close(after.sigma[:-1], before.sigma[:-1], rtol=1e-9, atol=0)
    torch.testing.assert_close(after.mean, before.mean, rtol=1e-9, atol=1e-9)
    assert sample_spectrum(planted).n_identified == 23


def test_paired_change_by_hand() -> None:
    base = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    edited = base + torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = paired_change(base, edited)
    assert (found.n, found.mean, found.min, found.max) == (4, 1.5, 0.0, 5.0)
    assert found.std == pytest.approx(np.std([5.0, 0, 1, 0], ddof=1))
    assert found.rms_hidden == pytest.approx(2.5**0.5)
    assert found.ratio == pytest.approx(1.5 / 2.5**0.5)
    assert relative_change(base, edited, rms_hidden=3.0) == pytest.approx(0.5)
    assert relative_change(base + 1e3, edited + 1e3) == pytest.approx(found.ratio)  # centred: a mean does not count
    assert relative_change(base, base) == 0.0


def test_paired_change_refuses_what_is_not_a_pair() -> None:
    base = standard_normal((4, 3), 0)
    with pytest.raises(ValueError, match="one shape"):
        paired_change(base, base[:3])
    with pytest.raises(ValueError, match="not finite"):
        paired_change(base, base / 0.0)
    with pytest.raises(ValueError, match="do not vary"):
        paired_change(torch.ones(4, 3), base)
