"""Principal angles, chance levels, gaps, and straight lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editverdict.numerics.lsq import loglog_slope, slope
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.subspaces import (
    chance_cosines,
    chance_level,
    gap,
    largest_angle_cosine,
    mean_cosine,
    overlap,
    principal_cosines,
    smallest_angle_cosine,
)


def _basis(d: int, k: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(standard_normal((d, k), seed)).Q


def test_cosines_equal_scipy() -> None:
    a, b = _basis(30, 6, 0), _basis(30, 6, 1)
    reference = np.sort(np.cos(scipy.linalg.subspace_angles(a.numpy(), b.numpy())))[::-1]
    np.testing.assert_allclose(principal_cosines(a, b).numpy(), reference, atol=1e-12)
    assert largest_angle_cosine(a, b) == pytest.approx(reference[-1])
    assert smallest_angle_cosine(a, b) == pytest.approx(reference[0])
    assert mean_cosine(a, b) == pytest.approx(reference.mean())
    assert overlap(a, b) == pytest.approx((reference**2).mean())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_cosines_do_not_depend_on_the_basis_of_a_subspace(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = _basis(10, k, seed), _basis(10, k, seed + 1)
    turn = torch.linalg.qr(standard_normal((k, k), rng)).Q
    torch.testing.assert_close(principal_cosines(a @ turn, b), principal_cosines(a, b), atol=1e-10, rtol=0)
    assert float(principal_cosines(a, a @ turn).min()) == pytest.approx(1.0, abs=1e-12)


def test_chance_level_equals_direct_draws() -> None:
    for d, k in ((24, 4), (24, 12), (24, 20)):
        rng = np.random.default_rng(d + k)
        pairs = [
            (torch.linalg.qr(standard_normal((d, k), rng)).Q, torch.linalg.qr(standard_normal((d, k), rng)).Q)
            for _ in range(1500)
        ]
        direct = torch.tensor([largest_angle_cosine(a, b) for a, b in pairs], dtype=torch.float64)
        drawn = chance_cosines(d, k, rng, draws=1500)
        error = float((direct.var() / 1500 + drawn.var() / 1500).sqrt())
        assert abs(float(direct.mean() - drawn.mean())) < 4.5 * error


def test_chance_level_at_the_papers_dimensions() -> None:
    # unrelated 10-dimensional subspaces of R^4096: a few thousandths; the whole space has no angle
    assert 0.002 < chance_level(4096, 10, seed=0) < 0.004
    assert chance_level(7, 7) == 1.0
    assert chance_level(64, 8, seed=1) == chance_level(64, 8, seed=1)
    approximate = 0.6 / math.sqrt(576 * 14)
    assert chance_level(576, 14, seed=2, draws=200) == pytest.approx(approximate, rel=0.3)


def test_gap() -> None:
    sigma = torch.tensor([4.0, 3.0, 1.5])
    assert gap(sigma, 1) == pytest.approx(0.25)
    assert gap(sigma, 2) == pytest.approx(0.5)
    assert gap(sigma, 3) == 1.0
    with pytest.raises(ValueError, match="1 to 3"):
        gap(sigma, 4)
    with pytest.raises(ValueError, match="undefined"):
        gap(torch.zeros(2), 1)


def test_bases_are_checked() -> None:
    a = _basis(5, 2, 0)
    with pytest.raises(ValueError, match="one shape"):
        principal_cosines(a, a[:, :1])
    with pytest.raises(ValueError, match="unit length"):
        principal_cosines(a, 2 * a)
    with pytest.raises(ValueError, match="1 <= k <= d"):
        principal_cosines(a.T, a.T)
    with pytest.raises(ValueError, match="1 <= k <= d"):
        chance_cosines(4, 5, 0)


def test_slope_equals_numpy_and_reports_fit() -> None:
    x, noise = torch.arange(20.0), standard_normal((20,), 3)
    y = 2.0 * x - 1.0 + noise
    found = slope(x, y)
    rise, start = np.polyfit(x.numpy(), y.numpy(), 1)
    assert (found.slope, found.intercept) == (pytest.approx(rise), pytest.approx(start))
    assert found.r2 == pytest.approx(np.corrcoef(x.numpy(), y.numpy())[0, 1] ** 2)
    assert found.n == 20
    k = torch.arange(1, 50)
    power = loglog_slope(k, 3.0 * k**-1.5)
    assert power.slope == pytest.approx(-1.5, abs=1e-6) and power.r2 == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], "found 2"),
        ([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 4.0], "found 2"),
        ([1.0, 2.0, 3.0], [1.0, math.nan, 2.0], "finite"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "3 and 2"),
    ],
)
def test_slope_refuses_what_cannot_be_contradicted(x: list[float], y: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slope(x, y)


def test_loglog_slope_refuses_zeros() -> None:
    with pytest.raises(ValueError, match="positive"):
        loglog_slope([1.0, 2.0, 3.0], [1.0, 0.0, 2.0])
