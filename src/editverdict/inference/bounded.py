"""The mean of a bounded quantity that takes few values, without assuming how it is spread.

A Student t interval believes what the units show of their spread. Six correlations over three T that are all -1 show
none, although chains of which three quarters fall all the way and one quarter rises (mean -.5) give that in 18% of
experiments. Gaffke's bound knows only the least and the largest possible value: a unit that has not been seen is put at
the worse of them, and all units are given weights as uneven as chance allows, ``sum_i w_i x_i`` with w uniform on the
simplex (Gaffke, Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative variable,
Math. Methods Statist. 14 (2005) 451-467; Phan, Thomas and Learned-Miller, ICML 2021). No distribution is known under
which it is wrong more often than its level; for yes-or-no units it is Clopper and Pearson's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from editverdict.inference.rows import Interval
from editverdict.inference.standard_errors import require_finite

DRAWS = 100_000
"""Weightings that stand for all of them; always the same, so that an interval can be computed again."""
SEED = 7


@lru_cache(maxsize=8)
def _weights(count: int) -> np.ndarray:
    """[DRAWS, count] points of the simplex, uniform."""
    return np.random.default_rng([SEED, count]).dirichlet(np.ones(count), DRAWS)


def _means(units: Sequence[float], bounds: Interval, *, upper: bool) -> np.ndarray:
    """Weighted means of the sorted units and of one more at a bound: [DRAWS]."""
    kept = sorted(float(unit) for unit in units)
    require_finite((*kept, *bounds), "units and bounds")
    low, high = bounds
    if not kept or not low < high or kept[0] < low or kept[-1] > high:
        raise ValueError(f"expected at least one unit, all within [{low:g}, {high:g}], found {kept[:3]} ...")
    points = [*kept, high] if upper else [low, *kept]
    found: np.ndarray = np.clip(_weights(len(points)) @ np.array(points), low, high)  # rounding may step over a bound
    return found


def bounded_mean(units: Sequence[float], bounds: Interval, level: float) -> Interval:
    """Two-sided interval of the mean of a quantity that lies within ``bounds``.

    Parameters
    ----------
    units
        One number per resampling unit, in units of the quantity.
    bounds
        What the quantity cannot leave.
    level
        Confidence level; each end is wrong with at most half of what is left.

    Raises
    ------
    ValueError
        There are no units, or some lie beyond the bounds.
    """
    tail = (1.0 - level) / 2.0
    low = float(np.quantile(_means(units, bounds, upper=False), tail, method="inverted_cdf"))
    return low, float(np.quantile(_means(units, bounds, upper=True), 1.0 - tail, method="inverted_cdf"))


def at_most_edge_p(units: Sequence[float], bounds: Interval, edge: float) -> float:
    """P value of "the mean lies above ``edge``": small where it lies below; errors as :func:`bounded_mean`."""
    return float((_means(units, bounds, upper=True) > edge).mean())


def at_least_edge_p(units: Sequence[float], bounds: Interval, edge: float) -> float:
    """P value of "the mean lies below ``edge``": small where it lies above; errors as :func:`bounded_mean`."""
    return float((_means(units, bounds, upper=False) < edge).mean())


def units_to_exclude(bounds: Interval, edge: float, level: float) -> int:
    """How many units, all at the nearer bound, it takes before the mean cannot lie beyond ``edge``.

    Of n units that all lie at a bound the other end of the interval is a share ``1 - a^(1/n)`` of the way to the other
    bound, a being half of what the level leaves.

    Raises
    ------
    ValueError
        The edge is not strictly within the bounds.
    """
    low, high = bounds
    if not low < edge < high:
        raise ValueError(f"expected an edge strictly within [{low:g}, {high:g}], found {edge:g}")
    share = min(edge - low, high - edge) / (high - low)
    return math.ceil(math.log((1.0 - level) / 2.0) / math.log(1.0 - share))
