"""Planted links between change and performance within T (Section 4.4), in one dimension and in several.

Each chain has its own level on both sides, correlated as planted, and noise of its own at each T; both sides trend in T
for all chains alike. Over the steps of one chain the two series then rise and fall together whatever the link, and a
Spearman over steps sees one where the truth is 0. The truth of a dimension is the pooled Spearman of infinitely many
chains, ``6 / pi * asin(r / 2)`` for a normal pair of correlation r; that of a claim about several is the largest of
them, or the largest absolute value. Estimates and controls are those of the claims (:mod:`..series`): chains permuted
within T, and the scores dealt against R_k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from editverdict.inference.association import within_t_association
from editverdict.pipeline.planted.worlds import Drawn, Family, Plant, PlantedControl
from editverdict.pipeline.series import PRIMARY, Series, associated, controls_of

STEPS = (2, 5, 10)
ERROR_DRAWS = 200
CHAINS = (6, 12, 24, 48)
"""Each in one world of four: every size has to meet the targets by itself. 6 is what profiles ship with."""
DECISIVE_FROM = 48
"""Chains from which well-powered worlds are decided as often as is asked for; what fewer reach is shown: Fisher's
floor, and no dimension let off, are paid for in chains."""
SIGNED = (-0.98, -0.95, -0.85, -0.6, -0.6, -0.3, 0.0, 0.5)
"""Links of the dimension that is largest."""
SIZES = (0.0, 0.15, 0.3, 0.6, 0.6, 0.85, 0.95, 0.98)
DIMENSIONS = ("rel", "gen", "loc", "port")
SEEDS = 60
"""Permutations of the control without any link; the claims' own take 200, which a world would wait for too long."""


@dataclass(frozen=True)
class Link:
    """How change and the dimensions of performance hang together over chains."""

    chains: int
    correlations: tuple[float, ...]
    """Of change and each dimension over chains, at every T."""
    kept: float
    """Share of a chain's variance that it keeps from T to T."""
    common: float = 0.0
    """Share of the dimensions' noise that they have in common."""

    @property
    def label(self) -> str:
        """In words."""
        return f"links {', '.join(f'{r:g}' for r in self.correlations)}, {self.chains} chains"

    @property
    def truths(self) -> tuple[float, ...]:
        """Spearman's rho of a normal pair, per dimension."""
        return tuple(6.0 / math.pi * math.asin(r / 2.0) for r in self.correlations)

    def truth(self, size: bool) -> float:
        """The largest of them, or the largest absolute value."""
        return max(abs(one) if size else one for one in self.truths)

    def series(self, rng: np.random.Generator) -> Series:
        """Values ``[chains, steps]`` of all sides, each with a trend in T that all chains share."""

        def noise() -> np.ndarray:
            level = rng.standard_normal((self.chains, 1))
            own = rng.standard_normal((self.chains, len(STEPS)))
            return math.sqrt(self.kept) * level + math.sqrt(1.0 - self.kept) * own

        change, shared, trend = noise(), noise(), 3.0 * np.log(STEPS)
        scores = {
            name: r * change
            + math.sqrt(1.0 - r * r) * (math.sqrt(self.common) * shared + math.sqrt(1.0 - self.common) * noise())
            - trend
            for name, r in zip(DIMENSIONS, self.correlations, strict=False)
        }
        return Series(STEPS, {PRIMARY: change + trend}, scores)

    def drawn(self, rng: np.random.Generator, size: bool) -> Drawn:
        """The claims' own estimate with their own controls."""
        series = self.series(rng)
        names = tuple(series.performance)
        found = controls_of(series, names, SEEDS, size=size)
        none, full = found["chains-permuted"], found["scores-dealt"]
        controls = (
            PlantedControl("chains-permuted", "positive" if size else "negative", none),
            PlantedControl("scores-dealt", "negative" if size else "positive", full),
        )
        return Drawn(associated(series, PRIMARY, names, size=size), controls)


@lru_cache(maxsize=512)
def _error(link: Link, size: bool) -> float:
    """Root mean square error of the estimate about the truth over repeated sampling: a bias near ties counts."""
    rng, found = np.random.default_rng(19), []
    for _ in range(ERROR_DRAWS):
        series = link.series(rng)
        values = [within_t_association(*series.pair(PRIMARY, name)) for name in series.performance]
        known = [value for value in values if value is not None]
        found.append(max(abs(value) if size else value for value in known))
    return float(np.sqrt(np.mean((np.array(found) - link.truth(size)) ** 2)))


def _plant(leads: Sequence[float], size: bool) -> Callable[[np.random.Generator], Plant]:
    def plant(rng: np.random.Generator) -> Plant:
        lead, count = float(rng.choice(leads)), int(rng.choice([1, 3, 4]))
        # Other dimensions tie with the leading one, or lie below it; an absolute value may have either sign.
        others = [lead if rng.random() < 0.5 else _below(lead, size, rng) for _ in range(count - 1)]
        links = [one * (float(rng.choice([-1.0, 1.0])) if size else 1.0) for one in (lead, *others)]
        kept, common = float(rng.choice([0.0, 0.5, 0.9])), float(rng.choice([0.0, 0.5]))
        link = Link(int(rng.choice(CHAINS)), tuple(links), kept, common if count > 1 else 0.0)
        return Plant(link.label, link.truth(size), lambda: _error(link, size), lambda rng: link.drawn(rng, size))

    return plant


def _below(lead: float, size: bool, rng: np.random.Generator) -> float:
    return 0.0 if size else -0.98 if rng.random() < 0.5 else min(lead, -0.85)


def spearman_over_steps(link: Link, seed: int) -> float:
    """What the steps of one chain alone would give: the trend, whatever the link."""
    x, y = link.series(np.random.default_rng(seed)).pair(PRIMARY, DIMENSIONS[0])
    return float(stats.spearmanr(x[0], y[0]).statistic)


ASSOCIATION = Family(
    name="correlation: largest association within T",
    quantities=("performance_association", "performance_association_but_gen", "reliability_association"),
    describes="largest association within T of change and performance",
    unit="chain",
    min_units=6,
    ops=("<=",),
    edges=(-0.99, -0.12),
    decisive_from=DECISIVE_FROM,
    plant=_plant(SIGNED, False),
)
ASSOCIATION_SIZE = Family(
    name="correlation: every association within a margin",
    quantities=("performance_association_size_but_gen",),
    describes="largest absolute association within T of change and performance",
    unit="chain",
    min_units=6,
    ops=("<=",),
    edges=(0.12, 0.99),
    decisive_from=DECISIVE_FROM,
    plant=_plant(SIZES, True),
)
