"""Planted rotations: has the leading subspace turned (Assumption 4.3)?

The edited states of a chain are the base states turned by a known angle in the plane of a leading and a trailing
direction, so the cosine of the largest principal angle between both leading subspaces is the cosine of that angle.
Angles differ from chain to chain (normal), and so do layers, by a known factor; the claim takes the median layer.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import median

import numpy as np
import torch
from torch import Tensor

from editverdict.geometry.angles import angle_profile, random_subspace, rotate_tail
from editverdict.inference.intervals import seeds_interval, t_interval
from editverdict.numerics.moments import Moments
from editverdict.numerics.random_matrices import bartlett_factor
from editverdict.numerics.spectrum import spectrum_of
from editverdict.pipeline.planted.worlds import Drawn, Family, Plant, PlantedControl

D, K, PER_DIMENSION = 32, 10, 10
LAYER_FACTORS = (1.2, 1.0, 0.8)
SEEDS = 20


def _scatter(sigma: Tensor, samples: int, rng: np.random.Generator) -> Tensor:
    factor = sigma[:, None] * bartlett_factor(samples - 1, D, rng)
    return factor @ factor.T


def _basis(scatter: Tensor, samples: int) -> Tensor:
    return spectrum_of(Moments.of(samples, torch.zeros(D, dtype=torch.float64), scatter)).basis


def turned_cosine(scatter: Tensor, angle: float, samples: int, seed: int) -> float:
    """Cosine of the largest angle at K between the leading subspaces of states and of the same states turned."""
    # In the plane of direction K - 1 and the last one: the leading subspace loses one of its directions by the angle.
    turn = rotate_tail(torch.eye(D, dtype=torch.float64), K - 1, angle, seed)
    return angle_profile(_basis(scatter, samples), _basis(turn @ scatter @ turn.T, samples), K).largest_angle


def mean_cosine(angle: float, spread: float) -> float:
    """E cos(X) for normal X."""
    return math.cos(angle) * math.exp(-(spread**2) / 2.0)


def cosine_error(angle: float, spread: float, chains: int) -> float:
    """Standard error of a mean of cos(X) over chains."""
    square = 0.5 * (1.0 + math.cos(2.0 * angle) * math.exp(-2.0 * spread**2))
    return math.sqrt((square - mean_cosine(angle, spread) ** 2) / chains)


def _plant(rng: np.random.Generator) -> Plant:
    angle = float(rng.uniform(0.15, 0.8))
    spread = angle * float(rng.choice([0.05, 0.1, 0.3]))
    chains, gap = int(rng.choice([6, 6, 12])), float(rng.choice([3.0, 6.0]))
    samples = PER_DIMENSION * D
    sigma = torch.where(torch.arange(D) < K, gap, 1.0) * torch.arange(1, D + 1, dtype=torch.float64) ** -0.2

    def draw(rng: np.random.Generator) -> Drawn:
        layers = [_scatter(sigma, samples, rng) for _ in LAYER_FACTORS]
        angles = angle + spread * rng.standard_normal(chains)
        units = [
            median(
                turned_cosine(s, float(one) * factor, samples, number)
                for s, factor in zip(layers, LAYER_FACTORS, strict=True)
            )
            for number, one in enumerate(angles)
        ]
        gross = [turned_cosine(layers[0], math.pi / 2, samples, number) for number in range(6)]
        broken = PlantedControl("thirty-fold", "positive", t_interval(gross), "not_show")
        return Drawn(t_interval(units), (broken,))

    label = f"{chains} chains, spread {spread / angle:.2g} of the angle"
    return Plant(label, mean_cosine(angle, spread), lambda: cosine_error(angle, spread, chains), draw)


@lru_cache(maxsize=1)
def _controls() -> tuple[PlantedControl, ...]:
    pairs = [(random_subspace(D, K, 2 * s + 1), random_subspace(D, K, 2 * s + 2)) for s in range(SEEDS)]
    unrelated = [angle_profile(one, other, K).largest_angle for one, other in pairs]
    return (PlantedControl("unrelated-subspace", "negative", seeds_interval(unrelated)),)


LARGEST_ANGLE = Family(
    name="principal angles: largest at k",
    quantities=("leading_subspace_cosine",),
    describes="cosine of the largest principal angle, paired",
    unit="chain",
    min_units=6,
    ops=(">=",),
    edges=(0.3, 0.9999),
    plant=_plant,
    controls=_controls,
)
