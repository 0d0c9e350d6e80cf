"""Directions whose singular value is zero by construction: dead units, and what lies beyond a matrix's rank.

A unit that is zero for every sample is a direction with sigma = 0 *exactly*. Diagonalising the whole scatter matrix
would give it a small number of rounding in place of the zero, and a relative change R_k in the range of 1e7 and more;
so it is taken out first and put back as what it is. The output of a linear map has no more directions than its input:
what is seen beyond is the rounding of its sums, which may lie above the floor that is known for *storing* numbers.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import Spectrum, spectrum_of


def dead_units(moments: Moments) -> int:
    """Number of coordinates that are the same for every sample, bit for bit about the mean."""
    return int((moments.scatter().diagonal() == 0).sum())


def spectrum_with_dead_units(moments: Moments, *, activation_dtype: torch.dtype = torch.float32) -> Spectrum:
    """:func:`editverdict.numerics.spectrum.spectrum_of`, where dead units are the last directions, with sigma = 0.

    Parameters
    ----------
    moments
        Moments of at least two samples.
    activation_dtype
        Number format of the activations, for the noise floor.

    Returns
    -------
    Spectrum
        Of dimension ``moments.d``; a dead unit's direction is its own axis, and never identified.

    Raises
    ------
    ValueError
        On fewer than two samples.
    """
    scatter, mean = moments.scatter(), moments.mean
    live = scatter.diagonal() > 0
    kept, lost = live.nonzero().flatten(), (~live).nonzero().flatten()
    if not len(kept) or not len(lost):
        return spectrum_of(moments, activation_dtype=activation_dtype)
    own = spectrum_of(Moments.of(moments.n, mean[live], scatter[live][:, live]), activation_dtype=activation_dtype)
    zeros = torch.zeros_like(own.sigma[:1]).expand(len(lost))
    basis = own.basis.new_zeros(moments.d, moments.d)
    basis[kept, : len(kept)] = own.basis
    basis[lost, torch.arange(len(kept), moments.d)] = 1.0
    return replace(
        own,
        sigma=torch.cat([own.sigma, zeros]),
        basis=basis,
        d=moments.d,
        mean=mean,
        floor=torch.cat([own.floor, zeros + own.resolution]),
    )


def bounded_by_rank(spectrum: Spectrum, rank: int) -> Spectrum:
    """The spectrum of states of rank at most ``rank``: directions beyond the first so many are not identified.

    Raises
    ------
    ValueError
        If the rank is negative.
    """
    if rank < 0:
        raise ValueError(f"a rank is 0 or more, found {rank}")
    floor = spectrum.floor.clone()
    floor[rank:] = torch.maximum(floor[rank:], spectrum.sigma[rank:])
    return replace(spectrum, floor=floor)
