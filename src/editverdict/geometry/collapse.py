"""The three trends of the dimensional collapse hypothesis as one number, planted collapses, and centring over features.

The paper says that a low effective rank, a vanishing smallest singular value and a large condition number appear
together in every layer (B.1). Each trend is put on a decimal logarithmic scale against its own threshold, so that the
worst of them decides: an excess above 0 is a layer where a trend is missing. The condition number is the reciprocal of
sigma_min / sigma_1, so the second and the third trend are one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.geometry.spectrum import exp_entropy
from editverdict.numerics.artefacts import centred
from editverdict.numerics.spectrum import Spectrum, exact_spectrum

RANK_THRESHOLD = 0.85
"""Largest r_eff / d that counts as low."""
RATIO_THRESHOLD = 1e-6
"""Largest sigma_min / sigma_1 that counts as vanishing; its reciprocal is the least condition number."""


def rank_excess(sigma: Tensor) -> float:
    """``log10((r_eff / d) / .85)`` with the exponential of the entropy of sigma; at most .071, not positive if low."""
    return math.log10(exp_entropy(sigma) / sigma.numel() / RANK_THRESHOLD)


def ratio_excess(sigma: Tensor, index: int = -1) -> float:
    """``log10((sigma_min / sigma_1) / 1e-6)``, which is ``log10(1e6 / cond)``; at most 6, not positive if vanishing.

    Parameters
    ----------
    sigma
        ``[d]`` singular values, descending.
    index
        Which of them is sigma_min (the smallest *identified* one).

    Raises
    ------
    ValueError
        sigma_min is zero: the logarithm of an exact null direction is undefined, and its size is not known.
    """
    ratio = float(sigma[index] / sigma[0])
    if not ratio > 0.0:
        raise ValueError("the smallest singular value is zero: leave out what is not identified")
    return math.log10(ratio / RATIO_THRESHOLD)


def worst_excess(sigma: Tensor, index: int = -1) -> float:
    """The larger of :func:`rank_excess` and :func:`ratio_excess`: not positive only if all three trends are there."""
    return max(rank_excess(sigma), ratio_excess(sigma, index))


# --------------------------------------------------------------------------- planted collapses
def planted_low_half(sigma: Tensor, ratio: float = 1e-8) -> Tensor:
    """``sigma`` with its lower half at most ``ratio * sigma_1``: all three trends at once."""
    out = sigma.clone()
    half = (sigma.numel() + 1) // 2
    out[half:] = out[half:].clamp_max(ratio * float(sigma[0]))
    return out


def planted_leading(sigma: Tensor, share: float = 0.125) -> Tensor:
    """``sigma`` with all but the leading ``share`` of its directions (at least one) set to zero.

    Raises
    ------
    ValueError
        The share is not within (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"expected a share in (0, 1], found {share:g}")
    out = sigma.clone()
    out[max(1, math.ceil(share * sigma.numel())) :] = 0.0
    return out


# --------------------------------------------------------------------------- centring over features
@dataclass(frozen=True)
class FeatureCentred:
    """What becomes of the smallest singular value where the mean is taken off features instead of samples."""

    ratio_float32: float
    """sigma_min / sigma_1 as float32 arithmetic prints it: rounding noise in place of zero."""
    ratio_exact: float
    """The same in exact mode: zero to the last digit of float64."""
    ratio_second: float
    """The second smallest over sigma_1 (exact mode): whether more than one direction is gone."""
    along_ones: float
    """``|cosine|`` between the last direction and ``(1, ..., 1)``: 1 if the null direction is that of the centring."""


def centred_over_features(states: Tensor) -> FeatureCentred:
    """Take each sample's mean over its coordinates off, and look at the smallest direction.

    Every sample is then orthogonal to ``(1, ..., 1)``, so that one singular value is zero by construction, whatever
    the states are: no property of the model.

    Parameters
    ----------
    states
        ``[n, d]`` raw hidden states with n > d >= 3.

    Raises
    ------
    ValueError
        The shape does not fit.
    """
    if states.ndim != 2 or not states.shape[0] > states.shape[1] >= 3:
        raise ValueError(f"expected states [n, d] with n > d >= 3, found {list(states.shape)}")
    printed = torch.linalg.svdvals(centred(states.to(torch.float32), "features"))
    found: Spectrum = exact_spectrum([centred(states.to(torch.float64), "features")], states.shape[1])
    largest = float(found.sigma[0])
    return FeatureCentred(
        ratio_float32=float(printed[-1] / printed[0]),
        ratio_exact=float(found.sigma[-1]) / largest,
        ratio_second=float(found.sigma[-2]) / largest,
        along_ones=float(found.basis[:, -1].sum().abs()) / math.sqrt(states.shape[1]),
    )
