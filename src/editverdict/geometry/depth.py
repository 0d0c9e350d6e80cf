"""Whether a change runs through the depth of a network, or appears and vanishes between neighbouring layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def steps_between(sizes: Sequence[float]) -> list[float]:
    """Factor, up or down and so never below 1, between each size and the next.

    Parameters
    ----------
    sizes
        Sizes of the change in the order of depth, e.g. mean |dh| / RMS |h| per layer.

    Raises
    ------
    ValueError
        Fewer than two sizes, or one that is not positive and finite (a change of size zero has no factor).
    """
    if len(sizes) < 2:
        raise ValueError(f"a step needs two layers, found {len(sizes)}")
    bad = [size for size in sizes if not (math.isfinite(size) and size > 0.0)]
    if bad:
        raise ValueError(f"expected positive, finite sizes, found {bad[0]!r}: there is no factor to or from nothing")
    return [math.exp(abs(math.log(later / earlier))) for earlier, later in itertools.pairwise(sizes)]


def largest_step(sizes: Sequence[float]) -> float:
    """Largest of :func:`steps_between`; errors as there."""
    return max(steps_between(sizes))


def every_second(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """``first`` with every second entry (the 2nd, 4th, ...) taken from ``second``.

    Raises
    ------
    ValueError
        The lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"expected two sequences of one length, found {len(first)} and {len(second)}")
    return [b if position % 2 else a for position, (a, b) in enumerate(zip(first, second, strict=True))]
