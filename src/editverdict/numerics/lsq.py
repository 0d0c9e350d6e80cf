"""Straight lines by least squares in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slope:
    """A fitted line ``y = intercept + slope * x``."""

    slope: float
    intercept: float
    n: int
    """Number of points."""
    r2: float
    """Share of the variance of y explained; 1 if y is constant (the line then fits exactly)."""


def _vector(values: Tensor | Sequence[float]) -> Tensor:
    return torch.as_tensor(values).to(torch.float64).flatten()


def slope(x: Tensor | Sequence[float], y: Tensor | Sequence[float]) -> Slope:
    """Fit a line by ordinary least squares.

    Parameters
    ----------
    x, y
        Equally many numbers each.

    Raises
    ------
    ValueError
        If the lengths differ, a value is not finite, or x has fewer than three distinct values (two points always lie
        on a line: nothing could contradict it).
    """
    xs, ys = _vector(x), _vector(y)
    if xs.numel() != ys.numel():
        raise ValueError(f"expected as many x as y, found {xs.numel()} and {ys.numel()}")
    if not bool(torch.isfinite(xs).all() and torch.isfinite(ys).all()):
        raise ValueError("expected finite values, found NaN or infinity")
    distinct = int(torch.unique(xs).numel())
    if distinct < 3:
        raise ValueError(f"a slope needs at least 3 distinct x, found {distinct}")
    dx, dy = xs - xs.mean(), ys - ys.mean()
    rise = float(dx @ dy / (dx @ dx))
    left, total = float((dy - rise * dx).square().sum()), float(dy @ dy)
    r2 = 1.0 if total == 0.0 else 1.0 - left / total
    return Slope(rise, float(ys.mean()) - rise * float(xs.mean()), xs.numel(), r2)


def loglog_slope(x: Tensor | Sequence[float], y: Tensor | Sequence[float]) -> Slope:
    """Exponent of a power law: :func:`slope` of ``log y`` on ``log x``.

    Raises
    ------
    ValueError
        As :func:`slope`, and if a value is not positive.
    """
    xs, ys = _vector(x), _vector(y)
    if not bool((xs > 0).all() and (ys > 0).all()):
        raise ValueError("a log-log slope needs positive values; leave out what is zero and say how many")
    return slope(xs.log(), ys.log())
