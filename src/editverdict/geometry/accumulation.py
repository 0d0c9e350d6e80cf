"""How changes add up over a chain of edits (Section 4.3, Eqs. 14 to 17)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from editverdict.geometry.amplification import Amplification, from_components, project
from editverdict.numerics.lsq import Slope, loglog_slope
from editverdict.numerics.random_matrices import Seed, standard_normal
from editverdict.numerics.spectrum import Spectrum

PLANTED_SAMPLES = 200
_OWN_SHARE = 0.3


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


# --------------------------------------------------------------------------- planted chains, drifting bases
def planted_rates(
    spectrum: Spectrum,
    lengths: Sequence[int],
    *,
    coherent: bool,
    seed: Seed,
    spread: float = 0.0,
    m: int = PLANTED_SAMPLES,
) -> dict[int, Amplification]:
    """R_k of a planted chain of edits at each T, in the base's own directions.

    Every sample's step is isotropic. Coherent: each step repeats one pattern, plus a part of its own of 0.3 of its
    size, so that R grows as T (Eq. 17). Otherwise every step is drawn anew, and R grows as the root of T.

    Parameters
    ----------
    spectrum
        Spectrum of the unedited states.
    lengths
        T, ascending.
    coherent
        Which of the two.
    seed
        Of the draws.
    spread
        Standard deviation of the logarithm of the steps' sizes, which have mean one.
    m
        Samples.

    Returns
    -------
    dict
        T -> R_k, pooled as mean |c_k|.
    """
    generator = np.random.default_rng(seed)
    sizes = np.exp(spread * generator.standard_normal(max(lengths)) - spread**2 / 2)
    pattern = standard_normal((m, spectrum.d), generator)
    total = torch.zeros(m, spectrum.d, dtype=torch.float64)
    found: dict[int, Amplification] = {}
    for t in range(1, max(lengths) + 1):
        own = standard_normal((m, spectrum.d), generator)
        total += float(sizes[t - 1]) * (pattern + _OWN_SHARE * own if coherent else own)
        if t in lengths:
            # An isotropic change has isotropic components: no projection is needed.
            found[t] = from_components(spectrum, total)
    return found


def basis_gap(before: Spectrum, base: Spectrum, change: Tensor) -> dict[str, float]:
    """log10 of R_k of one change measured in a reached basis over the same in the base's basis.

    Both spectra must be of the same tokens, so that they differ by the edits alone.

    Parameters
    ----------
    before
        Spectrum that the chain has reached before the change.
    base
        Spectrum of the unedited states.
    change
        ``[n, d]``: what the last edit does.

    Returns
    -------
    dict
        ``median``: of the medians over directions; ``tail``: of the medians over the last tenth of the directions.
    """
    both = before.identified & base.identified
    if not bool(both.any()):
        raise ValueError("no direction is identified in both bases")
    drifting, fixed = (from_components(s, project(s, change)).r[both] for s in (before, base))

    def tail(values: Tensor) -> float:
        return float(values[-max(1, len(values) // 10) :].quantile(0.5))

    return {
        "median": float((drifting.quantile(0.5) / fixed.quantile(0.5)).log10()),
        "tail": math.log10(tail(drifting) / tail(fixed)),
    }
