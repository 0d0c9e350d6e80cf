"""Rank correlations of a few observations, counted exactly: which values can occur, and how often by chance.

The *structure* of a series is the tuple of the sizes of its groups of equal values, smallest value first: (1, 1, 3) has
three equal largest values, (1, 1, 1, 1, 1) no ties. Spearman's rho is Pearson's correlation of the ranks, tied values
sharing their mean rank (Kendall, Rank Correlation Methods, 1948, ch. 3). Without ties it is 1 - 6 D / (n^3 - n); D, the
sum of squared differences of ranks, is even.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from editverdict.ledger.ranges import Range

LARGEST = 10
"""Most observations whose arrangements are counted (10! of them, in about a second)."""
_SLOT = 32
"""Bits that hold one count; 10! needs 22."""
EQUAL = 1e-9
"""Two correlations or p values that differ by less are the same one."""

Structure = tuple[int, ...]


def t_approximation(rho: float | NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Two-sided p of Spearman's rho by Student's t with n - 2 degrees of freedom, as ``scipy.stats.spearmanr``."""
    r = np.minimum(np.abs(np.asarray(rho, dtype=np.float64)), 1.0)
    with np.errstate(divide="ignore"):
        t = r * np.sqrt((n - 2) / (1.0 - r * r))
    return np.asarray(2.0 * stdtr(n - 2, -t), dtype=np.float64)


@cache
def p_of(rho: Range, n: int) -> Range:
    """All p that a rho in a range may have by :func:`t_approximation`: the larger, the nearer to zero rho is."""
    nearest = 0.0 if rho.low <= 0.0 <= rho.high else min(abs(rho.low), abs(rho.high))
    low, high = t_approximation(np.array([max(abs(rho.low), abs(rho.high)), nearest]), n)
    return Range(float(low), float(high))


@dataclass(frozen=True)
class Arrangements:
    """Spearman's rho of two series of given structures, over all n! orders of one of them."""

    ranked: Structure
    valued: Structure
    rho: NDArray[np.float64]
    """Different values in rising order."""
    count: NDArray[np.int64]
    """Orders that have each; they add up to n!."""

    @cached_property
    def _tail(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """abs(rho) in rising order, and how many orders have at least that."""
        order = np.argsort(np.abs(self.rho), kind="stable")
        return np.abs(self.rho)[order], np.cumsum(self.count[order][::-1])[::-1]

    def p(self, rho: float) -> float:
        """Two-sided permutation p: share of orders whose rho is at least as far from zero."""
        sizes, tail = self._tail
        first = int(np.searchsorted(sizes, abs(rho) - EQUAL))
        return float(tail[first] / tail[0]) if first < tail.size else 0.0

    @property
    def smallest_p(self) -> float:
        """The smallest p that any order can have."""
        return self.p(float(np.abs(self.rho).max()))


@cache
def all_arrangements(ranked: Structure) -> tuple[Arrangements, ...]:
    """One series against every structure of the other but the one in which all are equal (rho has no value there).

    Raises
    ------
    ValueError
        The series has fewer than 3 observations or more than :data:`LARGEST`.
    """
    n = sum(ranked)
    if not 3 <= n <= LARGEST:
        raise ValueError(f"orders are counted for 3 to {LARGEST} observations, not for {n}")
    if ranked > ranked[::-1]:
        # a series turned upside down turns every rho around
        return tuple(
            Arrangements(ranked, one.valued, -one.rho[::-1], one.count[::-1]) for one in all_arrangements(ranked[::-1])
        )
    return tuple(_arrangements(ranked, groups, packed) for groups, packed in _counted(ranked) if len(groups) > 1)


def doubled_ranks(groups: Sequence[int]) -> list[int]:
    """Twice the rank of every observation of a series, in rising order: (2, 1) gives 3, 3, 6."""
    ranks: list[int] = []
    for size in groups:
        ranks += [2 * len(ranks) + size + 1] * size
    return ranks


def _counted(ranked: Structure) -> Iterator[tuple[Structure, int]]:
    """Structures, each with the counts of four times the sum of products of ranks, packed into one integer.

    Groups are filled from the smallest value on; what is known of a set of observations that is used up is a polynomial
    whose coefficient at s counts the ways to the sum s. Structures that begin alike share the work on their beginning.
    """
    n = sum(ranked)
    subsets = [[sum(1 << i for i in chosen) for chosen in combinations(range(n), size)] for size in range(n + 1)]
    ranks = doubled_ranks(ranked)
    total = [sum(rank for i, rank in enumerate(ranks) if mask >> i & 1) for mask in range(1 << n)]

    def grow(groups: Structure, used: int, ways: dict[int, int]) -> Iterator[tuple[Structure, int]]:
        if used == n:
            yield groups, ways[(1 << n) - 1]
            return
        for size in range(1, n - used + 1):
            rank = 2 * used + size + 1
            # orders *inside* a group of equal values count, too
            inside = math.factorial(size)
            longer: dict[int, int] = {}
            for mask, packed in ways.items():
                for added in subsets[size]:
                    if not mask & added:
                        shifted = packed * inside << _SLOT * rank * total[added]
                        longer[mask | added] = longer.get(mask | added, 0) + shifted
            yield from grow((*groups, size), used + size, longer)

    yield from grow((), 0, {0: 1})


def _arrangements(ranked: Structure, valued: Structure, packed: int) -> Arrangements:
    slots = packed.bit_length() // _SLOT + 1
    counts = np.frombuffer(packed.to_bytes(slots * _SLOT // 8, "little"), dtype="<u4").astype(np.int64)
    sums = np.flatnonzero(counts)
    return Arrangements(
        ranked, valued, correlation(sums / 4.0, _spread(ranked), _spread(valued), sum(ranked)), counts[sums]
    )


def correlation(sums: NDArray[np.float64], one: float, other: float, n: int) -> NDArray[np.float64]:
    """Spearman's rho from sums of products of ranks and the two sums of squared deviations of ranks."""
    return np.asarray((sums - n * (n + 1) ** 2 / 4.0) / math.sqrt(one * other), dtype=np.float64)


def _spread(groups: Sequence[int]) -> float:
    """Sum of squared deviations of the ranks."""
    n = sum(groups)
    return (n**3 - n - sum(size**3 - size for size in groups)) / 12.0


@dataclass(frozen=True)
class Lattice:
    """Every rho that n observations can have, the ties of one series given, those of the other free."""

    rho: NDArray[np.float64]
    """In rising order."""
    p: NDArray[np.float64]
    """Two-sided, by :func:`t_approximation`."""
    owner: NDArray[np.intp]
    """Index into ``arrangements`` of the structures that have it."""
    arrangements: tuple[Arrangements, ...]

    def matching(self, rho: Range, p: Range) -> list[tuple[Arrangements, float]]:
        """What may have been printed as this rho with this p: structures, and the exact rho."""
        first, last = np.searchsorted(self.rho, [rho.low - EQUAL, rho.high + EQUAL])
        here = np.arange(first, last)
        kept = here[(self.p[here] >= p.low - EQUAL) & (self.p[here] <= p.high + EQUAL)]
        return [(self.arrangements[self.owner[i]], float(self.rho[i])) for i in kept]


@cache
def lattice(n: int, tied: tuple[int, ...] = ()) -> Lattice:
    """The lattice of n observations, one series having groups of equal values of these sizes, anywhere."""
    every = tuple(one for ranked in placed(n, tied) for one in all_arrangements(ranked))
    rho = np.concatenate([one.rho for one in every])
    owner = np.repeat(np.arange(len(every)), [one.rho.size for one in every])
    order = np.argsort(rho, kind="stable")
    return Lattice(rho[order], t_approximation(rho[order], n), owner[order], every)


def placed(n: int, tied: tuple[int, ...]) -> list[Structure]:
    """All structures of n observations with these sizes of groups of equal values."""
    alone = n - sum(tied)
    return [one for one in _sequences(n) if sorted(one) == sorted([1] * alone + list(tied))] if alone >= 0 else []


@cache
def _sequences(n: int) -> tuple[Structure, ...]:
    return tuple((size, *rest) for size in range(1, n + 1) for rest in _sequences(n - size)) if n else ((),)


def ties(groups: Sequence[int]) -> str:
    """A structure in words, whatever the order of its groups: ``no ties``, ``3+2 tied``."""
    tied = sorted((size for size in groups if size > 1), reverse=True)
    return f"{'+'.join(map(str, tied))} tied" if tied else "no ties"


def simplest(structures: Sequence[Structure], most: int = 3) -> str:
    """Structures in words, fewest tied observations first; those beyond ``most`` as a number."""
    kinds = sorted({(sum(size for size in one if size > 1), ties(one)) for one in structures})
    names = [name for _, name in kinds]
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return " or ".join(names[:most] + more) or "none"
