"""Principal directions and singular values of a sample, with the limit below which they mean nothing.

Two ways to the same :class:`Spectrum`. :func:`spectrum_of` diagonalises streamed second moments: fast, but squaring
costs half the digits, so directions below ``1e-6 sigma_1`` are not *identified*. :func:`exact_spectrum` streams a QR
factorisation of ``[1 X]``: the column of ones takes the mean out in the first reflection, and the triangle that remains
has the singular values of the centred matrix, each to within ``1e-14 sqrt(d) sigma_1``. Both keep O(d^2) numbers.

The paper's H (Section 4.1) is ``d x n`` and "centered"; its Eq. 10 holds only for centring over samples, done here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.numerics.moments import Moments, as_rows
from editverdict.numerics.precision import rounding_noise

MOMENTS_RESOLUTION = 1e-6
"""Smallest ``sigma_k / sigma_1`` read off second moments: relative error to 3e-5 there, 5e-7 a decade above."""

EXACT_RESOLUTION = 1e-14
"""Error bound of the exact mode in units of ``sqrt(d) sigma_1``."""

_LARGE = 2048

_COLUMNS = 512
"""Columns of a basis looked at together, so that no second d x d matrix is made."""

SPECTRUM_SQUARES = 4
"""Most d x d float64 matrices that :func:`spectrum_of` holds at a time: half a one of moments, the scatter matrix, in
whose place its eigenvectors come, and twice that as LAPACK's workspace (divide and conquer)."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values and principal directions of a sample centred over samples."""

    sigma: Tensor
    """``[d]`` float64, descending, not negative."""
    basis: Tensor
    """``[d, d]`` float64, column k is ``u_k``; the largest coordinate of each column is positive."""
    n: int
    """Number of samples."""
    d: int
    """Dimension."""
    mean: Tensor
    """``[d]`` mean that was removed."""
    resolution: float
    """Absolute floor for a generic direction: the larger of arithmetic and rounding noise of the activations."""
    floor: Tensor
    """``[d]`` the same along each ``u_k`` (never below ``resolution``)."""

    @property
    def identified(self) -> Tensor:
        """Mask ``[d]``: above the floor, and among the ``min(d, n - 1)`` directions that n samples can span."""
        spanned = torch.arange(self.d, device=self.sigma.device) < min(self.d, self.n - 1)
        return (self.sigma > self.floor) & spanned

    @property
    def n_identified(self) -> int:
        """Number of identified directions."""
        return int(self.identified.sum())

    @property
    def index_min(self) -> int:
        """Zero-based index of ``u_min``, the identified direction with the smallest singular value.

        Raises
        ------
        ValueError
            If no direction is identified.
        """
        found = torch.nonzero(self.identified).flatten()
        if found.numel() == 0:
            raise ValueError(f"none of {self.d} directions is above the resolution {self.resolution:.3g}")
        return int(found[-1])

    @property
    def rms(self) -> Tensor:
        """``[d]`` root mean square of the samples along ``u_k``, ``sigma_k / sqrt(n)`` (Eq. 10)."""
        return self.sigma / math.sqrt(self.n)

    @property
    def rms_norm(self) -> float:
        """Root mean square norm of a centred sample."""
        return float(self.rms.norm())

    def to_tensors(self) -> dict[str, Tensor]:
        """State as tensors, for a safetensors file."""
        n = torch.tensor([self.n], dtype=torch.int64)
        resolution = torch.tensor([self.resolution], dtype=torch.float64)
        named = {"sigma": self.sigma, "basis": self.basis, "mean": self.mean, "floor": self.floor}
        return {"n": n, "resolution": resolution, **{k: t.contiguous() for k, t in named.items()}}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Spectrum:
        """Inverse of :meth:`to_tensors`; ValueError if a tensor is missing."""
        missing = {"n", "resolution", "sigma", "basis", "mean", "floor"} - set(tensors)
        if missing:
            raise ValueError(f"stored spectrum lacks {sorted(missing)}; found {sorted(tensors)}")
        return cls(
            sigma=tensors["sigma"],
            basis=tensors["basis"],
            n=int(tensors["n"].item()),
            d=tensors["sigma"].numel(),
            mean=tensors["mean"],
            resolution=float(tensors["resolution"].item()),
            floor=tensors["floor"],
        )


def _orient(basis: Tensor) -> Tensor:
    """Fix signs in place, some columns at a time: a singular vector is known up to its sign."""
    for columns in torch.split(basis, _COLUMNS, dim=1):
        peak = columns.gather(0, columns.abs().argmax(dim=0, keepdim=True))
        columns *= torch.where(peak < 0, -1.0, 1.0)
    return basis


def _assemble(
    sigma: Tensor, basis: Tensor, n: int, mean: Tensor, arithmetic: float, square: Tensor, dtype: torch.dtype
) -> Spectrum:
    resolution = max(arithmetic, float(rounding_noise(square, n, dtype)))
    floors = [rounding_noise(square, n, dtype, columns) for columns in torch.split(basis, _COLUMNS, dim=1)]
    floor = torch.cat(floors).clamp_min(resolution)
    return Spectrum(sigma, _orient(basis), n, sigma.numel(), mean, resolution, floor)


def _require_two(n: int) -> None:
    if n < 2:
        raise ValueError(f"a spectrum centred over samples needs at least 2 samples, found {n}")


def _eigh_in_place(square: Tensor) -> tuple[Tensor, Tensor]:
    """``torch.linalg.eigh`` of a symmetric matrix, bit for bit; the eigenvectors take its memory.

    LAPACK works by column and in place. The transpose of a symmetric matrix by row is the matrix by column, so that
    torch has nothing to copy.
    """
    values, vectors = square.new_empty(square.shape[0]), square.mT
    torch.linalg.eigh(vectors, out=(values, vectors))
    return values, vectors


def spectrum_of(moments: Moments, *, activation_dtype: torch.dtype = torch.float32) -> Spectrum:
    """Diagonalise streamed moments.

    Parameters
    ----------
    moments
        Moments of at least two samples.
    activation_dtype
        Number format of the activations, for the noise floor (see :mod:`editverdict.numerics.precision`; read it off
        the arrays with ``effective_dtype``).

    Returns
    -------
    Spectrum
        With ``resolution = max(1e-6 sigma_1, rounding noise)``.

    Raises
    ------
    ValueError
        On fewer than two samples.
    """
    _require_two(moments.n)
    values, vectors = _eigh_in_place(moments.scatter())
    sigma = values.flip(0).clamp_min(0.0).sqrt()
    arithmetic = MOMENTS_RESOLUTION * float(sigma[0])
    return _assemble(
        sigma, vectors.flip(1), moments.n, moments.mean, arithmetic, moments.mean_square(), activation_dtype
    )


def singular_values(moments: Moments) -> Tensor:
    """Singular values alone, ``[d]`` float64, descending: less time and half the memory of :func:`spectrum_of`.

    Raises
    ------
    ValueError
        On an empty stream.
    """
    values: Tensor = torch.linalg.eigvalsh(moments.scatter())
    return values.flip(0).clamp_min_(0.0).sqrt_()


def sample_spectrum(x: Tensor, *, activation_dtype: torch.dtype = torch.float32) -> Spectrum:
    """:func:`spectrum_of` for a sample ``[n, d]`` that fits into memory."""
    if x.ndim != 2:
        raise ValueError(f"expected samples as rows, shape [n, d], found {list(x.shape)}")
    moments = Moments(x.shape[1], x.device)
    moments.update(x)
    return spectrum_of(moments, activation_dtype=activation_dtype)


class StreamingQR:
    """Triangular factor of ``[1 X]`` for samples that arrive in batches.

    Parameters
    ----------
    d
        Dimension of a sample.
    block_rows
        Samples gathered before the factor is updated: by default ``4 (d + 1)``, and ``d + 1`` above d = 2048. More is
        faster and takes more memory: twice ``block_rows + d + 1`` rows while the factor is updated.
    """

    def __init__(self, d: int, block_rows: int | None = None) -> None:
        if d < 1:
            raise ValueError(f"expected d >= 1, found {d}")
        self.d = d
        self.n = 0
        self._limit = block_rows or (4 if d <= _LARGE else 1) * (d + 1)
        self._shift = torch.zeros(d, dtype=torch.float64)
        self._square = torch.zeros(d, dtype=torch.float64)
        self._factor = torch.zeros(0, d + 1, dtype=torch.float64)
        self._rows: Tensor | None = None
        self._held = 0

    def update(self, x: Tensor) -> None:
        """Add the samples ``x`` of shape ``[b, d]``; ValueError on a wrong shape or a non-finite value."""
        for chunk in torch.split(as_rows(x, self.d), self._limit):
            if chunk.shape[0]:
                self._push(chunk.to(device="cpu", dtype=torch.float64))

    def _push(self, x: Tensor) -> None:
        if self.n == 0:
            # Any constant may be taken off each column: the ones column spans it. This one keeps the numbers small.
            self._shift = x.mean(dim=0)
        self._square += x.square().sum(dim=0)
        self.n += x.shape[0]
        self._append(torch.ones(len(x), dtype=torch.float64), x - self._shift)

    def _append(self, first: Tensor, rest: Tensor) -> None:
        """Rows to go under the factor: their first column [b], and the others [b, d]."""
        while len(rest):
            if self._rows is None:
                self._rows = torch.empty(self.d + 1 + self._limit, self.d + 1, dtype=torch.float64)
                self._rows[: len(self._factor)] = self._factor
            count, start = min(self._limit - self._held, len(rest)), len(self._factor) + self._held
            own = self._rows[start : start + count]
            own[:, 0], own[:, 1:] = first[:count], rest[:count]
            first, rest = first[count:], rest[count:]
            self._held += count
            if self._held == self._limit:
                self._fold()

    def _fold(self) -> None:
        """Bring the gathered rows into the factor."""
        if self._rows is not None and self._held:
            self._factor = torch.linalg.qr(self._rows[: len(self._factor) + self._held], mode="r").R
            self._rows[: len(self._factor)], self._held = self._factor, 0

    def rest(self) -> None:
        """Let go of the memory in which samples are gathered, until more of them come."""
        self._fold()
        self._rows = None

    def merge(self, other: StreamingQR) -> StreamingQR:
        """Add the samples that ``other`` has seen; returns ``self``. ``other`` keeps its samples.

        Raises
        ------
        ValueError
            If the dimensions differ.
        """
        if other.d != self.d:
            raise ValueError(f"cannot merge a factor of dimension {other.d} into dimension {self.d}")
        other._fold()
        if other.n == 0:
            return self
        if self.n == 0:
            self._shift = other._shift.clone()
        self._square += other._square
        self.n += other.n
        # Columns there had another constant taken off: the first column, which spans it, puts that right.
        first, rest = other._factor[:, 0], other._factor[:, 1:]
        self._append(first, rest + torch.outer(first, other._shift - self._shift))
        return self

    def singular_values(self) -> Tensor:
        """Singular values alone, ``[d]`` float64, descending, as :meth:`spectrum` has them; ValueError as there."""
        _require_two(self.n)
        self.rest()
        found = torch.linalg.svdvals(self._factor[1:, 1:])
        return torch.cat([found, torch.zeros(self.d - len(found), dtype=torch.float64)])

    def to_tensors(self) -> dict[str, Tensor]:
        """State as tensors, for a safetensors file."""
        self.rest()
        n = torch.tensor([self.n], dtype=torch.int64)
        return {"n": n, "shift": self._shift, "square": self._square, "factor": self._factor.contiguous()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], block_rows: int | None = None) -> StreamingQR:
        """Inverse of :meth:`to_tensors`; ValueError if a tensor is missing."""
        missing = {"n", "shift", "square", "factor"} - set(tensors)
        if missing:
            raise ValueError(f"a stored factor lacks {sorted(missing)}; found {sorted(tensors)}")
        self = cls(tensors["shift"].numel(), block_rows)
        self.n = int(tensors["n"].item())
        self._shift, self._square, self._factor = (tensors[name] for name in ("shift", "square", "factor"))
        return self

    def spectrum(self, *, activation_dtype: torch.dtype = torch.float64) -> Spectrum:
        """Spectrum of all samples so far.

        Returns
        -------
        Spectrum
            With ``resolution = max(1e-14 sqrt(d) sigma_1, rounding noise)``; every sigma is within that first term.

        Raises
        ------
        ValueError
            On fewer than two samples.
        """
        _require_two(self.n)
        self.rest()
        centred = self._factor[1:, 1:]
        _, found, vh = torch.linalg.svd(centred, full_matrices=True)
        sigma = torch.zeros(self.d, dtype=torch.float64)
        sigma[: found.numel()] = found
        mean = self._shift + self._factor[0, 1:] / self._factor[0, 0]
        arithmetic = EXACT_RESOLUTION * math.sqrt(self.d) * float(sigma[0])
        return _assemble(sigma, vh.T, self.n, mean, arithmetic, self._square / self.n, activation_dtype)


def exact_spectrum(
    batches: Iterable[Tensor], d: int, *, activation_dtype: torch.dtype = torch.float64, block_rows: int | None = None
) -> Spectrum:
    """Spectrum in exact mode: ``|error of sigma_k| <= 1e-14 sqrt(d) sigma_1`` on float64 input.

    Parameters
    ----------
    batches
        Tensors ``[b, d]``, read once.
    d
        Dimension.
    activation_dtype
        Number format of the activations, for the noise floor.
    block_rows
        See :class:`StreamingQR`.

    Raises
    ------
    ValueError
        On a wrong shape, a non-finite value, or fewer than two samples.
    """
    factor = StreamingQR(d, block_rows)
    for batch in batches:
        factor.update(batch)
    return factor.spectrum(activation_dtype=activation_dtype)
