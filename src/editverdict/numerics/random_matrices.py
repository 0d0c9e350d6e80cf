"""What a spectrum looks like when there is nothing to see: Gaussian matrices, exactly in law or in expectation.

Randomness comes in as an argument everywhere: an integer, or a numpy ``Generator`` that several draws share.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

Seed = int | np.random.Generator
"""An integer starts a generator of its own; a generator is drawn from and moves on."""

_GRID = 20_001


def standard_normal(shape: tuple[int, ...], seed: Seed) -> Tensor:
    """Independent standard Gaussian numbers in float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def bartlett_factor(dof: int, d: int, seed: Seed) -> Tensor:
    """Triangular ``A`` ``[d, d]`` with ``A A^T`` distributed as a Wishart matrix, identity scale, ``dof`` degrees.

    Bartlett's decomposition (1933): chi variables on the diagonal, Gaussian ones below it.

    Raises
    ------
    ValueError
        If ``dof < d`` (the matrix would be singular).
    """
    if dof < d:
        raise ValueError(f"Bartlett's decomposition needs dof >= d, found dof {dof} and d {d}")
    rng = np.random.default_rng(seed)
    factor = np.tril(rng.standard_normal((d, d)), -1)
    np.fill_diagonal(factor, np.sqrt(rng.chisquare(dof - np.arange(d))))
    return torch.from_numpy(factor)


def wishart_singular_values(n: int, d: int, seed: Seed) -> Tensor:
    """Singular values of an ``n x d`` standard Gaussian matrix centred over its n samples, exactly in law.

    Centring takes one degree of freedom: the scatter is Wishart with ``n - 1``. With ``n - 1 >= d`` its Bartlett factor
    is drawn, O(d^3) whatever n; otherwise an ``(n - 1) x d`` Gaussian matrix, and the remaining values are zero.

    Returns
    -------
    Tensor
        ``[d]``, descending.

    Raises
    ------
    ValueError
        If ``n < 2`` or ``d < 1``.
    """
    _check_shape(n, d)
    draw = bartlett_factor(n - 1, d, seed) if n - 1 >= d else standard_normal((n - 1, d), seed)
    found = torch.linalg.svdvals(draw)
    sigma = torch.zeros(d, dtype=torch.float64)
    sigma[: found.numel()] = found
    return sigma


def marchenko_pastur_quantiles(n: int, d: int, k: Sequence[int] | Tensor | None = None) -> Tensor:
    r"""Large-sample expectation of ``sigma_k / sqrt(n)`` for a centred ``n x d`` standard Gaussian matrix.

    The k-th value is read off the Marchenko-Pastur law with ``n - 1`` degrees of freedom at the upper probability
    ``(k - 1/2) / m``, where ``m = min(d, n - 1)`` is the number of values that are not zero. At the very edges the
    fluctuation of the extreme values (Tracy-Widom, relative order :math:`m^{-2/3}`) is not in it.

    Parameters
    ----------
    n, d
        Samples and dimension.
    k
        One-based indices; by default all, 1 to d.

    Returns
    -------
    Tensor
        One value per index.

    Raises
    ------
    ValueError
        If ``n < 2`` or an index is outside 1 to d.
    """
    _check_shape(n, d)
    index = np.arange(1, d + 1) if k is None else np.asarray(k, dtype=np.int64)
    if index.size and (index.min() < 1 or index.max() > d):
        raise ValueError(f"expected indices from 1 to d = {d}, found {index.min()} to {index.max()}")
    many, few = max(n - 1, d), min(n - 1, d)
    x, cdf = _marchenko_pastur_cdf(few / many)
    level = 1.0 - (index - 0.5) / few
    value = np.sqrt(np.interp(np.clip(level, 0.0, 1.0), cdf, x) * many / n)
    return torch.from_numpy(np.where(index <= few, value, 0.0))


@lru_cache(maxsize=64)  # a jackknife asks for the same ratio again and again
def _marchenko_pastur_cdf(ratio: float) -> tuple[np.ndarray, np.ndarray]:
    # x = 1 + ratio - 2 sqrt(ratio) cos(phi) makes the density smooth at both edges of its support, also at ratio 1.
    phi = np.linspace(0.0, np.pi, _GRID)
    half = 2.0 * np.sqrt(ratio)
    x = 1.0 + ratio - half * np.cos(phi)
    with np.errstate(invalid="ignore", divide="ignore"):
        density = (half * np.sin(phi)) ** 2 / (2.0 * np.pi * ratio * x)
    density[0] = 2.0 / np.pi if ratio == 1.0 else 0.0
    steps = 0.5 * (density[1:] + density[:-1]) * (phi[1] - phi[0])
    cdf = np.concatenate([[0.0], np.cumsum(steps)])
    return x, cdf / cdf[-1]


def _check_shape(n: int, d: int) -> None:
    if n < 2 or d < 1:
        raise ValueError(f"expected n >= 2 samples and d >= 1, found n {n} and d {d}")
