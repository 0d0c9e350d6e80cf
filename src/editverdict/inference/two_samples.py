"""A statistic of two samples of units, e.g. mean rates after long chains over the mean of single edits.

The units of the claim are those of the first sample. The second is one and the same for all of them, so its error is
common to them, and no spread between them shows it. Two ways lead into the interval:

- Members of the second sample that belong to a unit (single edits that are also the first of a chain) are left out
  together with it: a unit is then all that would be drawn anew with it, and what the two samples have in common counts
  as it is, whichever way it goes.
- Members that belong to no unit are left out one by one, and their error is added as a shared one (Welch and
  Satterthwaite).

Both are delete-one jackknives of the whole statistic, so that logarithms of means and medians over layers are taken
into account as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from editverdict.inference.intervals import LEVEL, Estimate, jackknife_interval, missing
from editverdict.inference.standard_errors import shared_error

Sample = NDArray[np.float64]
NOBODY = -1
"""Owner of a member of the second sample that belongs to no unit."""


def without_each(units: Sample, others: Sample, owner: Sequence[int]) -> tuple[list[tuple[Sample, Sample]], ...]:
    """Both samples without each unit and what belongs to it, and without each member that belongs to none.

    Where all that is owned belongs to one unit, nothing would be left without it: it then counts as nobody's.
    """
    owned = np.asarray(owner, dtype=int)
    if len(set(owned[owned != NOBODY].tolist())) < 2:
        owned = np.full(len(others), NOBODY)
    by_unit = [(np.delete(units, i, axis=0), others[owned != i]) for i in range(len(units))]
    return by_unit, [(units, np.delete(others, i, axis=0)) for i in np.flatnonzero(owned == NOBODY)]


def two_sample_interval(
    read: Callable[[Sample, Sample], float],
    units: Sample,
    others: Sample,
    owner: Sequence[int],
    level: float = LEVEL,
) -> Estimate:
    """The statistic with its interval; the stored units are pseudo-values of the first sample.

    Parameters
    ----------
    read
        The statistic: a smooth function of means over either sample, or a median of several such.
    units
        One entry per unit along the first axis: what would be drawn anew.
    others
        The sample that all units have in common, one entry per member along the first axis.
    owner
        Which unit each member of ``others`` belongs to; :data:`NOBODY` for none.
    level
        Confidence level.

    Returns
    -------
    Estimate
        Without an interval if either sample has fewer than two entries; missing if one has none.

    Raises
    ------
    ValueError
        The statistic is not finite, on everything or without some unit; owners are not one per member.
    """
    if len(owner) != len(others):
        raise ValueError(f"expected one owner per member of the second sample, found {len(owner)} and {len(others)}")
    if not len(units) or not len(others):
        return missing(level)
    full = float(read(units, others))
    if len(units) < 2:
        return jackknife_interval(full, [full], level)
    by_unit, one_by_one = without_each(units, others, owner)
    if len(others) < 2:
        found = jackknife_interval(full, [float(read(left, others)) for left, _ in by_unit], level)
        return replace(found, interval=None, method="none", note="one shared unit: no interval")
    shared = shared_error([float(read(*left)) for left in one_by_one]) if len(one_by_one) > 1 else None
    return jackknife_interval(full, [float(read(*left)) for left in by_unit], level, shared=shared)
