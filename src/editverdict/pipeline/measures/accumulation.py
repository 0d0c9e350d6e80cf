"""How changes add up over a chain (Section 4.3): the exponent of R against T, and its steps."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from editverdict.geometry.accumulation import Rates, mean_exponent, planted_rates
from editverdict.inference.intervals import Estimate, jackknife_interval, missing, seeds_interval
from editverdict.inference.smallest import smallest_mean
from editverdict.pipeline import base
from editverdict.pipeline.changes import Change
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.along import Along, along, schedule
from editverdict.pipeline.measures.amplification import amplified
from editverdict.pipeline.measures.growth import (
    STILL,
    Grown,
    chain_rates,
    grown,
    median_r,
    planted_growth,
    r_min,
    single_changes,
    still,
)
from editverdict.pipeline.measures.perturbation import method_of, reach, start, units_picture
from editverdict.pipeline.trial import Trial


def _what(measured: Along) -> str:
    return f"{len(next(iter(measured.values())))} chains at T = {', '.join(map(str, measured))}"


def _all(measured: Along) -> list[Change]:
    return [change for many in measured.values() for change in many]


def _curves(case: Case, title: str, lengths: Sequence[int], groups: dict[str, Rates]) -> dict[str, object]:
    """Median over layers of a rate against T, mean over chains."""
    return {
        "kind": "series",
        "title": title,
        "x": "edits T",
        "y": case.claim.describes,
        "curves": [
            {"name": name, "x": list(lengths), "y": np.median(many, axis=2).mean(axis=0).tolist()}
            for name, many in groups.items()
            if len(many)
        ],
        "log": True,
    }


# --------------------------------------------------------------------------- the exponent
def exponent(lengths: Sequence[int], found: Grown) -> Estimate:
    """Exponent of the mean rate over chains against T, with that of single edits at T = 1; median over layers."""
    return found.read(functools.partial(mean_exponent, lengths))


def rms_exponent(lengths: Sequence[int], found: Grown) -> Estimate:
    """The same of root mean squares."""
    return found.squared().read(lambda chains, singles: mean_exponent(lengths, chains, singles) / 2.0)


@measure("accumulation_exponent")
def exponent_of_r_min(trial: Trial, case: Case) -> Measurement:
    """Exponent of the mean R_min (rivals: of its mean square, of the median R_k) against T (Eqs. 16, 17)."""
    method, at = method_of(case), reach(trial, case)
    lengths = schedule(trial, chain_length(trial, case))
    sides = (method, f"placebo:{method}")
    own, placebo = (along(trial, case, m, lengths) for m in sides)
    singly, imitated = (single_changes(trial, case, m) for m in sides)
    made = start(trial, case, [*_all(own), *singly], f"{_what(own)}, {len(singly)} single edits", resolved=True)
    least = grown(trial, case, own, singly, at, r_min)
    random = grown(trial, case, placebo, imitated, at, r_min)
    made.edits = lengths[-1]
    made.definitions = {
        "r-min": exponent(lengths, least),
        "rms": rms_exponent(lengths, grown(trial, case, own, singly, at, r_min, "rms")),
        "median-r": exponent(lengths, grown(trial, case, own, singly, at, median_r)),
    }
    for name, coherent in (("random-walk", False), ("coherent", True)):
        made.controls[name] = exponent(lengths, planted_growth(trial, case, lengths, coherent=coherent))
    units = made.definitions["r-min"].units
    made.comparators["placebo"] = exponent(lengths, random).units if units else ()
    made.descriptive |= least.unmoved()
    if units:
        made.descriptive["by_layer"] = {
            str(n): mean_exponent(lengths, least.chains[:, :, [i]], least.singles[:, [i]])
            for i, n in enumerate(at.layers)
        }
    made.pictures += [
        units_picture(
            case,
            f"Exponent over {method} chains: what each of them adds (pseudo-values)",
            {
                method: units,
                "placebo (comparator)": made.comparators["placebo"],
                "random-walk (negative)": made.controls["random-walk"].units,
                "coherent (positive)": made.controls["coherent"].units,
            },
        ),
        _curves(case, "R_min against T", lengths, {method: least.chains, "placebo": random.chains}),
    ]
    return made


# --------------------------------------------------------------------------- every step up
SHUFFLED_PER_SEED = 10
"""Orders of T per seed: over twenty in all, the smallest of two means around zero is not always clear of it."""


def smallest_step(values: Sequence[float]) -> float:
    """Smallest log10 step between neighbours of a positive series: above 0 iff it rises throughout."""
    return min(math.log10(after / before) for before, after in itertools.pairwise(values))


def log_steps(lengths: Sequence[int], heights: Rates) -> dict[str, list[float]]:
    """``"1 to 5"`` -> log10 of the rate at the later T over that at the earlier, one per chain of ``[chains, T]``."""
    steps = np.diff(np.log10(heights), axis=1)
    return {f"{a} to {b}": steps[:, i].tolist() for i, (a, b) in enumerate(itertools.pairwise(lengths))}


def mean_log_steps(lengths: Sequence[int], heights: Rates) -> dict[str, list[float]]:
    """The same of the *mean* over chains, as pseudo-values: for rates whose size at T = 1 is chance, as R_min's is."""
    units: dict[str, list[float]] = {}
    without = [np.delete(heights, i, axis=0).mean(axis=0) for i in range(len(heights))]
    for i, (a, b) in enumerate(itertools.pairwise(lengths)):
        whole, *rest = (math.log10(m[i + 1] / m[i]) for m in (heights.mean(axis=0), *without))
        units[f"{a} to {b}"] = list(jackknife_interval(whole, rest).units)
    return units


def smallest_rises(lengths: Sequence[int], heights: Rates, *, of_mean: bool = False) -> Estimate:
    """The smallest step's mean over chains; means are taken first, because noise alone makes some step of a chain fall.

    Parameters
    ----------
    lengths
        The T.
    heights
        ``[chains, T]``, positive.
    of_mean
        Steps of the mean over chains instead of the mean of each chain's steps; takes two chains and more.
    """
    if len(heights) < (2 if of_mean else 1):
        return missing(note=STILL)
    return smallest_mean((mean_log_steps if of_mean else log_steps)(lengths, heights))


def shuffled(lengths: Sequence[int], heights: Rates, seeds: int, seed: int) -> Estimate:
    """The smallest mean step with the order of T drawn anew for every chain: one per seed."""
    if not len(heights):
        return missing(note=STILL)
    generator = np.random.default_rng(seed)
    drawn = (generator.permuted(heights, axis=1) for _ in range(seeds))
    return seeds_interval([min(_mean(units) for units in log_steps(lengths, one).values()) for one in drawn])


@measure("smallest_rise")
def smallest_rise(trial: Trial, case: Case) -> Measurement:
    """Smallest mean log10 step of the median R_k between neighbouring T of the schedule (B.5.1, Figure 6)."""
    method, at = method_of(case), reach(trial, case)
    lengths = schedule(trial, chain_length(trial, case))
    own, placebo = (along(trial, case, m, lengths) for m in (method, f"placebo:{method}"))
    made = start(trial, case, _all(own), _what(own), resolved=True)
    middle, random = (chain_rates(trial, case, many, at, median_r) for many in (own, placebo))
    all_heights, imitated, least = (
        np.median(one, axis=2) for one in (middle, random, chain_rates(trial, case, own, at, r_min))
    )
    # A chain that has changed nothing at some T has no step from there; it is left out, and named.
    heights, least = (one[(one > 0.0).all(axis=1)] for one in (all_heights, least))
    both = (all_heights > 0.0).all(axis=1) & (imitated > 0.0).all(axis=1)
    made.edits = lengths[-1]
    made.definitions = {
        "median-r": smallest_rises(lengths, heights),
        "r-min": smallest_rises(lengths, least, of_mean=True),
        "first-to-last": smallest_rises([lengths[0], lengths[-1]], heights[:, [0, -1]]),
    }
    made.controls["shuffled"] = shuffled(lengths, heights, SHUFFLED_PER_SEED * _seeds(trial), trial.profile.seed)
    made.controls["coherent"] = _planted_rises(trial, case, lengths)
    made.comparators["placebo"] = smallest_rises(lengths, imitated[both]).units
    made.comparator_subject["placebo"] = smallest_rises(lengths, all_heights[both]).units
    made.descriptive["median_r"] = dict(zip(map(str, lengths), all_heights.mean(axis=0).tolist(), strict=True))
    made.descriptive["steps"] = {name: _mean(units) for name, units in log_steps(lengths, heights).items()}
    if left_out := still(all_heights):
        made.descriptive["chains_that_change_nothing"] = left_out
    made.pictures += [
        units_picture(
            case,
            f"Smallest step per {method} chain: {made.definitions['median-r'].note}",
            {
                method: made.definitions["median-r"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "shuffled (negative)": made.controls["shuffled"].units,
                "coherent (positive)": made.controls["coherent"].units,
            },
        ),
        _curves(case, "Median R_k against T", lengths, {method: middle, "placebo": random}),
    ]
    for layer in dict.fromkeys((at.edited, at.layers[-1])):
        picture, table = _along_directions(trial, case, own, placebo, layer)
        made.pictures.append(picture)
        made.descriptive.setdefault("directions", {})[str(layer)] = table
    return made


def _along_directions(
    trial: Trial, case: Case, own: Along, placebo: Along, layer: int
) -> tuple[dict[str, object], dict[str, dict[str, float]]]:
    """R_k per direction at each T, mean over chains (Figures 2 and 6), and what can be read off the curves."""
    last = max(own)
    groups = {f"{case.method}, T = {t}": many for t, many in own.items()}
    groups[f"placebo, T = {last}"] = placebo[last]
    spectrum = base.spectra(trial, case.model)[layer].spectrum
    keep = spectrum.identified
    sigma = _digits(spectrum.sigma[keep].tolist())
    curves, table = [], {}
    for name, many in groups.items():
        r = torch.stack([amplified(trial, case.model, change, layer).values for change in many]).mean(0)
        tenths = [float(part.mean()) for part in torch.tensor_split(r, 10)]
        curves.append({"name": name, "sigma": sigma, "r": _digits(r.tolist())})
        table[name] = {
            "first_tenth": tenths[0],
            "median": float(r.quantile(0.5)),
            "last_tenth": tenths[-1],
            "max": float(r.max()),
            "share_above_one": float((r > 1.0).to(torch.float64).mean()),
        }
    title = f"R_k per direction along {case.method} chains, layer {layer}"
    return {"kind": "amplification", "title": title, "curves": curves, "one": 1.0}, table


def _digits(values: Sequence[float]) -> list[float]:
    """Values as finely as a picture shows them: a curve is d long, and there is one for each T."""
    return [float(f"{value:.5g}") for value in values]


def _planted_rises(trial: Trial, case: Case, lengths: Sequence[int]) -> Estimate:
    """Smallest step of planted coherent chains of rank-one edits on the spectrum of the edited layer, one per seed."""
    spectrum = base.spectra(trial, case.model)[reach(trial, case).edited].spectrum
    chains = (planted_rates(spectrum, lengths, coherent=True, seed=s, rank_one=True) for s in range(_seeds(trial)))
    return seeds_interval([smallest_step([found[t].median for t in lengths]) for found in chains])


def _seeds(trial: Trial) -> int:
    return trial.profile.sizes.random_seeds


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
