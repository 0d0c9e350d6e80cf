"""Nulls: Bartlett against direct draws, Marchenko-Pastur against simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editverdict.numerics.random_matrices import (
    bartlett_factor,
    marchenko_pastur_quantiles,
    standard_normal,
    wishart_singular_values,
)


def _direct(n: int, d: int, rng: np.random.Generator) -> torch.Tensor:
    x = standard_normal((n, d), rng)
    return torch.linalg.svdvals(x - x.mean(dim=0))


@pytest.mark.parametrize(("n", "d"), [(13, 12), (40, 12), (8, 12)])
def test_bartlett_has_the_law_of_centred_gaussian_samples(n: int, d: int) -> None:
    rng, draws = np.random.default_rng(0), 3000
    a = torch.stack([wishart_singular_values(n, d, rng) for _ in range(draws)])
    b = torch.stack([torch.nn.functional.pad(s := _direct(n, d, rng), (0, d - s.numel())) for _ in range(draws)])
    rank = min(d, n - 1)
    for power in (1, 2):  # first and second moments of every singular value
        pa, pb = a[:, :rank] ** power, b[:, :rank] ** power
        error = ((pa.var(dim=0) + pb.var(dim=0)) / draws).sqrt()
        assert float(((pa.mean(dim=0) - pb.mean(dim=0)) / error).abs().max()) < 4.5
    assert float(a[:, rank:].abs().sum()) == 0.0
    assert float(b[:, rank:].abs().sum()) < 1e-8


def test_degrees_of_freedom_are_n_minus_one() -> None:
    rng = np.random.default_rng(1)
    energy = torch.stack([wishart_singular_values(6, 3, rng).square().sum() for _ in range(4000)])
    # sum sigma^2 is chi-square with 3 * 5 degrees; with 3 * 6 it would be 18
    assert float(energy.mean()) == pytest.approx(15.0, abs=4.5 * (30 / 4000) ** 0.5)


@pytest.mark.parametrize(("n", "d"), [(400, 100), (2000, 100), (101, 100), (60, 100)])
def test_marchenko_pastur_equals_simulation(n: int, d: int) -> None:
    rng = np.random.default_rng(2)
    draws = torch.stack([wishart_singular_values(n, d, rng) for _ in range(100)]) / n**0.5
    mean, error = draws.mean(dim=0), draws.std(dim=0) / 10.0
    law = marchenko_pastur_quantiles(n, d)
    rank = min(d, n - 1)
    inner = slice(rank // 20, rank - rank // 20)
    assert float(((mean - law).abs() - 4.5 * error)[inner].max()) < 0.005
    assert float((mean - law).abs().max()) < 0.06  # edges
    # total variance is that of the law
    assert float(law.square().sum()) == pytest.approx(d * (n - 1) / n, rel=1e-3)
    assert float(law[rank:].abs().sum()) == 0.0


def test_quantiles_of_chosen_indices() -> None:
    every = marchenko_pastur_quantiles(500, 50)
    assert torch.equal(marchenko_pastur_quantiles(500, 50, [1, 7, 50]), every[[0, 6, 49]])
    assert bool((every.diff() < 0).all())
    with pytest.raises(ValueError, match="1 to d = 50"):
        marchenko_pastur_quantiles(500, 50, [0])


def test_seeds_are_arguments() -> None:
    state = torch.random.get_rng_state()
    np_state = np.random.get_state()[1].copy()
    assert torch.equal(wishart_singular_values(30, 5, 3), wishart_singular_values(30, 5, 3))
    assert not torch.equal(wishart_singular_values(30, 5, 3), wishart_singular_values(30, 5, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == np_state).all()
    with pytest.raises(ValueError, match="dof >= d"):
        bartlett_factor(3, 4, 0)
    with pytest.raises(ValueError, match="n >= 2"):
        wishart_singular_values(1, 4, 0)
