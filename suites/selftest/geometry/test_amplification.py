"""R_k: identities, closed forms, planted perturbations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editverdict.geometry.accumulation import accumulation_exponent, coherence, telescoping_residual
from editverdict.geometry.amplification import (
    POOLINGS,
    all_poolings,
    amplification,
    isotropic_changes,
    planted_near_null,
    pool,
    project,
    proportional_changes,
)
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import sample_spectrum


@pytest.fixture(scope="module")
def base(make_states):
    return make_states(4000, 48, seed=1)


@pytest.fixture(scope="module")
def spectrum(base):
    return sample_spectrum(base)


def test_identity_r_of_the_states_themselves_is_one(base, spectrum) -> None:
    """RMS(u_k^T h) = sigma_k / sqrt(n) (Eq. 10), so the centred states have RMS R_k = 1 in every direction."""
    own = amplification(spectrum, base - base.mean(dim=0), "rms")
    torch.testing.assert_close(own.r, torch.ones(48, dtype=torch.float64), rtol=1e-9, atol=0)


def test_unpaired_samples_give_root_two_everywhere(make_states, spectrum) -> None:
    m = 4000
    dh = make_states(m, 48, seed=2) - make_states(m, 48, seed=3)
    found = all_poolings(spectrum, dh)
    assert found["rms"].mean == pytest.approx(math.sqrt(2), rel=0.01)
    assert found["mean_abs"].mean == pytest.approx(2 / math.sqrt(math.pi), rel=0.01)
    assert float((found["rms"].r / math.sqrt(2) - 1).abs().max()) < 0.08
    assert found["mean_abs"].share_above(1.0) == 1.0  # "R_k > 1 in many directions", with no edit at all
    assert found["mean_abs"].exponent == pytest.approx(1.0, abs=0.02)


def test_isotropic_changes_have_exponent_zero(spectrum) -> None:
    dh = isotropic_changes(1500, 48, 0.3, seed=4)
    torch.testing.assert_close(dh.norm(dim=1), torch.full((1500,), 0.3, dtype=torch.float64))
    found = amplification(spectrum, dh)
    assert found.exponent == pytest.approx(0.0, abs=0.02)
    assert found.r_slope == pytest.approx(-1.0, abs=0.02)
    # E|c| of a uniform direction is norm * sqrt(2 / (pi d)) but for O(1/d)
    assert float(found.c.mean()) == pytest.approx(0.3 * math.sqrt(2 / (math.pi * 48)), rel=0.02)
    assert bool((found.decile_means.diff() > 0).all())


def test_proportional_changes_have_exponent_one(spectrum) -> None:
    dh = proportional_changes(spectrum, 1500, 0.3, seed=5)
    assert float(dh.square().sum(dim=1).mean().sqrt()) == pytest.approx(0.3, rel=0.1)
    found = amplification(spectrum, dh)
    assert found.exponent == pytest.approx(1.0, abs=0.02)
    assert found.r_slope == pytest.approx(0.0, abs=0.02)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(POOLINGS), st.floats(0.01, 100.0))
def test_r_is_homogeneous_and_its_slope_is_the_exponent_less_one(seed: int, pooling, factor: float) -> None:
    x = standard_normal((60, 6), seed) * torch.arange(1, 7)
    dh = standard_normal((20, 6), seed + 1)
    spectrum = sample_spectrum(x)
    one, many = amplification(spectrum, dh, pooling), amplification(spectrum, factor * dh, pooling)
    torch.testing.assert_close(many.r, factor * one.r, rtol=1e-9, atol=0)
    torch.testing.assert_close(one.r * one.sigma, math.sqrt(60) * one.c, rtol=1e-12, atol=0)
    assert one.exponent is not None and one.r_slope is not None
    assert one.r_slope == pytest.approx(one.exponent - 1.0, abs=1e-9)
    components = project(spectrum, dh)
    torch.testing.assert_close(components.square().sum(dim=1), dh.square().sum(dim=1), rtol=1e-10, atol=0)


def test_poolings_by_hand() -> None:
    c = torch.tensor([[3.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    assert pool(c, "mean_abs").tolist() == [2.0, 1.0]
    assert pool(c, "rms").tolist() == [pytest.approx(5**0.5), 1.0]
    assert pool(c, "max").tolist() == [3.0, 1.0]
    assert pool(c, "mean_shift").tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="one of mean_abs, rms"):
        pool(c, "median")  # type: ignore[arg-type]


def test_statistics_by_hand() -> None:
    h = torch.cat([torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)])
    h = h * torch.tensor([8.0, 4.0, 2.0, 0.0])  # RMS along u_k: sigma / sqrt(8) = 4, 2, 1, and a null direction
    found = amplification(sample_spectrum(h), torch.tensor([[4.0, 4.0, 4.0, 4.0]]))
    torch.testing.assert_close(found.values, torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    assert math.isnan(float(found.r[3])) and not bool(found.identified[3])
    assert found.share_above(1.5) == pytest.approx(2 / 3)
    assert (found.mean, found.median, found.max) == (pytest.approx(7 / 3), pytest.approx(2.0), pytest.approx(4.0))
    assert found.mean_without_largest == pytest.approx(1.5)
    assert found.r_min == pytest.approx(4.0)  # at u_min, though it is the largest R_k


def test_nothing_moves_nothing_is_fitted(spectrum) -> None:
    for found in all_poolings(spectrum, torch.zeros(100, 48)).values():
        assert found.share_above(1.0) == 0.0 and found.mean == 0.0
        assert found.exponent is None and found.r_slope is None and found.exponent_fit is None


def test_planted_near_null_direction_carries_the_mean(spectrum) -> None:
    dh = isotropic_changes(500, 48, 0.3, seed=6)
    weak = planted_near_null(spectrum, 1e-5)
    before, after = amplification(spectrum, dh), amplification(weak, dh)
    torch.testing.assert_close(after.c, before.c)
    assert after.r_min == pytest.approx(before.r_min * float(spectrum.sigma[-1] / weak.sigma[-1]))
    assert after.mean > 20 * before.mean
    assert after.mean == pytest.approx(after.max / 48, rel=0.05)
    assert after.mean_without_largest == pytest.approx(before.mean_without_largest, rel=0.1)
    several = amplification(planted_near_null(spectrum, 1e-5, count=5), dh)
    assert several.mean > 4 * after.mean


def test_planting_below_the_floor_is_refused_unless_exact(spectrum) -> None:
    with pytest.raises(ValueError, match="exact=True"):
        planted_near_null(spectrum, 1e-8)
    weak = planted_near_null(spectrum, 1e-8, exact=True)
    assert weak.n_identified == 48 and float(weak.sigma[-1] / weak.sigma[0]) == pytest.approx(1e-8)
    with pytest.raises(ValueError, match="1 to 48"):
        planted_near_null(spectrum, 1e-5, count=49)


def test_exact_planting_keeps_unidentified_directions_out(make_states) -> None:
    few = sample_spectrum(make_states(30, 48, seed=7))
    assert few.n_identified == 29
    assert planted_near_null(few, 1e-8, exact=True).n_identified == 29


def test_wrong_perturbations_are_named(spectrum) -> None:
    with pytest.raises(ValueError, match=r"\[m, 48\], found \[3, 5\]"):
        amplification(spectrum, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="not finite"):
        amplification(spectrum, torch.full((3, 48), math.inf))


def test_telescoping_holds_to_rounding_and_shows_a_foreign_pass() -> None:
    states = [standard_normal((20, 6), s).to(torch.float32) for s in range(5)]
    steps = [b.double() - a.double() for a, b in itertools.pairwise(states)]
    total = states[-1].double() - states[0].double()
    assert telescoping_residual(steps, total) < 1e-15
    assert telescoping_residual(steps, total.flip(0)) > 0.1
    assert telescoping_residual([torch.zeros(2, 2)], torch.zeros(2, 2)) == 0.0
    assert telescoping_residual([torch.zeros(2, 2)], torch.ones(2, 2)) == math.inf
    with pytest.raises(ValueError, match="no steps"):
        telescoping_residual([], total)
    with pytest.raises(ValueError, match="step 1"):
        telescoping_residual([torch.zeros(2, 2)], total)


def test_accumulation_of_coherent_and_of_random_steps() -> None:
    v = standard_normal((40, 30), 0)
    assert coherence([v, v, v]) == pytest.approx(1.0)
    random = [standard_normal((40, 30), s) for s in range(16)]
    assert coherence(random) == pytest.approx(0.25, rel=0.1)
    ts = [1, 2, 4, 8, 16]
    norms = [float(sum(random[:t]).norm()) for t in ts]
    assert accumulation_exponent(ts, norms).slope == pytest.approx(0.5, abs=0.05)
    assert accumulation_exponent(ts, [3.0 * t for t in ts]).slope == pytest.approx(1.0)
    with pytest.raises(ValueError, match="undefined"):
        coherence([torch.zeros(2)])
