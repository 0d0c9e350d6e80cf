r"""Association of two series over chains with the trend in T taken out, its interval and its permutation test.

Both sides are known for every chain at the same steps T. At each T both are ranked over the chains (ties share their
mean rank) and centred; the association is the sum of products over the root of the sums of squares, pooled over T:
Spearman's rho of what is left once everything that all chains have in common at a T is gone. Two series that merely
both drift with T have a Spearman of -1 over the steps of one chain and no association within T.

Units are chains: a chain's values at several T are made of the same edits and are no independent data.

The interval is the delete-one-chain jackknife with a floor. Simulated at nominal 99% with 6 to 20 chains at T = 2, 5
and 10 (planted rho 0, -.5, -.9; answers in steps of 1/T; a chain's values at several T independent, cumulative with
normal or with heavy-tailed steps, or one and the same), the plain jackknife covers 97% to 99.7% except where a chain's
values are the same at all T: there 86% to 98%, for few chains often agree by chance and then show no spread. So the
standard error is at least what Fisher's scale z = artanh gives: the larger of the jackknife's there and of that of as
many independent pairs as there are values. The mended interval covers 98% to 100%; it is cut at -1 and 1. Six chains
rarely decide anything with it: a true -.9 is found below -.5 in one case of ten; with twelve chains in every third.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from editverdict.inference.intervals import LEVEL, Estimate, jackknife_interval, missing, t_quantile
from editverdict.inference.rows import Interval
from editverdict.inference.standard_errors import standard_error

Values = Sequence[Sequence[float]] | NDArray[Any]
"""``[chains][steps]``."""
Pair = tuple[Values, Values]
"""Two sides of an association."""
Sided = Literal["two", "less", "greater"]
EXHAUSTIVE = 7
"""Up to so many chains all permutations are tried (5,040)."""
DRAWS = 9999
BOUNDS = (-1.0, 1.0)


# --------------------------------------------------------------------------- the statistic
def within_t_association(x: Values, y: Values) -> float | None:
    """Pooled rank association of ``x`` and ``y`` over chains within T, from -1 to 1.

    Parameters
    ----------
    x, y
        ``[chains][steps]``, the same chains and steps on both sides.

    Returns
    -------
    float or None
        None where one side never varies over the chains at any T (or there is nothing): missing, not zero.

    Raises
    ------
    ValueError
        The shapes differ, or a value is not finite.
    """
    first, second = _checked(x, y)
    # A T at which one side is the same for all chains says nothing, and must not count as disagreement either.
    both = (np.ptp(first, axis=0) > 0) & (np.ptp(second, axis=0) > 0) if first.size else np.zeros(0, dtype=bool)
    if not both.any():
        return None
    a, b = _centred_ranks(first[:, both]), _centred_ranks(second[:, both])
    squares = float((a * a).sum()) * float((b * b).sum())
    if squares == 0.0:
        return None
    return float((a * b).sum()) / math.sqrt(squares)


def mean_association(pairs: Sequence[Pair]) -> float | None:
    """Unweighted mean of the associations of several pairs of sides; None if any of them is missing."""
    found = [within_t_association(x, y) for x, y in pairs]
    present = [value for value in found if value is not None]
    return math.fsum(present) / len(present) if present and len(present) == len(found) else None


def informative(x: Values, y: Values) -> int:
    """Pairs of values at those T at which both sides vary: all that an association can rest on."""
    if np.size(x) == 0:
        return 0
    return len(x) * int(((np.ptp(x, axis=0) > 0) & (np.ptp(y, axis=0) > 0)).sum())


# --------------------------------------------------------------------------- interval
def association_interval(x: Values, y: Values, level: float = LEVEL) -> Estimate:
    """The association with its interval over chains.

    Parameters
    ----------
    x, y
        ``[chains][steps]``.
    level
        Confidence level.

    Returns
    -------
    Estimate
        Missing where the association is undefined; without interval where it is undefined once a chain is left out
        (it then rests on that chain alone). Units are pseudo-values.

    Raises
    ------
    ValueError
        Shapes differ, or a value is not finite.
    """
    return mean_interval([(x, y)], level)


def mean_interval(pairs: Sequence[Pair], level: float = LEVEL) -> Estimate:
    """The mean association of several pairs of sides (dimensions of performance) with its interval over chains.

    All sides are of the same chains, in the same order; each pair may have steps of its own. Otherwise as
    :func:`association_interval`.
    """
    sides = [_checked(x, y) for x, y in pairs]
    counts = sorted({len(x) for x, _ in sides})
    if len(counts) > 1:
        raise ValueError(f"all pairs need the same chains, found {counts} of them")

    def statistic(kept: NDArray[np.intp]) -> float | None:
        return mean_association([(x[kept], y[kept]) for x, y in sides])

    return chain_interval(statistic, counts[0] if counts else 0, sum(informative(x, y) for x, y in sides), level)


def chain_interval(
    statistic: Callable[[NDArray[np.intp]], float | None],
    n_chains: int,
    n_pairs: int,
    level: float = LEVEL,
    hold: Interval | None = None,
) -> Estimate:
    """Interval of a statistic between -1 and 1 that is a function of the chains kept.

    Parameters
    ----------
    statistic
        Gets the numbers of the chains kept, ascending.
    n_chains
        Chains in all.
    n_pairs
        Pairs of values behind the statistic: what it could rest on at most, were all of them independent.
    level
        Confidence level.
    hold
        An interval that this one has to hold, for statistics that the jackknife does not do justice (extremes).
    """
    everyone = np.arange(n_chains)
    full = statistic(everyone) if n_chains else None
    if full is None:
        return missing(level, "one side never varies over the chains at any T: there is no association")
    left = [statistic(np.delete(everyone, i)) for i in range(n_chains)] if n_chains > 1 else []
    known = [value for value in left if value is not None]
    if len(known) < len(left) or len(known) < 2:
        note = f"undefined without one of its {n_chains} chains: no interval"
        return Estimate(full, None, level, n_chains, (), "none", note, bounds=BOUNDS)
    floor = _floor(full, known, n_pairs, level)
    if hold is None:
        return jackknife_interval(full, known, level, resolution=floor).within(BOUNDS)
    # Wide enough to the lower side by the floor, and to the upper side by what then is lacking, taken for a bias.
    floor = max(floor, (full - hold[0]) / t_quantile(level, n_chains - 1) * math.sqrt(12.0 * n_chains))
    symmetric = jackknife_interval(full, known, level, resolution=floor)
    lacking = 0.0 if symmetric.interval is None else max(hold[1] - symmetric.interval[1], 0.0)
    return jackknife_interval(full, known, level, bias=-lacking, resolution=floor).within(BOUNDS)


def _floor(full: float, left: Sequence[float], n_pairs: int, level: float) -> float:
    """Resolution at which the interval is as wide as Fisher's scale demands, to the wider side.

    On the scale z = artanh the standard error is the jackknife's, or 1 / sqrt(pairs - 3) if that is more. A perfect
    agreement of few chains is taken for one just short of it, lest it be infinite.
    """
    n = len(left)
    edge = 1.0 - 1.0 / (4 * n)

    def scaled(value: float) -> float:
        return math.atanh(min(max(value, -edge), edge))

    pseudo = [n * scaled(full) - (n - 1) * scaled(value) for value in left]
    half = t_quantile(level, n - 1) * max(standard_error(pseudo), 1.0 / math.sqrt(max(n_pairs - 3, 1)))
    reach = max(math.tanh(scaled(full) + half) - full, full - math.tanh(scaled(full) - half))
    return reach / t_quantile(level, n - 1) * math.sqrt(12.0 * n)


# --------------------------------------------------------------------------- permutation test
def permutation_p(
    x: Values, y: Values, sided: Sided = "two", *, exhaustive: bool | None = None, draws: int = DRAWS, seed: int = 0
) -> float | None:
    """P value of no association: chains of ``x`` are dealt anew to those of ``y``, one permutation for all T.

    Parameters
    ----------
    x, y
        ``[chains][steps]``.
    sided
        ``less`` and ``greater``: of an association as low, as high; ``two``: as far from zero.
    exhaustive
        Whether all permutations are tried (default: up to 7 chains); else ``draws`` random ones, the one observed
        counted among them.
    draws, seed
        Number and seed of random permutations.

    Returns
    -------
    float or None
        None where there is no association. With n chains it cannot be below 1 / n!.

    Raises
    ------
    ValueError
        Shapes differ, a value is not finite, or ``sided`` is unknown.
    """
    if sided not in ("two", "less", "greater"):
        raise ValueError(f"sided must be 'two', 'less' or 'greater', found {sided!r}")
    if within_t_association(x, y) is None:
        return None
    # Centred ranks are multiples of a half: sums of their products are exact, and so are comparisons.
    cross = _centred_ranks(_checked(x, y)[0]) @ _centred_ranks(_checked(x, y)[1]).T
    n = len(cross)
    everything = n <= EXHAUSTIVE if exhaustive is None else exhaustive
    dealt = np.array(list(permutations(range(n)))) if everything else _dealt(n, draws, seed)
    found, observed = cross[np.arange(n), dealt].sum(axis=1), np.trace(cross)
    beyond = {"two": np.abs(found) >= abs(observed), "less": found <= observed, "greater": found >= observed}[sided]
    hits = int(beyond.sum())
    return hits / len(dealt) if everything else (hits + 1) / (len(dealt) + 1)


def permuted_within_t(values: Values, seed: int) -> NDArray[np.float64]:
    """The values dealt anew to the chains, independently at every T: the same at each T, and no link at all."""
    generator = np.random.default_rng(seed)
    return generator.permuted(np.asarray(values, dtype=float), axis=0)


def _dealt(n: int, draws: int, seed: int) -> NDArray[np.intp]:
    generator = np.random.default_rng(seed)
    return generator.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)


# --------------------------------------------------------------------------- over the steps of one chain
@dataclass(frozen=True)
class Trend:
    """Spearman's rho over the steps of one chain: confounded with whatever else changes with T."""

    rho: float
    p: float
    """Two-sided, by the t approximation that fits the paper's p values."""
    n_steps: int
    smallest_p: float
    """What an exact test of so many steps can reach."""


def spearman_trend(x: Sequence[float], y: Sequence[float]) -> Trend | None:
    """Spearman's rho of two series over the same steps, as in the paper's Tables 2 and 25-28; descriptive only.

    None with fewer than three steps, or where one side is constant.

    Raises
    ------
    ValueError
        The lengths differ, or a value is not finite.
    """
    first, second = _checked([[value] for value in x], [[value] for value in y])
    n = len(first)
    if n < 3 or np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return None
    rho = within_t_association(first, second)
    if rho is None:
        return None
    # By hand: scipy's p is the same, but warns at rho = 1.
    rest = 1.0 - rho * rho
    p = 0.0 if rest <= 0.0 else float(2 * stats.t.sf(abs(rho) * math.sqrt((n - 2) / rest), n - 2))
    return Trend(rho, p, n, smallest_p(n))


def smallest_p(n_steps: int) -> float:
    """Smallest two-sided p that ranks of so many steps can reach: two of their n! orders agree perfectly.

    Raises
    ------
    ValueError
        There are fewer than two steps.
    """
    if n_steps < 2:
        raise ValueError(f"ranks need at least two steps, found {n_steps}")
    return 2.0 / math.factorial(n_steps)


# --------------------------------------------------------------------------- helpers
def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks over chains at each step, ties shared, minus their mean: multiples of a half."""
    below = (values[:, None] > values[None]).sum(axis=1)
    tied = (values[:, None] == values[None]).sum(axis=1)
    return np.asarray(below + tied / 2 - len(values) / 2)


def _checked(x: Values, y: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    for name, values in (("first", first), ("second", second)):
        if values.size and values.ndim != 2:
            raise ValueError(f"expected the {name} side as [chains][steps], found shape {list(values.shape)}")
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise ValueError(
                f"{bad} of {values.size} values of the {name} side are not finite; a chain that could not be measured "
                "at a T must be left out by name where that arose, not ranked here"
            )
    if first.shape != second.shape:
        raise ValueError(
            f"both sides need the same chains and steps, found shapes {list(first.shape)} and {list(second.shape)}"
        )
    return first, second
