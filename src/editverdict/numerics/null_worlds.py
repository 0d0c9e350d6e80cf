"""Samples of made-up hidden states, with a rank-one edit that means nothing: what null models are tried on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from editverdict.numerics.random_matrices import standard_normal


@dataclass(frozen=True)
class World:
    """A law of hidden states: Gaussian with a power-law spectrum, but for one heavy leading direction."""

    d: int = 512
    per_d: float = 24.4
    """Samples per dimension (100,000 samples of 4096 dimensions: 24.4)."""
    decay: float = 0.3
    """Standard deviations along ordinary directions: ``k ** -decay``."""
    heavy: float = 8.0
    """Root mean square along the leading direction, where the next one has 1."""
    rare: float | None = 0.004
    """Share of the samples that carry the leading direction alone, as massive activations do; None: it is Gaussian."""
    offset: float = 0.0
    """Common offset in a random direction, in units of the RMS norm of the states about it over sqrt(d)."""
    edit: float = 0.02
    """RMS norm of the change over that of the states."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.d < 2 or self.per_d < 1.0 or not (self.rare is None or 0.0 < self.rare < 1.0):
            raise ValueError(f"expected d >= 2, per_d >= 1 and a share within 0 and 1, found {self}")

    @property
    def n(self) -> int:
        """Samples."""
        return round(self.d * self.per_d)

    @property
    def scales(self) -> Tensor:
        """``[d]`` root mean square of the states along each direction, about the offset."""
        k = torch.arange(1, self.d, dtype=torch.float64)
        return torch.cat([torch.tensor([self.heavy], dtype=torch.float64), k**-self.decay])


@dataclass(frozen=True, eq=False)
class Samples:
    """Two independent samples ``[n, d]`` of one law, before and after one edit, float64."""

    before: Tensor
    after: Tensor
    other_before: Tensor
    other_after: Tensor


def draw(world: World) -> Samples:
    """Draw both samples, and edit both by the same rank-one change of the weights, ``dh = (q . h) v``.

    q and v are random: the change knows nothing of the spectrum.
    """
    rng = np.random.default_rng(world.seed)
    basis, triangle = torch.linalg.qr(standard_normal((world.d, world.d), rng))
    # The sign convention of LAPACK is not uniform; the diagonal of R repairs the law (Mezzadri 2007).
    rotated = (world.scales[:, None] * (basis * triangle.diagonal().sign()).T).contiguous()
    spread = float(world.scales.norm())
    mean = _unit(world.d, rng) * (world.offset * spread / math.sqrt(world.d))
    first, second = (_factors(world, rng) @ rotated + mean for _ in range(2))
    q, v = _unit(world.d, rng), _unit(world.d, rng)
    size = world.edit * float(first.square().sum(dim=1).mean().sqrt()) / float((first @ q).square().mean().sqrt())
    after, other_after = (x + size * torch.outer(x @ q, v) for x in (first, second))
    return Samples(first, after, second, other_after)


def _factors(world: World, rng: np.random.Generator) -> Tensor:
    """``[n, d]`` uncorrelated factors of mean square 1, the first of them rare."""
    z = standard_normal((world.n, world.d), rng)
    if world.rare is not None:
        z[:, 0] = torch.from_numpy(rng.random(world.n) < world.rare).double() / math.sqrt(world.rare)
    return z


def _unit(d: int, rng: np.random.Generator) -> Tensor:
    u = standard_normal((d,), rng)
    unit: Tensor = u / u.norm()
    return unit
