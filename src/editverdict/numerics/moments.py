"""Streamed first and second moments in float64: O(d^2) memory whatever the number of samples.

The scatter matrix is symmetric: its lower half is kept and added to (:class:`Triangle`), in matrix products over chunks
of samples.

The first batch's mean is subtracted from everything that follows, so that a large common offset costs no digits, and
every batch is centred by itself before its scatter is added; two accumulators are joined by the pairwise update of
Chan, Golub and LeVeque (1983). No two large numbers are ever subtracted from each other, which the textbook formula
``sum x x^T - n mean mean^T`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from editverdict.numerics.triangle import Triangle

_CHUNK_BYTES = 4 * 2**20
_MIN_ROWS = 512
"""Rows are converted to float64 some 4 MiB at a time, so that a long batch does not double in memory, but never fewer
than 512: every chunk reads and writes the whole accumulator."""


def chunk_rows(d: int) -> int:
    """Rows of dimension ``d`` that are converted to float64 at a time."""
    return max(_MIN_ROWS, _CHUNK_BYTES // (8 * d))


def as_rows(x: Tensor, d: int) -> Tensor:
    """Check that ``x`` holds finite samples as rows, ``[n, d]``, and detach it; ValueError otherwise."""
    if x.ndim != 2 or x.shape[1] != d:
        raise ValueError(f"expected samples as rows, shape [n, {d}], found {list(x.shape)}")
    # A sum of finite numbers in float64 is finite, and one pass over x is enough to know it.
    if not bool(torch.isfinite(x.sum(dtype=torch.float64))) and not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).any(dim=1).sum())
        raise ValueError(f"{bad} of {x.shape[0]} samples hold a non-finite value; find the layer that overflows")
    return x.detach()


class Moments:
    """Count, mean and scatter matrix of a stream of samples.

    Memory is about ``0.56 d^2`` doubles and 4 MiB of samples (512 samples, where these are more).

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
        self._scatter = Triangle(d, device)

    def update(self, x: Tensor) -> None:
        """Add the samples ``x`` of shape ``[b, d]``; an empty batch changes nothing.

        Raises
        ------
        ValueError
            If the shape is not ``[b, d]`` or a value is not finite.
        """
        for chunk in torch.split(as_rows(x, self.d), chunk_rows(self.d)):
            if chunk.shape[0]:
                self._absorb(chunk.to(device=self._shift.device))

    def _absorb(self, x: Tensor) -> None:
        b = x.shape[0]
        # The term between the old mean and the batch's rides along as one more row: one matrix product for both.
        rows = torch.empty(b + 1, self.d, dtype=torch.float64, device=x.device)
        if self.n == 0:
            self._shift = x.mean(dim=0, dtype=torch.float64)
        body = torch.sub(x, self._shift, out=rows[:b])  # converts on its way, one pass in place of two
        mean = body.mean(dim=0)
        body -= mean
        delta = mean - self._offset
        rows[b] = (self.n * b / (self.n + b)) ** 0.5 * delta
        self._scatter.add_gram(rows)
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
        shift, offset = (t.to(self._shift.device) for t in (other._shift, other._offset))
        self._scatter.add(other._scatter)
        if self.n == 0:
            self._shift, self._offset, self.n = shift.clone(), offset.clone(), other.n
            return self
        total = self.n + other.n
        delta = (shift - self._shift) + (offset - self._offset)
        self._scatter.add_outer(delta, self.n * other.n / total)
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
        """Sum over samples of ``(x - mean)(x - mean)^T``, ``[d, d]``; the caller's to change."""
        self._require_samples()
        return self._scatter.square()

    def second_moment(self) -> Tensor:
        """Uncentred mean of ``x x^T``, ``[d, d]`` (the covariance that ROME whitens keys with)."""
        mean = self.mean
        return self.scatter().div_(self.n).addr_(mean, mean)

    def mean_square(self) -> Tensor:
        """Uncentred mean of each squared coordinate, ``[d]``."""
        return self._scatter.diagonal() / self.n + self.mean.square()

    @classmethod
    def of(cls, n: int, mean: Tensor, scatter: Tensor) -> Moments:
        """Moments known already: ``n`` samples of mean ``[d]`` with a symmetric scatter matrix ``[d, d]``.

        Raises
        ------
        ValueError
            If the shapes do not fit each other.
        """
        d = mean.numel()
        if scatter.shape != (d, d):
            raise ValueError(f"expected a scatter matrix [{d}, {d}], found {list(scatter.shape)}")
        self = cls(d, mean.device)
        self.n, self._shift = n, mean.to(torch.float64).clone()
        self._scatter = Triangle.of(scatter.to(torch.float64))
        return self

    def to_tensors(self) -> dict[str, Tensor]:
        """State as tensors, for a safetensors file."""
        n = torch.tensor([self.n], dtype=torch.int64)
        strips = {f"scatter.{i}": strip for i, strip in enumerate(self._scatter.strips)}
        return {"n": n, "shift": self._shift, "offset": self._offset, **strips}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """Inverse of :meth:`to_tensors`.

        Raises
        ------
        ValueError
            If a tensor is missing or has the wrong shape.
        """
        missing = {"n", "shift", "offset", "scatter.0"} - set(tensors)
        if missing:
            raise ValueError(f"stored moments lack {sorted(missing)}; found {sorted(tensors)}")
        d = tensors["shift"].numel()
        self = cls(d, tensors["shift"].device)
        self.n = int(tensors["n"].item())
        self._shift, self._offset = (tensors[key].to(torch.float64).clone() for key in ("shift", "offset"))
        for i, strip in enumerate(self._scatter.strips):
            stored = tensors.get(f"scatter.{i}")
            if stored is None or stored.shape != strip.shape or self._offset.shape != (d,):
                found = "none" if stored is None else list(stored.shape)
                raise ValueError(f"stored moments of dimension {d} need a scatter.{i} of {list(strip.shape)}: {found}")
            strip.copy_(stored)
        return self


class BlockMoments:
    """One :class:`Moments` per block of texts, for the delete-block jackknife and for the bias at n/2 and n/4.

    Removal is done by merging the other blocks, never by subtraction, so it equals recomputation to rounding. Memory is
    that of a :class:`Moments` per block (20 blocks: 31 MB at d = 576, 1.5 GB at d = 4096, 24 GB at d = 16,384); with a
    folder all blocks but the one that samples were added to last are kept there, and the numbers are the same to the
    bit. Adding to the blocks one after the other then writes each of them once.

    Parameters
    ----------
    d
        Dimension of a sample.
    blocks
        Number of blocks.
    device
        Where the accumulators live.
    folder
        An existing folder for the blocks that are not being added to; whoever made it removes it. None: all in memory.
    """

    def __init__(self, d: int, blocks: int, device: torch.device | str = "cpu", *, folder: Path | None = None) -> None:
        if blocks < 1:
            raise ValueError(f"expected at least one block, found {blocks}")
        self.d = d
        self._device = device
        self._folder = folder
        self._counts = [0] * blocks
        self._held: dict[int, Moments] = {}

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self._counts)

    @property
    def counts(self) -> list[int]:
        """Number of samples in each block."""
        return list(self._counts)

    @property
    def n(self) -> int:
        """Number of samples in all blocks."""
        return sum(self._counts)

    def _check(self, block: int) -> int:
        if not 0 <= block < self.blocks:
            raise ValueError(f"block {block} does not exist; blocks are 0 to {self.blocks - 1}")
        return block

    def _file(self, block: int) -> Path:
        assert self._folder is not None
        return self._folder / f"block-{block}.safetensors"

    def block(self, block: int) -> Moments:
        """The moments of one block: to be read, not changed."""
        if self._check(block) in self._held:
            return self._held[block]
        if self._folder is None or self._counts[block] == 0:
            return Moments(self.d, self._device)
        stored = load_file(self._file(block))
        return Moments.from_tensors({name: tensor.to(self._device) for name, tensor in stored.items()})

    def update(self, block: int, x: Tensor) -> None:
        """Add the samples ``x`` (``[b, d]``) to a block; ValueError as in :meth:`Moments.update`."""
        if self._check(block) not in self._held:
            self._put_away()
            self._held[block] = self.block(block)
        self._held[block].update(x)
        self._counts[block] = self._held[block].n

    def _put_away(self) -> None:
        if self._folder is None:
            return
        while self._held:
            block, moments = self._held.popitem()
            if moments.n:
                save_file({name: t.cpu() for name, t in moments.to_tensors().items()}, self._file(block))

    def _merged(self, chosen: Iterable[int]) -> Moments:
        self._put_away()
        out = Moments(self.d, self._device)
        for block in chosen:
            out.merge(self.block(block))
        return out

    def total(self) -> Moments:
        """All samples."""
        return self._merged(range(self.blocks))

    def without(self, block: int) -> Moments:
        """All samples but those of one block."""
        self._check(block)
        return self._merged(i for i in range(self.blocks) if i != block)

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
        return self._merged(range(count))

    def to_tensors(self) -> dict[str, Tensor]:
        """State as tensors, stacked over blocks."""
        parts = [self.block(block).to_tensors() for block in range(self.blocks)]
        return {key: torch.stack([part[key] for part in parts]) for key in parts[0]}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> BlockMoments:
        """Inverse of :meth:`to_tensors`; ValueError as in :meth:`Moments.from_tensors`."""
        if "shift" not in tensors or tensors["shift"].ndim != 2:
            raise ValueError(f"stored block moments lack a 'shift' of shape [blocks, d]; found {sorted(tensors)}")
        count, d = tensors["shift"].shape
        self = cls(d, count, tensors["shift"].device)
        for i in range(count):
            self._held[i] = Moments.from_tensors({k: t[i] for k, t in tensors.items()})
            self._counts[i] = self._held[i].n
        return self
