"""Agreement of a rater with labels: shares with exact intervals, Cohen's kappa with an interval by clusters.

Cohen (1960), A coefficient of agreement for nominal scales: kappa = (p_o - p_e) / (1 - p_e), p_o the share of agreement
and p_e the one expected of raters with these marginals who do not look. A third category (no verdict) only ever
disagrees.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from editverdict.inference.intervals import LEVEL
from editverdict.inference.proportions import clopper_pearson
from editverdict.inference.rows import Interval

DRAWS = 2000
CHUNK = 100
"""Bootstrap draws that are held in memory at once."""


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    count: int
    total: int
    level: float = LEVEL

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> Interval | None:
        """Clopper and Pearson's exact interval: never too narrow, and wider than a point for 0 of n and n of n."""
        if not self.total:
            return None
        return clopper_pearson(self.count, self.total, self.level)


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa."""

    value: float | None
    """None where it is not defined: both raters use one and the same category only."""
    interval: Interval | None
    level: float
    n_items: int
    n_clusters: int


def cohens_kappa(labels: Sequence[Hashable], verdicts: Sequence[Hashable]) -> float | None:
    """Cohen's kappa of two lists of categories; None where chance alone agrees always, or there is nothing.

    Raises
    ------
    ValueError
        The lists are not equally long.
    """
    one, other, n = _codes(labels, verdicts)
    return _kappa(_table(one, other, n))


def kappa_interval(
    labels: Sequence[Hashable],
    verdicts: Sequence[Hashable],
    clusters: Sequence[Hashable],
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Kappa:
    """Cohen's kappa with an interval that respects clusters of items (several answers to one question).

    The interval is the hull of two. Percentiles of the bootstrap that draws whole clusters: right for middling
    agreement, but a single point where every item agrees. And kappa at the ends of the exact interval of the share of
    agreement, at the observed p_e, which is not. It is cut to [-1, 1].

    Parameters
    ----------
    labels, verdicts, clusters
        Of equal length, item by item.
    level, draws, seed
        Confidence level, bootstrap draws, seed of the draws.

    Raises
    ------
    ValueError
        The lists are not equally long.
    """
    one, other, n_categories = _codes(labels, verdicts)
    if len(clusters) != len(one):
        raise ValueError(f"expected one cluster per item, found {len(clusters)} for {len(one)} items")
    names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    value = _kappa(_table(one, other, n_categories))
    if value is None:
        return Kappa(None, None, level, len(one), len(names))
    # A cluster enters every draw as its table of counts, so that a draw is a weighted sum of tables.
    tables = np.zeros((len(names), n_categories, n_categories))
    for cluster, a, b in zip(clusters, one, other, strict=True):
        tables[names[cluster], a, b] += 1.0
    generator = np.random.default_rng(seed)
    drawn = []
    for start in range(0, draws, CHUNK):
        size = (min(CHUNK, draws - start), len(names))
        times = np.apply_along_axis(np.bincount, 1, generator.integers(0, len(names), size), minlength=len(names))
        drawn += [k for table in np.tensordot(times, tables, axes=1) if (k := _kappa(table)) is not None]
    tail = (1 - level) / 2
    agreed = int((one == other).sum())
    exact = Share(agreed, len(one), level).interval
    assert exact is not None
    expected = _expected(_table(one, other, n_categories))
    bounds = [(end - expected) / (1 - expected) for end in exact]
    bounds += [float(np.quantile(drawn, q)) for q in (tail, 1 - tail)] if drawn else []
    return Kappa(value, (max(min(bounds), -1.0), min(max(bounds), 1.0)), level, len(one), len(names))


def _codes(labels: Sequence[Hashable], verdicts: Sequence[Hashable]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    if len(labels) != len(verdicts):
        raise ValueError(f"expected one verdict per label, found {len(verdicts)} for {len(labels)} labels")
    number = {name: i for i, name in enumerate(dict.fromkeys([*labels, *verdicts]))}
    coded = [np.array([number[value] for value in values], dtype=np.intp) for values in (labels, verdicts)]
    return coded[0], coded[1], len(number)


def _table(one: NDArray[np.intp], other: NDArray[np.intp], n: int) -> NDArray[np.float64]:
    """Counts by category of the one (rows) and of the other (columns)."""
    counts: NDArray[np.float64] = np.bincount(one * n + other, minlength=n * n).reshape(n, n).astype(np.float64)
    return counts


def _expected(table: NDArray[np.float64]) -> float:
    return float(table.sum(1) @ table.sum(0)) / float(table.sum()) ** 2


def _kappa(table: NDArray[np.float64]) -> float | None:
    total = float(table.sum())
    if not total:
        return None
    expected = _expected(table)
    if expected >= 1.0:
        return None
    return (float(np.trace(table)) / total - expected) / (1 - expected)
