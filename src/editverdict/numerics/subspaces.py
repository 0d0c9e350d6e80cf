"""Principal angles between subspaces (Jordan; Björck and Golub 1973) and what chance gives.

For two orthonormal bases the cosines of the principal angles are the singular values of ``U1^T U2``. The *largest*
angle belongs to the *smallest* cosine. The paper's Appendix B.3 writes "minimum principal angle", but the numbers it
prints fall with k, which only the largest angle of nested subspaces can do; both are offered here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from editverdict.numerics.random_matrices import Seed, bartlett_factor, standard_normal

_ORTHONORMAL = 1e-6


def _check_basis(u: Tensor, name: str) -> Tensor:
    if u.ndim != 2 or u.shape[0] < u.shape[1] or u.shape[1] == 0:
        raise ValueError(f"{name}: expected orthonormal columns, shape [d, k] with 1 <= k <= d, found {list(u.shape)}")
    u = u.to(torch.float64)
    if not bool((u.square().sum(dim=0) - 1.0).abs().max() < _ORTHONORMAL):
        raise ValueError(f"{name}: its columns do not have unit length")
    return u


def principal_cosines(u1: Tensor, u2: Tensor) -> Tensor:
    """Cosines of the principal angles between the spans of two orthonormal bases.

    Parameters
    ----------
    u1, u2
        ``[d, k]`` each.

    Returns
    -------
    Tensor
        ``[k]``, descending, clamped to [0, 1].

    Raises
    ------
    ValueError
        If the shapes differ or a column is not of unit length.
    """
    if u1.shape != u2.shape:
        raise ValueError(f"expected two bases of one shape [d, k], found {list(u1.shape)} and {list(u2.shape)}")
    product = _check_basis(u1, "first basis").T @ _check_basis(u2, "second basis")
    cosines: Tensor = torch.linalg.svdvals(product)
    return cosines.clamp(0.0, 1.0)


def largest_angle_cosine(u1: Tensor, u2: Tensor) -> float:
    """Cosine of the largest principal angle: 1 if the subspaces agree, 0 if one direction is lost entirely."""
    return float(principal_cosines(u1, u2)[-1])


def smallest_angle_cosine(u1: Tensor, u2: Tensor) -> float:
    """Cosine of the smallest principal angle: near 1 even for unrelated subspaces unless k is far below d."""
    return float(principal_cosines(u1, u2)[0])


def mean_cosine(u1: Tensor, u2: Tensor) -> float:
    """Mean of the principal cosines."""
    return float(principal_cosines(u1, u2).mean())


def overlap(u1: Tensor, u2: Tensor) -> float:
    """Mean squared cosine, ``|U1^T U2|_F^2 / k``; unrelated subspaces have ``k / d`` on average."""
    return float(principal_cosines(u1, u2).square().mean())


def chance_cosines(d: int, k: int, seed: Seed, draws: int = 64) -> Tensor:
    """Largest-angle cosines of pairs of independent, uniformly distributed k-dimensional subspaces of R^d.

    The ``k x k`` block of a Haar matrix is ``A (A^T A + B^T B)^{-1/2}`` with Gaussian ``A`` (``k x k``) and ``B``
    (``(d - k) x k``); ``B^T B`` is drawn by its Bartlett factor, so a draw costs O(k^3). Beyond ``k = d / 2`` the
    angles that are not zero are those of the orthogonal complements.

    Returns
    -------
    Tensor
        ``[draws]``.

    Raises
    ------
    ValueError
        If k is not within 1 to d or ``draws < 1``.
    """
    if not 1 <= k <= d or draws < 1:
        raise ValueError(f"expected 1 <= k <= d and draws >= 1, found k {k}, d {d}, draws {draws}")
    m = min(k, d - k)
    if m == 0:
        return torch.ones(draws, dtype=torch.float64)
    rng = np.random.default_rng(seed)
    out = torch.empty(draws, dtype=torch.float64)
    for i in range(draws):
        a = standard_normal((m, m), rng)
        tangent = torch.linalg.solve_triangular(bartlett_factor(d - m, m, rng), a, upper=False)
        smallest = torch.linalg.svdvals(tangent)[-1]
        out[i] = smallest / (1.0 + smallest.square()).sqrt()
    return out


def chance_level(d: int, k: int, seed: Seed = 0, draws: int = 64) -> float:
    """Mean of :func:`chance_cosines`: the level at which a subspace is as good as unrelated (about 0.6/sqrt(d k))."""
    return float(chance_cosines(d, k, seed, draws).mean())


def gap(sigma: Tensor, k: int) -> float:
    """Relative spectral gap after the k-th value (one-based): ``(sigma_k - sigma_{k+1}) / sigma_k``.

    A leading subspace is only as stable as its gap (Davis-Kahan). After the last value the gap is 1.

    Raises
    ------
    ValueError
        If k is outside 1 to d or ``sigma_k`` is zero.
    """
    d = sigma.numel()
    if not 1 <= k <= d:
        raise ValueError(f"expected k from 1 to {d}, found {k}")
    here = float(sigma[k - 1])
    if here <= 0.0:
        raise ValueError(f"sigma_{k} is zero: the gap after it is undefined")
    return (here - (float(sigma[k]) if k < d else 0.0)) / here
