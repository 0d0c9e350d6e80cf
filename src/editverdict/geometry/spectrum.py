"""Numbers that summarise a spectrum (the dimensional collapse hypothesis, Assumption 4.1), and planted spectra.

The paper prints an "effective rank" without a formula; its figures fit the exponential of the entropy of
``sigma / sum sigma`` (:func:`exp_entropy`). The other readings are here so that a verdict can say whether it depends on
the choice. "sigma_min" is printed over all directions; :func:`sigma_min_ratio` defaults to the identified ones.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from editverdict.numerics.lsq import Slope, loglog_slope
from editverdict.numerics.random_matrices import marchenko_pastur_quantiles
from editverdict.numerics.spectrum import Spectrum

Directions = Literal["identified", "all"]


def _shares(sigma: Tensor, power: int) -> Tensor:
    weights = sigma.to(torch.float64).flatten() ** power
    total = weights.sum()
    if weights.numel() == 0 or not bool(torch.isfinite(weights).all()) or bool((sigma < 0).any()) or float(total) == 0:
        raise ValueError("expected singular values that are finite, not negative, and not all zero")
    return weights / total


def exp_entropy(sigma: Tensor) -> float:
    """Effective rank of Roy and Vetterli (2007): exponential of the entropy of ``sigma / sum sigma``; from 1 to d.

    Raises
    ------
    ValueError
        If a value is negative or not finite, or all are zero (so for every measure below).
    """
    return float(torch.special.entr(_shares(sigma, 1)).sum().exp())


def exp_entropy_energy(sigma: Tensor) -> float:
    """Exponential of the entropy of ``sigma^2 / sum sigma^2``: the same on shares of variance."""
    return float(torch.special.entr(_shares(sigma, 2)).sum().exp())


def participation_ratio(sigma: Tensor) -> float:
    """``(sum sigma^2)^2 / sum sigma^4``."""
    return float(1.0 / _shares(sigma, 2).square().sum())


def stable_rank(sigma: Tensor) -> float:
    """``sum sigma^2 / sigma_1^2``."""
    return float(1.0 / _shares(sigma, 2).max())


def energy_count(sigma: Tensor, share: float) -> int:
    """Smallest number of leading directions that hold at least ``share`` of the variance, ``0 < share <= 1``."""
    if not 0.0 < share <= 1.0:
        raise ValueError(f"expected a share in (0, 1], found {share:g}")
    cumulative = _shares(sigma, 2).sort(descending=True).values.cumsum(0)
    # Rounding may leave the last sum a little below 1.
    return min(int((cumulative < share * (1.0 - 1e-12)).sum()) + 1, cumulative.numel())


def threshold_count(sigma: Tensor, ratio: float) -> int:
    """Count the directions with ``sigma_k > ratio * sigma_1``."""
    return int((sigma > ratio * sigma.max()).sum())


def effective_ranks(sigma: Tensor) -> dict[str, float]:
    """All readings of "effective rank" by name, in units of directions."""
    out = {
        "exp_entropy": exp_entropy(sigma),
        "exp_entropy_energy": exp_entropy_energy(sigma),
        "participation_ratio": participation_ratio(sigma),
        "stable_rank": stable_rank(sigma),
    }
    out |= {f"energy_{share}": float(energy_count(sigma, share / 100)) for share in (90, 95, 99)}
    out |= {f"above_{ratio:g}": float(threshold_count(sigma, ratio)) for ratio in (1e-1, 1e-2, 1e-3)}
    return out


def decay_slope(sigma: Tensor, lo: float = 0.05, hi: float = 0.95) -> Slope:
    """Slope of ``log sigma_k`` on ``log k`` for k from ``lo d`` to ``hi d`` (one-based, both ends included).

    The ends are left out: the first values are outliers of their own, the last are the least well determined.

    Raises
    ------
    ValueError
        If fewer than three directions fall in the range or one of them is zero.
    """
    d = sigma.numel()
    first, last = max(1, math.ceil(lo * d)), math.floor(hi * d)
    return loglog_slope(torch.arange(first, last + 1), sigma[first - 1 : last])


def excess_decay(sigma: Tensor, n: int, lo: float = 0.05, hi: float = 0.95) -> float:
    """:func:`decay_slope` minus that of the Marchenko-Pastur law at equal n and d.

    A spectrum of pure noise falls too; only what goes beyond it is decay. Negative: faster than noise.

    Raises
    ------
    ValueError
        As :func:`decay_slope`; also where n is too small for d (the law itself has zeros in the range).
    """
    return decay_slope(sigma, lo, hi).slope - null_decay(n, sigma.numel(), lo, hi)


def null_decay(n: int, d: int, lo: float = 0.05, hi: float = 0.95) -> float:
    """:func:`decay_slope` of the Marchenko-Pastur law: what sampling alone makes of an isotropic spectrum.

    Sampling spreads a spectrum that is not isotropic less, so that subtracting all of this takes too much off: beyond
    noise, its true slope lies between :func:`excess_decay` and that plus this. Minus this number is therefore one
    reading of the bias of :func:`excess_decay`.

    Raises
    ------
    ValueError
        As :func:`excess_decay`.
    """
    return decay_slope(marchenko_pastur_quantiles(n, d), lo, hi).slope


def sigma_min_ratio(spectrum: Spectrum, directions: Directions = "identified") -> float:
    """``sigma_min / sigma_1``, over the identified directions or over all of them.

    Raises
    ------
    ValueError
        If no direction is identified, or the spectrum is zero.
    """
    largest = float(spectrum.sigma[0])
    if largest <= 0.0:
        raise ValueError("the spectrum is zero: all samples are equal")
    index = spectrum.index_min if directions == "identified" else spectrum.d - 1
    return float(spectrum.sigma[index]) / largest


def condition_number(spectrum: Spectrum, directions: Directions = "identified") -> float:
    """``sigma_1 / sigma_min``; infinite if the smallest of *all* directions is exactly zero. Errors as above."""
    ratio = sigma_min_ratio(spectrum, directions)
    return math.inf if ratio == 0.0 else 1.0 / ratio


# --------------------------------------------------------------------------- planted spectra
def planted_half_rank(sigma: Tensor) -> Tensor:
    """Return ``sigma`` with its lower half set to zero: rank ``ceil(d / 2)``, a collapse that must be seen."""
    out = sigma.clone()
    out[(sigma.numel() + 1) // 2 :] = 0.0
    return out


def power_law(d: int, exponent: float) -> Tensor:
    """``sigma_k = k ** -exponent``, ``[d]``: a decay that must be seen (its slope is ``-exponent`` exactly)."""
    return torch.arange(1, d + 1, dtype=torch.float64) ** -exponent


def planted_sigma_min(spectrum: Spectrum, ratio: float = 1e-8) -> Spectrum:
    """Return the spectrum with its last singular value set to ``ratio * sigma_1``; floors stay as they are."""
    sigma = spectrum.sigma.clone()
    sigma[-1] = torch.minimum(sigma[-1], ratio * sigma[0])
    return replace(spectrum, sigma=sigma)


def plant_direction(x: Tensor, spectrum: Spectrum, ratio: float = 1e-8) -> Tensor:
    """Shrink the samples along the last principal direction until its singular value is ``ratio * sigma_1``.

    Works batch by batch, so a stream of any length can be planted with the spectrum of a first pass.

    Parameters
    ----------
    x
        ``[b, d]`` samples, not centred.
    spectrum
        Spectrum of the whole sample.
    ratio
        Wanted ``sigma_d / sigma_1``.

    Returns
    -------
    Tensor
        ``[b, d]`` float64: the other directions and the mean are unchanged.

    Raises
    ------
    ValueError
        If the last singular value is zero already.
    """
    last = float(spectrum.sigma[-1])
    if last <= 0.0:
        raise ValueError("the last direction carries no variance that could be shrunk")
    u = spectrum.basis[:, -1]
    x = x.to(torch.float64)
    along = (x - spectrum.mean) @ u
    # Taken out entirely first, then put back: shrinking by (factor - 1) would leave rounding of the size of x.
    bare = x - torch.outer(along, u)
    bare = bare - torch.outer((bare - spectrum.mean) @ u, u)
    return bare + torch.outer(along * (ratio * float(spectrum.sigma[0]) / last), u)
