"""How far an edit moves the hidden states (the small perturbation hypothesis, Assumption 4.2, Tables 9 to 12)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairedChange:
    """Norms of ``dh_i = edited_i - base_i`` over the samples, in the unit of the hidden states."""

    n: int
    mean: float
    """Mean of ``|dh_i|``."""
    std: float
    """Standard deviation of ``|dh_i|`` (divided by n - 1)."""
    min: float
    max: float
    rms_hidden: float
    """Root mean square norm of the centred unedited states."""
    ratio: float
    """``mean / rms_hidden``."""


def check_pair(base: Tensor, edited: Tensor) -> Tensor:
    """Return ``edited - base`` in float64, ``[n, d]``.

    Raises
    ------
    ValueError
        If the shapes differ, are not ``[n, d]``, or a value is not finite.
    """
    if base.ndim != 2 or base.shape != edited.shape:
        raise ValueError(f"expected two samples of one shape [n, d], found {list(base.shape)} and {list(edited.shape)}")
    change = edited.to(torch.float64) - base.to(torch.float64)
    if not bool(torch.isfinite(change).all()):
        raise ValueError("a hidden state is not finite; the edit may have overflowed the number format")
    return change


def rms_centred(x: Tensor) -> float:
    """Root mean square norm of the samples (rows) after their mean is removed."""
    x = x.to(torch.float64)
    return float((x - x.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def paired_change(base: Tensor, edited: Tensor, rms_hidden: float | None = None) -> PairedChange:
    """Norms of the change between two passes over the same tokens.

    Parameters
    ----------
    base, edited
        ``[n, d]``: row i of both is the same token position.
    rms_hidden
        Scale of the unedited states, if a larger sample gives it (``Spectrum.rms_norm``); else that of ``base``.

    Raises
    ------
    ValueError
        If the shapes differ, fewer than two samples are given, a value is not finite, or the scale is zero.
    """
    change = check_pair(base, edited)
    if change.shape[0] < 2:
        raise ValueError(f"expected at least 2 samples, found {change.shape[0]}")
    norms = change.norm(dim=1)
    scale = rms_centred(base) if rms_hidden is None else rms_hidden
    if not scale > 0.0:
        raise ValueError("the unedited states do not vary: a relative change is undefined")
    mean = float(norms.mean())
    return PairedChange(
        n=norms.numel(),
        mean=mean,
        std=float(norms.std()),
        min=float(norms.min()),
        max=float(norms.max()),
        rms_hidden=scale,
        ratio=mean / scale,
    )


def relative_change(base: Tensor, edited: Tensor, rms_hidden: float | None = None) -> float:
    """``mean |dh| / RMS |h|``, the ratio of :func:`paired_change`; errors as there."""
    return paired_change(base, edited, rms_hidden).ratio
