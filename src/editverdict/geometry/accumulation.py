"""How changes add up over a chain of edits (Section 4.3, Eqs. 14 to 17)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from editverdict.numerics.lsq import Slope, loglog_slope


def telescoping_residual(steps: Iterable[Tensor], total: Tensor) -> float:
    """Relative error of the telescoping identity, Eq. 14: ``|sum of steps - total| / sum of |step|`` (Frobenius).

    It is an identity: a residual beyond rounding (about 1e-7 times the ratio of state to change in float32) means that
    two of the passes did not see the same tokens or the same weights.

    Parameters
    ----------
    steps
        Changes ``h(t) - h(t-1)``, ``[n, d]`` each.
    total
        ``h(T) - h(0)``, ``[n, d]``.

    Raises
    ------
    ValueError
        If there is no step, or a shape differs.
    """
    running = torch.zeros_like(total, dtype=torch.float64)
    scale, count = 0.0, 0
    for step in steps:
        if step.shape != total.shape:
            raise ValueError(f"step {count + 1} has shape {list(step.shape)}, the total {list(total.shape)}")
        running += step.to(torch.float64)
        scale += float(step.to(torch.float64).norm())
        count += 1
    if count == 0:
        raise ValueError("no steps: nothing to sum")
    gap = float((running - total.to(torch.float64)).norm())
    if gap == 0.0:
        return 0.0
    return gap / scale if scale > 0.0 else float("inf")


def coherence(steps: Sequence[Tensor]) -> float:
    """``|sum of steps| / sum of |step|``: 1 if all point one way (Eq. 16), ``1/sqrt(T)`` if they are unrelated.

    Raises
    ------
    ValueError
        If there is no step or none moves anything.
    """
    scale = sum(float(step.to(torch.float64).norm()) for step in steps)
    if scale == 0.0:
        raise ValueError("no step moves anything: coherence is undefined")
    return float(torch.stack([step.to(torch.float64) for step in steps]).sum(dim=0).norm()) / scale


def accumulation_exponent(edits: Sequence[int], rates: Sequence[float]) -> Slope:
    """Exponent of R against the number of edits T: 1 for coherent accumulation (Eq. 17), 1/2 for a random walk.

    Raises
    ------
    ValueError
        On fewer than three distinct T, or a T or rate that is not positive and finite.
    """
    return loglog_slope(edits, rates)
