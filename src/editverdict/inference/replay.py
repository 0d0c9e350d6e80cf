"""Intervals computed again from what a row stores of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editverdict.inference.intervals import Estimate, Method, bounded_interval, estimate_of, exact_interval
from editverdict.inference.standard_errors import shared_of


def replayed(
    units: Sequence[float], value: float | None, level: float, record: Mapping[str, Any] | None
) -> Estimate | None:
    """The estimate computed again from what a row stores; None if the record does not allow it.

    Parameters
    ----------
    units
        ``Row.units``.
    value
        ``Row.estimate``; used for the jackknife only, whose value is not the mean of its pseudo-values.
    level
        ``Row.level``.
    record
        What :meth:`Estimate.record` gave.
    """
    if not record or not units or record.get("method") not in ("t", "jackknife", "paired", "seeds", "exact", "bounded"):
        return None
    method: Method = record["method"]
    if method == "exact":
        return exact_interval(units, level)
    if method == "bounded":
        return bounded_interval(units, (float(record["bounds"][0]), float(record["bounds"][1])), level)
    if method == "jackknife" and value is None:
        return None
    bias, bounds = record.get("bias"), record.get("bounds")
    found = estimate_of(
        units,
        value if method == "jackknife" else None,
        level,
        method,
        float(record.get("resolution", 0.0)),
        (float(min(bias)), float(max(bias))) if isinstance(bias, list) else bias,
        shared_of(record),
    )
    return found if bounds is None else found.within((_end(bounds[0]), _end(bounds[1])))


def _end(stored: Any) -> float | None:
    return None if stored is None else float(stored)
