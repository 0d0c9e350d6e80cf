"""The lower half of a symmetric matrix, in strips: what streamed moments add to."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_STRIPS = 8
_MIN_STRIP = 96


def strip_height(d: int) -> int:
    """Rows of a strip of :class:`Triangle`, a multiple of eight, so that strips begin at whole cache lines."""
    return max(_MIN_STRIP, -(-d // (8 * _STRIPS)) * 8)


def triangle_bytes(d: int) -> int:
    """Bytes of a :class:`Triangle`."""
    height = strip_height(d)
    return sum(8 * min(height, d - start) * min(start + height, d) for start in range(0, d, height))


class Triangle:
    """The lower half of a symmetric ``[d, d]`` float64 matrix, in up to eight strips of rows.

    Strip ``i`` holds rows ``a`` to ``b`` of the columns 0 to ``b``: some 56% of the square's memory, and of the
    arithmetic of adding ``X^T X`` to it.
    """

    def __init__(self, d: int, device: torch.device | str = "cpu") -> None:
        self.d = d
        height = strip_height(d)
        self.strips = [
            torch.zeros(min(height, d - start), min(start + height, d), dtype=torch.float64, device=device)
            for start in range(0, d, height)
        ]

    def _spans(self) -> Iterator[tuple[slice, slice, Tensor]]:
        for strip in self.strips:
            stop = strip.shape[1]
            yield slice(stop - strip.shape[0], stop), slice(0, stop), strip

    def add_gram(self, rows: Tensor) -> None:
        """Add ``rows^T rows`` (``[n, d]``, float64)."""
        for own, left, strip in self._spans():
            strip.addmm_(rows[:, own].T, rows[:, left])

    def add_outer(self, v: Tensor, weight: float) -> None:
        """Add ``weight v v^T``."""
        for own, left, strip in self._spans():
            strip.addr_(v[own], v[left], alpha=weight)

    def add(self, other: Triangle) -> None:
        """Add another one of the same dimension."""
        for strip, theirs in zip(self.strips, other.strips, strict=True):
            strip.add_(theirs.to(strip.device))

    def copy(self) -> Triangle:
        """Return an independent copy."""
        out = Triangle(self.d, self.strips[0].device)
        out.add(self)
        return out

    def diagonal(self) -> Tensor:
        """``[d]``, a copy."""
        return torch.cat([strip[:, own].diagonal() for own, _, strip in self._spans()])

    def square(self) -> Tensor:
        """The whole matrix ``[d, d]``, symmetric to the bit; the caller's to change."""
        out = torch.empty(self.d, self.d, dtype=torch.float64, device=self.strips[0].device)
        for own, left, strip in self._spans():
            out[own, left] = strip
            out[left, own] = strip.T
            corner = strip[:, own].tril()
            out[own, own] = corner + corner.tril(-1).T
        return out

    @classmethod
    def of(cls, square: Tensor) -> Triangle:
        """The lower half of a square matrix ``[d, d]``."""
        out = cls(square.shape[0], square.device)
        for own, left, strip in out._spans():
            strip.copy_(square[own, left])
        return out
