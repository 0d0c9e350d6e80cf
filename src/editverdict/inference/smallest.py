"""The smallest of several means over the same units: claims of the form "in every dimension".

Such a claim holds if every part holds (intersection-union), so no part needs a correction for support. It fails if some
part fails, and the part that is looked at is chosen by its value, so refutation is corrected by Bonferroni.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from editverdict.inference.intervals import LEVEL, Estimate, missing, t_interval, t_quantile
from editverdict.inference.standard_errors import Shared, standard_error, total_error


def smallest_mean(
    parts: Mapping[str, Sequence[float]], level: float = LEVEL, resolution: float | Mapping[str, float] = 0.0
) -> Estimate:
    """The smallest mean of several parts, with an interval that holds it at least as often as ``level`` says.

    Its lower end is the least lower end of all parts' own intervals. Its upper end is that of the part with the
    smallest mean at level ``1 - (1 - level) / m`` for m parts. The units are that part's.

    Parameters
    ----------
    parts
        Name -> one number per unit, of equal length.
    level
        Confidence level.
    resolution
        Granularity of one unit's value, for all parts or by part.

    Raises
    ------
    ValueError
        There are no parts, or they have different numbers of units.
    """
    if not parts or len({len(units) for units in parts.values()}) != 1:
        sizes = {name: len(units) for name, units in parts.items()}
        raise ValueError(f"expected parts with equally many units, found {sizes or 'no part'}")

    def step(name: str) -> float:
        return resolution if isinstance(resolution, int | float) else resolution[name]

    own = {name: t_interval(units, level, step(name)) for name, units in parts.items()}
    values = {name: found.value for name, found in own.items() if found.value is not None}
    if not values:
        return missing(level)
    name = min(values, key=lambda part: values[part])
    least, lowest = own[name], [found.interval[0] for found in own.values() if found.interval is not None]
    if least.interval is None:
        return least
    strict = 1.0 - (1.0 - level) / len(parts)
    dof = len(parts[name]) - 1
    wider = t_quantile(strict, dof) - t_quantile(level, dof)
    above = wider * standard_error(parts[name], step(name))
    below = least.interval[0] - min(lowest)
    found = t_interval(parts[name], level, step(name), bias=(-above, below))
    return replace(found, note=f"smallest in {name}", parts=len(parts))


# --------------------------------------------------------------------------- parts in units of their own
@dataclass(frozen=True)
class Part:
    """One part of a joint statement: it holds where its mean is above zero."""

    units: tuple[float, ...]
    """The margin, one per unit, in this part's own terms."""
    resolution: float = 0.0
    shared: Shared | None = None
    """An error that all units have in common."""

    def over(self, room: float) -> Part:
        """The same margin as a share of the room that it has: no sign changes, and no t value."""
        shared = None if self.shared is None else replace(self.shared, error=self.shared.error / room)
        return Part(tuple(unit / room for unit in self.units), self.resolution / room, shared)

    def t_value(self) -> float:
        """Mean over its standard error; infinite without an error, the plain mean of a single unit."""
        mean = math.fsum(self.units) / len(self.units)
        if len(self.units) < 2:
            return mean
        error, _ = total_error(self.units, self.resolution, self.shared)
        return mean / error if error > 0.0 else math.copysign(math.inf, mean) if mean else 0.0


def weakest_part(parts: Mapping[str, Part], level: float = LEVEL) -> Estimate:
    """The part that stands least above zero by its t value, for claims that all parts lie above it.

    Intersection-union (Berger, Technometrics 24 (1982) 295-300): all parts are above zero where the lower end of every
    part's own interval is, with no correction; the lower end here is the least of them. Some part is not where the one
    with the least t value lies below zero; that one was chosen by its value, so the upper end is its own at level
    ``1 - (1 - level) / m`` for m parts.

    Parameters
    ----------
    parts
        Name -> the part; their numbers may be of different kinds, for signs and t values alone are compared.
    level
        Confidence level.

    Raises
    ------
    ValueError
        There are no parts, or one has no units.
    """
    if not parts or not all(part.units for part in parts.values()):
        raise ValueError(f"expected parts with units, found {({n: len(p.units) for n, p in parts.items()}) or 'none'}")
    name = min(parts, key=lambda one: parts[one].t_value())
    own = {n: t_interval(p.units, level, p.resolution, shared=p.shared) for n, p in parts.items()}
    least, part = own[name], parts[name]
    ends = [found.interval[0] for found in own.values() if found.interval is not None]
    if least.interval is None or len(ends) < len(own):
        return replace(least, interval=None, note=f"weakest: {name}; some part has no interval")
    error, dof = total_error(part.units, part.resolution, part.shared)
    above = (t_quantile(1.0 - (1.0 - level) / len(parts), dof) - t_quantile(level, dof)) * error
    below = least.interval[0] - min(ends)
    found = t_interval(part.units, level, part.resolution, bias=(-above, below), shared=part.shared)
    return replace(found, note=f"weakest: {name}", parts=len(parts))
