"""Planted chains: how changes add up over T edits (Section 4.3, Eqs. 14 to 17).

The change after T edits is ``sum_t s_t x_t`` per token. Of *isotropic* edits ``x_t = sqrt(rho) g + sqrt(1 - rho) z_t``
along every direction and token: coherent for rho = 1 (exponent 1), a random walk for rho = 0 (exponent 1/2). *Rank-one*
edits, which is what locate-then-edit methods make, move all tokens along one direction that mixes a common one with its
own in the same way, each token by a factor of its own, half of which is common to all edits; what such an edit does to
u_min is half-normal where directions are unrelated. Sizes s_t differ at random from edit to edit, and may grow or
shrink like ``t ** gamma`` along a chain; an edit made singly has its own size without that growth. Single edits are the
first ones of the chains, dealt in turn, as in a profile.

Truths are those of means over very many chains and edits and infinitely many tokens.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from editverdict.geometry.accumulation import Rates, law_gaps, mean_exponent, planted_rates
from editverdict.geometry.amplification import amplification
from editverdict.geometry.spectrum import power_law
from editverdict.inference.intervals import Estimate
from editverdict.inference.two_samples import NOBODY
from editverdict.numerics.random_matrices import standard_normal
from editverdict.numerics.spectrum import Spectrum, sample_spectrum
from editverdict.pipeline.measures.accumulation import exponent
from editverdict.pipeline.measures.growth import Grown
from editverdict.pipeline.measures.linear_law import gap
from editverdict.pipeline.planted.worlds import Drawn, Family, Plant, PlantedControl

D, TOKENS, BASE_SAMPLES, CONTROL_CHAINS = 32, 64, 1600, 400
SCHEDULE = (1, 5, 10, 20)
LONG = (20,)
LIMIT_CHAINS = 20_000
ERROR_CHAINS, ERROR_WORLDS = 1200, 40
"""Chains that a true error is computed from, and the fewest worlds that they are dealt to."""
_ALIKE = 0.5
"""Share of tokens' factors (their variance) that all rank-one edits have in common."""

SIZES = ((6, 20), (12, 40), (24, 60), (48, 100))
"""Chains and single edits; six chains, as profiles have them, are in fewer of the worlds, for they decide little."""
SHARES = (0.1, 0.2, 0.3, 0.4)

Read = Callable[[Rates, Rates], float]
"""Off ``[chains, T, layers]`` and ``[edits, layers]``."""


@dataclass(frozen=True)
class Walk:
    """How the steps of a chain add up."""

    coherence: float
    growth: float
    spread: float
    rank_one: bool = False
    layers: int = 1

    @property
    def label(self) -> str:
        """In words."""
        kind = {0.0: "random walk", 1.0: "coherent"}.get(self.coherence, f"coherence {self.coherence:.2g}")
        edits = "rank-one" if self.rank_one else "isotropic"
        return f"{kind}, {edits} steps t^{self.growth:.2g}, layers {self.layers}"

    def sizes(self, chains: int, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Step sizes in the chain and made singly, ``[chains, T]`` each."""
        singly = np.exp(self.spread * rng.standard_normal((chains, length)))
        return np.arange(1, length + 1) ** self.growth * singly, singly

    def limit(self, lengths: Sequence[int]) -> tuple[Rates, Rates]:
        """Rates of very many chains ``[chains, T, 1]`` and single edits ``[edits, 1]`` for infinitely many tokens."""
        rng, rho = np.random.default_rng(13), self.coherence
        sizes, singly = self.sizes(LIMIT_CHAINS, max(lengths), rng)
        if self.rank_one:
            along = math.sqrt(rho) + math.sqrt(1.0 - rho) * rng.standard_normal(sizes.shape)
            together, alone, common = sizes * along, np.abs(singly * along), _ALIKE
        else:
            together, alone, common = sizes, singly, rho
        variance = common * np.cumsum(together, 1) ** 2 + (1.0 - common) * np.cumsum(together**2, 1)
        at = np.array(lengths) - 1
        # Edits made singly are alike whatever their place in a chain.
        return np.sqrt(variance[:, at])[:, :, None], alone.reshape(-1, 1)

    def changes(self, chains: int, length: int, d: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Changes after every T and of every edit made singly, ``[chains, T, layers, tokens, d]``."""
        sizes, singly = (one[:, :, None, None, None] for one in self.sizes(chains, length, rng))
        near, far = math.sqrt(self.coherence), math.sqrt(1.0 - self.coherence)
        wide, every = (1 if self.rank_one else d), (chains, length, self.layers, TOKENS)
        pattern = rng.standard_normal((chains, 1, self.layers, TOKENS, wide))
        own = rng.standard_normal((*every, wide))
        if self.rank_one:
            signs = np.sign(rng.standard_normal((chains, 1, self.layers, 1, d)))
            direction = near * signs + far * rng.standard_normal((chains, length, self.layers, 1, d))
            step = (math.sqrt(_ALIKE) * pattern + math.sqrt(1.0 - _ALIKE) * own) * direction
        else:
            step = near * pattern + far * own
        return np.cumsum(sizes * step, axis=1), singly * step

    def observed(
        self, spectrum: Spectrum, sizes: tuple[int, int], lengths: Sequence[int], rng: np.random.Generator
    ) -> Grown:
        """R_min of chains and of single edits, read off finitely many tokens on a base sample's spectrum."""
        reached, alone = self.changes(sizes[0], max(lengths), spectrum.d, rng)

        def rates(change: np.ndarray) -> list[float]:
            # Planted along the directions of the spectrum, so that a common direction has all of them alike.
            return [amplification(spectrum, torch.from_numpy(layer) @ spectrum.basis.T).r_min for layer in change]

        many = np.array([[rates(chain[t - 1]) for t in lengths] for chain in reached])
        owner = dealt(*sizes)
        return Grown(many, np.array([rates(alone[c, i // sizes[0]]) for i, c in enumerate(owner)]), owner)

    def error(self, read: Read, truth: float, sizes: tuple[int, int], lengths: Sequence[int]) -> float:
        """Root mean square error about the truth, by repetition along one direction."""
        rng, at, owner = np.random.default_rng(17), np.array(lengths) - 1, dealt(*sizes)
        off = []
        for _ in range(max(ERROR_WORLDS, ERROR_CHAINS // sizes[0])):
            reached, alone = (np.abs(c).mean(axis=(3, 4)) for c in self.changes(sizes[0], max(lengths), 1, rng))
            singles = np.array([alone[c, i // sizes[0]] for i, c in enumerate(owner)])
            off.append(read(reached[:, at], singles) - truth)
        return math.sqrt(float(np.mean(np.square(off))))


def dealt(chains: int, singles: int) -> tuple[int, ...]:
    """The chain of each single edit: the first edits of all chains, then the second ones, and so on."""
    return tuple(number % chains for number in range(singles))


def _base(seed: int | np.random.Generator) -> Spectrum:
    return sample_spectrum(standard_normal((BASE_SAMPLES, D), seed) * power_law(D, 0.8))


def _walk(rng: np.random.Generator) -> Walk:
    return Walk(
        coherence=float(rng.choice([0.0, 1.0, rng.uniform(0.02, 0.9)], p=[0.1, 0.1, 0.8])),
        growth=float(rng.choice([0.0, rng.uniform(-0.3, 0.3)])),
        spread=float(rng.choice([0.05, 0.15, 0.3])),
        rank_one=bool(rng.integers(2)),
        layers=int(rng.choice([1, 3], p=[0.6, 0.4])),
    )


def _plant(
    rng: np.random.Generator, lengths: Sequence[int], read: Read, estimate: Callable[[Grown], Estimate]
) -> Plant:
    walk, sizes = _walk(rng), SIZES[int(rng.choice(len(SIZES), p=SHARES))]
    truth = read(*walk.limit(lengths))

    def draw(rng: np.random.Generator) -> Drawn:
        return Drawn(estimate(walk.observed(_base(rng), sizes, lengths, rng)))

    error = functools.partial(walk.error, read, truth, sizes, lengths)
    return Plant(f"{walk.label}, {sizes[0]} chains", truth, error, draw)


def _planted(lengths: Sequence[int], *, coherent: bool) -> Grown:
    """R_min of planted chains of rank-one edits and of single ones, as the claims' controls have them."""
    draw = functools.partial(planted_rates, _base(3), coherent=coherent, spread=0.2, rank_one=True, m=TOKENS)
    found = [draw(lengths, seed=s) for s in range(CONTROL_CHAINS)]
    chains = np.array([[[one[t].r_min] for t in lengths] for one in found])
    singles = np.array([[draw([1], seed=10**6 + s)[1].r_min] for s in range(CONTROL_CHAINS)])
    return Grown(chains, singles, (NOBODY,) * CONTROL_CHAINS)


# --------------------------------------------------------------------------- the exponent
def _exponent(found: Grown) -> Estimate:
    return exponent(SCHEDULE, found)


def _exponent_plant(rng: np.random.Generator) -> Plant:
    return _plant(rng, SCHEDULE, lambda c, s: mean_exponent(SCHEDULE, c, s), _exponent)


@lru_cache(maxsize=1)
def _exponent_controls() -> tuple[PlantedControl, ...]:
    return (
        PlantedControl("random-walk", "negative", _exponent(_planted(SCHEDULE, coherent=False))),
        PlantedControl("coherent", "positive", _exponent(_planted(SCHEDULE, coherent=True))),
    )


CUMULATION = Family(
    name="cumulation: exponent of R_min",
    quantities=("accumulation_exponent",),
    describes="exponent of R_min(T) against T",
    unit="chain",
    min_units=6,
    ops=(">=",),
    edges=(0.6, 0.95),
    plant=_exponent_plant,
    controls=_exponent_controls,
)
CUMULATION_WITHIN = Family(
    name="cumulation: exponent within a margin",
    quantities=(),
    describes="exponent of R_min(T) against T",
    unit="chain",
    min_units=6,
    ops=("within",),
    edges=(-1.0, 3.0),
    plant=_exponent_plant,
    width=0.5,
)


# --------------------------------------------------------------------------- the law
def _gap(found: Grown) -> Estimate:
    return gap(LONG[0], found)


def _size(chains: Rates, singles: Rates) -> float:
    return abs(float(np.median(law_gaps(LONG[0], chains[:, 0], singles))))


@lru_cache(maxsize=1)
def _gap_controls() -> tuple[PlantedControl, ...]:
    return (
        PlantedControl("coherent", "negative", _gap(_planted(LONG, coherent=True))),
        PlantedControl("random-walk", "positive", _gap(_planted(LONG, coherent=False))),
    )


LAW_GAP = Family(
    name="cumulation: distance from the linear law",
    quantities=("law_gap",),
    describes="|log2 of R_min(T) over T times that of single edits|",
    unit="chain",
    min_units=6,
    ops=(">=",),
    edges=(0.2, 1.8),
    plant=lambda rng: _plant(rng, LONG, _size, _gap),
    controls=_gap_controls,
)
