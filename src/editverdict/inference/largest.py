"""The largest of several associations over the same chains: claims that a link is negative, or weak, in all.

*Negative in every dimension*: the largest association lies below the threshold. *Weak in every dimension*: the largest
absolute value lies within the margin. A mean would hide a dimension behind the others, and two signs behind each other.

Intersection-union (as in :mod:`editverdict.inference.smallest`): the claim holds if it holds of every dimension, so the
upper end, which supports, is at least that of every dimension's own interval, without a correction. It fails if some
dimension fails, and the one that is looked at is chosen by its value, so the lower end is that of the largest at level
``1 - (1 - level) / m`` for m dimensions. The jackknife of the maximum itself would fail near ties: its spread there is
that of whichever dimension happens to lead. Both ends here are dimensions' own, so what is covered does not depend on
how near they are to each other (simulated in docs/verdict-quality.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from editverdict.inference.association import BOUNDS, Pair, association_interval
from editverdict.inference.intervals import LEVEL, Estimate, missing, t_quantile
from editverdict.inference.replay import replayed
from editverdict.inference.standard_errors import standard_error

CASES = 20
"""Support is sound at corrections over up to so many cases."""
SIZES = (0.0, 1.0)
"""Bounds of an absolute value."""


def largest_association(pairs: Mapping[str, Pair], level: float = LEVEL, *, size: bool = False) -> Estimate:
    """The largest association within T of several dimensions, with an interval that holds it.

    Parameters
    ----------
    pairs
        Dimension -> both sides, each ``[chains][steps]``; the same chains in all, steps may differ.
    level
        Confidence level.
    size
        Take the largest absolute value instead, from 0 to 1. (The sign is chosen by the data, too; both can be wrong
        only about zero, where no margin ends.)

    Returns
    -------
    Estimate
        Missing where any dimension has no association; without interval where any has none. Units are the
        pseudo-values of the largest dimension, turned by its sign if ``size``; how much further up another dimension
        reaches, and how much further down the correction, is in the bias.

    Raises
    ------
    ValueError
        There is no dimension, shapes differ, or a value is not finite.
    """
    counts = {name: len(x) for name, (x, _) in pairs.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"expected dimensions of the same chains, found {counts or 'no dimension'}")
    own = {name: association_interval(x, y, level) for name, (x, y) in pairs.items()}
    lacking = [name for name, found in own.items() if found.value is None]
    if lacking:
        return missing(
            level, f"no association with {', '.join(lacking)}: one side never varies over the chains at any T"
        )
    if size:
        own = {name: magnitude(found) for name, found in own.items()}
    name = max(own, key=lambda one: own[one].value or 0.0)
    if len(own) == 1 and not size:
        return own[name]
    without = [one for one, found in own.items() if found.interval is None]
    if without:
        note = f"largest: {name}; no interval of {', '.join(without)}"
        return replace(own[name], interval=None, note=note, method="none", parts=len(own))
    return _joined(own, name, _strict_end(pairs[name], level, len(own), size), level, SIZES if size else BOUNDS)


def magnitude(found: Estimate) -> Estimate:
    """The estimate turned so that its value is not negative."""
    if found.value is None or found.value >= 0.0:
        return found
    interval = None if found.interval is None else (-found.interval[1], -found.interval[0])
    return replace(found, value=-found.value, interval=interval, units=tuple(-unit for unit in found.units))


def _strict_end(pair: Pair, level: float, parts: int, size: bool) -> float:
    """Lower end of one dimension at the level that its being picked asks for."""
    found = association_interval(*pair, 1.0 - (1.0 - level) / parts)
    if size:
        found = magnitude(found)
    return -math.inf if found.interval is None else found.interval[0]


def _joined(
    own: Mapping[str, Estimate], name: str, strict: float, level: float, bounds: tuple[float, float]
) -> Estimate:
    lead, dof = own[name], len(own[name].units) - 1
    value, error = float(lead.value or 0.0), standard_error(lead.units, lead.resolution)
    # A dimension that is less and less surely known may reach further up: at this level, and at that of a correction
    # over cases. In between, too, for the furthest of several straight lines is convex in the quantile.
    above = max(
        float(found.value or 0.0)
        - value
        + t_quantile(at, dof) * (standard_error(found.units, found.resolution) - error)
        for found in own.values()
        for at in (level, 1.0 - (1.0 - level) / CASES)
    )
    below = value - t_quantile(level, dof) * error - strict
    record = {
        "method": "jackknife",
        "resolution": error * math.sqrt(12.0 * len(lead.units)),
        "bias": [min(-above, 0.0), max(below, 0.0)],
        "bounds": list(bounds),
    }
    found = replayed(lead.units, value, level, record)
    if found is None:
        raise ValueError("a jackknife of two or more chains always has an estimate")
    return replace(found, note=f"largest: {name}", parts=len(own))
