"""Planted links between change and performance within T (Section 4.4), and trends that are no link.

Each chain has its own level on both sides, correlated as planted, and noise of its own at each T; both sides trend in T
for all chains alike. Over the steps of one chain the two series then rise and fall together whatever the link, and a
Spearman over steps sees one where the truth is 0. The truth is the pooled Spearman of infinitely many chains,
``6 / pi * asin(r / 2)`` for a normal pair of correlation r.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from editverdict.inference.association import association_interval, within_t_association
from editverdict.pipeline.planted.worlds import Drawn, Family, Plant

STEPS = (2, 5, 10)
ERROR_DRAWS = 300
LINKS = (0.0, 0.0, -0.3, -0.6, -0.85, -0.95, -0.98, 0.5, 0.9)
CHAINS = {6: 0.06, 12: 0.06, 24: 0.18, 48: 0.35, 96: 0.35}
"""Number of chains -> share of worlds. Six decide little even at 4 standard errors: an exact interval of level 99% is
4.03 of them wide to each side."""


@dataclass(frozen=True)
class Link:
    """How two sides hang together over chains."""

    chains: int
    correlation: float
    """Of the two sides over chains, at every T."""
    kept: float
    """Share of a chain's variance that it keeps from T to T."""

    @property
    def label(self) -> str:
        """In words."""
        kind = "no causal link" if self.correlation == 0.0 else f"link {self.correlation:g}"
        return f"{kind}, {self.chains} chains"

    @property
    def truth(self) -> float:
        """Spearman's rho of a normal pair."""
        return 6.0 / math.pi * math.asin(self.correlation / 2.0)

    def sides(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Values ``[chains, steps]`` of both sides, each with a trend in T that all chains share."""
        shape = np.linalg.cholesky([[1.0, self.correlation], [self.correlation, 1.0]])
        level = rng.standard_normal((self.chains, 1, 2))
        own = rng.standard_normal((self.chains, len(STEPS), 2))
        both = (math.sqrt(self.kept) * level + math.sqrt(1.0 - self.kept) * own) @ shape.T
        trend = np.log(STEPS)
        return both[..., 0] + 3.0 * trend, both[..., 1] - 3.0 * trend


@lru_cache(maxsize=256)
def _error(link: Link) -> float:
    """Root mean square error of the estimate about the truth over repeated sampling."""
    rng = np.random.default_rng(19)
    found = [within_t_association(*link.sides(rng)) for _ in range(ERROR_DRAWS)]
    values = np.array([value for value in found if value is not None])
    return float(np.sqrt(np.mean((values - link.truth) ** 2)))


def _plant(rng: np.random.Generator) -> Plant:
    chains = int(rng.choice(list(CHAINS), p=list(CHAINS.values())))
    link = Link(chains, float(rng.choice(LINKS)), float(rng.choice([0.0, 0.5, 0.9])))
    return Plant(
        link.label, link.truth, lambda: _error(link), lambda rng: Drawn(association_interval(*link.sides(rng)))
    )


def spearman_over_steps(link: Link, seed: int) -> float:
    """What the steps of one chain alone would give: the trend, whatever the link."""
    x, y = link.sides(np.random.default_rng(seed))
    return float(stats.spearmanr(x[0], y[0]).statistic)


ASSOCIATION = Family(
    name="correlation: association within T",
    quantities=("performance_association", "performance_association_but_gen", "reliability_association"),
    describes="association within T of change and performance",
    unit="chain",
    min_units=6,
    ops=("<=",),
    edges=(-0.99, 0.99),
    plant=_plant,
)
