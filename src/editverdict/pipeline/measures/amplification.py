"""Relative amplification R_k (Definition 4.4, Theorem 4.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from editverdict.geometry import amplification as geometry
from editverdict.geometry.amplification import POOLINGS, Amplification
from editverdict.inference.bias import jackknife_bias
from editverdict.inference.intervals import Estimate, missing, seeds_interval, t_interval
from editverdict.pipeline import base
from editverdict.pipeline.changes import Change, Reach, changes
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.perturbation import (
    method_of,
    no_op,
    reach,
    single_states,
    start,
    units_picture,
)
from editverdict.pipeline.trial import Trial

NEAR_NULL = 1e-8
"""σ/σ_1 of the planted direction: that of the paper's Table 1."""
SYNTHETIC_SAMPLES = 1500


def amplified(trial: Trial, model_id: str, change: Change, layer: int, pooling: str = "mean_abs") -> Amplification:
    """R_k of a stored change at a layer."""
    pooled = change.pooled[layer][list(POOLINGS).index(pooling)]  # type: ignore[arg-type]
    return _of_pooled(base.spectra(trial, model_id)[layer].spectrum, pooled)


def _of_pooled(spectrum: Any, pooled: Tensor) -> Amplification:
    # One row of pooled |c_k| is its own mean of absolute values.
    return geometry.from_components(spectrum, pooled[None])


def _measured(trial: Trial, case: Case) -> tuple[list[Change], list[Change], Reach]:
    method = method_of(case)
    own = changes(trial, case.model, single_states(trial, case, method), what=f"{method} edits")
    placebo = changes(trial, case.model, single_states(trial, case, f"placebo:{method}"), what=f"{method} placebos")
    return own, placebo, reach(trial, case)


def _curves(trial: Trial, case: Case, groups: dict[str, Sequence[Change]], layer: int) -> dict[str, Any]:
    """Mean R_k over edits per direction, as in Figures 2 and 6."""
    spectrum = base.spectra(trial, case.model)[layer].spectrum
    curves = []
    for name, many in groups.items():
        r = torch.stack([amplified(trial, case.model, c, layer).r for c in many]).mean(0)
        keep = spectrum.identified
        curves.append({"name": name, "sigma": spectrum.sigma[keep].tolist(), "r": r[keep].tolist()})
    return {"kind": "amplification", "title": f"R_k after one edit, layer {layer}", "curves": curves, "one": 1.0}


def _pictures(
    trial: Trial, case: Case, own: Sequence[Change], placebo: Sequence[Change], at: Reach
) -> list[dict[str, Any]]:
    groups = {method_of(case): own, "placebo": placebo}
    unpaired = _of_pooled(base.spectra(trial, case.model)[at.edited].spectrum, own[0].unpaired[at.edited])
    found = [_curves(trial, case, groups, layer) for layer in dict.fromkeys((at.edited, at.layers[-1]))]
    keep = unpaired.identified
    found[0]["curves"].append(
        {"name": "unpaired samples (control)", "sigma": unpaired.sigma[keep].tolist(), "r": unpaired.r[keep].tolist()}
    )
    return found


# --------------------------------------------------------------------------- slopes at the edited layer
Slope = Callable[[Amplification], float | None]


@dataclass(frozen=True)
class _Slopes:
    """Slopes of the edits that have one at every layer asked for; an edit that moves nothing has none."""

    trial: Trial
    case: Case
    slope: Slope

    def of(self, change: Change, layers: Sequence[int]) -> float | None:
        """Median over layers."""
        found = [self.slope(amplified(self.trial, self.case.model, change, n)) for n in layers]
        known = [value for value in found if value is not None]
        return median(known) if known and len(known) == len(found) else None

    def known(self, measured: Sequence[Change], layers: Sequence[int]) -> list[float]:
        """One number per edit that has one."""
        return [value for change in measured if (value := self.of(change, layers)) is not None]

    def estimate(self, own: Sequence[Change], layers: Sequence[int]) -> Estimate:
        """Mean over edits, with what the finite base sample does to all of them."""
        moving = [change for change in own if self.of(change, layers) is not None]
        if not moving:
            return missing(note="no edit changes anything")
        return t_interval(self.known(moving, layers), bias=_base_bias(self.trial, self.case, moving, layers))

    def beside(
        self, made: Measurement, own: Sequence[Change], placebo: Sequence[Change], layers: Sequence[int]
    ) -> None:
        """The placebo, paired with the edits that it imitates; edits that change nothing are named."""
        pairs = [(self.of(a, layers), self.of(b, layers)) for a, b in zip(own, placebo, strict=True)]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        made.comparators["placebo"] = [b for _, b in both]
        made.comparator_subject["placebo"] = [a for a, _ in both]
        made.descriptive.pop("edits_that_change_nothing", None)
        if still := [number for number, (a, _) in enumerate(pairs) if a is None]:
            made.descriptive["edits_that_change_nothing"] = still


def _slope_claim(trial: Trial, case: Case, slope: Slope) -> Measurement:
    own, placebo, reached = _measured(trial, case)
    layers, edited, later = reached.layers, reached.edited, reached.later
    slopes = _Slopes(trial, case, slope)
    made = start(trial, case, own, f"{len(own)} single edits", resolved=True)
    made.definitions = {
        "edited-layer": slopes.estimate(own, [edited]),
        "later-layers": missing(note="no measured layer lies after the edited ones"),
    }
    if later:
        made.definitions["later-layers"] = slopes.estimate(own, later)
    made.controls["proportional"] = _synthetic(trial, case.model, edited, slope, proportional=True)
    made.controls["isotropic"] = _synthetic(trial, case.model, edited, slope, proportional=False)
    slopes.beside(made, own, placebo, [edited])
    by_layer = {str(n): slopes.known(own, [n]) for n in layers}
    made.descriptive["by_layer"] = {n: sum(found) / len(found) for n, found in by_layer.items() if found}
    made.pictures.append(
        units_picture(
            case,
            f"Slope per {case.method} edit",
            {
                str(case.method): made.definitions["edited-layer"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "proportional (negative)": made.controls["proportional"].units,
                "isotropic (positive)": made.controls["isotropic"].units,
            },
        )
    )
    made.pictures += _pictures(trial, case, own, placebo, reached)
    return made


def _base_bias(trial: Trial, case: Case, own: Sequence[Change], layers: Sequence[int]) -> float:
    """What the finite base sample does to every slope alike; of several layers, the most that it does at any."""
    spectra, found = base.spectra(trial, case.model), []
    for layer in layers:
        rates = [amplified(trial, case.model, change, layer) for change in own]
        found.append(jackknife_bias(*geometry.slopes_without_blocks(rates, spectra[layer].leave_out)))
    return max(found, key=abs)


def _drawn(trial: Trial, model_id: str, layer: int, *, proportional: bool) -> list[Amplification]:
    """R_k of synthetic changes, one per seed; the claims about slopes all read the same ones."""
    key = ("synthetic changes", model_id, layer, proportional)
    if key not in trial._memo:
        spectrum = base.spectra(trial, model_id)[layer].spectrum
        made = []
        for seed in range(trial.profile.sizes.random_seeds):
            if proportional:
                change = geometry.proportional_changes(spectrum, SYNTHETIC_SAMPLES, 1.0, seed)
            else:
                change = geometry.isotropic_changes(SYNTHETIC_SAMPLES, spectrum.d, 1.0, seed)
            made.append(geometry.amplification(spectrum, change))
        trial._memo[key] = made
    found: list[Amplification] = trial._memo[key]
    return found


def _synthetic(
    trial: Trial, model_id: str, layer: int, slope: Callable[[Amplification], float | None], *, proportional: bool
) -> Estimate:
    found = [slope(one) for one in _drawn(trial, model_id, layer, proportional=proportional)]
    return seeds_interval([value for value in found if value is not None])


@measure("r_slope")
def r_slope(trial: Trial, case: Case) -> Measurement:
    """Slope of log R_k on log σ_k per edit."""
    return _slope_claim(trial, case, lambda found: found.r_slope)


@measure("c_slope")
def c_slope(trial: Trial, case: Case) -> Measurement:
    """Slope of log c_k on log σ_k per edit: 0 if the change ignores direction, 1 if proportional to the signal."""
    return _slope_claim(trial, case, lambda found: found.exponent)


@measure("r_slope_everywhere")
def r_slope_everywhere(trial: Trial, case: Case) -> Measurement:
    """Slope of log R_k on log σ_k, median over all layers from the edited one up, per edit (B.4)."""
    made = _slope_claim(trial, case, lambda found: found.r_slope)
    own, placebo, reached = _measured(trial, case)

    slopes = _Slopes(trial, case, lambda found: found.r_slope)
    made.definitions["all-layers"] = slopes.estimate(own, reached.layers)
    slopes.beside(made, own, placebo, reached.layers)
    made.pictures[0] = units_picture(
        case,
        f"Slope per {case.method} edit, median over all layers from the edited one up",
        {
            str(case.method): made.definitions["all-layers"].units,
            "placebo (comparator)": made.comparators["placebo"],
            "proportional (negative)": made.controls["proportional"].units,
            "isotropic (positive)": made.controls["isotropic"].units,
        },
    )
    return made


# --------------------------------------------------------------------------- how many, how much
@measure("share_above_one")
def share_above_one(trial: Trial, case: Case) -> Measurement:
    """Share of identified k with R_k > 1 per edit, mean over the edited and later layers (Tables 21-24)."""
    own, placebo, reached = _measured(trial, case)
    layers = reached.layers
    poolings = {"mean-abs": "mean_abs", "rms": "rms", "max": "max", "mean-shift": "mean_shift"}
    spectra = base.spectra(trial, case.model)

    def share(change: Change, pooling: str = "mean_abs") -> float:
        return sum(amplified(trial, case.model, change, n, pooling).share_above(1.0) for n in layers) / len(layers)

    def unpaired(change: Change) -> float:
        return sum(_of_pooled(spectra[n].spectrum, change.unpaired[n]).share_above(1.0) for n in layers) / len(layers)

    made = start(trial, case, own, f"{len(own)} single edits", resolved=True)
    counted = sum(spectra[n].spectrum.n_identified for n in layers)
    made.resolution = 1 / counted
    made.definitions = {
        name: t_interval([share(c, pooling) for c in own], resolution=made.resolution)
        for name, pooling in poolings.items()
    }
    idle = no_op(trial, case.model, reached.start)
    made.controls["no-op"] = t_interval([amplified(trial, case.model, idle, n).share_above(1.0) for n in layers])
    made.controls["unpaired"] = t_interval([unpaired(c) for c in own])
    made.comparators["placebo"] = [share(c) for c in placebo]
    made.descriptive["by_layer"] = {
        str(n): sum(amplified(trial, case.model, c, n).share_above(1.0) for c in own) / len(own) for n in layers
    }
    made.pictures.append(
        units_picture(
            case,
            f"Share of directions with R_k > 1 per {case.method} edit",
            {
                str(case.method): [share(c) for c in own],
                "placebo (comparator)": made.comparators["placebo"],
                "unpaired (positive)": [unpaired(c) for c in own],
            },
        )
    )
    made.pictures += _pictures(trial, case, own, placebo, reached)
    return made


@measure("mean_r")
def mean_r(trial: Trial, case: Case) -> Measurement:
    """Mean R_k over identified k per edit, mean over the edited and later layers (Tables 21-24)."""
    own, placebo, reached = _measured(trial, case)
    layers = reached.layers

    def over_layers(change: Change, read: Callable[[Amplification], float]) -> float:
        return sum(read(amplified(trial, case.model, change, n)) for n in layers) / len(layers)

    def planted(change: Change) -> float:
        spectrum = geometry.planted_near_null(
            base.spectra(trial, case.model)[reached.edited].spectrum, NEAR_NULL, exact=True
        )
        return _of_pooled(spectrum, change.pooled[reached.edited][0]).mean

    made = start(trial, case, own, f"{len(own)} single edits", resolved=True)
    readings: dict[str, Callable[[Amplification], float]] = {
        "mean": lambda a: a.mean,
        "without-largest": lambda a: a.mean_without_largest,
        "largest": lambda a: a.max,
    }
    made.definitions = {name: t_interval([over_layers(c, read) for c in own]) for name, read in readings.items()}
    idle = no_op(trial, case.model, reached.start)
    made.controls["no-op"] = t_interval([amplified(trial, case.model, idle, n).mean for n in layers])
    made.controls["planted-near-null"] = t_interval([planted(c) for c in own])
    made.notes["planted-near-null"] = f"smallest direction planted at {NEAR_NULL:g} σ_1, the changes as measured"
    made.comparators["placebo"] = [over_layers(c, readings["mean"]) for c in placebo]
    # The columns of Tables 21 to 24 beside the readings; everything over identified directions, then mean over edits.
    columns = readings | {
        "min": lambda a: float(a.values.min()),
        "std": lambda a: float(a.values.std(correction=0)),
        "num_above_one": lambda a: float((a.values > 1.0).sum()),
        "share_above_one": lambda a: a.share_above(1.0),
    }
    made.descriptive["by_layer"] = {
        str(n): {
            name: sum(read(amplified(trial, case.model, c, n)) for c in own) / len(own)
            for name, read in columns.items()
        }
        for n in layers
    }
    made.descriptive["first_and_last_tenth"] = _tenths(trial, case, own, placebo, reached.edited)
    made.pictures.append(
        units_picture(
            case,
            f"Mean R_k per {case.method} edit",
            {
                str(case.method): made.definitions["mean"].units,
                "without the largest": made.definitions["without-largest"].units,
                "placebo (comparator)": made.comparators["placebo"],
            },
        )
    )
    made.pictures += _pictures(trial, case, own, placebo, reached)
    return made


def _tenths(
    trial: Trial, case: Case, own: Sequence[Change], placebo: Sequence[Change], layer: int
) -> dict[str, list[float]]:
    """Mean R_k in the first and last tenth of the spectrum, for the edit and its placebo."""
    found = {}
    for name, many in ((str(case.method), own), ("placebo", placebo)):
        deciles = torch.stack([amplified(trial, case.model, c, layer).decile_means for c in many]).mean(0)
        found[name] = [float(deciles[0]), float(deciles[-1])]
    return found
