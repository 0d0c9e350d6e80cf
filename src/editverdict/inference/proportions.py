"""Exact intervals and tests of a share: so many of so many independent yes-or-no items."""

from __future__ import annotations

from scipy import stats

from editverdict.inference.rows import Interval


def clopper_pearson(count: int, total: int, level: float) -> Interval:
    """Clopper and Pearson's exact interval: never too narrow, and wider than a point for 0 of n and n of n.

    Raises
    ------
    ValueError
        There are no items, or the count is not one of them.
    """
    found = stats.binomtest(count, total).proportion_ci(confidence_level=level, method="exact")
    return float(found.low), float(found.high)


def at_least_p(count: int, total: int, share: float) -> float:
    """P(X >= count) where each of the items is a yes with probability ``share``."""
    return float(stats.binom.sf(count - 1, total, share))


def at_most_p(count: int, total: int, share: float) -> float:
    """P(X <= count) where each of the items is a yes with probability ``share``."""
    return float(stats.binom.cdf(count, total, share))
