"""Stability of the leading principal subspaces (Assumption 4.3, Tables 13 to 20).

Like is compared with like: base and edited states of the *same* tokens (paired; the no-op gives 1), or of two disjoint
halves of the texts, edited against base beside base against base at equal n. Two halves of one unedited sample already
differ, the more the smaller the spectral gap at k.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from editverdict.numerics.random_matrices import Seed, standard_normal
from editverdict.numerics.subspaces import principal_cosines

PAPER_DIMENSION = 4096
_PAPER_SHARES = (100, 200, 2000)


def paper_ks(d: int, d_paper: int = PAPER_DIMENSION) -> dict[str, int]:
    """Subspace dimensions of Tables 13 to 20, carried over to dimension d.

    k = 10 is kept as it is; 100, 200 and 2000 become the same share of d, rounded. What falls outside 1 to d - 1 (the
    whole space has no angle) and what repeats an earlier k is left out.

    Returns
    -------
    dict
        ``{"10": 10, "100/4096": ..., "200/4096": ..., "2000/4096": ...}``.
    """
    wanted = {"10": 10} | {f"{k}/{d_paper}": round(k * d / d_paper) for k in _PAPER_SHARES}
    out: dict[str, int] = {}
    for label, k in wanted.items():
        if 1 <= k < d and k not in out.values():
            out[label] = k
    return out


@dataclass(frozen=True)
class AngleProfile:
    """Principal cosines of two k-dimensional leading subspaces, in four readings."""

    k: int
    largest_angle: float
    """Cosine of the largest principal angle (primary)."""
    smallest_angle: float
    """Cosine of the smallest principal angle (the paper's wording)."""
    mean: float
    overlap: float
    """Mean squared cosine."""


def angle_profile(u1: Tensor, u2: Tensor, k: int) -> AngleProfile:
    """Compare the spans of the first k columns of two bases ``[d, >= k]``.

    Raises
    ------
    ValueError
        If k is below 1 or above the number of columns, or the bases do not fit each other.
    """
    if not 1 <= k <= min(u1.shape[1], u2.shape[1]):
        raise ValueError(f"expected k from 1 to {min(u1.shape[1], u2.shape[1])}, found {k}")
    cosines = principal_cosines(u1[:, :k], u2[:, :k])
    return AngleProfile(k, float(cosines[-1]), float(cosines[0]), float(cosines.mean()), float(cosines.square().mean()))


def angle_curve(u1: Tensor, u2: Tensor, ks: Mapping[str, int]) -> dict[str, float]:
    """Cosine of the largest principal angle at every k, by label; errors as :func:`angle_profile`."""
    return {label: angle_profile(u1, u2, k).largest_angle for label, k in ks.items()}


def stability_loss(curve: Mapping[str, float]) -> dict[str, float]:
    """``1 - cos`` at every label: 0 if the subspace stands still, 1 if one of its directions is lost."""
    return {label: 1.0 - cosine for label, cosine in curve.items()}


# --------------------------------------------------------------------------- planted rotations
def rotate_tail(u: Tensor, k0: int, angle: float, seed: Seed = 0) -> Tensor:
    """Rotate the directions from the ``k0``-th on (zero-based), leaving the span of the first k0 untouched.

    Column ``k0 + t`` turns by ``angle`` in the plane it spans with column ``d - 1 - t``. For every k with
    ``k0 < k < d`` the plane of the outermost pair reaches across k, so the cosine of the largest angle is exactly
    ``cos(angle)``; for ``k <= k0`` it is 1. The seed draws the sense of each rotation, which no angle depends on.

    Parameters
    ----------
    u
        ``[d, d]`` orthonormal columns.
    k0
        Number of leading directions left alone.
    angle
        In radians.
    seed
        Sense of rotation per plane.

    Raises
    ------
    ValueError
        If ``u`` is not square or fewer than two directions remain to be rotated.
    """
    d = u.shape[0]
    if u.ndim != 2 or u.shape[1] != d or not 0 <= k0 <= d - 2:
        raise ValueError(f"expected a basis [d, d] and 0 <= k0 <= d - 2, found {list(u.shape)} and k0 {k0}")
    planes = (d - k0) // 2
    out = u.to(torch.float64).clone()
    head, tail = out[:, k0 : k0 + planes].clone(), out[:, d - planes :].flip(1)
    signs = torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], size=planes))
    cos, sin = math.cos(angle), math.sin(angle) * signs
    out[:, k0 : k0 + planes] = cos * head + sin * tail
    out[:, d - planes :] = (cos * tail - sin * head).flip(1)
    return out


def rotate_uniform(u: Tensor, angle: float, seed: Seed = 0) -> Tensor:
    """Rotate so that the largest angle is the same at *every* k below d: :func:`rotate_tail` with ``k0 = 0``.

    Direction t is paired with direction ``d - 1 - t``; each of them leaves its place by ``angle``, and at every k the
    pair (first, last) reaches across the cut. A tail that drifts faster than the head is absent by construction.
    """
    return rotate_tail(u, 0, angle, seed)


def random_subspace(d: int, k: int, seed: Seed) -> Tensor:
    """Uniformly distributed k-dimensional subspace: orthonormal columns ``[d, k]``.

    Raises
    ------
    ValueError
        If k is not within 1 to d.
    """
    if not 1 <= k <= d:
        raise ValueError(f"expected 1 <= k <= d, found k {k} and d {d}")
    q, r = torch.linalg.qr(standard_normal((d, k), seed))
    # The sign convention of LAPACK is not uniform; the diagonal of R repairs the law (Mezzadri 2007).
    return torch.as_tensor(q * torch.sign(r.diagonal()))
