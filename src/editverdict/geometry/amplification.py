r"""Directional relative change rates R_k (Definition 4.4) and what is read off them.

With the principal directions :math:`u_k` of the unedited states and the perturbation :math:`\Delta h` of a sample,
:math:`c_k = u_k^T \Delta h` (Eq. 9) and :math:`R_k = \sqrt{n} |c_k| / \sigma_k` (Eq. 11): the change along :math:`u_k`
in units of the root mean square of the unedited states there. The paper does not say how the samples' :math:`c_k` are
pooled; ``mean_abs`` fits its figures and is primary, the others are rivals.

Known values: two *unrelated* samples of one distribution differ by twice the variance, so that RMS R_k is sqrt(2) and
the ``mean_abs`` form 2/sqrt(pi) = 1.13 (Gaussian) in *every* direction: "R_k > 1 in many directions" is what mis-paired
samples give. Since :math:`\log R_k = \log c_k - \log \sigma_k` + const, the slope of R_k on sigma is the exponent of
c_k minus one: 0 means that the change is proportional to the native signal (nothing is amplified), -1 that the change
ignores direction (Theorem 4.5's regime).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from editverdict.numerics.lsq import Slope, loglog_slope
from editverdict.numerics.random_matrices import Seed, standard_normal
from editverdict.numerics.spectrum import EXACT_RESOLUTION, Spectrum

Pooling = Literal["mean_abs", "rms", "max", "mean_shift"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


def project(spectrum: Spectrum, dh: Tensor) -> Tensor:
    """Components ``c = dh U`` of the perturbations, ``[m, d]`` float64.

    Raises
    ------
    ValueError
        If ``dh`` is not ``[m, d]`` with m >= 1, or a value is not finite.
    """
    if dh.ndim != 2 or dh.shape[1] != spectrum.d or dh.shape[0] == 0:
        raise ValueError(f"expected perturbations as rows, shape [m, {spectrum.d}], found {list(dh.shape)}")
    if not bool(torch.isfinite(dh).all()):
        raise ValueError("a perturbation is not finite; the edit may have overflowed the number format")
    return dh.to(torch.float64) @ spectrum.basis


def pool(components: Tensor, pooling: Pooling = "mean_abs") -> Tensor:
    """Pool ``|c_k|`` over samples: ``[m, d]`` to ``[d]``; ``mean_shift`` is the absolute value of the mean c_k."""
    if pooling == "mean_abs":
        return components.abs().mean(dim=0)
    if pooling == "rms":
        return components.square().mean(dim=0).sqrt()
    if pooling == "max":
        return components.abs().amax(dim=0)
    if pooling == "mean_shift":
        return components.mean(dim=0).abs()
    raise ValueError(f"unknown pooling {pooling!r}; one of {', '.join(POOLINGS)}")


@dataclass(frozen=True, eq=False)
class Amplification:
    """R_k of one perturbation at one layer, under one pooling.

    Statistics are over the identified directions only. Where there is nothing to fit (an edit that moves nothing), the
    slopes are None: missing, not zero.
    """

    pooling: Pooling
    c: Tensor
    """``[d]`` pooled ``|c_k|``, in the unit of the hidden states."""
    r: Tensor
    """``[d]`` R_k, NaN where the direction is not identified."""
    sigma: Tensor
    """``[d]`` singular values of the unedited states."""
    identified: Tensor
    """``[d]`` mask."""
    n: int
    """Samples behind sigma."""

    @property
    def values(self) -> Tensor:
        """R_k of the identified directions, by descending sigma."""
        found = self.r[self.identified]
        if found.numel() == 0:
            raise ValueError("no direction is identified: R_k is undefined")
        return found

    def share_above(self, level: float = 1.0) -> float:
        """Share of identified directions with ``R_k > level``."""
        return float((self.values > level).to(torch.float64).mean())

    @property
    def mean(self) -> float:
        """Mean R_k."""
        return float(self.values.mean())

    @property
    def mean_without_largest(self) -> float:
        """Mean R_k without its largest value; it tells whether one direction carries the mean."""
        values = self.values
        if values.numel() < 2:
            raise ValueError("one direction alone has no mean without the largest")
        # Summed without it, not subtracted: the largest may exceed the rest by more digits than there are.
        return float(values.sort().values[:-1].mean())

    @property
    def median(self) -> float:
        """Median R_k (of an even count the mean of the middle two)."""
        return float(self.values.quantile(0.5))

    @property
    def max(self) -> float:
        """Largest R_k."""
        return float(self.values.max())

    @property
    def r_min(self) -> float:
        """R_min of Eq. 12: R_k at u_min, the smallest identified direction (not the smallest R_k)."""
        return float(self.values[-1])

    def _fit(self, y: Tensor) -> Slope | None:
        used = self.identified & (self.c > 0.0)
        if int(used.sum()) < 3:
            return None
        return loglog_slope(self.sigma[used], y[used])

    @property
    def exponent_fit(self) -> Slope | None:
        """Line of ``log c_k`` on ``log sigma_k`` over identified directions that moved."""
        return self._fit(self.c)

    @property
    def exponent(self) -> float | None:
        """Amplification exponent: 0 if the change ignores direction, 1 if it is proportional to the native signal."""
        fit = self.exponent_fit
        return None if fit is None else fit.slope

    @property
    def r_slope(self) -> float | None:
        """Slope of ``log R_k`` on ``log sigma_k`` (the exponent minus one): negative if weak directions move more."""
        fit = self._fit(self.r)
        return None if fit is None else fit.slope

    @property
    def decile_means(self) -> Tensor:
        """``[10]`` mean R_k in each tenth of the identified directions, strongest first; NaN where a tenth is empty."""
        return torch.stack([part.mean() for part in torch.tensor_split(self.values, 10)])


def slopes_without_blocks(found: Sequence[Amplification], leave_out: Tensor) -> tuple[float, list[float]]:
    """Mean exponent over several perturbations, with the spectrum of the whole base sample and without each block.

    All perturbations are read in one basis, so an error of that basis is one that no number of edits averages out: a
    finite sample spreads the singular values, which makes every slope on them too small (by about d/n of itself). What
    leaving out blocks does to the slope tells how much. The slope of ``log R_k`` differs from the exponent by one
    exactly, so this serves both.

    Parameters
    ----------
    found
        Amplifications by one spectrum.
    leave_out
        ``[blocks, d]`` singular values without each block of the base sample.

    Raises
    ------
    ValueError
        There is no perturbation, or fewer than three directions are identified and moved by all of them.
    """
    if not found:
        raise ValueError("no perturbations: a mean slope is undefined")
    keep = found[0].identified.clone()
    for one in found:
        keep &= one.identified & (one.c > 0.0)
    keep &= (leave_out > 0.0).all(dim=0)
    y = torch.stack([one.c[keep].log() for one in found]).mean(dim=0).exp()
    left = [loglog_slope(row[keep], y).slope for row in leave_out]
    return loglog_slope(found[0].sigma[keep], y).slope, left


def from_components(spectrum: Spectrum, components: Tensor, pooling: Pooling = "mean_abs") -> Amplification:
    """Build :class:`Amplification` from components ``[m, d]`` already projected."""
    c = pool(components, pooling)
    identified = spectrum.identified
    safe = torch.where(identified, spectrum.sigma, 1.0)
    r = torch.where(identified, math.sqrt(spectrum.n) * c / safe, torch.nan)
    return Amplification(pooling, c, r, spectrum.sigma, identified, spectrum.n)


def amplification(spectrum: Spectrum, dh: Tensor, pooling: Pooling = "mean_abs") -> Amplification:
    """R_k of the paired perturbations ``dh``.

    Parameters
    ----------
    spectrum
        Spectrum of the unedited states, on the full sample.
    dh
        ``[m, d]`` paired perturbations; a fixed subset of the sample is enough.
    pooling
        How ``|c_k|`` is pooled over the m samples.

    Raises
    ------
    ValueError
        As :func:`project`.
    """
    return from_components(spectrum, project(spectrum, dh), pooling)


def all_poolings(spectrum: Spectrum, dh: Tensor) -> dict[Pooling, Amplification]:
    """:func:`amplification` under every pooling, from one projection."""
    components = project(spectrum, dh)
    return {pooling: from_components(spectrum, components, pooling) for pooling in POOLINGS}


# --------------------------------------------------------------------------- planted perturbations
def isotropic_changes(m: int, d: int, norm: float, seed: Seed) -> Tensor:
    """Perturbations of equal norm in uniformly random directions, ``[m, d]``: exponent 0 by construction."""
    z = standard_normal((m, d), seed)
    changes: Tensor = z * (norm / z.norm(dim=1, keepdim=True))
    return changes


def proportional_changes(spectrum: Spectrum, m: int, norm: float, seed: Seed) -> Tensor:
    """Perturbations distributed like the centred states themselves, ``[m, d]``: exponent 1, R_k flat.

    The root mean square norm is ``norm`` in expectation; rows are not normalised one by one, which would bend the law
    where one direction dominates.

    Raises
    ------
    ValueError
        If the spectrum is zero.
    """
    total = float(spectrum.sigma.norm())
    if total <= 0.0:
        raise ValueError("the spectrum is zero: nothing to be proportional to")
    z = standard_normal((m, spectrum.d), seed)
    changes: Tensor = (norm / total) * (z * spectrum.sigma) @ spectrum.basis.T
    return changes


def planted_near_null(spectrum: Spectrum, ratio: float = 1e-5, count: int = 1, *, exact: bool = False) -> Spectrum:
    """Weaken the ``count`` smallest identified directions to ``ratio * sigma_1``; what an edit puts there stays.

    The basis is untouched, so ``c_k`` is too, and R_k there grows by ``sigma_k / (ratio sigma_1)``. With one planted
    direction the mean over K identified directions becomes about ``sqrt(n) c / (ratio sigma_1 K)``: whether that passes
    a threshold depends on c. With ``exact`` the floor is that of the exact mode, so that ratios far below 1e-6 (those
    of the paper's tables) stay identified.

    Raises
    ------
    ValueError
        If the planted value would be at or below the floor (then it would be left out, not seen), or ``count`` is not
        within the number of identified directions.
    """
    kept = spectrum.n_identified
    if not 1 <= count <= kept:
        raise ValueError(f"expected count from 1 to {kept} identified directions, found {count}")
    floor, resolution = spectrum.floor, spectrum.resolution
    chosen = torch.nonzero(spectrum.identified).flatten()[-count:]
    if exact:
        resolution = EXACT_RESOLUTION * math.sqrt(spectrum.d) * float(spectrum.sigma[0])
        # Directions that were not identified before stay out: planting must not bring noise back in.
        floor = torch.where(spectrum.identified, resolution, torch.maximum(spectrum.floor, spectrum.sigma))
    planted = ratio * spectrum.sigma[0]
    if bool((planted <= floor[chosen]).any()):
        raise ValueError(
            f"a direction planted at {float(planted):.3g} ({ratio:g} sigma_1) is not above the floor "
            f"{float(floor[chosen].max()):.3g}; take a larger ratio or exact=True"
        )
    sigma = spectrum.sigma.clone()
    sigma[chosen] = torch.minimum(sigma[chosen], planted)
    return replace(spectrum, sigma=sigma, floor=floor, resolution=resolution)
