"""R_k and performance of chains as numbers alone, and what is read off them for the claims of §4.4 and B.6.

Summaries over directions and aggregations over layers are those of the paper's Tables 25-28; the association itself is
that of :mod:`editverdict.inference.association`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.association import (
    BOUNDS,
    Trend,
    association_interval,
    chain_interval,
    informative,
    mean_interval,
    permutation_p,
    permuted_within_t,
    spearman_trend,
    within_t_association,
)
from editverdict.inference.corrections import benjamini_hochberg, holm
from editverdict.inference.intervals import LEVEL, Estimate, jackknife_interval, missing, seeds_interval, t_quantile
from editverdict.inference.largest import largest_association, magnitude
from editverdict.inference.replay import replayed
from editverdict.inference.rows import Interval
from editverdict.inference.standard_errors import standard_error

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


def associated(series: Series, cell: Cell, dimensions: Sequence[str], *, size: bool = False) -> Estimate:
    """Largest association within T of one cell over the dimensions of performance, or its largest absolute value."""
    return largest_association({d: series.pair(cell, d) for d in dimensions}, size=size)


def averaged(series: Series, cell: Cell, dimensions: Sequence[str]) -> Estimate:
    """Mean of the associations over dimensions: a description, behind which dimensions can hide."""
    if any(within_t_association(*series.pair(cell, d)) is None for d in dimensions):
        return missing(note="some dimension has no association")
    return mean_interval([series.pair(cell, d) for d in dimensions])


# --------------------------------------------------------------------------- controls
def permuted(
    series: Series, cell: Cell, dimensions: Sequence[str], seeds: int = SEEDS, *, size: bool = False
) -> Estimate:
    """The same where no chain has anything to do with its performance: R_k dealt anew at every T.

    The mean over seeds is taken in every dimension, and then the largest: the largest of each seed would lie above zero
    by noise alone.
    """
    found: dict[str, list[float]] = {d: [] for d in dimensions}
    for seed in range(seeds):
        x = permuted_within_t(series.amplification[cell], seed)
        for dimension, values in found.items():
            value = within_t_association(*series.pair(cell, dimension, x))
            values += [] if value is None else [value]
    if not all(found.values()):
        return missing(note="one side never varies over the chains at any T")
    means = {d: math.fsum(values) / len(values) for d, values in found.items()}
    name = max(means, key=lambda d: abs(means[d]) if size else means[d])
    sign = -1.0 if size and means[name] < 0.0 else 1.0
    return seeds_interval([sign * value for value in found[name]])


def dealt(r: Array, scores: Array, sign: float = -1.0) -> Array:
    """The very scores of each T, dealt to the chains so that the largest R_k has the worst (``sign`` 1: the best).

    The strongest link that these scores admit: ties, and T at which all chains score alike, stay what they are.
    """
    order, found = np.argsort(sign * r, axis=0, kind="stable"), np.empty_like(scores)
    np.put_along_axis(found, order, np.sort(scores, axis=0), axis=0)
    return found


def linked(series: Series, cell: Cell, dimensions: Sequence[str], *, size: bool = False) -> Estimate:
    """The same where the scores are dealt against R_k, of the dimension whose scores show that least surely.

    -1 where no scores are tied, and undecided or missing where they are too coarse to show any link. By the jackknife
    alone: that few chains agree is planted here, and no chance for Fisher's scale to guard against.
    """
    found = []
    for dimension in dimensions:
        x, y = series.pair(cell, dimension)
        one = _plain_jackknife(x, dealt(x, y))
        found.append(replace(one, note=one.note or f"least sure: {dimension}"))
    poor = [one for one in found if one.interval is None]
    weakest_one = poor[0] if poor else max(found, key=lambda one: math.inf if one.interval is None else one.interval[1])
    return magnitude(weakest_one) if size else weakest_one


def _plain_jackknife(x: Array, y: Array) -> Estimate:
    full = within_t_association(x, y)
    if full is None:
        return missing(note="one side never varies over the chains at any T")
    left = [within_t_association(np.delete(x, i, axis=0), np.delete(y, i, axis=0)) for i in range(len(x))]
    known = [value for value in left if value is not None]
    if len(known) < max(len(left), 2):
        note = f"undefined without one of its {len(x)} chains: no interval"
        return Estimate(full, None, LEVEL, len(x), (), "none", note, bounds=BOUNDS)
    return jackknife_interval(full, known).within(BOUNDS)


# --------------------------------------------------------------------------- agreement of the summaries
def weakest(readings: Mapping[Cell, float | None]) -> float | None:
    """Smallest association over all cells times the sign of the primary one: positive if no sign differs."""
    first, values = readings[PRIMARY], [value for value in readings.values() if value is not None]
    if first is None or len(values) < len(readings):
        return None
    sign = 0.0 if first == 0.0 else math.copysign(1.0, first)
    return min(sign * value for value in values)


def agreement(series: Series, dimensions: Sequence[str]) -> Estimate:
    """:func:`weakest` of every dimension, the least of them, with an interval that holds it.

    The smallest of many noisy numbers lies below zero by chance, which its jackknife would not see; so both ends are
    what the cells' own intervals say together (:func:`together`). That all agree takes each cell at its own level
    (intersection-union); that one disagrees is a pick of them all, and takes Bonferroni's. Units are those of the
    least cell; how much further the others reach is in the bias.
    """
    pairs = {(d, cell): series.pair(cell, d) for d in dimensions for cell in CELLS}
    own = {key: association_interval(x, y) for key, (x, y) in pairs.items()}
    signs = {d: math.copysign(1.0, own[d, PRIMARY].value or 0.0) for d in dimensions}
    values = {key: signs[key[0]] * found.value for key, found in own.items() if found.value is not None}
    if len(values) < len(own):
        lacking = ", ".join(dict.fromkeys(d for d, cell in own if (d, cell) not in values))
        return missing(note=f"no association with {lacking}: one side never varies over the chains at any T")
    key = min(values, key=lambda one: values[one])
    value, name = values[key], f"least: {key[0]}, {key[1][0]}, {key[1][1]} over layers"
    strict = {one: association_interval(x, y, 1.0 - (1.0 - LEVEL) / len(pairs)) for one, (x, y) in pairs.items()}
    each, all_at_once = _together_in_all(own, dimensions), _together_in_all(strict, dimensions)
    if each is None or all_at_once is None:
        return Estimate(value, None, LEVEL, series.n_chains, (), "none", f"{name}; some cell has no interval")
    units, resolution = [signs[key[0]] * unit for unit in own[key].units], own[key].resolution
    half = t_quantile(LEVEL, series.n_chains - 1) * standard_error(units, resolution)
    shifts = [min(value + half - all_at_once[1], 0.0), max(value - half - each[0], 0.0)]
    record = {"method": "jackknife", "resolution": resolution, "bias": shifts, "bounds": list(BOUNDS)}
    found = replayed(units, value, LEVEL, record)
    return missing() if found is None else replace(found, note=name, parts=len(pairs))


def _together_in_all(own: Mapping[tuple[str, Cell], Estimate], dimensions: Sequence[str]) -> Interval | None:
    """:func:`together` of every dimension, and of these the least ends."""
    found = [together({cell: own[d, cell].interval for cell in CELLS}) for d in dimensions]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    return min(low for low, _ in known), min(high for _, high in known)


def _least(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return min(known) if known and len(known) == len(found) else None


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


def planted_agreement(series: Series, dimensions: Sequence[str], negated: Sequence[str] = ()) -> Estimate:
    """The same where the scores are dealt against whichever summary is looked at, and with it for some of them."""
    pairs = {
        d: {
            cell: (x, dealt(x, y, 1.0 if cell[0] in negated else -1.0))
            for cell in CELLS
            for x, y in [series.pair(cell, d)]
        }
        for d in dimensions
    }

    def statistic(kept: NDArray[np.intp]) -> float | None:
        return _least(
            weakest({cell: within_t_association(x[kept], y[kept]) for cell, (x, y) in own.items()})
            for own in pairs.values()
        )

    size = min(informative(*own[PRIMARY]) for own in pairs.values())
    return chain_interval(statistic, series.n_chains, size)


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


def definitions_of(series: Series, dimensions: Sequence[str], *, size: bool = False) -> dict[str, Estimate]:
    """The association under every reading that the paper's tables have, and the mean over dimensions beside them."""
    eq4 = ["loc_eq4" if d == "loc" else d for d in dimensions]
    found = {"median-mean": associated(series, PRIMARY, dimensions, size=size)}
    found |= {name: associated(series, cell, dimensions, size=size) for name, cell in RIVALS.items()}
    found["locality-eq4"] = associated(series, PRIMARY, eq4, size=size)
    return found | {"mean-over-dimensions": averaged(series, PRIMARY, dimensions)}


def controls_of(
    series: Series, dimensions: Sequence[str], seeds: int = SEEDS, *, size: bool = False
) -> dict[str, Estimate]:
    """No link at all, and the strongest that the scores admit; which must show the effect is the spec's to say."""
    return {
        "chains-permuted": permuted(series, PRIMARY, dimensions, seeds, size=size),
        "scores-dealt": linked(series, PRIMARY, dimensions, size=size),
    }
