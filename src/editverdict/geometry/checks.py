"""Validity checks: whether a quantity is identified at all.

They look at arrays, counts and hashes only, never at a flag that says what the pipeline believes it did. Each returns a
:class:`CheckOutcome`; a failed check makes the cases that need it *invalid*, not refuted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.geometry.perturbation import check_pair, rms_centred
from editverdict.numerics.spectrum import Spectrum

PROBES = 256
"""Samples whose partner is searched for in :func:`check_paired`."""
MIN_OWN_ADVANTAGE = 3.0
"""In standard errors. Re-ordered samples lie at 0 or below: the smallest of 32 differences decides."""
MAX_SWAPPED_SHARE = 0.02
MIN_SAMPLES = 32
LIKENESS = "own state ahead of its neighbours"
"""How the finding of :func:`check_paired` begins where it decided by likeness, and not by shapes, hashes or counts."""
SAME_CHANGE = 1e-4
"""Between norms (and, per pooling, vectors of components) of one change over the same tokens in other batches,
relative; one machine epsilon of the states where that is more. Batches differ by 3e-6 of a state in float32, of which
norms over many samples keep little."""
SAME_COMPONENT = 1e-2
"""The same along each direction by itself, where a change is a millionth of the whole and more."""
NO_OP_TOLERANCE = 1e-4
"""A repeated pass of one model may differ by rounding; in units of the RMS norm of the centred states."""
FEATURE_NULL = 1e-4
"""Relative size below which the direction (1, ..., 1) counts as removed."""
MAX_MEAN_VARIANCE_RATIO = 2.0
_MAX_AXES = 8
_SHIFTS = tuple(s for s in range(-16, 17) if s != 0)
_TWIN = 0.8
_MIN_AXIS_SHARE = 0.05


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found."""

    name: str
    ok: bool
    detail: str
    """One sentence with the numbers."""


def check_sample_size(n: int, d: int, texts: int, min_tokens: int, min_texts: int) -> CheckOutcome:
    """Check for enough tokens and texts, as the spec asks, and more samples than dimensions.

    Parameters
    ----------
    n, d
        Samples (tokens) and dimension.
    texts
        Number of texts the tokens come from.
    min_tokens, min_texts
        What the spec asks for.
    """
    needs = []
    if n - 1 < d:
        needs.append(f"{n} samples span at most {max(n - 1, 0)} of {d} directions")
    if n < min_tokens:
        needs.append(f"{min_tokens} tokens are needed")
    if texts < min_texts:
        needs.append(f"{min_texts} texts are needed")
    found = f"{n} tokens of {texts} texts, d = {d}"
    return CheckOutcome("sample-size", not needs, "; ".join([found, *needs]))


# --------------------------------------------------------------------------- pairing
@dataclass(frozen=True)
class PairingStatistics:
    """What :func:`check_paired` decides on, over up to ``PROBES`` evenly spaced samples."""

    probes: int
    own_advantage: float
    """Correlation with the own unedited state minus that with the unedited state s rows on, in standard errors of its
    mean; the smallest over s from -16 to 16."""
    swapped_share: float
    """Share of probes with a foreign twin: an unedited state at less than half the distance of their own that
    correlates with them by more than 0.8."""
    own_share: float
    """Share of probes whose nearest unedited state is their own (descriptive)."""
    distance_ratio: float
    """Median distance of a probe from its own unedited state over the median distance from foreign ones."""


def _main_axes(change: Tensor) -> Tensor:
    # A locate-then-edit update moves every sample along a few directions, however far; what is left of the states
    # beside these tells whose they are. Rows are scaled to unit length and an axis needs a share of all rows, so that
    # a few exchanged samples cannot make an axis of their own and hide behind it.
    norms = change.norm(dim=1, keepdim=True)
    unit = change / norms.clamp_min(torch.finfo(torch.float64).tiny)
    values, vectors = torch.linalg.eigh(unit @ unit.T)
    limit = min(_MAX_AXES, change.shape[1] // 4)
    keep = (values >= _MIN_AXIS_SHARE * change.shape[0]).nonzero().flatten().flip(0)[:limit]
    axes: Tensor = unit.T @ (vectors[:, keep] / values[keep].sqrt())
    return axes


def _own_advantage(cosine: Tensor, index: Tensor) -> float:
    # Neighbours in a text resemble each other, so "more than a random foreign state" would let a shift by one token
    # pass for a large edit; the own state has to beat each of its neighbours.
    rows, n = torch.arange(index.numel()), cosine.shape[1]
    shifted = torch.stack([cosine[rows, (index + s) % n] for s in _SHIFTS])
    ahead = cosine[rows, index] - shifted
    error = ahead.std(dim=1) / math.sqrt(index.numel())
    return float((ahead.mean(dim=1) / error.clamp_min(1e-12)).min())


def pairing_statistics(base: Tensor, edited: Tensor, probes: int = PROBES) -> PairingStatistics:
    """Search the unedited partner of edited states.

    Parameters
    ----------
    base, edited
        ``[n, d]`` with n >= 2, finite.
    probes
        Number of edited states looked at.

    Raises
    ------
    ValueError
        If the shapes differ or a value is not finite.
    """
    change = check_pair(base, edited)
    n = change.shape[0]
    index = torch.linspace(0, n - 1, min(n, probes), dtype=torch.float64).round().long()
    axes = _main_axes(change[index])
    b = base.to(torch.float64) - base.to(torch.float64).mean(dim=0)
    e = b[index] + change[index]
    b, e = b - (b @ axes) @ axes.T, e - (e @ axes) @ axes.T
    rows = torch.arange(index.numel())
    distance = torch.cdist(e, b, compute_mode="use_mm_for_euclid_dist")
    own = (e - b[index]).norm(dim=1)
    distance[rows, index] = torch.inf
    nearest, candidate = distance.min(dim=1)
    foreign = float(distance[torch.isfinite(distance)].median())
    # Repeated texts give equal states; a tie is no exchange. The allowance also covers the rounding of cdist.
    tie = 1e-6 * foreign
    cosine = torch.nn.functional.normalize(e - e.mean(dim=0), dim=1) @ torch.nn.functional.normalize(b, dim=1).T
    twin = (nearest < 0.5 * own - tie) & (cosine[rows, candidate] > _TWIN)
    return PairingStatistics(
        probes=index.numel(),
        own_advantage=_own_advantage(cosine, index),
        swapped_share=float(twin.to(torch.float64).mean()),
        own_share=float((own <= nearest + tie).to(torch.float64).mean()),
        distance_ratio=float(own.median()) / foreign if foreign > 0.0 else math.inf,
    )


def _repeat_problem(base: Tensor, repeat: Tensor, tolerance: float) -> str | None:
    if repeat.shape != base.shape:
        return f"the repeated no-op pass has {repeat.shape[0]} samples, the base pass {base.shape[0]}"
    scale = rms_centred(base)
    worst = float(check_pair(base, repeat).norm(dim=1).max())
    if worst <= tolerance * scale:
        return None
    return f"a repeated pass without edit differs by up to {worst:.3g} (states vary by {scale:.3g})"


def check_paired(
    base: Tensor,
    edited: Tensor,
    no_op_repeat: Tensor | None = None,
    *,
    base_tokens: str | None = None,
    edited_tokens: str | None = None,
    probes: int = PROBES,
    tolerance: float = NO_OP_TOLERANCE,
) -> CheckOutcome:
    """Check that row i of both arrays is the same token position.

    The directions along which an edit moves (nearly) all samples are taken out first. Then (a) edited states must
    correlate with their own unedited state more than with the one s rows on, by three standard errors of the mean, for
    every s up to 16 either way; (b) at most 2% of the probes may have a foreign twin (see :class:`PairingStatistics`).
    Edited states that equal the unedited ones exactly are paired.

    Power. A full re-ordering, also one within texts or by a shift of one token, fails (a) whatever the size of the
    edit. A partial one fails (b) from about 3% of the samples on as long as the edit is small against the distances
    between states (ratio below about 0.4); with an edit of the size of the states themselves a partial re-ordering is
    not seen, so check the single edit, not only a thirtyfold one. An edit that leaves no correlation in any direction
    fails (a) too: such states cannot be told from re-ordered ones by arrays, and other evidence is needed
    (``pipeline/paired_again.py``). Samples exchanged among equal states are not seen and do no harm.

    Parameters
    ----------
    base, edited
        ``[n, d]``, raw hidden states.
    no_op_repeat
        ``[n, d]``: the unedited model once more, through the way the edited one took; must equal ``base``.
    base_tokens, edited_tokens
        Hashes of the token ids in the order of the rows; compared if both are given.
    probes, tolerance
        Number of probes; allowance for ``no_op_repeat`` (see ``NO_OP_TOLERANCE``).
    """
    name = "paired"
    if base.ndim != 2 or base.shape != edited.shape:
        return CheckOutcome(name, False, f"shapes differ: {list(base.shape)} against {list(edited.shape)}")
    if base.shape[0] < MIN_SAMPLES:
        return CheckOutcome(name, False, f"{base.shape[0]} samples are too few to confirm pairing ({MIN_SAMPLES})")
    if not bool(torch.isfinite(base).all() and torch.isfinite(edited).all()):
        return CheckOutcome(name, False, "a hidden state is not finite")
    if base_tokens is not None and edited_tokens is not None and base_tokens != edited_tokens:
        return CheckOutcome(name, False, f"token ids differ: hash {base_tokens[:12]} against {edited_tokens[:12]}")
    problem = None if no_op_repeat is None else _repeat_problem(base, no_op_repeat, tolerance)
    if problem is not None:
        return CheckOutcome(name, False, problem)
    if torch.equal(base, edited):
        return CheckOutcome(name, True, "edited states equal the unedited ones")
    found = pairing_statistics(base, edited, probes)
    ok = found.own_advantage >= MIN_OWN_ADVANTAGE and found.swapped_share <= MAX_SWAPPED_SHARE
    detail = (
        f"{LIKENESS} by {found.own_advantage:.3g} standard errors (at least "
        f"{MIN_OWN_ADVANTAGE:g}), "
        f"{found.swapped_share:.1%} of {found.probes} probes have a foreign twin (at most {MAX_SWAPPED_SHARE:.0%}); "
        f"distance to own over foreign {found.distance_ratio:.3g}"
    )
    return CheckOutcome(name, ok, detail)


def check_same_change(
    stored: Mapping[str, float],
    pooled: Tensor,
    again: Mapping[str, float],
    pooled_again: Tensor,
    epsilon: float,
    *,
    name: str = "samples-paired",
) -> CheckOutcome:
    """Check that a change is that of states which were paired text by text.

    Parameters
    ----------
    stored, again
        ``n``, ``mean`` and ``std`` of ``|dh|``, as used and from texts run one by one.
    pooled, pooled_again
        ``[poolings, d]`` components of the same.
    epsilon
        Machine epsilon of the states.

    Notes
    -----
    Without likeness, distances to another token's state are longer than those to the own by a few hundredths, so that
    samples out of order show in norms and components as long as the edited states do not dwarf the unedited ones: then
    any pairing gives the same numbers, and it does no harm.
    """
    limit = max(SAME_CHANGE, epsilon)
    if int(stored["n"]) != int(again["n"]) or pooled.shape != pooled_again.shape:
        return CheckOutcome(name, False, f"expected {again['n']:.0f} samples, found {stored['n']:.0f}")
    tiny = torch.finfo(torch.float64).tiny
    size = max(abs(again["mean"]), tiny)
    apart = [abs(stored[one] - again[one]) / size for one in ("mean", "std")]
    a, b = pooled.to(torch.float64), pooled_again.to(torch.float64)
    whole = b.norm(dim=1, keepdim=True).clamp_min(tiny)
    apart += ((a - b).norm(dim=1) / whole[:, 0]).tolist()
    # Averages of absolute values and of squares; the others are one sample's, or cancel.
    single = float(((a - b).abs() / torch.maximum(b, 1e-6 * whole))[:2].max())
    worst = max(one if math.isfinite(one) else math.inf for one in apart)
    ok = worst <= limit and single <= max(SAME_COMPONENT, epsilon)
    numbers = f"by {worst:.2g} of their size (at most {limit:.2g}), along one direction by {single:.2g}"
    said = "are found again, apart" if ok else "are others, apart"
    return CheckOutcome(name, ok, f"size and components of the change {said} {numbers}")


# --------------------------------------------------------------------------- centring and resolution
def _along(spectrum: Spectrum, v: Tensor) -> float:
    return float((spectrum.sigma * (v @ spectrum.basis)).norm())


def check_centred(spectrum: Spectrum, data: Tensor) -> CheckOutcome:
    """Check that the spectrum is that of the samples centred over samples, as Eq. 10 needs.

    *Centring over features* takes the same number off all coordinates of a sample, so that the direction
    ``(1, ..., 1)/sqrt(d)`` becomes an exact null direction; it is found in the spectrum (singular value along it below
    1e-4 of the typical one) and in the rows (median |row sum| below 1e-4 of what it could be). Models whose output
    weights were centred on purpose are flagged as well: their null direction has nothing to do with collapse either.
    *No centring* adds ``n |mean|^2`` along the mean: along the mean of ``data`` the variance that the spectrum claims
    must not exceed twice that of ``data``. A mean smaller than the spread along it is not seen and does little harm.

    Parameters
    ----------
    spectrum
        As it is used.
    data
        ``[m, d]``: raw activations of the same texts or a part of them, m >= 2.

    Raises
    ------
    ValueError
        If the shape does not fit.
    """
    if data.ndim != 2 or data.shape[1] != spectrum.d or data.shape[0] < 2:
        raise ValueError(f"expected raw activations [m >= 2, {spectrum.d}], found {list(data.shape)}")
    x = data.to(torch.float64)
    problems = []
    ones = torch.full((spectrum.d,), spectrum.d**-0.5, dtype=torch.float64)
    typical = float(spectrum.sigma.square().mean().sqrt())
    null = _along(spectrum, ones)
    row_sums = float(((x @ ones).abs() / x.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)).median())
    if null < FEATURE_NULL * typical or row_sums < FEATURE_NULL:
        problems.append("centred over features: the direction (1, ..., 1) is null")
    mean = x.mean(dim=0)
    direction = torch.nn.functional.normalize(mean, dim=0)
    claimed = _along(spectrum, direction) ** 2 / spectrum.n
    measured = float((x @ direction).var())
    ratio = claimed / measured if measured > 0.0 else (math.inf if claimed > 0.0 else 1.0)
    if ratio > MAX_MEAN_VARIANCE_RATIO:
        problems.append("not centred over samples: the mean is counted as variance")
    numbers = (
        f"sigma along (1, ..., 1) is {null / typical if typical else 0.0:.3g} of the typical one, row sums "
        f"{row_sums:.3g}, variance along the mean {ratio:.3g} of the data's"
    )
    return CheckOutcome("centred", not problems, "; ".join([*problems, numbers]))


def check_resolution(sigma: Tensor, floor: float | Tensor, used: Tensor | None = None) -> CheckOutcome:
    """Check that every used direction stands above the resolution limit.

    Parameters
    ----------
    sigma
        ``[d]`` singular values.
    floor
        Limit, one number or ``[d]`` (``Spectrum.resolution`` or ``Spectrum.floor``).
    used
        Mask ``[d]`` of the directions a quantity stands on; by default all.

    Raises
    ------
    ValueError
        If no direction is used.
    """
    limit = torch.as_tensor(floor, dtype=torch.float64).expand(sigma.shape)
    mask = torch.ones_like(sigma, dtype=torch.bool) if used is None else used
    if int(mask.sum()) == 0:
        raise ValueError("no direction is used: there is nothing to resolve")
    below = int((~(sigma > limit) & mask).sum())
    smallest = float(sigma[mask].min())
    detail = (
        f"{below} of {int(mask.sum())} used directions at or below the floor (up to {float(limit[mask].max()):.3g}); "
        f"smallest sigma {smallest:.3g}"
    )
    return CheckOutcome("resolution", below == 0, detail)
