"""Planted edits: how far hidden states move (Assumption 4.2), and along which directions (Theorem 4.5).

Twenty edits act on the same tokens. Of the change of edit e at token i along the base's direction k,

``c_eik = size_e * sigma_k ** a_e * exp(jitter_ek) * normal_eik / scale``,

so that a is 0 for an isotropic change, 1 for one proportional to the states and below 0 for one that leans to the tail.
The base spectrum comes from a sample of its own; the truths are those of its population. Sizes of edits are log-normal,
as those of real edits are skewed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import numpy as np
import torch
from torch import Tensor

from editverdict.geometry.amplification import (
    Amplification,
    amplification,
    isotropic_changes,
    proportional_changes,
    slopes_without_blocks,
)
from editverdict.geometry.perturbation import relative_change
from editverdict.geometry.spectrum import power_law
from editverdict.inference.bias import jackknife_bias
from editverdict.inference.intervals import seeds_interval, t_interval
from editverdict.numerics.moments import BlockMoments
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import Spectrum, sample_spectrum, spectrum_of
from editverdict.pipeline.planted.worlds import Drawn, Family, Plant, PlantedControl

D, EDITS, TOKENS, BASE_SAMPLES, BLOCKS, SEEDS = 32, 20, 192, 1600, 20, 20
GROSS_EDITS = 10
"""Edits that the thirty-fold control is measured on. Over 6, the interval of sizes that differ by half reaches down to
small changes by chance, and one well-powered world in twenty is left undecided for its control alone."""
LIMIT_EDITS = 10_000
"""Edits in the computation of a limit that has no closed form."""
ABS_NORMAL = math.sqrt(2.0 / math.pi)
"""Mean of the absolute value of a standard normal variable."""


# --------------------------------------------------------------------------- size of the change
def _norm_plant(rng: np.random.Generator) -> Plant:
    truth, spread = float(rng.uniform(0.05, 0.2)), float(rng.choice([0.1, 0.3, 0.5]))
    direction = str(rng.choice(["isotropic", "tail-aligned", "proportional to sigma"]))
    power = {"isotropic": 0.0, "tail-aligned": -0.5, "proportional to sigma": 1.0}[direction]
    sigma = power_law(D, 0.7)

    def draw(rng: np.random.Generator) -> Drawn:
        base = [torch.from_numpy(rng.standard_normal((TOKENS, D))) * sigma for _ in range(3)]
        sizes = truth * np.exp(spread * rng.standard_normal(EDITS) - spread**2 / 2)
        units: list[float] = []
        gross: list[float] = []
        for size in sizes:
            changes = [_of_mean_norm(sigma**power, size * factor, rng) for factor in (1.3, 1.0, 0.7)]
            units.append(_relative(base, changes, sigma))
            if len(gross) < GROSS_EDITS:
                gross.append(_relative(base, [30.0 * change for change in changes], sigma))
        broken = PlantedControl("thirty-fold", "positive", t_interval(gross), "not_show")
        return Drawn(t_interval(units), (broken,))

    # The median layer is the middle one, whose norm is known; what a token's norm adds is averaged over TOKENS.
    error = truth * math.sqrt(math.expm1(spread**2) / EDITS)
    return Plant(f"{direction}, edits differ by {spread:g}", truth, lambda: error, draw)


def _of_mean_norm(weights: Tensor, norm: float, rng: np.random.Generator) -> Tensor:
    """Changes ``[TOKENS, D]`` with a covariance of that shape, whose mean norm over many tokens is ``norm * RMS``."""
    change: Tensor = standard_normal((TOKENS, D), rng) * weights
    return change * (norm * float(power_law(D, 0.7).norm()) / _mean_norm(tuple(weights.tolist())))


@lru_cache(maxsize=16)
def _mean_norm(weights: tuple[float, ...]) -> float:
    """E |w * z| for standard normal z: E sqrt(S) = int (1 - E exp(-t S)) t^(-3/2) dt / (2 sqrt(pi)), by quadrature."""
    squared = np.square(np.array(weights))
    log_t = np.linspace(-40.0, 40.0, 40_001)
    t = np.exp(log_t)
    laplace = np.exp(-0.5 * np.log1p(2.0 * np.outer(t, squared)).sum(axis=1))
    return float(np.trapezoid((1.0 - laplace) / np.sqrt(t), log_t) / (2.0 * math.sqrt(math.pi)))


def _relative(base: list[Tensor], changes: list[Tensor], sigma: Tensor) -> float:
    scale = float(sigma.norm())
    return median(relative_change(h, h + change, scale) for h, change in zip(base, changes, strict=True))


SMALL_PERTURBATION = Family(
    name="small perturbation: relative norm",
    quantities=("relative_change",),
    describes="mean |dh| / RMS |h| after one edit",
    unit="edit",
    min_units=20,
    ops=("<=",),
    edges=(0.005, 0.25),
    plant=_norm_plant,
)


# --------------------------------------------------------------------------- direction of the change
@dataclass(frozen=True)
class Law:
    """The law of changes along the directions of a spectrum ``sigma_k = k ** -decay``."""

    decay: float
    power: float
    """Mean of a over edits."""
    power_spread: float
    size_spread: float
    jitter: float

    @property
    def label(self) -> str:
        """In words."""
        kind = "isotropic" if self.power == 0 else "proportional to sigma" if self.power == 1 else "tail-aligned"
        if 0 < self.power < 1:
            kind = f"sigma to the {self.power:.2g}"
        return f"{kind}, spectrum k^-{self.decay:.2g}"

    def components(self, edits: int, rng: np.random.Generator) -> np.ndarray:
        """Size of the change per edit and direction, ``[edits, D]``, in units of ``size_e``."""
        log_sigma = power_law(D, self.decay).log().numpy()
        powers = self.power + self.power_spread * rng.standard_normal((edits, 1))
        own = self.size_spread * rng.standard_normal((edits, 1)) + self.jitter * rng.standard_normal((edits, D))
        return np.asarray(np.exp(powers * log_sigma + own))

    def observed(self, scale: float, rng: np.random.Generator) -> tuple[list[Amplification], Tensor]:
        """R_k of all edits, on a base spectrum from a finite sample; singular values without each block of that."""
        blocks = BlockMoments(D, BLOCKS)
        states = standard_normal((BASE_SAMPLES, D), rng) * power_law(D, self.decay)
        for number, part in enumerate(states.tensor_split(BLOCKS)):
            blocks.update(number, part)
        spectrum = spectrum_of(blocks.total())
        leave_out = torch.stack([spectrum_of(blocks.without(number)).sigma for number in range(BLOCKS)])
        sizes = torch.from_numpy(scale * self.components(EDITS, rng))
        return [amplification(spectrum, standard_normal((TOKENS, D), rng) * row) for row in sizes], leave_out


def _law(rng: np.random.Generator, *, between: bool = False) -> Law:
    """A law of any kind, or (``between``) seldom one of those that the controls are made of."""
    chances = [0.05, 0.05, 0.05, 0.85] if between else [0.25, 0.25, 0.25, 0.25]
    power = float(rng.choice([0.0, 1.0, rng.uniform(-0.4, 0.0), rng.uniform(0.05, 0.95)], p=chances))
    return Law(
        decay=float(rng.uniform(0.6, 1.2)),
        power=power,
        power_spread=float(rng.choice([0.05, 0.15, 0.3])),
        size_spread=float(rng.choice([0.1, 0.2, 0.5])),
        jitter=float(rng.choice([0.1, 0.3])),
    )


def _slope_error(law: Law) -> float:
    """Standard error of the mean slope: spread of a, jitter along k, and finite tokens, all independent."""
    x = power_law(D, law.decay).log()
    tokens = (1.0 / ABS_NORMAL**2 - 1.0) / TOKENS
    noise = (law.jitter**2 + tokens) / float((x - x.mean()).square().sum())
    return math.sqrt((law.power_spread**2 + noise) / EDITS)


def _slope_plant(rng: np.random.Generator, *, of_r: bool) -> Plant:
    law = _law(rng, between=of_r)

    def draw(rng: np.random.Generator) -> Drawn:
        found, leave_out = law.observed(0.1, rng)
        bias = jackknife_bias(*slopes_without_blocks(found, leave_out))
        return Drawn(t_interval([_slope(one, of_r) for one in found], bias=bias))

    return Plant(law.label, law.power - float(of_r), lambda: _slope_error(law), draw)


def _slope(found: Amplification, of_r: bool) -> float:
    slope = found.r_slope if of_r else found.exponent
    if slope is None:
        raise ValueError("a planted change moves every direction, and this one moves fewer than three")
    return slope


@lru_cache(maxsize=2)
def _slope_controls(of_r: bool) -> tuple[PlantedControl, ...]:
    sigma = power_law(D, 0.8)
    base: Spectrum = sample_spectrum(standard_normal((BASE_SAMPLES, D), 1) * sigma)
    flat = [_slope(amplification(base, proportional_changes(base, TOKENS, 1.0, s)), of_r) for s in range(SEEDS)]
    even = [_slope(amplification(base, isotropic_changes(TOKENS, D, 1.0, s)), of_r) for s in range(SEEDS)]
    return (
        PlantedControl("proportional", "negative", seeds_interval(flat)),
        PlantedControl("isotropic", "positive", seeds_interval(even)),
    )


R_SLOPE = Family(
    name="amplification: slope of log R",
    quantities=("r_slope", "r_slope_everywhere"),
    describes="slope of log R_k on log sigma_k",
    unit="edit",
    min_units=20,
    ops=("<=",),
    edges=(-0.97, -0.03),
    plant=lambda rng: _slope_plant(rng, of_r=True),
    controls=lambda: _slope_controls(True),
)
C_SLOPE = Family(
    name="amplification: slope of log c",
    quantities=("c_slope",),
    describes="slope of log c_k on log sigma_k",
    unit="edit",
    min_units=20,
    ops=("<=", ">="),
    edges=(-2.0, 2.0),
    plant=lambda rng: _slope_plant(rng, of_r=False),
)


def _share_plant(rng: np.random.Generator) -> Plant:
    law = _law(rng)
    log_sigma = power_law(D, law.decay).log().numpy()
    # The scale at which a drawn share of directions lies above 1, were all edits alike.
    wanted = float(rng.uniform(0.1, 0.9))
    level = float(np.quantile((law.power - 1.0) * log_sigma + rng.normal(0, 1e-3, D), 1.0 - wanted))
    scale = math.exp(-level) / ABS_NORMAL
    limit = np.random.default_rng(11)
    r = ABS_NORMAL * scale * law.components(LIMIT_EDITS, limit) * np.exp(-log_sigma)
    shares = (r > 1.0).mean(axis=1)

    def draw(rng: np.random.Generator) -> Drawn:
        found, _ = law.observed(scale, rng)
        idle = PlantedControl("no-op", "negative", t_interval([0.0] * EDITS))
        huge = PlantedControl("unpaired", "positive", t_interval([1.0] * EDITS))
        return Drawn(t_interval([one.share_above(1.0) for one in found], resolution=1.0 / D), (idle, huge))

    truth, error = float(shares.mean()), float(shares.std(ddof=1)) / math.sqrt(EDITS)
    return Plant(law.label, truth, lambda: max(error, 1.0 / (D * math.sqrt(12.0 * EDITS))), draw)


SHARE_ABOVE_ONE = Family(
    name="amplification: share of R > 1",
    quantities=("share_above_one",),
    describes="share of directions with R_k > 1",
    unit="edit",
    min_units=20,
    ops=(">=",),
    edges=(0.02, 0.98),
    plant=_share_plant,
)
