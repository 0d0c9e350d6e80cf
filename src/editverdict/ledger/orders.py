"""Orders that printed numbers leave open: equal prints may be different values, and steps may have been left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations, product

import numpy as np
from numpy.typing import NDArray

from editverdict.ledger.ranges import Range
from editverdict.ledger.ranks import EQUAL, Structure, correlation

LARGEST_ORDER = 9
"""Most observations whose orders are gone through one by one (362,880 of them)."""


@cache
def structures_of(sizes: tuple[int, ...], free: int) -> frozenset[Structure]:
    """Structures that values may have of which roundings are printed.

    Parameters
    ----------
    sizes
        How many observations print the smallest number, the next, ...; equal prints may be different values.
    free
        How many further observations may have any value.
    """

    @cache
    def endings(level: int, left: int, spare: int) -> frozenset[Structure]:
        if not left and level + 1 < len(sizes):
            return endings(level + 1, sizes[level + 1], spare)
        if not left and not spare:
            return frozenset({()})
        found: set[Structure] = set()
        for own in range(left + 1):
            for more in range(spare + 1):
                if own + more:
                    found |= {(own + more, *end) for end in endings(level, left - own, spare - more)}
        return frozenset(found)

    return endings(0, sizes[0], free)


@cache
def reachable(levels: tuple[int, ...], free: int) -> NDArray[np.float64]:
    """Every Spearman's rho between values and a series that rises with every observation.

    Parameters
    ----------
    levels
        Place of each observation's printed number among the different ones, in the order of the rising series. Equal
        prints may be different values, in either order.
    free
        How many further observations there are, of any value, anywhere in the order.
    """
    n = len(levels) + free
    found: set[float] = set()
    for places in combinations(range(n), free):
        own = iter(levels)
        found |= _rising(tuple(None if i in places else next(own) for i in range(n)))
    return np.array(sorted(found))


def _rising(levels: tuple[int | None, ...]) -> set[float]:
    """As :func:`reachable`, with the further observations (None) in their places.

    Groups of equal values are filled from the smallest on. For each set of used observations it holds which sums of
    products of ranks are possible (bits of an integer), by what ties take from the spread of the ranks.
    """
    n = len(levels)
    free = sum(1 << i for i, level in enumerate(levels) if level is None)
    different = sorted({level for level in levels if level is not None})
    members = [sum(1 << i for i, level in enumerate(levels) if level == one) for one in different]
    ways: dict[int, dict[int, int]] = {0: {0: 1}}
    for mask in range(1 << n):
        if mask not in ways:
            continue
        current = next((one & ~mask for one in members if one & ~mask), 0)
        for added in _subsets(current | free & ~mask):
            size = added.bit_count()
            shift = (2 * mask.bit_count() + size + 1) * sum(i + 1 for i in range(n) if added >> i & 1)
            there = ways.setdefault(mask | added, {})
            for taken, sums in ways[mask].items():
                key = taken + size**3 - size
                there[key] = there.get(key, 0) | sums << shift
    every = (n**3 - n) / 12.0
    found: set[float] = set()
    for taken, packed in ways[(1 << n) - 1].items():
        if every > taken / 12.0:
            possible = np.array([s for s in range(packed.bit_length()) if packed >> s & 1], dtype=np.float64)
            found |= set(np.round(correlation(possible / 2.0, every, every - taken / 12.0, n), 12).tolist())
    return found


def _subsets(mask: int) -> Iterator[int]:
    """Subsets of a set of bits that are not empty."""
    part = mask
    while part:
        yield part
        part = (part - 1) & mask


def number_of_orders(sizes: Sequence[int]) -> int:
    """Weak orders that equal prints leave open: a product of ordered Bell numbers."""

    @cache
    def bell(n: int) -> int:
        return sum(math.comb(n, k) * bell(n - k) for k in range(1, n + 1)) if n else 1

    return math.prod(bell(size) for size in sizes)


@cache
def rank_vectors(levels: tuple[int, ...], structures: frozenset[Structure]) -> NDArray[np.float32]:
    """Rank vectors of the values of printed steps and one further step (last), as far as the prints leave them open.

    Returns
    -------
    [v, n] with n = steps + 1: twice the ranks less n + 1, so whole numbers that add up to nothing; only orders that
    have one of the structures.
    """
    further = len(levels)
    members = [[i for i, level in enumerate(levels) if level == one] for one in sorted(set(levels))]
    found = []
    for parts in product(*(list(_weak_orders(tuple(one))) for one in members)):
        groups = [group for part in parts for group in part]
        for order in _with_further(groups, further):
            if tuple(map(len, order)) in structures:
                found.append(_doubled(order, further + 1))
    return np.array(found, dtype=np.float32).reshape(-1, further + 1)


def _weak_orders(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not items:
        yield ()
    for size in range(1, len(items) + 1):
        for group in combinations(items, size):
            for rest in _weak_orders(tuple(i for i in items if i not in group)):
                yield (group, *rest)


def _with_further(groups: list[tuple[int, ...]], item: int) -> Iterator[list[tuple[int, ...]]]:
    for i in range(len(groups) + 1):
        yield [*groups[:i], (item,), *groups[i:]]
    for i in range(len(groups)):
        yield [*groups[:i], (*groups[i], item), *groups[i + 1 :]]


def _doubled(order: Sequence[tuple[int, ...]], n: int) -> list[int]:
    ranks, used = [0] * n, 0
    for group in order:
        for item in group:
            ranks[item] = 2 * used + len(group) + 1 - (n + 1)
        used += len(group)
    return ranks


@cache
def all_orders(n: int) -> NDArray[np.float32]:
    """All n! orders, [n!, n]: twice the ranks less n + 1.

    Raises
    ------
    ValueError
        n is above :data:`LARGEST_ORDER`.
    """
    if n > LARGEST_ORDER:
        raise ValueError(f"orders are gone through for at most {LARGEST_ORDER} observations, not for {n}")
    return np.array(list(permutations(range(1 - n, n, 2))), dtype=np.float32)


@dataclass(frozen=True)
class Shared:
    """Orders of one series that give several printed rho at once."""

    orders: NDArray[np.float32]
    """[found, n], as in :func:`all_orders`."""
    further: tuple[frozenset[int | None], ...]
    """Per printed rho: with which place of the printed values the further step may be tied; None: with none of them."""

    def nearest_to_rising(self) -> tuple[int, NDArray[np.float32]]:
        """The order that falls between the fewest pairs of printed steps (all but the last), and their number."""
        steps = self.orders[:, :-1]
        falls = np.sum([(steps[:, [i]] > steps[:, i + 1 :]).sum(axis=1) for i in range(steps.shape[1] - 1)], axis=0)
        first = int(np.argmin(falls))
        return int(falls[first]), self.orders[first]


Demand = tuple[tuple[int, ...], frozenset[Structure], Range]
"""Places of the printed values among the different ones, structures that they may have, and the printed rho."""


@cache
def shared_orders(demands: tuple[Demand, ...], n: int) -> Shared:
    """Orders of a series without ties that give each printed rho with some ranks of the values beside it."""
    alive = all_orders(n)
    vectors_of = [rank_vectors(levels, structures) for levels, structures, _ in demands]
    for i in sorted(range(len(demands)), key=lambda i: len(vectors_of[i])):
        fits = np.zeros(len(alive), dtype=bool)
        for _, here in _fitting(alive, vectors_of[i], demands[i][2]):
            fits |= here
        alive = alive[fits]
    further = tuple(
        frozenset(_tied_with(vector, levels) for vector, here in _fitting(alive, vectors, rho) if here.any())
        for vectors, (levels, _, rho) in zip(vectors_of, demands, strict=True)
    )
    return Shared(alive, further)


def _fitting(
    orders: NDArray[np.float32], vectors: NDArray[np.float32], rho: Range
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Rank vectors, each with the orders that have this rho with it."""
    n = orders.shape[1]
    # ranks are doubled, so all products are whole numbers that float32 holds exactly
    norms = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1) * ((n**3 - n) / 3.0))
    for vector, norm in zip(vectors, norms, strict=True):
        products = orders @ vector
        yield vector, (products >= (rho.low - EQUAL) * norm) & (products <= (rho.high + EQUAL) * norm)


def _tied_with(vector: NDArray[np.float32], levels: Sequence[int]) -> int | None:
    """Place of the printed values with which the last step is tied."""
    return next((level for level, rank in zip(levels, vector[:-1], strict=True) if rank == vector[-1]), None)
