"""How changes add up over a chain (Section 4.3): the exponent of R against T, its steps, and where the law breaks."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import numpy as np
import torch

from editverdict.geometry.accumulation import accumulation_exponent, planted_rates
from editverdict.geometry.amplification import Amplification
from editverdict.inference.intervals import Estimate, seeds_interval, t_interval
from editverdict.pipeline import base
from editverdict.pipeline.changes import Change, Reach, changes
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.along import Along, along, long_enough, rates, schedule
from editverdict.pipeline.measures.amplification import amplified
from editverdict.pipeline.measures.perturbation import method_of, reach, single_states, start, units_picture
from editverdict.pipeline.trial import Trial

Rate = Callable[[Amplification], float]
Series = list[dict[int, dict[int, float]]]
"""Per chain: T -> layer -> a rate."""


def _r_min(found: Amplification) -> float:
    return found.r_min


def _median(found: Amplification) -> float:
    return found.median


def _series(trial: Trial, case: Case, measured: Along, at: Reach, rate: Rate) -> Series:
    """One rate per chain, T and layer."""
    count = len(next(iter(measured.values())))
    return [
        {t: {n: rate(a) for n, a in rates(trial, case, many[chain], at.layers).items()} for t, many in measured.items()}
        for chain in range(count)
    ]


def _exponent(one: dict[int, dict[int, float]]) -> float:
    """Exponent of a rate against T, median over layers."""
    layers = next(iter(one.values()))
    return median(accumulation_exponent(list(one), [one[t][n] for t in one]).slope for n in layers)


def _planted(
    trial: Trial, case: Case, lengths: Sequence[int], read: Callable[..., float], *, coherent: bool
) -> Estimate:
    """A reading of planted chains on the spectrum of the edited layer, one per seed."""
    spectrum = base.spectra(trial, case.model)[reach(trial, case).edited].spectrum
    seeds = range(trial.profile.sizes.random_seeds)
    return seeds_interval([read(planted_rates(spectrum, lengths, coherent=coherent, seed=s)) for s in seeds])


def _what(measured: Along) -> str:
    return f"{len(next(iter(measured.values())))} chains at T = {', '.join(map(str, measured))}"


def _all(measured: Along) -> list[Change]:
    return [change for many in measured.values() for change in many]


def _curves(case: Case, title: str, groups: dict[str, Series]) -> dict[str, object]:
    """Median over layers of a rate against T, mean over chains."""
    return {
        "kind": "series",
        "title": title,
        "x": "edits T",
        "y": case.claim.describes,
        "curves": [
            {
                "name": name,
                "x": list(many[0]),
                "y": [sum(median(one[t].values()) for one in many) / len(many) for t in many[0]],
            }
            for name, many in groups.items()
            if many
        ],
        "log": True,
    }


# --------------------------------------------------------------------------- the exponent
@measure("accumulation_exponent")
def exponent_of_r_min(trial: Trial, case: Case) -> Measurement:
    """Exponent of R_min (rival: of the median R_k) against T over the schedule, per chain (Eqs. 16, 17)."""
    method, at = method_of(case), reach(trial, case)
    lengths = schedule(trial, chain_length(trial, case))
    own, placebo = (along(trial, case, m, lengths) for m in (method, f"placebo:{method}"))
    made = start(trial, case, _all(own), _what(own), resolved=True)
    least, middle = (_series(trial, case, own, at, rate) for rate in (_r_min, _median))
    random = _series(trial, case, placebo, at, _r_min)
    made.edits = lengths[-1]
    made.definitions = {
        "r-min": t_interval([_exponent(one) for one in least]),
        "median-r": t_interval([_exponent(one) for one in middle]),
    }

    def planted(found: dict[int, Amplification]) -> float:
        return accumulation_exponent(list(found), [a.r_min for a in found.values()]).slope

    made.controls["random-walk"] = _planted(trial, case, lengths, planted, coherent=False)
    made.controls["coherent"] = _planted(trial, case, lengths, planted, coherent=True)
    made.comparators["placebo"] = [_exponent(one) for one in random]
    made.descriptive["by_layer"] = {
        str(n): sum(accumulation_exponent(lengths, [one[t][n] for t in lengths]).slope for one in least) / len(least)
        for n in at.layers
    }
    made.pictures += [
        units_picture(
            case,
            f"Exponent per {method} chain",
            {
                method: made.definitions["r-min"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "random-walk (negative)": made.controls["random-walk"].units,
                "coherent (positive)": made.controls["coherent"].units,
            },
        ),
        _curves(case, "R_min against T", {method: least, "placebo": random}),
    ]
    return made


# --------------------------------------------------------------------------- every step up
def smallest_step(values: Sequence[float]) -> float:
    """Smallest log10 step between neighbours of a positive series: above 0 iff it rises throughout."""
    return min(math.log10(after / before) for before, after in itertools.pairwise(values))


@measure("smallest_rise")
def smallest_rise(trial: Trial, case: Case) -> Measurement:
    """Smallest log10 step of the median R_k between neighbouring T of the schedule, per chain (B.5.1, Figure 6)."""
    method, at = method_of(case), reach(trial, case)
    lengths = schedule(trial, chain_length(trial, case))
    own, placebo = (along(trial, case, m, lengths) for m in (method, f"placebo:{method}"))
    made = start(trial, case, _all(own), _what(own), resolved=True)
    middle, random = (_series(trial, case, many, at, _median) for many in (own, placebo))
    heights = [[median(one[t].values()) for t in lengths] for one in middle]
    made.edits = lengths[-1]
    made.definitions = {
        "median-r": t_interval([smallest_step(h) for h in heights]),
        "r-min": t_interval(
            [smallest_step([median(one[t].values()) for t in lengths]) for one in _series(trial, case, own, at, _r_min)]
        ),
        "first-to-last": t_interval([math.log10(h[-1] / h[0]) for h in heights]),
    }
    generator = np.random.default_rng(trial.profile.seed)
    made.controls["shuffled"] = seeds_interval(
        [_mean(smallest_step(list(generator.permutation(h))) for h in heights) for _ in range(_seeds(trial))]
    )
    made.controls["coherent"] = _planted(
        trial, case, lengths, lambda found: smallest_step([a.median for a in found.values()]), coherent=True
    )
    made.comparators["placebo"] = [smallest_step([median(one[t].values()) for t in lengths]) for one in random]
    made.descriptive["median_r"] = {
        str(t): sum(median(one[t].values()) for one in middle) / len(middle) for t in lengths
    }
    made.pictures += [
        units_picture(
            case,
            f"Smallest step per {method} chain",
            {
                method: made.definitions["median-r"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "shuffled (negative)": made.controls["shuffled"].units,
                "coherent (positive)": made.controls["coherent"].units,
            },
        ),
        _curves(case, "Median R_k against T", {method: middle, "placebo": random}),
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


def _seeds(trial: Trial) -> int:
    return trial.profile.sizes.random_seeds


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


# --------------------------------------------------------------------------- where the law breaks
PLANTED_SPREAD = 0.5
"""Spread of the planted steps' sizes (of their logarithm): edits differ, and the law speaks of their average."""
PLANTED_SINGLES = 200


def _mean_r_min(trial: Trial, case: Case, method: str, at: Reach) -> dict[int, float]:
    """Mean R_min of the profile's single edits, by layer."""
    found = changes(trial, case.model, single_states(trial, case, method), what=f"{method} edits")
    by_edit = [rates(trial, case, change, at.layers) for change in found]
    return {n: _mean(one[n].r_min for one in by_edit) for n in at.layers}


@measure("law_gap")
def law_gap(trial: Trial, case: Case) -> Measurement:
    """|log2 of R_min(T) / (T times the mean R_min of single edits)|, median over layers, per chain (Eqs. 16, 17).

    The law speaks of the average edit, so the average over the profile's single edits stands in it: one edit's own
    R_min varies so much from edit to edit that dividing by that of a chain's first would measure that alone.
    """
    method, at, length = method_of(case), reach(trial, case), long_enough(trial, case)
    sides = (method, f"placebo:{method}")
    own, placebo = (along(trial, case, m, [length]) for m in sides)
    made = start(trial, case, _all(own), f"{len(own[length])} chains of {length} edits", resolved=True)
    least, random = (_series(trial, case, many, at, _r_min) for many in (own, placebo))
    one_edit, one_placebo = (_mean_r_min(trial, case, m, at) for m in sides)

    def gap(one: dict[int, dict[int, float]], average: dict[int, float], *, signed: bool = False) -> float:
        logs = [math.log2(one[length][n] / (length * average[n])) for n in at.layers]
        return median(logs if signed else [abs(value) for value in logs])

    def planted(*, coherent: bool) -> Estimate:
        spectrum = base.spectra(trial, case.model)[at.edited].spectrum
        draw = functools.partial(planted_rates, spectrum, coherent=coherent, spread=PLANTED_SPREAD)
        average = _mean(draw([1], seed=1_000_000 + s)[1].r_min for s in range(PLANTED_SINGLES))
        seeds = range(trial.profile.sizes.random_seeds)
        found = [draw([length], seed=s)[length].r_min / (length * average) for s in seeds]
        return seeds_interval([abs(math.log2(ratio)) for ratio in found])

    made.edits = length
    made.definitions = {"r-min": t_interval([gap(one, one_edit) for one in least])}
    made.controls["coherent"] = planted(coherent=True)
    made.controls["random-walk"] = planted(coherent=False)
    made.comparators["placebo"] = [gap(one, one_placebo) for one in random]
    made.descriptive["signed"] = [gap(one, one_edit, signed=True) for one in least]
    made.descriptive["mean_r_min_of_single_edits"] = {str(n): value for n, value in one_edit.items()}
    made.descriptive["reading"] = "signed: negative means that R_min grew by less than the law says, positive by more"
    made.pictures.append(
        units_picture(
            case,
            f"Distance from the linear law after {length} {method} edits",
            {
                method: made.definitions["r-min"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "coherent (negative)": made.controls["coherent"].units,
                "random-walk (positive)": made.controls["random-walk"].units,
            },
        )
    )
    return made
