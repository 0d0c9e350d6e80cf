r"""What two mistakes alone make of directional change rates: a pair that is none, and a mean along the wrong axis.

With principal directions :math:`u_k` and singular values :math:`\sigma_k` of the unedited states (Eq. 10), the change
rate is :math:`R_k = \sqrt{n}\,|c_k| / \sigma_k` with :math:`c_k = u_k^T \Delta h` (Eq. 11), pooled over samples as the
mean of :math:`|c_k|` (``mean_abs``; the printed figures fit this one) or as its root mean square (``rms``). No edit is
needed for what follows.

**No pair.** Let :math:`\Delta h = y - x` with x, y independent, from one distribution with variance :math:`s^2` along
u. Then :math:`E(u^T(y - x))^2 = 2 s^2`, so that RMS R_k is :math:`\sqrt 2` whatever the distribution; for Gaussian
states y - x is Gaussian and :math:`E|y - x| = \sqrt{2/\pi}\,\sqrt 2\, s`, so that mean R_k is
:math:`2/\sqrt\pi = 1.128` (:data:`UNRELATED_MEAN`) *in every direction*. Three directions may differ:

- one that a share p of the samples carries alone (value a, else 0): :math:`E|y - x| = 2p(1-p)a` over
  :math:`s = a\sqrt{p(1-p)}` gives :math:`2\sqrt{p(1-p)}` (:func:`rare_direction`), below 1 for p < 0.067;
- that of a common offset m which centring left in: :math:`\sigma^2/n = s^2 + m^2`, but the offset cancels from y - x:
  :math:`(2/\sqrt\pi) / \sqrt{1 + (m/s)^2}` (:func:`offset_direction`), below 1 for m > 0.523 s;
- the null direction of the other mistake.

Along directions that were fitted to x itself, the unrelated y has another variance :math:`v_k = u_k^T C u_k`:
RMS :math:`R_k^2 = 1 + n v_k / \sigma_k^2`, on average :math:`1 + 1/(1 - d/n)` for isotropic Gaussian states (mean of an
inverse Wishart matrix) in place of 2: with n = 24 d the constants are 1.1% higher. Since the smaller sigma_k are the
further below what they estimate, R_k then rises with k all along the spectrum: a rank correlation of R_k with k is near
1 without any edit.

**Centring over features.** Each sample's mean over its d coordinates is taken off in place of each coordinate's mean
over the samples. Every sample is then orthogonal to :math:`(1, \dots, 1)/\sqrt d`: exactly one singular value is zero,
and what a program prints for it is rounding, a multiple of :math:`\epsilon\,\sigma_1`. The states' raw change along
it is an ordinary one, for a Gaussian change without a preferred direction :math:`\sqrt{2/\pi} = 0.798` of the share
:math:`|\Delta h| / \sqrt d` (:data:`ISOTROPIC_SHARE`), so R there is of the order :math:`1/\epsilon`. It is the only
direction above 1 if pairs are pairs and the change is small. If pairs are none, all are above 1 but leading ones of the
two kinds above: with one such direction :math:`d - 1`.

A printed pattern that this reproduces is no proof that it arose so: whoever has the code can look.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from scipy import stats
from torch import Tensor

from editverdict.numerics.spectrum import sample_spectrum
from editverdict.numerics.subspaces import largest_angle_cosine

Pairing = Literal["paired", "mispaired"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
Centring = Literal["samples", "features", "none"]
CENTRINGS: tuple[Centring, ...] = get_args(Centring)
Pooling = Literal["mean_abs", "rms"]

UNRELATED_MEAN = 2.0 / math.sqrt(math.pi)
"""Mean R_k of two independent Gaussian samples."""
UNRELATED_RMS = math.sqrt(2.0)
"""RMS R_k of two independent samples."""
ISOTROPIC_SHARE = math.sqrt(2.0 / math.pi)
"""Mean |c_k| over |dh| / sqrt(d), for a Gaussian change without a preferred direction in many dimensions."""


def rare_direction(p: float) -> float:
    """Mean R_k, mispaired, of a direction that a share ``p`` of the samples carries alone (centred over samples)."""
    return 2.0 * math.sqrt(p * (1.0 - p))


def offset_direction(ratio: float) -> float:
    """Mean R_k, mispaired, along a common offset of ``ratio`` standard deviations that centring left in."""
    return UNRELATED_MEAN / math.sqrt(1.0 + ratio * ratio)


def share_of_rare(r: float) -> float:
    """The share p below a half at which :func:`rare_direction` is ``r`` (0 to 1)."""
    return 0.5 * (1.0 - math.sqrt(1.0 - r * r))


def ratio_of_offset(r: float) -> float:
    """The offset, in standard deviations, at which :func:`offset_direction` is ``r`` (0 to 1.128)."""
    return math.sqrt((UNRELATED_MEAN / r) ** 2 - 1.0)


def unrelated_rms(n: int, d: int) -> float:
    """Root of the mean RMS R_k^2 for isotropic Gaussian states in the basis of a sample of ``n``: see the module."""
    return math.sqrt(1.0 + 1.0 / (1.0 - d / n))


@dataclass(frozen=True, eq=False)
class PlainSvd:
    """Singular values and directions as a program gets them that calls ``svd`` in its own number format."""

    sigma: Tensor
    """``[d]``, descending."""
    basis: Tensor
    """``[d, d]``, directions as columns."""
    n: int
    centring: Centring

    @property
    def eps(self) -> float:
        """Machine epsilon of the number format."""
        return float(torch.finfo(self.sigma.dtype).eps)

    @property
    def cond(self) -> float:
        """sigma_1 / sigma_min over all d directions; infinite where zero came out as zero."""
        least = float(self.sigma[-1])
        return float(self.sigma[0]) / least if least > 0.0 else math.inf

    @property
    def floor(self) -> float:
        """sigma_min in units of ``sigma_1 * eps``: of the order of 1 or less if it is rounding."""
        return float(self.sigma[-1]) / (float(self.sigma[0]) * self.eps)

    @property
    def rank(self) -> float:
        """Effective rank over d: exponential of the entropy of ``sigma / sum sigma`` (Roy and Vetterli 2007)."""
        shares = self.sigma.double() / self.sigma.double().sum()
        return float(torch.special.entr(shares).sum().exp()) / len(shares)

    @property
    def along_ones(self) -> float:
        """``|cosine|`` of the last direction with (1, ..., 1): 1 if it is the one that centring over features nulls."""
        return float(self.basis[:, -1].double().sum().abs()) / math.sqrt(self.basis.shape[0])


def centred(x: Tensor, centring: Centring) -> Tensor:
    """``[n, d]`` states less each coordinate's mean (samples), each sample's own mean (features), or nothing."""
    if centring == "none":
        return x
    return x - x.mean(dim=0 if centring == "samples" else 1, keepdim=True)


def plain_svd(x: Tensor, centring: Centring, dtype: torch.dtype = torch.float32) -> PlainSvd:
    """Centre and decompose in ``dtype``, with nothing done about rounding.

    Parameters
    ----------
    x
        ``[n, d]`` states with n >= d.

    Raises
    ------
    ValueError
        The shape does not fit.
    """
    _check(x)
    _, sigma, vh = torch.linalg.svd(centred(x.to(dtype), centring), full_matrices=False)
    return PlainSvd(sigma, vh.T.contiguous(), x.shape[0], centring)


def change_rates(svd: PlainSvd, dh: Tensor) -> dict[Pooling, tuple[Tensor, Tensor]]:
    """Pooled ``|c_k|`` and R_k, float64 ``[d]`` each, of changes ``[m, d]`` projected in the format of ``svd``."""
    c = (dh.to(svd.basis.dtype) @ svd.basis).abs().double()
    pooled: dict[Pooling, Tensor] = {"mean_abs": c.mean(dim=0), "rms": c.square().mean(dim=0).sqrt()}
    scale = svd.sigma.double() / math.sqrt(svd.n)
    return {name: (value, value / scale) for name, value in pooled.items()}


@dataclass(frozen=True)
class Signature:
    """What a table of R_k and a table of spectra would print for one way of pairing, centring and pooling."""

    pairing: Pairing
    centring: Centring
    pooling: Pooling
    dtype: str
    n: int
    d: int
    above: int
    """Directions with R_k > 1."""
    r_min: float
    """Smallest R_k."""
    r_max: float
    r_mean: float
    r_std: float
    """Over the d directions."""
    rest: float
    """Mean R_k without the largest."""
    cond: float
    floor: float
    """sigma_min over sigma_1 eps."""
    share: float
    """Pooled |c| of the last direction over its isotropic share, mean |dh| / sqrt(d)."""
    norm: float
    """Mean |dh| over the RMS of the states along the first direction, sigma_1 / sqrt(n)."""
    along_ones: float
    """|cosine| of the last direction with (1, ..., 1)."""
    rank: float
    """Effective rank over d."""
    trend: float | None
    """Spearman's rho of R_k with k; None where all R_k are the same."""

    @property
    def runaway(self) -> float:
        """Largest R_k over the mean of the others: it does not depend on how large the change is."""
        return self.r_max / self.rest if self.rest > 0.0 else math.inf

    @property
    def short(self) -> int:
        """Directions that are not above 1."""
        return self.d - self.above


def signature(svd: PlainSvd, dh: Tensor, pairing: Pairing) -> Iterator[Signature]:
    """Signatures of changes ``[m, d]``, one per pooling."""
    d = svd.basis.shape[0]
    norm = float(dh.double().norm(dim=1).mean())
    for pooling, (c, r) in change_rates(svd, dh).items():
        yield Signature(
            pairing=pairing,
            centring=svd.centring,
            pooling=pooling,
            dtype=str(svd.sigma.dtype).removeprefix("torch."),
            n=svd.n,
            d=d,
            above=int((r > 1.0).sum()),
            r_min=float(r.min()),
            r_max=float(r.max()),
            r_mean=float(r.mean()),
            r_std=float(r.std(correction=0)),
            # Summed without it, not subtracted: the largest exceeds the rest by more digits than there are.
            rest=float(r.sort().values[:-1].mean()),
            cond=svd.cond,
            floor=svd.floor,
            share=float(c[-1]) * math.sqrt(d) / norm if norm > 0.0 else 0.0,
            norm=norm * math.sqrt(svd.n) / float(svd.sigma[0]),
            along_ones=svd.along_ones,
            rank=svd.rank,
            trend=_trend(r),
        )


def _trend(r: Tensor) -> float | None:
    if bool((r == r[0]).all()):
        return None
    return float(stats.spearmanr(range(len(r)), r.numpy()).statistic)


def signatures(
    before: Tensor,
    after: Tensor,
    other: Tensor,
    dtype: torch.dtype = torch.float32,
    centrings: Sequence[Centring] = CENTRINGS,
) -> list[Signature]:
    """Signatures under every pairing, centring and pooling.

    Parameters
    ----------
    before
        ``[n, d]`` unedited states; their spectrum is the reference.
    after
        ``[n, d]`` edited states of the same tokens, row by row.
    other
        ``[n, d]`` edited states of other tokens, unrelated to ``before`` row by row.
    dtype
        Number format of everything: centring, decomposition, projection.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    _check(before)
    if not before.shape == after.shape == other.shape:
        shapes = ", ".join(str(list(x.shape)) for x in (before, after, other))
        raise ValueError(f"expected three samples of one shape [n, d], found {shapes}")
    # The change is that of the raw states: a mean that is the same for all of them falls out of it by itself.
    changes: tuple[tuple[Pairing, Tensor], ...] = (("paired", after - before), ("mispaired", other - before))
    found = []
    for centring in centrings:
        svd = plain_svd(before, centring, dtype)
        found += [one for pairing, dh in changes for one in signature(svd, dh, pairing)]
    return found


def resample_cosines(one: Tensor, other: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """Cosine of the largest principal angle between the leading k directions of two samples ``[n, d]``, float64.

    Both are centred over samples. Of two independent samples of one distribution it says how far a subspace moves when
    nothing but the sample changes.
    """
    u, v = sample_spectrum(one).basis, sample_spectrum(other).basis
    return {k: largest_angle_cosine(u[:, :k], v[:, :k]) for k in ks}


def plain(one: Signature) -> dict[str, Any]:
    """For a file; what is infinite is None."""
    values = vars(one)
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _check(x: Tensor) -> None:
    if x.ndim != 2 or not x.shape[0] >= x.shape[1] >= 2:
        raise ValueError(f"expected states [n, d] with n >= d >= 2, found {list(x.shape)}")
