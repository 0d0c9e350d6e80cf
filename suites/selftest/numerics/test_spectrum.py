"""Spectra against LAPACK and against planted values."""

from __future__ import annotations

import math

import pytest
import torch

from editverdict.numerics.precision import NOISE_SAFETY, effective_dtype
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import Spectrum, exact_spectrum, sample_spectrum


def _orthonormal_beside_ones(n: int, d: int, seed: int) -> torch.Tensor:
    full = torch.cat([torch.ones(n, 1, dtype=torch.float64), standard_normal((n, d), seed)], dim=1)
    return torch.linalg.qr(full).Q[:, 1:]


def planted(n: int, sigma: torch.Tensor, seed: int = 0, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample with exactly these singular values after centring, and its basis."""
    d = sigma.numel()
    basis = torch.linalg.qr(standard_normal((d, d), seed + 1)).Q
    return (_orthonormal_beside_ones(n, d, seed) * sigma) @ basis.T + offset, basis


def test_moments_equal_lapack_at_condition_1e3() -> None:
    x, _ = planted(800, torch.logspace(2, -1, 64, dtype=torch.float64), offset=3.0)
    reference = torch.linalg.svdvals(x - x.mean(dim=0))
    found = sample_spectrum(x)
    # relative to sigma_1; squaring costs about cond * eps relative to each value
    assert float((found.sigma - reference).abs().max() / reference[0]) < 1e-12
    assert float(((found.sigma - reference) / reference).abs().max()) < 1e-9
    assert found.n_identified == 64


def test_rms_along_a_direction_is_sigma_over_root_n() -> None:
    """Eq. 10."""
    x, _ = planted(400, torch.linspace(5, 1, 20, dtype=torch.float64), offset=-2.0)
    found = sample_spectrum(x)
    along = (x - x.mean(dim=0)) @ found.basis
    torch.testing.assert_close(along.square().mean(dim=0).sqrt(), found.rms, rtol=1e-12, atol=0)
    assert found.rms_norm == pytest.approx(float((x - x.mean(dim=0)).norm()) / 20.0, rel=1e-12)
    torch.testing.assert_close(found.mean, x.mean(dim=0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [7, 64, 1000])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_exact_mode_keeps_its_bound_at_condition_1e10(batch: int, offset: float) -> None:
    sigma = torch.logspace(0, -10, 48, dtype=torch.float64)
    x, basis = planted(1000, sigma, offset=offset)
    found = exact_spectrum(torch.split(x, batch), 48)
    bound = 1e-14 * math.sqrt(48)
    assert float((found.sigma - sigma).abs().max()) <= bound
    assert found.n_identified == 48
    moments = sample_spectrum(x, activation_dtype=torch.float64)
    assert moments.n_identified == int((sigma > 1e-6).sum())
    # near its limit the fast mode is as good as it says
    near = moments.identified
    assert float(((moments.sigma - sigma) / sigma).abs()[near].max()) < 1e-4
    cosines = (found.basis * basis).sum(dim=0).abs()
    assert float(cosines[:24].min()) > 1 - 1e-6


def test_modes_agree_with_each_other_and_survive_storage() -> None:
    x = standard_normal((300, 12), 3) @ standard_normal((12, 12), 4) + 10.0
    fast, exact = sample_spectrum(x), exact_spectrum([x], 12)
    torch.testing.assert_close(fast.sigma, exact.sigma, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(fast.basis, exact.basis, rtol=0, atol=1e-9)  # same sign too
    torch.testing.assert_close(fast.mean, exact.mean, rtol=1e-12, atol=1e-12)
    again = Spectrum.from_tensors(fast.to_tensors())
    assert torch.equal(again.identified, fast.identified) and again.resolution == fast.resolution


def test_fewer_samples_than_dimensions_leave_directions_unidentified() -> None:
    x = standard_normal((9, 20), 5)
    for found in (sample_spectrum(x), exact_spectrum(torch.split(x, 2), 20)):
        assert found.n_identified == 8
        assert found.index_min == 7
        torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(20, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_rounding_fills_a_null_direction_just_below_the_floor(dtype: torch.dtype, offset: float) -> None:
    sigma = torch.ones(32, dtype=torch.float64) * 10.0
    sigma[-1] = 0.0
    x, _ = planted(2000, sigma, seed=7, offset=0.0)
    x[:, 3] += offset  # one coordinate with a large constant: its rounding must be seen where it goes
    rounded = x.to(dtype).to(torch.float64)
    assert effective_dtype(rounded.to(torch.float32)) == dtype
    found = exact_spectrum([rounded], 32, activation_dtype=dtype)
    last = found.sigma[-1]
    noise = found.floor[-1] / NOISE_SAFETY
    assert float(last) < 1.1 * float(noise)
    assert float(last) > 0.2 * float(noise)
    assert not bool(found.identified[-1])
    if offset == 0.0:
        assert found.n_identified == 31


def test_effective_dtype_reads_the_array_not_the_label() -> None:
    x = standard_normal((50, 4), 9)
    assert effective_dtype(x) == torch.float64
    assert effective_dtype(x.float().double()) == torch.float32
    with pytest.raises(ValueError, match="finite"):
        effective_dtype(torch.tensor([float("inf")]))


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        sample_spectrum(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least 2 samples"):
        exact_spectrum([], 3)
    with pytest.raises(ValueError, match="none of 3 directions"):
        _ = sample_spectrum(torch.ones(5, 3)).index_min
    with pytest.raises(ValueError, match="lacks"):
        Spectrum.from_tensors({})
