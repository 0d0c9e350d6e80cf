"""R_k and performance of chains as numbers alone, and what is read off them for the claims of §4.4 and B.6.

Summaries over directions and aggregations over layers are those of the paper's Tables 25-28; the association itself is
that of :mod:`editverdict.inference.association`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.association import (
    Trend,
    association_interval,
    chain_interval,
    mean_association,
    mean_interval,
    permutation_p,
    permuted_within_t,
    spearman_trend,
    within_t_association,
)
from editverdict.inference.corrections import benjamini_hochberg, holm
from editverdict.inference.intervals import LEVEL, Estimate, missing, seeds_interval
from editverdict.inference.rows import Interval

Array = NDArray[np.float64]
Cell = tuple[str, str]
"""Summary over directions, aggregation over layers."""
TRIM = 0.1
"""Share that the trimmed mean leaves out at each end; the paper states none."""
SUMMARIES: dict[str, Callable[[Tensor], float]] = {
    "median": lambda r: float(r.quantile(0.5)),
    "q90": lambda r: float(r.quantile(0.9)),
    "q95": lambda r: float(r.quantile(0.95)),
    "trimmed": lambda r: float(stats.trim_mean(r.numpy(), TRIM)),
}
AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {"mean": fmean, "max": max, "median": median}
CELLS: tuple[Cell, ...] = tuple((s, a) for s in SUMMARIES for a in AGGREGATIONS)
PRIMARY: Cell = ("median", "mean")
NEGATED = ("q95", "trimmed")
"""The half of the summaries that the negative control turns round."""
SEEDS = 200
"""Permutations of the control without any link: enough for its mean to lie within a tenth of zero."""
RIVALS: dict[str, Cell] = {
    "max-over-layers": ("median", "max"),
    "median-over-layers": ("median", "median"),
    "q90": ("q90", "mean"),
    "q95": ("q95", "mean"),
    "trimmed-mean": ("trimmed", "mean"),
}


@dataclass(frozen=True)
class Series:
    """R_k and performance of every chain at the same T."""

    schedule: tuple[int, ...]
    amplification: Mapping[Cell, Array]
    """``[chains][T]``."""
    performance: Mapping[str, Array]
    """``[chains][T]`` per dimension (and ``loc_eq4``); NaN where a chain's edits so far have no such question."""

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return len(self.amplification[PRIMARY])

    def complete(self, dimension: str) -> NDArray[np.bool_]:
        """Which T every chain has a score at: chains are ranked all together or not at all."""
        return np.asarray(~np.isnan(self.performance[dimension]).any(axis=0))

    def pair(self, cell: Cell, dimension: str, amplification: Array | None = None) -> tuple[Array, Array]:
        """Both sides of an association; ``amplification`` in place of the cell's own, if given."""
        kept = self.complete(dimension)
        x = self.amplification[cell] if amplification is None else amplification
        return x[:, kept], self.performance[dimension][:, kept]

    def left_out(self) -> list[str]:
        """What could not be ranked, by name."""
        return [
            f"{dimension} at T = {t}: {int(np.isnan(self.performance[dimension][:, i]).sum())} of {self.n_chains} "
            "chains have no such question yet"
            for dimension in DIMENSIONS
            for i, t in enumerate(self.schedule)
            if not self.complete(dimension)[i]
        ]


def associated(series: Series, cell: Cell, dimensions: Sequence[str]) -> Estimate:
    """Association within T of one cell with performance, mean over dimensions, with its interval over chains."""
    lacking = [d for d in dimensions if within_t_association(*series.pair(cell, d)) is None]
    if lacking:
        return missing(note=f"no association with {', '.join(lacking)}: one side never varies over the chains at any T")
    return mean_interval([series.pair(cell, d) for d in dimensions])


def permuted(series: Series, cell: Cell, dimensions: Sequence[str], seeds: int = SEEDS) -> Estimate:
    """The same where no chain has anything to do with its performance: dealt anew at every T, mean over seeds."""
    found = []
    for seed in range(seeds):
        x = permuted_within_t(series.amplification[cell], seed)
        value = mean_association([series.pair(cell, d, x) for d in dimensions])
        if value is not None:
            found.append(value)
    return seeds_interval(found) if found else missing(note="one side never varies over the chains at any T")


def minus_r(series: Series, cell: Cell) -> Estimate:
    """The same where performance is -R: -1 whatever the data."""
    return association_interval(series.amplification[cell], -series.amplification[cell])


def weakest(readings: Mapping[Cell, float | None]) -> float | None:
    """Smallest association over all cells times the sign of the primary one: positive if no sign differs."""
    first, values = readings[PRIMARY], [value for value in readings.values() if value is not None]
    if first is None or len(values) < len(readings):
        return None
    sign = 0.0 if first == 0.0 else math.copysign(1.0, first)
    return min(sign * value for value in values)


def agreement(series: Series, dimensions: Sequence[str]) -> Estimate:
    """:func:`weakest` of the series, with its interval over chains.

    The smallest of many noisy numbers lies below zero by chance, which the jackknife does not see; so the interval
    holds what the cells' own intervals say of it together, see :func:`together`.
    """
    pairs = {cell: [series.pair(cell, d) for d in dimensions] for cell in CELLS}

    def readings(kept: NDArray[np.intp]) -> dict[Cell, float | None]:
        return {cell: mean_association([(x[kept], y[kept]) for x, y in own]) for cell, own in pairs.items()}

    size = sum(x.size for x, _ in pairs[PRIMARY])
    strict = 1.0 - (1.0 - LEVEL) / len(CELLS)
    each, all_at_once = (
        together({cell: mean_interval(own, level).interval for cell, own in pairs.items()}) for level in (LEVEL, strict)
    )
    # That all agree takes each cell at its own level (intersection-union); that one disagrees is a pick of twelve.
    hold = None if each is None or all_at_once is None else (each[0], all_at_once[1])
    return chain_interval(lambda kept: weakest(readings(kept)), series.n_chains, size, hold=hold)


def together(intervals: Mapping[Cell, Interval | None]) -> Interval | None:
    """Interval of :func:`weakest` from the intervals of all cells; None if one has none.

    Signs are told apart only where one cell lies above zero and another one below: while the primary cell's sign is
    open, it is taken for whichever leaves more room.
    """
    known = {cell: interval for cell, interval in intervals.items() if interval is not None}
    if len(known) < len(intervals):
        return None
    as_is = (min(low for low, _ in known.values()), min(high for _, high in known.values()))
    turned = (min(-high for _, high in known.values()), min(-low for low, _ in known.values()))
    low, high = known[PRIMARY]
    if low > 0.0:
        return as_is
    return turned if high < 0.0 else (min(as_is[0], turned[0]), max(as_is[1], turned[1]))


def planted_agreement(series: Series, negated: Sequence[str] = ()) -> Estimate:
    """The same where performance is -R by whichever summary is looked at, some of the summaries negated."""

    def readings(kept: NDArray[np.intp]) -> dict[Cell, float | None]:
        found: dict[Cell, float | None] = {}
        for cell, r in series.amplification.items():
            found[cell] = within_t_association(-r[kept] if cell[0] in negated else r[kept], -r[kept])
        return found

    size = series.amplification[PRIMARY].size
    return chain_interval(lambda kept: weakest(readings(kept)), series.n_chains, size)


def family(series: Series) -> list[dict[str, Any]]:
    """All cells with association, p of the permutation test, and both corrections over the family.

    Cells without an association are listed without numbers and are no members of the family.
    """
    rows: list[dict[str, Any]] = []
    for cell in CELLS:
        for dimension in DIMENSIONS:
            x, y = series.pair(cell, dimension)
            names = {"summary": cell[0], "aggregation": cell[1], "dimension": dimension}
            rows.append({**names, "association": within_t_association(x, y), "p": permutation_p(x, y)})
    tested = [row for row in rows if row["p"] is not None]
    raw = [row["p"] for row in tested]
    for row, by_holm, by_bh in zip(tested, holm(raw), benjamini_hochberg(raw), strict=True):
        row |= {"p_holm": by_holm, "p_bh": by_bh}
    return rows


def trends(chain: Series) -> dict[Cell, dict[str, Trend | None]]:
    """The paper's own statistic: Spearman over the steps of one chain (a series of a single chain)."""
    found: dict[Cell, dict[str, Trend | None]] = {}
    for cell in CELLS:
        found[cell] = {}
        for dimension in DIMENSIONS:
            (x,), (y,) = chain.pair(cell, dimension)
            found[cell][dimension] = spearman_trend(x.tolist(), y.tolist())
    return found


def definitions_of(series: Series, dimensions: Sequence[str]) -> dict[str, Estimate]:
    """The association under every reading that the paper's tables have."""
    eq4 = ["loc_eq4" if d == "loc" else d for d in dimensions]
    found = {"median-mean": associated(series, PRIMARY, dimensions)}
    found |= {name: associated(series, cell, dimensions) for name, cell in RIVALS.items()}
    return found | {"locality-eq4": associated(series, PRIMARY, eq4)}


def controls_of(series: Series, dimensions: Sequence[str], seeds: int = SEEDS) -> dict[str, Estimate]:
    """No link at all, and a perfect one; which of them must show the effect is the spec's to say."""
    return {"chains-permuted": permuted(series, PRIMARY, dimensions, seeds), "minus-R": minus_r(series, PRIMARY)}
