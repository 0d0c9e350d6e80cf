"""Readings of the effective rank, and the claims' one number of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from torch import Tensor

from editverdict.geometry import spectrum as geometry

Sigmas = Mapping[int, Tensor]
"""Layer -> singular values [d], descending."""
Statistic = Callable[[Sigmas, int], float]
"""(singular values by layer, number of samples) -> the claim's one number."""
RANKS: dict[str, Callable[[Tensor], float]] = {
    "exp-entropy-sigma": geometry.exp_entropy,
    "exp-entropy-sigma2": geometry.exp_entropy_energy,
    "participation-ratio": geometry.participation_ratio,
    "energy-90": lambda sigma: float(geometry.energy_count(sigma, 0.90)),
    "energy-95": lambda sigma: float(geometry.energy_count(sigma, 0.95)),
    "energy-99": lambda sigma: float(geometry.energy_count(sigma, 0.99)),
    "stable-rank": geometry.stable_rank,
}


def inner_rank(inner: Sequence[int], rank: Callable[[Tensor], float]) -> Statistic:
    """r_eff / d by one reading of the rank, median over the inner layers."""
    return lambda sigmas, _n: median(rank(sigmas[layer]) / len(sigmas[layer]) for layer in inner)
