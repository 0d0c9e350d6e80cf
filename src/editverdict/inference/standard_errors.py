"""Standard errors of means over resampling units: what the units' spread shows, and what all of them have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shared:
    """An error that all units have in common, e.g. because every edit was measured on the same texts."""

    error: float
    """Standard error of the mean over units that it causes."""
    dof: int
    """Degrees of freedom that it was estimated with."""


def mean_of(units: Sequence[float]) -> float:
    """Mean with one rounding; identical units give exactly their value."""
    return units[0] if all(unit == units[0] for unit in units) else math.fsum(units) / len(units)


def standard_error(units: Sequence[float], resolution: float = 0.0) -> float:
    """Standard error of the mean of at least two units.

    The standard deviation is floored at ``resolution / sqrt(12)``, that of a rounding error spread evenly over one
    step of the scale: twenty edits that all score 7 of 10 prompts do not make the score known without error.
    """
    centre = mean_of(units)
    variance = math.fsum((unit - centre) * (unit - centre) for unit in units) / (len(units) - 1)
    return max(math.sqrt(variance), resolution / math.sqrt(12.0)) / math.sqrt(len(units))


def total_error(units: Sequence[float], resolution: float = 0.0, shared: Shared | None = None) -> tuple[float, float]:
    """Standard error of the mean of at least two units and its degrees of freedom.

    A shared error adds its variance, and the degrees of freedom are those of the sum (Welch and Satterthwaite).
    """
    own, dof = standard_error(units, resolution), len(units) - 1
    if shared is None or shared.error == 0.0:
        return own, dof
    total = own**2 + shared.error**2
    return math.sqrt(total), total**2 / (own**4 / dof + shared.error**4 / shared.dof)


def shared_error(leave_one_out: Sequence[float]) -> Shared:
    """What a sample that all units are measured on adds, by deleting its blocks in turn (jackknife).

    Parameters
    ----------
    leave_one_out
        The mean over units without block b, for each of at least two blocks.
    """
    require_finite(leave_one_out, "leave-one-out values")
    count, centre = len(leave_one_out), mean_of(leave_one_out)
    if count < 2:
        raise ValueError(f"the error of a sample takes at least two blocks of it, found {count}")
    variance = (count - 1) / count * math.fsum((value - centre) ** 2 for value in leave_one_out)
    return Shared(math.sqrt(variance), count - 1)


def shared_of(record: Mapping[str, Any]) -> Shared | None:
    """The shared error that :meth:`Estimate.record` kept."""
    found = record.get("shared")
    return Shared(float(found[0]), int(found[1])) if found else None


def require_finite(values: Sequence[float], what: str) -> None:
    """Refuse values that are no numbers.

    Raises
    ------
    ValueError
        Some are not finite.
    """
    bad = sum(not math.isfinite(value) for value in values)
    if bad:
        raise ValueError(
            f"{bad} of {len(values)} {what} are not finite; a unit that could not be measured must be left out by name "
            "where it arose, with the reason, not averaged here"
        )
