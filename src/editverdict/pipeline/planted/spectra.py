"""Planted spectra: how collapsed are hidden states (Assumption 4.1)?

Samples are Gaussian with a population spectrum of known shape: a power law, a plateau with a step, exact null
directions on top of a power law, or isotropic noise (whose sample spectrum is that of Marchenko and Pastur). Tokens of
a text share a random weight per direction, so that tokens are not independent and only blocks of texts are. The truth
is the statistic of the *population* spectrum, three layers of which are reduced to their median.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import numpy as np
import torch
from torch import Tensor

from editverdict.geometry.spectrum import (
    decay_slope,
    excess_decay,
    exp_entropy,
    null_decay,
    planted_half_rank,
    power_law,
)
from editverdict.inference.intervals import Estimate, seeds_interval, spectrum_interval
from editverdict.numerics.moments import BlockMoments, Moments
from editverdict.numerics.random_matrices import wishart_singular_values
from editverdict.pipeline.planted.worlds import Drawn, Family, Plant, PlantedControl

D, PER_DIMENSION, TEXTS, BLOCKS = 32, 50, 80, 20
SAMPLES = D * PER_DIMENSION
LAYERS = 3
ERROR_DRAWS = 80
SEEDS = 20
Statistic = Callable[[Tensor, int], float]
"""(singular values [d], number of samples) -> one number of one layer."""


def _rank(sigma: Tensor, _n: int) -> float:
    return exp_entropy(sigma) / sigma.numel()


@dataclass(frozen=True)
class Shape:
    """A population spectrum and how unlike each other the texts are."""

    kind: str
    sizes: tuple[tuple[float, ...], ...]
    """Per layer: singular values of the population (root of the variance), [d]."""
    spread: float
    """Standard deviation of the log weight that tokens of a text share, per direction."""

    @property
    def label(self) -> str:
        """In words."""
        return f"{self.kind}, texts differ by {self.spread:g}"


def shapes(count: int, *, null_directions: bool) -> list[Shape]:
    """A fixed list of shapes of all kinds, from weak to strong."""
    rng = np.random.default_rng(20)
    kinds = ["power law", "plateau", "power law", "Marchenko-Pastur"]
    kinds += ["exact null directions"] if null_directions else ["plateau"]
    found = []
    for index in range(count):
        kind = kinds[index % len(kinds)]
        apart = float(rng.choice([0.0, 0.03, 0.15]))
        strength = float(rng.uniform(0.15, 1.2))
        sizes = tuple(tuple(_sizes(kind, strength * (1 + apart * shift)).tolist()) for shift in (-1, 0, 1))
        found.append(Shape(kind, sizes, float(rng.choice([0.2, 0.5, 0.8]))))
    return found


def _sizes(kind: str, strength: float) -> Tensor:
    if kind == "power law":
        return power_law(D, strength)
    if kind == "plateau":
        head = torch.arange(D) < D // 4
        return torch.where(head, 1.0, 1.0 / (1.0 + 4.0 * strength)).to(torch.float64)
    if kind == "exact null directions":
        sizes = power_law(D, strength / 2)
        sizes[-3:] = 0.0
        return sizes
    return torch.ones(D, dtype=torch.float64)


def sample(sizes: Tensor, spread: float, rng: np.random.Generator) -> Tensor:
    """Hidden states ``[n, d]``, texts one after the other; the variance along direction k is ``sizes[k] ** 2``."""
    weights = np.exp(spread * rng.standard_normal((TEXTS, D)) - spread**2)
    weights = np.repeat(weights, SAMPLES // TEXTS, axis=0)
    return torch.from_numpy(rng.standard_normal((SAMPLES, D)) * weights) * sizes


def _sigma(moments: Moments) -> Tensor:
    values: Tensor = torch.linalg.eigvalsh(moments.scatter())
    return values.flip(0).clamp_min(0.0).sqrt()


def estimated(states: list[Tensor], name: str) -> Estimate:
    """The estimate as the pipeline makes it: delete-block jackknife, bias from n, n/2 and n/4, median over layers."""
    by_layer = []
    for x in states:
        blocks = BlockMoments(D, BLOCKS)
        for number, part in enumerate(x.tensor_split(BLOCKS)):
            blocks.update(number, part)
        by_layer.append(blocks)
    statistic = STATISTICS[name]

    def reduced(choose: Callable[[BlockMoments], Moments]) -> float:
        chosen = [choose(blocks) for blocks in by_layer]
        return median(statistic(_sigma(m), m.n) for m in chosen)

    return spectrum_interval(
        reduced(lambda b: b.total()),
        [reduced(lambda b, i=i: b.without(i)) for i in range(BLOCKS)],  # type: ignore[misc]
        reduced(lambda b: b.first_fraction(0.5)),
        reduced(lambda b: b.first_fraction(0.25)),
        further=[-null_decay(SAMPLES, D)] if name == "decay" else [],
    )


@lru_cache(maxsize=64)
def _sampled(shape: Shape) -> Tensor:
    """Singular values over repeated sampling, ``[draws, layers, d]``."""
    rng, found = np.random.default_rng(7), []
    for _ in range(ERROR_DRAWS):
        for sizes in shape.sizes:
            x = sample(torch.tensor(sizes, dtype=torch.float64), shape.spread, rng)
            x = x - x.mean(0)
            found.append(torch.linalg.eigvalsh(x.T @ x).flip(0).clamp_min(0.0).sqrt())
    return torch.stack(found).reshape(ERROR_DRAWS, LAYERS, D)


@lru_cache(maxsize=64)
def _error(shape: Shape, name: str) -> float:
    """Root mean square error of the plug-in estimate over repeated sampling: its bias counts as well."""
    statistic, truth = STATISTICS[name], _truth(shape, name)
    values = [median(statistic(sigma, SAMPLES) for sigma in layers) for layers in _sampled(shape)]
    return float(np.sqrt(np.mean((np.array(values) - truth) ** 2)))


STATISTICS: dict[str, Statistic] = {"rank": _rank, "decay": excess_decay}


def _truth(shape: Shape, name: str) -> float:
    layers = [torch.tensor(sizes, dtype=torch.float64).sort(descending=True).values for sizes in shape.sizes]
    # Of infinitely many samples the Marchenko-Pastur law is flat: nothing is left to subtract from the slope.
    values = [_rank(s, 0) if name == "rank" else decay_slope(s).slope for s in layers]
    return median(values)


def _plant(shape: Shape, name: str) -> Plant:
    def draw(rng: np.random.Generator) -> Drawn:
        states = [sample(torch.tensor(s, dtype=torch.float64), shape.spread, rng) for s in shape.sizes]
        return Drawn(estimated(states, name))

    return Plant(shape.label, _truth(shape, name), lambda: _error(shape, name), draw)


@lru_cache(maxsize=4)
def _controls(name: str) -> tuple[PlantedControl, ...]:
    """Gaussian matrices of equal n and d; their spectrum with its lower half at zero, or times a power law."""
    null = [wishart_singular_values(SAMPLES, D, seed) for seed in range(SEEDS)]
    planted = [planted_half_rank(s) if name == "rank" else s * power_law(D, 2.0) for s in null]
    statistic = STATISTICS[name]
    return (
        PlantedControl("gaussian", "negative", seeds_interval([statistic(s, SAMPLES) for s in null])),
        PlantedControl("planted", "positive", seeds_interval([statistic(s, SAMPLES) for s in planted])),
    )


def _family(name: str, title: str, quantities: tuple[str, ...], describes: str, edges: tuple[float, float]) -> Family:
    known = shapes(16, null_directions=name == "rank")
    return Family(
        name=title,
        quantities=quantities,
        describes=describes,
        unit="text_block",
        min_units=BLOCKS,
        ops=("<=",),
        edges=edges,
        plant=lambda rng: _plant(known[int(rng.integers(len(known)))], name),
        controls=lambda: _controls(name),
    )


EFFECTIVE_RANK = _family(
    "rank", "collapse: effective rank", ("effective_rank_ratio",), "effective rank over dimension", (0.53, 0.985)
)
EXCESS_DECAY = _family(
    "decay", "collapse: excess decay", ("excess_decay",), "log-log slope beyond that of noise", (-1.9, -0.02)
)
