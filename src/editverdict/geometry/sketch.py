"""A few float64 sums over a stream of samples, taken apart from its second moments: what a spectrum is checked against.

Whatever goes wrong between the samples and their singular values (single precision, samples left out, another layer's
or model's states, another centring, a basis of other data) changes the scatter along almost every direction. A handful
of fixed random directions therefore tells a wrong spectrum from a right one, for ``d * r`` products per sample where
the moments take ``d * d``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from editverdict.numerics.random_matrices import standard_normal

DIRECTIONS = 8
_SEED = 20_040


def sketch_directions(d: int, count: int = DIRECTIONS) -> Tensor:
    """Unit vectors ``[d, count]``, the same for every sample of that dimension."""
    g = standard_normal((d, count), _SEED)
    found: Tensor = g / g.norm(dim=0, keepdim=True)
    return found


class Sketch:
    """Count, mean and scatter of samples along fixed random directions, and the mean square of every coordinate.

    Parameters
    ----------
    d
        Dimension of a sample.
    """

    def __init__(self, d: int) -> None:
        self.d = d
        self.n = 0
        self._directions = sketch_directions(d)
        self._shift = torch.zeros(d, dtype=torch.float64)
        self._coordinates = torch.zeros(d, dtype=torch.float64)
        self._sum = torch.zeros(self._directions.shape[1], dtype=torch.float64)
        self._squares = torch.zeros_like(self._sum)

    @classmethod
    def of(cls, x: Tensor) -> Sketch:
        """Sketch of a sample ``[n, d]`` that fits into memory."""
        made = cls(x.shape[1])
        made.update(x)
        return made

    def update(self, x: Tensor) -> None:
        """Add the samples ``x`` of shape ``[b, d]``; ValueError on another shape."""
        if x.ndim != 2 or x.shape[1] != self.d:
            raise ValueError(f"expected samples as rows, shape [b, {self.d}], found {list(x.shape)}")
        if x.shape[0] == 0:
            return
        wide = x.detach().to(device="cpu", dtype=torch.float64)
        if self.n == 0:
            # Any constant will do; this one keeps a large common offset from costing digits.
            self._shift = wide.mean(dim=0)
        along = (wide - self._shift) @ self._directions
        self._sum += along.sum(dim=0)
        self._squares += along.square().sum(dim=0)
        self._coordinates += wide.square().sum(dim=0)
        self.n += x.shape[0]

    @property
    def directions(self) -> Tensor:
        """``[d, r]`` unit vectors."""
        return self._directions

    @property
    def mean(self) -> Tensor:
        """``[r]`` mean along each direction."""
        return self._shift @ self._directions + self._sum / self.n

    @property
    def scatter(self) -> Tensor:
        """``[r]`` sum of squared deviations from the mean along each direction."""
        return self._squares - self._sum.square() / self.n

    @property
    def mean_square(self) -> Tensor:
        """``[d]`` uncentred mean of each squared coordinate."""
        return self._coordinates / self.n

    def to_tensors(self) -> dict[str, Tensor]:
        """State as tensors, for a safetensors file."""
        return {
            "n": torch.tensor([self.n], dtype=torch.int64),
            "shift": self._shift,
            "sum": self._sum,
            "squares": self._squares,
            "coordinates": self._coordinates,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Sketch:
        """Inverse of :meth:`to_tensors`; ValueError if a tensor is missing."""
        missing = {"n", "shift", "sum", "squares", "coordinates"} - set(tensors)
        if missing:
            raise ValueError(f"a stored sketch lacks {sorted(missing)}; found {sorted(tensors)}")
        made = cls(tensors["coordinates"].numel())
        made.n = int(tensors["n"].item())
        made._shift, made._sum, made._squares, made._coordinates = (
            tensors[key].to(torch.float64).clone() for key in ("shift", "sum", "squares", "coordinates")
        )
        return made
