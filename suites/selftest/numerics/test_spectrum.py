"""Spectra against LAPACK and against planted values."""

from __future__ import annotations

import math

import pytest
import torch

from editverdict.numerics import spectrum as spectrum_module
from editverdict.numerics.moments import Moments
from editverdict.numerics.precision import NOISE_SAFETY, effective_dtype
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import (
    Spectrum,
    StreamingQR,
    exact_spectrum,
    sample_spectrum,
    singular_values,
    spectrum_of,
)


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


# --------------------------------------------------------------------------- parts that are joined, values alone
def test_factors_of_parts_joined_equal_the_factor_of_all() -> None:
    """Parts have means of their own, far apart; the bound of the exact mode still holds."""
    sigma = torch.logspace(0, -9, 40, dtype=torch.float64)
    x, _ = planted(700, sigma, seed=3, offset=0.5)
    x = x[x[:, 0].argsort()]
    parts = []
    for rows in torch.split(x, 150):
        parts.append(StreamingQR(40, block_rows=64))
        parts[-1].update(rows)
    joined = StreamingQR(40)
    for part in parts:
        joined.merge(StreamingQR.from_tensors(part.to_tensors()))
    assert joined.n == 700 and [part.n for part in parts] == [150, 150, 150, 150, 100]
    found = joined.spectrum()
    assert float((found.sigma - sigma).abs().max()) <= 1e-14 * math.sqrt(40)
    torch.testing.assert_close(found.mean, x.mean(dim=0), rtol=1e-12, atol=1e-14)
    whole = exact_spectrum([x], 40)
    torch.testing.assert_close(found.floor, whole.floor, rtol=1e-9, atol=0)
    torch.testing.assert_close(joined.singular_values(), found.sigma, rtol=0, atol=1e-14)
    joined.update(x[:10])
    assert joined.n == 710
    with pytest.raises(ValueError, match="dimension 3"):
        joined.merge(StreamingQR(3))
    with pytest.raises(ValueError, match="lacks"):
        StreamingQR.from_tensors({})


def test_gathering_rows_in_other_portions_changes_rounding_only() -> None:
    x = standard_normal((400, 10), 6) + 2.0
    one = exact_spectrum(torch.split(x, 7), 10, block_rows=11)
    other = exact_spectrum([x], 10)
    torch.testing.assert_close(one.sigma, other.sigma, rtol=1e-13, atol=0)


def test_singular_values_alone_are_those_of_the_spectrum() -> None:
    x, _ = planted(300, torch.logspace(1, -2, 30, dtype=torch.float64))
    moments = Moments(30)
    moments.update(x)
    torch.testing.assert_close(singular_values(moments), spectrum_of(moments).sigma, rtol=1e-9, atol=0)
    few = StreamingQR(20)
    few.update(standard_normal((9, 20), 5))
    assert int((few.singular_values() > 1e-12).sum()) == 8 and len(few.singular_values()) == 20
    with pytest.raises(ValueError, match="no samples"):
        singular_values(Moments(3))


def test_signs_and_floors_do_not_depend_on_how_many_columns_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    x = standard_normal((300, 12), 3) @ standard_normal((12, 12), 4) + 10.0
    whole = sample_spectrum(x)
    monkeypatch.setattr(spectrum_module, "_COLUMNS", 5)
    parts = sample_spectrum(x)
    assert torch.equal(parts.basis, whole.basis)
    torch.testing.assert_close(parts.floor, whole.floor, rtol=1e-14, atol=0)
    peak = whole.basis.gather(0, whole.basis.abs().argmax(dim=0, keepdim=True))
    assert bool((peak > 0).all())


@pytest.mark.parametrize("d", [1, 5, 64, 300])
def test_decomposing_in_place_gives_the_same_bits(d: int) -> None:
    x = torch.randn(3 * d, d, dtype=torch.float64, generator=torch.Generator().manual_seed(d))
    moments = Moments(d)
    moments.update(x)
    values, vectors = torch.linalg.eigh(moments.scatter())
    found = spectrum_of(moments)
    assert torch.equal(found.sigma, values.flip(0).clamp_min(0.0).sqrt())
    assert torch.equal(found.basis.abs(), vectors.flip(1).abs())
