r"""What the number format of the activations leaves visible of a spectrum.

A coordinate :math:`h_j` stored with machine epsilon :math:`\epsilon` (the spacing of numbers at 1) carries a rounding
error of standard deviation at most :math:`\epsilon |h_j| / \sqrt{12}`. Errors of different coordinates and samples are
independent to good approximation, so that :math:`n` samples put into the direction :math:`u` a spurious singular value

.. math:: \sqrt{n \, \tfrac{\epsilon^2}{12} \sum_j u_j^2 \, \overline{h_j^2}}

where the bar is the mean over *uncentred* samples (a large constant offset is rounded too). A generic direction sees
the mean over ``j``; a direction that lies along one huge coordinate sees that coordinate alone, hence the version that
takes a basis. Measured and true value combine as ``sqrt(true^2 + noise^2)``: at ``NOISE_SAFETY`` times the noise the
error is 3%. Errors made *inside* the model (accumulation in a matrix product) come on top and are not modelled.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NOISE_SAFETY = 4.0
"""Singular values below this many times the expected rounding noise are not used."""

_NARROW_TO_WIDE = (torch.bfloat16, torch.float16, torch.float32)


def effective_dtype(x: Tensor) -> torch.dtype:
    """Find the narrowest floating format that holds every value of ``x`` exactly.

    It reads the array, not the label: activations computed in bfloat16 and converted to float32 are found out.

    Parameters
    ----------
    x
        Any floating tensor.

    Returns
    -------
    torch.dtype
        bfloat16, float16 (in this order), float32, or float64.

    Raises
    ------
    ValueError
        If ``x`` is empty or holds a non-finite value.
    """
    if x.numel() == 0 or not bool(torch.isfinite(x).all()):
        raise ValueError("effective_dtype: expected a non-empty tensor of finite values")
    for dtype in _NARROW_TO_WIDE:
        if bool((x.to(dtype).to(x.dtype) == x).all()):
            return dtype
    return torch.float64


def rounding_noise(mean_square: Tensor, n: int, dtype: torch.dtype, basis: Tensor | None = None) -> Tensor:
    """Spurious singular value that storing activations in ``dtype`` adds, times ``NOISE_SAFETY``.

    Parameters
    ----------
    mean_square
        ``[d]``: uncentred mean of the squared coordinates.
    n
        Number of samples.
    dtype
        Number format of the activations.
    basis
        ``[d, d]`` with directions as columns; without it the noise of a generic direction.

    Returns
    -------
    Tensor
        ``[d]``, one value per column of ``basis``; a scalar without ``basis``. Unit: that of sigma.
    """
    along = mean_square.mean() if basis is None else basis.square().T @ mean_square
    scale = NOISE_SAFETY * torch.finfo(dtype).eps / math.sqrt(12.0)
    return scale * torch.sqrt(n * along.clamp_min(0.0))
