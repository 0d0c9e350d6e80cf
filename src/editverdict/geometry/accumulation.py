"""How changes add up over a chain of edits (Section 4.3, Eqs. 14 to 17)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editverdict.geometry.amplification import Amplification, from_components, project
from editverdict.numerics.lsq import Slope, loglog_slope
from editverdict.numerics.random_matrices import Seed, standard_normal
from editverdict.numerics.spectrum import Spectrum

PLANTED_SAMPLES = 200
_OWN_SHARE = 0.3
Rates = NDArray[np.float64]


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


# --------------------------------------------------------------------------- the average edit
def mean_exponent(lengths: Sequence[int], chains: Rates, singles: Rates) -> float:
    """Exponent of the *mean* R over chains against T, at T = 1 of the mean over single edits; median over layers.

    Eq. 17 multiplies the change of the average edit. A rank-one edit moves u_min by its projection on it, whose size is
    half-normal where directions are unrelated: the mean of its logarithm lies .41 below the logarithm of its mean.
    Exponents fitted chain by chain take that bias at T = 1, where it weighs most, and lose it as more edits add up, so
    that a random walk of rank-one edits (1/2) would be given .66 to .77.

    Parameters
    ----------
    lengths
        The T.
    chains
        ``[chains, T, layers]`` R of each chain.
    singles
        ``[edits, layers]`` R of edits made singly; they stand for T = 1, if that is among the lengths.

    Raises
    ------
    ValueError
        As :func:`accumulation_exponent`, of the means.
    """
    means = chains.mean(axis=0)
    if 1 in lengths:
        means[list(lengths).index(1)] = singles.mean(axis=0)
    return float(np.median([accumulation_exponent(lengths, layer.tolist()).slope for layer in means.T]))


def law_gaps(length: int, chains: Rates, singles: Rates) -> Rates:
    """log2 of the mean R after T edits over T times the mean R of single edits (Eq. 17), by layer: 0 if the law holds.

    Parameters
    ----------
    length
        T.
    chains
        ``[chains, layers]`` R after T edits.
    singles
        ``[edits, layers]`` R of edits made singly.

    Returns
    -------
    array
        ``[layers]``; negative where R grew by less than the law says.

    Raises
    ------
    ValueError
        A mean is not positive.
    """
    reached, expected = chains.mean(axis=0), length * singles.mean(axis=0)
    if not bool((reached > 0.0).all() and (expected > 0.0).all()):
        raise ValueError("the law is held against edits that change something: a mean R is zero")
    return np.asarray(np.log2(reached / expected))


# --------------------------------------------------------------------------- planted chains, drifting bases
def planted_rates(
    spectrum: Spectrum,
    lengths: Sequence[int],
    *,
    coherent: bool,
    seed: Seed,
    spread: float = 0.0,
    rank_one: bool = False,
    m: int = PLANTED_SAMPLES,
) -> dict[int, Amplification]:
    """R_k of a planted chain of edits at each T, in the base's own directions.

    Every sample's step is isotropic. Coherent: each step repeats one pattern, plus a part of its own of 0.3 of its
    size, so that R grows as T (Eq. 17). Otherwise every step is drawn anew, and R grows as the root of T.

    Rank one: all samples of a step move along one direction, each by a factor of its own (its product with the edited
    key), as edits of one weight do. The direction is drawn anew with every step of a random walk. A coherent chain
    repeats one that has all of the base's directions alike, so that no chain's u_min is moved by chance alone. Factors
    repeat one pattern plus their own, 0.3 of its size in a coherent chain and as large in a random walk: an estimator
    that takes the first edit of a chain for the average one sees the latter rise too fast.

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
    rank_one
        Whether all samples of a step move along one direction.
    m
        Samples.

    Returns
    -------
    dict
        T -> R_k, pooled as mean |c_k|.
    """
    generator = np.random.default_rng(seed)
    sizes = np.exp(spread * generator.standard_normal(max(lengths)) - spread**2 / 2)
    step = (_rank_one_steps if rank_one else _isotropic_steps)(m, spectrum.d, generator, coherent=coherent)
    total = torch.zeros(m, spectrum.d, dtype=torch.float64)
    found: dict[int, Amplification] = {}
    for t in range(1, max(lengths) + 1):
        total += float(sizes[t - 1]) * step()
        if t in lengths:
            # An isotropic change has isotropic components: no projection is needed.
            found[t] = from_components(spectrum, total)
    return found


def _isotropic_steps(m: int, d: int, generator: np.random.Generator, *, coherent: bool) -> Callable[[], Tensor]:
    pattern = standard_normal((m, d), generator)

    def step() -> Tensor:
        own = standard_normal((m, d), generator)
        return pattern + _OWN_SHARE * own if coherent else own

    return step


def _rank_one_steps(m: int, d: int, generator: np.random.Generator, *, coherent: bool) -> Callable[[], Tensor]:
    factors = standard_normal((m, 1), generator)
    signs = standard_normal((1, d), generator).sign()

    def step() -> Tensor:
        own, direction = standard_normal((m, 1), generator), standard_normal((1, d), generator)
        if coherent:
            return (factors + _OWN_SHARE * own) * (signs + _OWN_SHARE * direction)
        return math.sqrt(0.5) * (factors + own) * direction

    return step


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
