"""Where an interval lies in relation to the expected region of a quantity.

Intervals are closed. The ends of a region are handled exactly: ``<= t`` and ``>= t`` contain t, ``< t`` and ``> t`` do
not, ``within [low, high]`` contains both ends.
"""

from __future__ import annotations

import math
from typing import Literal

from editverdict.inference.rows import Interval, Region

Decision = Literal["supported", "refuted", "inconclusive"]


def contains(region: Region, interval: Interval) -> bool:
    """Whether every point of the interval lies in the region.

    Raises
    ------
    ValueError
        The interval's ends are NaN or reversed, or the region is incomplete.
    """
    low, high = _ordered(interval)
    if region.op == "within":
        start, end = ends(region)
        return low >= start and high <= end
    threshold = threshold_of(region)
    return {"<=": high <= threshold, "<": high < threshold, ">=": low >= threshold, ">": low > threshold}[region.op]


def excludes(region: Region, interval: Interval) -> bool:
    """Whether no point of the interval lies in the region.

    Raises
    ------
    ValueError
        The interval's ends are NaN or reversed, or the region is incomplete.
    """
    low, high = _ordered(interval)
    if region.op == "within":
        start, end = ends(region)
        return high < start or low > end
    threshold = threshold_of(region)
    return {"<=": low > threshold, "<": low >= threshold, ">=": high < threshold, ">": high <= threshold}[region.op]


def decide(region: Region, interval: Interval | None) -> Decision:
    """``supported`` inside, ``refuted`` outside, ``inconclusive`` across the edge or without an interval."""
    if interval is None:
        return "inconclusive"
    if contains(region, interval):
        return "supported"
    return "refuted" if excludes(region, interval) else "inconclusive"


def direction(region: Region) -> Literal[-1, 0, 1]:
    """Which way the effect goes: +1 for ``>=`` and ``>``, -1 for ``<=`` and ``<``, 0 for ``within``."""
    if region.op == "within":
        return 0
    return 1 if region.op in (">=", ">") else -1


def effect(region: Region, value: float) -> float:
    """The value turned so that more is more of the claimed effect; ``within``: minus the distance from the centre."""
    if region.op == "within":
        start, end = ends(region)
        return -abs(value - (start + end) / 2)
    return direction(region) * value


def margin_to_flip(region: Region, interval: Interval, verdict: Decision | None = None) -> float:
    """How far the threshold would have to move for the verdict to change, in units of the quantity.

    Supported and refuted: the distance at which the edge of the region touches the interval; any further move makes the
    case inconclusive. It is zero where they touch already. Inconclusive: the smaller of the two distances, to the edge
    position that would support and to the one that would refute (for the strict operators the last step is a limit).

    ``within``: both ends move by the same amount, inward or outward, as an equivalence margin does. An interval across
    the centre cannot be excluded by any margin, so only the outward move counts there.

    Parameters
    ----------
    region
        The expected region.
    interval
        The case's interval.
    verdict
        The decision the caller holds; checked against :func:`decide` if given.

    Returns
    -------
    float
        >= 0; infinite where no finite move would do (an infinite interval).

    Raises
    ------
    ValueError
        ``verdict`` is not what the interval says.
    """
    found = decide(region, interval)
    if verdict is not None and verdict != found:
        raise ValueError(f"the interval {interval} is {found} by '{region.describe()}', not {verdict}")
    to_support, to_refute = _moves(region, interval)
    if found == "supported":
        return abs(to_support)
    return abs(to_refute) if found == "refuted" else min(abs(to_support), abs(to_refute))


def _moves(region: Region, interval: Interval) -> tuple[float, float]:
    """Moves of the edge after which it touches the interval: from inside (supported) and from outside (refuted)."""
    low, high = interval
    if region.op == "within":
        start, end = ends(region)
        centre = (start + end) / 2
        outward = max(start - low, high - end)
        inward = math.inf if low <= centre <= high else max(low - end, start - high)
        return outward, inward
    threshold = threshold_of(region)
    return (low - threshold, high - threshold) if direction(region) > 0 else (high - threshold, low - threshold)


def threshold_of(region: Region) -> float:
    """The threshold of a one-sided region.

    Raises
    ------
    ValueError
        There is none.
    """
    if region.threshold is None or math.isnan(region.threshold):
        raise ValueError(f"a region '{region.op}' needs a threshold, found {region.threshold}")
    return region.threshold


def ends(region: Region) -> tuple[float, float]:
    """Both ends of a ``within`` region.

    Raises
    ------
    ValueError
        An end is missing, or they are reversed.
    """
    if region.low is None or region.high is None or not region.low < region.high:
        raise ValueError(f"a region 'within' needs low < high, found {region.low} and {region.high}")
    return region.low, region.high


def _ordered(interval: Interval) -> Interval:
    low, high = interval
    if not low <= high:
        raise ValueError(f"an interval needs low <= high, found [{low}, {high}]")
    return low, high
