"""How changes add up: planted chains have the exponents they were planted with, and bases are told apart."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from editverdict.geometry.accumulation import (
    accumulation_exponent,
    basis_gap,
    coherence,
    law_gaps,
    mean_exponent,
    planted_rates,
    telescoping_residual,
)
from editverdict.geometry.angles import rotate_tail
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import Spectrum, sample_spectrum

LENGTHS = [1, 2, 5, 10]


@pytest.fixture
def spectrum() -> Spectrum:
    return sample_spectrum(standard_normal((400, 24), 0) * torch.logspace(0, -2, 24, dtype=torch.float64))


@pytest.mark.parametrize(("coherent", "exponent"), [(True, 1.0), (False, 0.5)])
def test_planted_chains_have_their_exponent(spectrum: Spectrum, coherent: bool, exponent: float) -> None:
    found = [planted_rates(spectrum, LENGTHS, coherent=coherent, seed=s) for s in range(10)]
    slopes = [accumulation_exponent(LENGTHS, [one[t].r_min for t in LENGTHS]).slope for one in found]
    assert sum(slopes) / len(slopes) == pytest.approx(exponent, abs=0.05)


@pytest.mark.parametrize(("coherent", "exponent"), [(True, 1.0), (False, 0.5)])
def test_the_mean_of_rank_one_chains_has_their_exponent(spectrum: Spectrum, coherent: bool, exponent: float) -> None:
    """Nearly (factors are not alike in all edits); those fitted chain by chain are further off a random walk's."""

    def drawn(lengths: list[int], seeds: range) -> np.ndarray:
        chains = [planted_rates(spectrum, lengths, coherent=coherent, seed=s, rank_one=True, m=64) for s in seeds]
        return np.array([[[one[t].r_min] for t in lengths] for one in chains])

    chains, singles = drawn(LENGTHS, range(300)), drawn([1], range(1000, 1300))[:, 0]
    assert mean_exponent(LENGTHS, chains, singles) == pytest.approx(exponent, abs=0.08)
    alone = [accumulation_exponent(LENGTHS, one[:, 0].tolist()).slope for one in chains]
    assert coherent or sum(alone) / len(alone) > 0.62
    gaps = law_gaps(10, chains[:, -1], singles)
    assert gaps[0] == pytest.approx(0.0 if coherent else -0.5 * math.log2(10), abs=0.3)


def test_single_edits_stand_for_the_first_t_alone() -> None:
    chains, singles = np.array([[[9.0], [2.0], [4.0]]] * 2), np.array([[1.0], [1.0], [1.0]])
    assert mean_exponent([1, 2, 4], chains, singles) == pytest.approx(1.0)
    assert mean_exponent([2, 4, 8], np.array([[[1.0], [2.0], [4.0]]]), singles) == pytest.approx(1.0)
    assert chains[0, 0, 0] == 9.0  # what is read off arrays leaves them alone
    with pytest.raises(ValueError, match="a mean R is zero"):
        law_gaps(4, np.zeros((2, 1)), singles)


def test_planted_changes_ignore_direction(spectrum: Spectrum) -> None:
    found = planted_rates(spectrum, [1], coherent=False, seed=0, m=4000)[1]
    assert found.exponent == pytest.approx(0.0, abs=0.03)
    # Isotropic with unit variance: mean |c| is the root of 2/π, and R_k follows from σ_k alone.
    expected = math.sqrt(2 / math.pi) * math.sqrt(spectrum.n) / float(spectrum.sigma[-1])
    assert found.r_min == pytest.approx(expected, rel=0.05)


def test_one_basis_has_no_gap(spectrum: Spectrum) -> None:
    change = standard_normal((100, 24), 1)
    assert basis_gap(spectrum, spectrum, change) == {"median": 0.0, "tail": 0.0}


def test_a_shrunk_basis_shows_by_its_factor(spectrum: Spectrum) -> None:
    change = standard_normal((100, 24), 1)
    third = dataclasses.replace(spectrum, sigma=spectrum.sigma / 3, floor=spectrum.floor / 3)
    assert basis_gap(third, spectrum, change)["median"] == pytest.approx(math.log10(3))


def test_a_rotated_tail_takes_up_what_lay_in_the_leading_directions(spectrum: Spectrum) -> None:
    """A change along the first directions alone weighs more once weak ones have turned into them."""
    change = standard_normal((100, 3), 1) @ spectrum.basis[:, :3].T + 1e-3 * standard_normal((100, 24), 2)
    turned = dataclasses.replace(spectrum, basis=rotate_tail(spectrum.basis, 0, 0.5))
    assert basis_gap(turned, spectrum, change)["tail"] > 1.0


def test_telescoping_and_coherence() -> None:
    steps = [standard_normal((50, 8), s) for s in range(4)]
    total = torch.stack(steps).sum(0)
    assert telescoping_residual(steps, total) < 1e-15
    assert telescoping_residual(steps[:-1], total) > 0.1
    assert coherence([steps[0]] * 4) == pytest.approx(1.0)
    assert coherence(steps) == pytest.approx(0.5, abs=0.1)
    with pytest.raises(ValueError, match="no steps"):
        telescoping_residual([], total)
