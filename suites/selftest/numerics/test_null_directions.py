"""Directions that are zero by construction are counted as such, and never used."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from editverdict.numerics.moments import Moments
from editverdict.numerics.null_directions import bounded_by_rank, dead_units, spectrum_with_dead_units
from editverdict.numerics.spectrum import spectrum_of


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(x: Tensor, batch: int = 37) -> Moments:
    found = Moments(x.shape[1])
    for part in torch.split(x, batch):
        found.update(part)
    return found


def test_dead_units_are_exact_zeros_at_the_end() -> None:
    x = normal(200, 12)
    x[:, [0, 5, 11]] = 0.0
    moments = moments_of(x)
    found = spectrum_with_dead_units(moments)
    assert dead_units(moments) == 3
    assert found.sigma[-3:].tolist() == [0.0, 0.0, 0.0] and found.n_identified == 9 and found.d == 12
    assert not found.identified[-3:].any()
    assert sorted(found.basis[:, -3:].argmax(0).tolist()) == [0, 5, 11]
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(12, dtype=torch.float64))
    exact = torch.linalg.svdvals(x - x.mean(0))
    torch.testing.assert_close(found.sigma[:9], exact[:9], rtol=1e-12, atol=0)
    centred = x - x.mean(0)
    torch.testing.assert_close((centred @ found.basis).norm(dim=0)[:9], exact[:9], rtol=1e-10, atol=0)
    torch.testing.assert_close(found.mean, x.mean(0))


def test_without_dead_units_nothing_changes() -> None:
    moments = moments_of(normal(80, 7))
    ours, theirs = spectrum_with_dead_units(moments), spectrum_of(moments)
    assert dead_units(moments) == 0
    for name in ("sigma", "basis", "floor", "mean"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_states_that_never_vary_identify_nothing() -> None:
    moments = moments_of(torch.zeros(50, 4))
    found = spectrum_with_dead_units(moments)
    assert dead_units(moments) == 4 and found.n_identified == 0 and found.sigma.tolist() == [0.0] * 4


def test_rounding_beyond_the_rank_of_a_linear_map_is_not_identified() -> None:
    """Sums in float32 leave more noise than storing does: without the bound it would pass for directions."""
    x = (normal(4000, 16, seed=1) @ normal(16, 48, seed=2)).float()
    noisy = x + (3e-5 * normal(4000, 48, seed=3)).float()
    seen = spectrum_with_dead_units(moments_of(noisy))
    assert seen.n_identified > 16
    assert bounded_by_rank(seen, 16).n_identified == 16
    assert torch.equal(bounded_by_rank(seen, 16).sigma, seen.sigma)
    assert torch.equal(bounded_by_rank(seen, 48).identified, seen.identified)
    with pytest.raises(ValueError, match="found -1"):
        bounded_by_rank(seen, -1)
