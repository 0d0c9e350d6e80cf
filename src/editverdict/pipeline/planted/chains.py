"""Planted chains: how changes add up over T edits (Section 4.3, Eqs. 14 to 17).

Along every direction the change after T edits is ``sum_t s_t (sqrt(rho) g + sqrt(1 - rho) z_t)`` per token: coherent
for rho = 1 (exponent 1), a random walk for rho = 0 (exponent 1/2), and steps that grow or shrink like ``t ** gamma``
bring it above or below. Sizes s_t differ at random from step to step and chain to chain; the truth is the mean, over
very many chains, of the exponent that infinitely many tokens give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from editverdict.geometry.accumulation import accumulation_exponent
from editverdict.geometry.amplification import amplification
from editverdict.geometry.spectrum import power_law
from editverdict.inference.intervals import seeds_interval, t_interval
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import Spectrum, sample_spectrum
from editverdict.pipeline.planted.worlds import Drawn, Family, Plant, PlantedControl

D, TOKENS, BASE_SAMPLES, SEEDS = 32, 192, 1600, 20
SCHEDULE = (1, 2, 5, 10)
LIMIT_CHAINS = 15_000


@dataclass(frozen=True)
class Walk:
    """How the steps of a chain add up."""

    coherence: float
    growth: float
    spread: float

    @property
    def label(self) -> str:
        """In words."""
        kind = {0.0: "random walk", 1.0: "coherent"}.get(self.coherence, f"coherence {self.coherence:.2g}")
        return f"{kind}, steps t^{self.growth:.2g}"

    def sizes(self, chains: int, rng: np.random.Generator) -> np.ndarray:
        """Step sizes ``[chains, T]``."""
        t = np.arange(1, SCHEDULE[-1] + 1)
        return np.asarray(t**self.growth * np.exp(self.spread * rng.standard_normal((chains, len(t)))))

    def limit(self, sizes: np.ndarray) -> np.ndarray:
        """Exponent per chain for infinitely many tokens, from step sizes ``[chains, T]``."""
        variance = self.coherence * np.cumsum(sizes, 1) ** 2 + (1 - self.coherence) * np.cumsum(sizes**2, 1)
        at = np.array(SCHEDULE)
        x = np.log(at) - np.log(at).mean()
        return np.asarray(0.5 * np.log(variance[:, at - 1]) @ x / (x @ x))

    def observed(self, spectrum: Spectrum, sizes: np.ndarray, rng: np.random.Generator) -> float:
        """Exponent of R_min over the schedule, from finitely many tokens of one chain."""
        shared = standard_normal((TOKENS, D), rng)
        total, rates = torch.zeros(TOKENS, D, dtype=torch.float64), []
        for t, size in enumerate(sizes, start=1):
            own = standard_normal((TOKENS, D), rng)
            total = total + float(size) * (math.sqrt(self.coherence) * shared + math.sqrt(1 - self.coherence) * own)
            if t in SCHEDULE:
                rates.append(amplification(spectrum, total).r_min)
        return accumulation_exponent(SCHEDULE, rates).slope


def _base(seed: int | np.random.Generator) -> Spectrum:
    return sample_spectrum(standard_normal((BASE_SAMPLES, D), seed) * power_law(D, 0.8))


def _plant(rng: np.random.Generator) -> Plant:
    walk = Walk(
        coherence=float(rng.choice([0.0, 1.0, rng.uniform(0.02, 0.6)], p=[0.15, 0.15, 0.7])),
        growth=float(rng.choice([0.0, rng.uniform(-0.3, 0.5)])),
        spread=float(rng.choice([0.05, 0.15, 0.3])),
    )
    chains = int(rng.choice([6, 12]))
    limit = walk.limit(walk.sizes(LIMIT_CHAINS, np.random.default_rng(13)))
    tokens = _token_variance(walk)

    def draw(rng: np.random.Generator) -> Drawn:
        spectrum = _base(rng)
        return Drawn(t_interval([walk.observed(spectrum, row, rng) for row in walk.sizes(chains, rng)]))

    error = math.sqrt((float(limit.var(ddof=1)) + tokens) / chains)
    return Plant(f"{walk.label}, {chains} chains", float(limit.mean()), lambda: error, draw)


def _token_variance(walk: Walk) -> float:
    """Variance of a chain's exponent that finite tokens add: by simulation of one direction's pooled change."""
    rng, chains = np.random.default_rng(17), 200
    sizes = walk.growth * np.log(np.arange(1, SCHEDULE[-1] + 1))
    own = np.cumsum(np.exp(sizes)[:, None] * rng.standard_normal((chains, SCHEDULE[-1], TOKENS)), axis=1)
    shared = np.cumsum(np.exp(sizes))[:, None] * rng.standard_normal((chains, 1, TOKENS))
    total = math.sqrt(walk.coherence) * shared + math.sqrt(1 - walk.coherence) * own
    at = np.array(SCHEDULE)
    x = np.log(at) - np.log(at).mean()
    slopes = np.log(np.abs(total[:, at - 1]).mean(axis=2)) @ x / (x @ x)
    return float(slopes.var(ddof=1))


@lru_cache(maxsize=1)
def _controls() -> tuple[PlantedControl, ...]:
    base, rng = _base(3), np.random.default_rng(5)
    walk, coherent = Walk(0.0, 0.0, 0.2), Walk(1.0, 0.0, 0.2)
    walks = [walk.observed(base, row, rng) for row in walk.sizes(SEEDS, rng)]
    straight = [coherent.observed(base, row, rng) for row in coherent.sizes(SEEDS, rng)]
    return (
        PlantedControl("random-walk", "negative", seeds_interval(walks)),
        PlantedControl("coherent", "positive", seeds_interval(straight)),
    )


CUMULATION = Family(
    name="cumulation: exponent of R_min",
    quantities=("accumulation_exponent",),
    describes="exponent of R_min(T) against T",
    unit="chain",
    min_units=6,
    ops=(">=",),
    edges=(0.56, 0.93),
    plant=_plant,
    controls=_controls,
)
CUMULATION_WITHIN = Family(
    name="cumulation: exponent within a margin",
    quantities=(),
    describes="exponent of R_min(T) against T",
    unit="chain",
    min_units=6,
    ops=("within",),
    edges=(-1.0, 3.0),
    plant=_plant,
    width=0.5,
)
