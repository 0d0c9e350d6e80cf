"""The smallest of several means over the same units: claims of the form "in every dimension".

Such a claim holds if every part holds (intersection-union), so no part needs a correction for support. It fails if some
part fails, and the part that is looked at is chosen by its value, so refutation is corrected by Bonferroni.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from editverdict.inference.intervals import LEVEL, Estimate, missing, standard_error, t_interval, t_quantile


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
    return replace(found, note=f"smallest in {name}")
