"""Helpers of the plots: thinning, ticks and scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from editverdict.reporting.formatting import number

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
Array = NDArray[np.float64]


def array(values: Iterable[float | None]) -> Array:
    """Values as float64; None becomes NaN."""
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def thin(x: Array, y: Array, buckets: int = 90, log_x: bool = False) -> tuple[Array, Array]:
    """Lowest and highest point of every bucket of x, so that no extreme is lost; shape (≤ 2·buckets,) each.

    Non-finite points are left out.
    """
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) <= 2 * buckets:
        return x, y
    scale = np.log(x) if log_x else x
    edges = np.linspace(scale[0], scale[-1], buckets + 1)[1:-1]
    chosen: set[int] = {0, len(x) - 1}
    for part in np.split(np.arange(len(x)), np.searchsorted(scale, edges)):
        if len(part):
            chosen |= {int(part[np.argmin(y[part])]), int(part[np.argmax(y[part])])}
    index = np.array(sorted(chosen))
    return x[index], y[index]


def running_median(x: Array, y: Array, points: int = 60) -> tuple[Array, Array]:
    """Median of y over windows of 1/20 of the points, at ``points`` places; windows without a finite value are NaN."""
    half = max(1, len(y) // 40)
    centres = np.unique(np.linspace(0, len(y) - 1, min(points, len(y))).round().astype(int))
    medians = []
    for centre in centres:
        window = y[max(0, centre - half) : centre + half + 1]
        window = window[np.isfinite(window)]
        medians.append(float(np.median(window)) if len(window) else math.nan)
    return x[centres], np.array(medians)


def _tick(value: float, _position: Any = None) -> str:
    if value <= 0:
        return number(value)
    exponent = math.floor(math.log10(value) + 1e-9)
    if -3 < exponent < 4:
        return f"{value:g}"
    lead = value / 10.0**exponent
    power = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return power if abs(lead - 1) < 1e-6 else f"{lead:.0f}·{power}"


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks for a log scale over [low, high]: decades, or 1-2-5 steps where there are few decades."""
    decades = math.log10(high / low) if 0 < low < high else 1.0
    subs = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(_tick))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def finite(*parts: Iterable[float | None]) -> list[float]:
    """All finite values of several lists."""
    return [float(v) for part in parts for v in part if v is not None and math.isfinite(v)]


def scale_for(values: Sequence[float]) -> tuple[str, dict[str, Any]]:
    """A scale on which the values can be told apart: linear, log, or symlog if exact zeros stand beside small numbers.

    Returns
    -------
    tuple
        Name of the matplotlib scale and its options.
    """
    positive = [v for v in values if v > 0]
    if not positive or min(values) < 0 or max(positive) / min(positive) < 200:
        return "linear", {}
    if len(positive) == len(values):
        return "log", {}
    return "symlog", {"linthresh": min(positive), "linscale": 0.5}
