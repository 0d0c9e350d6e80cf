"""Streamed first and second moments in float64: O(d^2) memory whatever the number of samples.

The first batch's mean is subtracted from everything that follows, so that a large common offset costs no digits, and
every batch is centred by itself before its scatter is added; two accumulators are joined by the pairwise update of
Chan, Golub and LeVeque (1983). No two large numbers are ever subtracted from each other, which the textbook formula
``sum x x^T - n mean mean^T`` does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_CHUNK_ROWS = 8192
"""Rows converted to float64 at a time, so that a long batch does not double in memory."""


def as_rows(x: Tensor, d: int) -> Tensor:
    """Check that ``x`` holds finite samples as rows, ``[n, d]``, and detach it; ValueError otherwise."""
    if x.ndim != 2 or x.shape[1] != d:
        raise ValueError(f"expected samples as rows, shape [n, {d}], found {list(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).any(dim=1).sum())
        raise ValueError(f"{bad} of {x.shape[0]} samples hold a non-finite value; find the layer that overflows")
    return x.detach()


class Moments:
    """Count, mean and scatter matrix of a stream of samples.

    Parameters
    ----------
    d
        Dimension of a sample.
    device
        Where the accumulators live; samples are moved there.
    """

    def __init__(self, d: int, device: torch.device | str = "cpu") -> None:
        if d < 1:
            raise ValueError(f"expected d >= 1, found {d}")
        self.d = d
        self.n = 0
        self._shift = torch.zeros(d, dtype=torch.float64, device=device)
        self._offset = torch.zeros_like(self._shift)
        self._scatter = torch.zeros(d, d, dtype=torch.float64, device=device)

    def update(self, x: Tensor) -> None:
        """Add the samples ``x`` of shape ``[b, d]``; an empty batch changes nothing.

        Raises
        ------
        ValueError
            If the shape is not ``[b, d]`` or a value is not finite.
        """
        for chunk in torch.split(as_rows(x, self.d), _CHUNK_ROWS):
            if chunk.shape[0]:
                self._absorb(chunk.to(device=self._shift.device, dtype=torch.float64))

    def _absorb(self, x: Tensor) -> None:
        b = x.shape[0]
        if self.n == 0:
            self._shift = x.mean(dim=0)
        x = x - self._shift
        mean = x.mean(dim=0)
        delta = mean - self._offset
        between = (self.n * b / (self.n + b)) ** 0.5
        # The term between the old mean and the batch's rides along as one more row: one matrix product for both.
        rows = torch.cat([x - mean, (between * delta)[None]])
        self._scatter.addmm_(rows.T, rows)
        self._offset = self._offset + delta * (b / (self.n + b))
        self.n += b

    def merge(self, other: Moments) -> Moments:
        """Add the samples that ``other`` has seen; returns ``self``. ``other`` is left as it is.

        Raises
        ------
        ValueError
            If the dimensions differ.
        """
        if other.d != self.d:
            raise ValueError(f"cannot merge moments of dimension {other.d} into dimension {self.d}")
        if other.n == 0:
            return self
        device = self._shift.device
        shift, offset, scatter = (t.to(device) for t in (other._shift, other._offset, other._scatter))
        if self.n == 0:
            self._shift, self._offset, self._scatter = shift.clone(), offset.clone(), scatter.clone()
            self.n = other.n
            return self
        total = self.n + other.n
        delta = (shift - self._shift) + (offset - self._offset)
        self._scatter += scatter + torch.outer(delta, delta) * (self.n * other.n / total)
        self._offset = self._offset + delta * (other.n / total)
        self.n = total
        return self

    def copy(self) -> Moments:
        """Return an independent copy."""
        return Moments(self.d, self._shift.device).merge(self)

    def _require_samples(self) -> None:
        if self.n == 0:
            raise ValueError("no samples: moments of an empty stream are undefined, not zero")

    @property
    def mean(self) -> Tensor:
        """Mean of the samples, ``[d]``."""
        self._require_samples()
        return self._shift + self._offset

    def scatter(self) -> Tensor:
        """Sum over samples of ``(x - mean)(x - mean)^T``, ``[d, d]``."""
        self._require_samples()
        return self._scatter.clone()

    def second_moment(self) -> Tensor:
        """Uncentred mean of ``x x^T``, ``[d, d]`` (the covariance that ROME whitens keys with)."""
        mean = self.mean
        return self._scatter / self.n + torch.outer(mean, mean)

    def mean_square(self) -> Tensor:
        """Uncentred mean of each squared coordinate, ``[d]``."""
        return self._scatter.diagonal() / self.n + self.mean.square()

    def to_tensors(self) -> dict[str, Tensor]:
        """State as tensors, for a safetensors file."""
        n = torch.tensor([self.n], dtype=torch.int64)
        return {"n": n, "shift": self._shift, "offset": self._offset, "scatter": self._scatter}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """Inverse of :meth:`to_tensors`.

        Raises
        ------
        ValueError
            If a tensor is missing or has the wrong shape.
        """
        missing = {"n", "shift", "offset", "scatter"} - set(tensors)
        if missing:
            raise ValueError(f"stored moments lack {sorted(missing)}; found {sorted(tensors)}")
        d = tensors["shift"].numel()
        if tensors["scatter"].shape != (d, d) or tensors["offset"].shape != (d,):
            raise ValueError(f"stored moments of dimension {d} hold a scatter {list(tensors['scatter'].shape)}")
        self = cls(d, tensors["shift"].device)
        self.n = int(tensors["n"].item())
        self._shift, self._offset, self._scatter = (
            tensors[key].to(torch.float64).clone() for key in ("shift", "offset", "scatter")
        )
        return self


class BlockMoments:
    """One :class:`Moments` per block of texts, for the delete-block jackknife and for the bias at n/2 and n/4.

    Removal is done by merging the other blocks, never by subtraction, so it equals recomputation to rounding. Memory is
    ``blocks * d^2`` doubles (20 blocks: 53 MB at d = 576, 2.7 GB at d = 4096) per layer.

    Parameters
    ----------
    d
        Dimension of a sample.
    blocks
        Number of blocks.
    device
        Where the accumulators live.
    """

    def __init__(self, d: int, blocks: int, device: torch.device | str = "cpu") -> None:
        if blocks < 1:
            raise ValueError(f"expected at least one block, found {blocks}")
        self.d = d
        self._device = device
        self._blocks = [Moments(d, device) for _ in range(blocks)]

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    @property
    def n(self) -> int:
        """Number of samples in all blocks."""
        return sum(block.n for block in self._blocks)

    def _check(self, block: int) -> int:
        if not 0 <= block < self.blocks:
            raise ValueError(f"block {block} does not exist; blocks are 0 to {self.blocks - 1}")
        return block

    def block(self, block: int) -> Moments:
        """Return the accumulator of one block (not a copy)."""
        return self._blocks[self._check(block)]

    def update(self, block: int, x: Tensor) -> None:
        """Add the samples ``x`` (``[b, d]``) to a block; ValueError as in :meth:`Moments.update`."""
        self._blocks[self._check(block)].update(x)

    def _merged(self, chosen: list[Moments]) -> Moments:
        out = Moments(self.d, self._device)
        for block in chosen:
            out.merge(block)
        return out

    def total(self) -> Moments:
        """All samples."""
        return self._merged(self._blocks)

    def without(self, block: int) -> Moments:
        """All samples but those of one block."""
        self._check(block)
        return self._merged([m for i, m in enumerate(self._blocks) if i != block])

    def first_fraction(self, fraction: float) -> Moments:
        """Return the samples of the leading ``fraction`` of the blocks (rounded to whole blocks).

        Raises
        ------
        ValueError
            If the fraction is outside (0, 1] or leaves no block.
        """
        count = round(fraction * self.blocks)
        if not 0.0 < fraction <= 1.0 or count < 1:
            raise ValueError(f"a fraction of {fraction:g} leaves none of {self.blocks} blocks")
        return self._merged(self._blocks[:count])

    def to_tensors(self) -> dict[str, Tensor]:
        """State as tensors, stacked over blocks."""
        parts = [block.to_tensors() for block in self._blocks]
        return {key: torch.stack([part[key] for part in parts]) for key in parts[0]}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> BlockMoments:
        """Inverse of :meth:`to_tensors`; ValueError as in :meth:`Moments.from_tensors`."""
        if "shift" not in tensors or tensors["shift"].ndim != 2:
            raise ValueError(f"stored block moments lack a 'shift' of shape [blocks, d]; found {sorted(tensors)}")
        count, d = tensors["shift"].shape
        self = cls(d, count, tensors["shift"].device)
        self._blocks = [Moments.from_tensors({k: t[i] for k, t in tensors.items()}) for i in range(count)]
        return self
