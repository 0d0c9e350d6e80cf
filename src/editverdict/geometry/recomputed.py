"""Validity checks by recomputation: a stored number is compared with the same number found another way.

As all checks they look at arrays, counts and hashes only. None of them is statistical: what they compare is equal by
algebra, and the allowances stand orders of magnitude above rounding and orders below what a fault makes, so that a
sound measurement does not fail by chance. What is compared and how far apart the two sides are is said at each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from editverdict.geometry.checks import CheckOutcome
from editverdict.geometry.perturbation import check_pair
from editverdict.geometry.sketch import Sketch
from editverdict.numerics.precision import effective_dtype
from editverdict.numerics.spectrum import Spectrum

SUMS_TOLERANCE = 1e-10
"""Between the scatter that a spectrum claims along a direction and the sum over the samples, in units of the root mean
square entry of the scatter matrix. Float64 leaves 1e-14 (d from 48 to 1,024, n up to 200,000; 1e-12 where the mean is a
thousand times the spread); moments rounded to float32 once leave 1e-8 to 9e-8, those accumulated in it more."""
EXACT_TOLERANCE = 1e-3
"""The same where the spectrum is of float64 activations and the sums are of float32 ones (about 1e-5 apart)."""
STATES_TOLERANCE = 2000.0
"""In machine epsilons of the states: another batch size sums in another order. At most ``STATES_CEILING``."""
STATES_CEILING = 0.1
"""States of another layer, model or token differ by 0.3 to 1.4 of their size."""
EQUAL = 1e-6
"""Between two float64 computations of one number, relative to it or to the scale it belongs to."""
MAX_REPEATED_TEXTS = 0.05
"""Share of texts that may occur before. Dictionaries and web corpora hold a few; a corpus that was repeated to reach a
size holds a half and more, and every repetition counts as a sample without being one."""
MAX_REPEATED_SAMPLES = 0.25
"""The same for samples: a token whose whole left context occurred before has the same hidden state. Texts of one kind
begin alike (3.7% of 28,805 samples of 2,488 glosses, 8.4% of 288,009 of 24,872), so the allowance is larger."""
_COLUMNS = 16
Place = TypeVar("Place", int, str)
"""A layer by its number, a module by its name."""


# --------------------------------------------------------------------------- hidden states
def check_reproduced(
    stored: Mapping[Place, Tensor], again: Mapping[Place, Tensor], *, name: str = "states-reproduced"
) -> CheckOutcome:
    """Check that hidden states are those which the model gives when some of the texts are run once more.

    Parameters
    ----------
    stored, again
        Layer (or name of a module) -> ``[m, d]`` states of the same tokens, as they are used and as found by a pass of
        its own. A layer that lacks rows in ``stored`` fails.

    Notes
    -----
    Row by row, against the row's own size and that of the layer; the largest difference decides. Where one is too
    large it is said whether the rows are those of another layer.
    """
    worst, problems = 0.0, []
    for layer, fresh in again.items():
        found = stored.get(layer)
        if found is None or found.shape != fresh.shape or fresh.shape[0] == 0:
            shape = "none" if found is None else list(found.shape)
            problems.append(f"layer {layer}: expected states {list(fresh.shape)}, found {shape}")
            continue
        apart = _rows_apart(found, fresh)
        limit = min(STATES_CEILING, STATES_TOLERANCE * torch.finfo(effective_dtype(fresh)).eps)
        worst = max(worst, apart)
        if not apart <= limit:
            other = [
                n for n, x in again.items() if n != layer and x.shape == found.shape and _rows_apart(found, x) <= limit
            ]
            whose = f" and are those of layer {other[0]}" if other else ""
            problems.append(
                f"layer {layer}: states differ from the model's own by {apart:.2g} of their size (at most {limit:.2g})"
                f"{whose}"
            )
    rows = max((len(x) for x in again.values()), default=0)
    fine = f"{rows} tokens run again at {len(again)} layers differ by at most {worst:.2g} of their size"
    return CheckOutcome(name, not problems and bool(again), "; ".join(problems) or fine)


def _rows_apart(found: Tensor, fresh: Tensor) -> float:
    a, b = found.to(torch.float64), fresh.to(torch.float64)
    own = b.norm(dim=1)
    scale = torch.maximum(own, own.square().mean().sqrt()).clamp_min(torch.finfo(torch.float64).tiny)
    apart = float(((a - b).norm(dim=1) / scale).max())
    return apart if math.isfinite(apart) else math.inf


def check_distinct(texts: Tensor, samples: Tensor, *, name: str = "texts-distinct") -> CheckOutcome:
    """Check that texts and samples are not repetitions of each other.

    Parameters
    ----------
    texts
        ``[texts]`` hash of each text's token ids.
    samples
        ``[n]`` hash of each sample's token ids up to and including its own: equal ones have equal hidden states.
    """
    problems, numbers = [], []
    for what, hashes, limit in (("texts", texts, MAX_REPEATED_TEXTS), ("samples", samples, MAX_REPEATED_SAMPLES)):
        count = hashes.numel()
        share = 1.0 - len(set(hashes.tolist())) / count if count else 1.0
        numbers.append(f"{share:.1%} of {count} {what} occurred before (at most {limit:.0%})")
        if share > limit:
            problems.append(f"too many {what} are repetitions")
    return CheckOutcome(name, not problems, "; ".join([*problems, *numbers]))


# --------------------------------------------------------------------------- spectra
def least_resolved(spectrum: Spectrum, mean_square: Tensor, dtype: torch.dtype, arithmetic: float) -> Tensor:
    """Half of the resolution limit along each direction, ``[d]``, found without the spectrum's own.

    Parameters
    ----------
    spectrum
        Its singular values, directions and count are read.
    mean_square
        ``[d]`` uncentred mean of each squared coordinate.
    dtype
        Number format of the activations.
    arithmetic
        Resolution of the arithmetic in units of sigma_1.
    """
    noise = torch.finfo(dtype).eps / math.sqrt(12.0) * (spectrum.n * (spectrum.basis.square().T @ mean_square)).sqrt()
    # The limit is four times the expected noise; a direction that is rounding lies at about one.
    return torch.maximum(2.0 * noise, 0.5 * arithmetic * spectrum.sigma[0])


def check_spectrum(
    spectrum: Spectrum,
    sums: Sketch,
    limit: Tensor | None = None,
    *,
    tolerance: float = SUMS_TOLERANCE,
    name: str = "spectrum-recomputed",
) -> CheckOutcome:
    """Check singular values, directions, mean and count against sums over the same samples.

    Parameters
    ----------
    spectrum
        As it is used.
    sums
        Sums over the samples that it should be of.
    limit
        ``[d]`` what the stated floor must not lie below (:func:`least_resolved`).
    tolerance
        ``SUMS_TOLERANCE``; ``EXACT_TOLERANCE`` where the samples of both sides differ in number format.
    """
    problems = []
    sigma, basis, g = spectrum.sigma, spectrum.basis, sums.directions
    if spectrum.d != sums.d or basis.shape != (sums.d, sums.d):
        return CheckOutcome(
            name, False, f"expected dimension {sums.d}, found {spectrum.d} and basis {list(basis.shape)}"
        )
    if spectrum.n != sums.n:
        problems.append(f"it counts {spectrum.n} samples where there are {sums.n}")
    if not bool(torch.isfinite(sigma).all()) or bool((sigma < 0).any()) or bool((sigma.diff() > 0).any()):
        problems.append("singular values are not finite, not negative and descending")
    along = basis.T @ g
    skew = float((basis @ along - g).norm(dim=0).max())
    if not skew <= EQUAL:
        problems.append(f"directions are not orthonormal (off by {skew:.2g})")
    # Against the typical entry of the scatter matrix: that is what one rounding of each entry is relative to.
    entry = float(sigma.square().norm()) / spectrum.d
    claimed = (sigma.square()[:, None] * along.square()).sum(dim=0)
    apart = float((claimed - sums.scatter).abs().max()) / entry if entry > 0.0 else math.inf
    if not apart <= tolerance:
        problems.append("singular values and directions are not those of these samples in double precision")
    shift = float((spectrum.mean @ g - sums.mean).abs().max())
    if not shift <= max(tolerance, EQUAL) * (spectrum.rms_norm + float(sums.mean_square.sum().sqrt())):
        problems.append(f"the mean differs from that of the samples by {shift:.2g}")
    if limit is not None and bool((spectrum.floor < limit).any()):
        low = float((spectrum.floor / limit.clamp_min(torch.finfo(torch.float64).tiny)).min())
        problems.append(f"the stated resolution limit is {low:.2g} of half of what rounding allows")
    fine = (
        f"scatter along {g.shape[1]} directions within {apart:.2g} of that of {sums.n} samples (at most {tolerance:g})"
    )
    return CheckOutcome(name, not problems, "; ".join([*problems, fine]))


def check_used(spectrum: Spectrum, used: Tensor, limit: Tensor, *, name: str = "above-resolution") -> CheckOutcome:
    """Check that every direction which a quantity uses is more than rounding.

    Parameters
    ----------
    spectrum
        Its singular values.
    used
        ``[d]`` mask of the directions used.
    limit
        ``[d]`` from :func:`least_resolved`, not from the spectrum's own floor.
    """
    spanned = torch.arange(spectrum.d) < spectrum.n - 1
    below = used & ~((spectrum.sigma > limit) & spanned)
    count, all_used = int(below.sum()), int(used.sum())
    detail = f"{count} of {all_used} directions used are no more than rounding"
    return CheckOutcome(name, count == 0 and all_used > 0, detail)


# --------------------------------------------------------------------------- what is read off
def check_change(
    base: Tensor, edited: Tensor, norms: Mapping[str, float], rms_hidden: float, *, name: str = "change-recomputed"
) -> CheckOutcome:
    """Check the norms of a paired change against the two samples.

    Parameters
    ----------
    base, edited
        ``[m, d]``, row i of both the same token.
    norms
        ``mean``, ``std``, ``max``, ``rms_hidden`` and ``ratio`` as stored (``PairedChange``).
    rms_hidden
        Root mean square norm of the unedited states.
    """
    size = check_pair(base, edited).square().sum(dim=1).sqrt()
    mean = float(size.sum()) / size.numel()
    own = {
        "mean": mean,
        "std": math.sqrt(float((size - mean).square().sum()) / (size.numel() - 1)),
        "max": float(size.max()),
        "rms_hidden": rms_hidden,
        "ratio": mean / rms_hidden,
    }
    wrong = [
        key for key, value in own.items() if not abs(norms[key] - value) <= EQUAL * max(abs(value), own["mean"], 1e-300)
    ]
    detail = f"mean change {own['mean']:.4g}, found again {norms['mean']:.4g}"
    return CheckOutcome(name, not wrong, "; ".join([*(f"{key} differs" for key in wrong), detail]))


def check_components(
    basis: Tensor, change: Tensor, pooled: Mapping[str, Tensor], *, name: str = "components-recomputed"
) -> CheckOutcome:
    """Check pooled components against the changes and the unedited model's directions.

    Parameters
    ----------
    basis
        ``[d, d]`` directions of the unedited states (themselves checked by :func:`check_spectrum`).
    change
        ``[m, d]`` paired changes.
    pooled
        Pooling -> ``[d]`` as stored; ``mean_abs``, ``rms``, ``max`` and ``mean_shift`` are known.

    Notes
    -----
    Sixteen directions are projected anew, and the energy of all of them is that of the changes (Parseval).
    """
    d = basis.shape[0]
    chosen = torch.linspace(0, d - 1, min(d, _COLUMNS), dtype=torch.float64).round().long()
    c = change.to(torch.float64) @ basis[:, chosen]
    own = {
        "mean_abs": c.abs().sum(dim=0) / len(c),
        "rms": (c.square().sum(dim=0) / len(c)).sqrt(),
        "max": c.abs().amax(dim=0),
        "mean_shift": (c.sum(dim=0) / len(c)).abs(),
    }
    size = float(change.to(torch.float64).square().sum() / len(c)) ** 0.5
    allowed = {key: EQUAL * value + 1e-9 * size for key, value in own.items()}
    wrong = [key for key, value in own.items() if not bool(((pooled[key][chosen] - value).abs() <= allowed[key]).all())]
    energy = float(pooled["rms"].norm())
    if not abs(energy - size) <= EQUAL * size + 1e-300:
        wrong.append("energy")
    detail = f"root mean square change {size:.4g}, that of its components {energy:.4g}"
    return CheckOutcome(
        name, not wrong, "; ".join([*(f"{key} is not along the base's directions" for key in wrong), detail])
    )


def check_energy(
    norms: Mapping[str, float], m: int, rms: Tensor, *, name: str = "components-recomputed"
) -> CheckOutcome:
    """Check stored norms and stored components against each other: both give the mean squared change.

    Parameters
    ----------
    norms
        ``mean`` and ``std`` (divided by m - 1) of the norms of ``m`` changes.
    m
        Number of samples.
    rms
        ``[d]`` root mean square components.
    """
    energy, size = float(rms.square().sum()), norms["mean"] ** 2 + norms["std"] ** 2 * (m - 1) / m
    ok = abs(energy - size) <= EQUAL * size + 1e-300
    return CheckOutcome(name, ok, f"mean squared change {size:.4g} by its norms, {energy:.4g} by its components")


def check_rates(
    spectrum: Spectrum, pooled: Tensor, r: Tensor, used: Tensor, *, name: str = "components-recomputed"
) -> CheckOutcome:
    """Check R_k against Eq. 11, ``R_k sigma_k = sqrt(n) |c_k|``, wherever it is used.

    Parameters
    ----------
    spectrum
        Of the unedited states.
    pooled, r
        ``[d]`` pooled components and rates.
    used
        ``[d]`` mask of the directions that quantities stand on.
    """
    left, right = (r * spectrum.sigma)[used], (math.sqrt(spectrum.n) * pooled)[used]
    ok = bool(used.any()) and bool(((left - right).abs() <= EQUAL * right.abs()).all())
    return CheckOutcome(name, ok, f"R_k sigma_k against sqrt(n) c_k in {int(used.sum())} directions")


def angles_again(u1: Tensor, u2: Tensor, k: int) -> dict[str, float]:
    """Cosines of the principal angles between the spans of the first k columns of two bases ``[d, >= k]``.

    By eigenvalues of ``G^T G``; named as the fields of ``AngleProfile``.
    """
    g = u1[:, :k].T.to(torch.float64) @ u2[:, :k].to(torch.float64)
    cosines = torch.linalg.eigvalsh(g.T @ g).clamp(0.0, 1.0).sqrt()
    return {
        "largest_angle": float(cosines[0]),
        "smallest_angle": float(cosines[-1]),
        "mean": float(cosines.mean()),
        "overlap": float(g.square().sum()) / k,
    }


def check_angles(
    u1: Tensor, u2: Tensor, profiles: Mapping[str, Mapping[str, Any]], *, name: str = "angles-recomputed"
) -> CheckOutcome:
    """Check principal angles against the two bases, by eigenvalues of ``G^T G`` in place of singular values of G.

    Parameters
    ----------
    u1, u2
        ``[d, >= k]`` bases of unedited and edited states.
    profiles
        Label -> ``k``, ``largest_angle``, ``smallest_angle``, ``mean``, ``overlap`` (cosines; ``AngleProfile``).
    """
    problems = _disordered(profiles)
    for label, stored in profiles.items():
        k = int(stored["k"])
        own = angles_again(u1, u2, k)
        # The root of a cosine's square near zero costs half the digits.
        wrong = [key for key, value in own.items() if not abs(stored[key] - value) <= EQUAL]
        problems += [f"k = {k}: {key} is {stored[key]:.4g}, found again {own[key]:.4g} ({label})" for key in wrong]
    return CheckOutcome(name, not problems, "; ".join(problems[:3]) or f"{len(profiles)} subspaces compared again")


def check_angle_order(profiles: Mapping[str, Mapping[str, Any]], *, name: str = "angles-recomputed") -> CheckOutcome:
    """Check what holds for any two subspaces: the cosine of the largest angle is the smallest one.

    The mean lies between the extremes, the mean square between their squares and not below the square of the mean.
    """
    problems = _disordered(profiles)
    return CheckOutcome(name, not problems, "; ".join(problems[:3]) or f"{len(profiles)} subspaces in order")


def _disordered(profiles: Mapping[str, Mapping[str, Any]]) -> list[str]:
    problems = []
    for label, p in profiles.items():
        ordered: Sequence[float] = (0.0, p["largest_angle"], p["mean"], p["smallest_angle"], 1.0)
        squares: Sequence[float] = (p["largest_angle"] ** 2, p["overlap"], p["smallest_angle"] ** 2)
        rising = all(a <= b + EQUAL for row in (ordered, squares) for a, b in pairwise(row))
        if not rising or p["mean"] ** 2 > p["overlap"] + EQUAL:
            problems.append(
                f"k = {p['k']} ({label}): cosines of the largest angle {p['largest_angle']:.4g}, mean {p['mean']:.4g}, "
                f"smallest {p['smallest_angle']:.4g} are out of order"
            )
    return problems
