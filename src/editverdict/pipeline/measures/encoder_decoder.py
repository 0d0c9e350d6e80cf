"""Encoder-decoders (T5): sizes of the change, leading subspaces and relative change at the modules wi and wo.

Tables 8, 12, 19, 20 and 24 of the paper. Modules, and what the decoder reads, are those of ``capture/modules.py``;
where the paper's words leave open whether wi is read before or after the activation, before decides, after is a rival.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from editverdict.capture.modules import Part
from editverdict.geometry import amplification as geometry
from editverdict.geometry.amplification import POOLINGS, Amplification
from editverdict.geometry.spectrum import exp_entropy, sigma_min_ratio
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.inference.rows import CheckResult
from editverdict.numerics.spectrum import Spectrum
from editverdict.numerics.subspaces import chance_level, gap
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.module_edits import AFTER, BEFORE, ModuleEdits, module_edits, module_measurement
from editverdict.pipeline.measures.perturbation import (
    CONTROL_EDITS,
    THIRTY,
    method_of,
    single_states,
    units_picture,
)
from editverdict.pipeline.module_changes import ModuleChange, module_changes
from editverdict.pipeline.modules import TABLE_KS, ModuleSpectrum, spectra
from editverdict.pipeline.trial import NotHere, Trial

PLANTED_FACTOR = 1000.0
"""By which one module's change is multiplied in the positive control of the spread."""
PLANTED_RATIO = 1e-14
"""sigma / sigma_1 of the planted direction: the arithmetic floor of the exact mode."""
CHANCE_LIMIT = 1000
"""Largest k for which the cosine of unrelated subspaces is drawn; a draw costs k^3."""


# --------------------------------------------------------------------------- sizes of the change
@measure("module_spread")
def module_spread(trial: Trial, case: Case) -> Measurement:
    """Largest over smallest mean |dh| among the modules wi and wo that an edit reaches, per edit (Table 12)."""
    given, method = module_edits(trial, case), method_of(case)

    def spread(change: ModuleChange, parts: Sequence[Part] = BEFORE, reading: str = "mean") -> float:
        sizes = [change.norms[name][reading] for name in given.names(parts, change.reached)]
        return max(sizes) / min(sizes)

    usable = [change for change in given.own if len(given.names(BEFORE, change.reached)) > 1]
    if not usable:
        raise NotHere(
            f"needs edits that reach two modules or more; {method} reaches "
            f"{', '.join(given.names(BEFORE, given.reached)) or 'none'} of {', '.join(given.names(BEFORE))}"
        )
    made = module_measurement(trial, case, given)
    made.definitions = {
        "absolute": t_interval([spread(change) for change in usable]),
        "relative": t_interval([spread(change, reading="ratio") for change in usable]),
        "after-activation": t_interval([spread(change, AFTER) for change in usable]),
    }
    made.controls["halves"] = t_interval([_halves(change, given) for change in usable])
    made.notes["halves"] = "every second token against the others, at the first module reached"
    made.controls["thousandfold"] = t_interval([_planted_spread(change, given) for change in usable])
    made.notes["thousandfold"] = "the module that changes most, a thousand times as much"
    readings = ("mean", "std", "min", "max", "rms_hidden", "ratio")
    made.descriptive["by_module"] = {
        name: {reading: fmean(change.norms[name][reading] for change in given.own) for reading in readings}
        for name in given.names(("wi", "act", "wo"), given.reached)
    }
    made.descriptive["edits_left_out"] = len(given.own) - len(usable)
    groups: dict[str, Sequence[float]] = {
        method: made.definitions["absolute"].units,
        "halves (negative)": made.controls["halves"].units,
    }
    groups["one module a thousandfold (positive)"] = made.controls["thousandfold"].units
    made.pictures.append(units_picture(case, f"Spread of |Δh| over modules per {method} edit", groups))
    return made


def _halves(change: ModuleChange, given: ModuleEdits) -> float:
    norms = change.norms[given.names(BEFORE, change.reached)[0]]
    small, large = sorted((norms["even"], norms["odd"]))
    if small <= 0.0:
        raise ValueError("half of the tokens do not change at all at a module that the edit reaches")
    return large / small


def _planted_spread(change: ModuleChange, given: ModuleEdits) -> float:
    sizes = sorted(change.norms[name]["mean"] for name in given.names(BEFORE, change.reached))
    return PLANTED_FACTOR * sizes[-1] / sizes[0]


# --------------------------------------------------------------------------- leading subspaces
@measure("module_subspace_cosine")
def module_subspace_cosine(trial: Trial, case: Case) -> Measurement:
    """Smallest cosine of the largest angle over modules and the k of Tables 19-20 after one edit, per edit."""
    given, method = module_edits(trial, case), method_of(case)
    placebo = module_changes(trial, case.model, single_states(trial, case, f"placebo:{method}"), what="placebos")
    gross = module_changes(trial, case.model, given.states[:CONTROL_EDITS], THIRTY, what=f"30-fold {method} edits")
    if not any(given.idle.angles[name] for name in given.names(BEFORE, given.reached)):
        raise NotHere("no k of Tables 19-20 lies within the identified directions of a module that the edits reach")

    def least(
        changes: Sequence[ModuleChange], parts: Sequence[Part] = BEFORE, reading: str = "largest_angle"
    ) -> Estimate:
        """The smallest cosine over modules and k, per state."""
        return t_interval([min(_cosines(given, change, parts, reading)) for change in changes])

    made = module_measurement(trial, case, given)
    made.definitions = {
        "largest-angle": least(given.own),
        "mean-cosine": least(given.own, reading="mean"),
        "after-activation": least(given.own, AFTER) if _cosines(given, given.idle, AFTER) else missing(),
        "smallest-angle": least(given.own, reading="smallest_angle"),
    }
    made.controls["no-op"] = t_interval(_cosines(given, given.idle))
    made.notes["no-op"] = "one value per module and k"
    made.controls["thirty-fold"] = least(gross)
    made.comparators["placebo"] = least(placebo).units
    like = spectra(trial, case.model, trial.subset(case.model))
    made.descriptive["by_module"] = _angle_table(given, like)
    made.descriptive["k_left_out"] = {
        name: [k for k in TABLE_KS[site.part] if str(k) not in given.idle.angles[name]]
        for name, site in given.sites.items()
    }
    groups = {method: made.definitions["largest-angle"].units, "placebo (comparator)": made.comparators["placebo"]}
    groups["thirty-fold (positive)"] = made.controls["thirty-fold"].units
    made.pictures.append(units_picture(case, f"Least stable subspace after one {method} edit", groups))
    made.pictures += _angle_pictures(given, method)
    return made


def _cosines(
    given: ModuleEdits, change: ModuleChange, parts: Sequence[Part] = BEFORE, reading: str = "largest_angle"
) -> list[float]:
    """One value per module and k."""
    return [one[reading] for name in given.names(parts) for one in change.angles[name].values()]


def _angle_table(given: ModuleEdits, like: dict[str, ModuleSpectrum]) -> dict[str, Any]:
    """Module -> k -> mean cosine over edits and the relative gap after sigma_k."""
    return {
        name: {
            label: {
                "cos": fmean(change.angles[name][label]["largest_angle"] for change in given.own),
                "gap": gap(like[name].spectrum.sigma, int(label)),
            }
            for label in given.idle.angles[name]
        }
        for name in given.names(("wi", "act", "wo"), given.reached)
    }


def _angle_pictures(given: ModuleEdits, method: str) -> list[dict[str, Any]]:
    """One picture for wi and one for wo: mean cosine over edits against k, a curve per module reached."""
    pictures = []
    for part in BEFORE:
        names = given.names((part,), given.reached)
        labels = [k for k in map(str, TABLE_KS[part]) if any(k in given.idle.angles[name] for name in names)]
        if not labels:
            continue
        width = given.sites[names[0]].width
        curves = [
            {
                "name": name,
                "cos": [
                    fmean(change.angles[name][k]["largest_angle"] for change in given.own)
                    if k in given.idle.angles[name]
                    else None
                    for k in labels
                ],
            }
            for name in names
        ]
        chance = [chance_level(width, int(k), draws=8) if int(k) <= CHANCE_LIMIT else None for k in labels]
        title = f"Largest principal angle against the base after one {method} edit, {part}, same tokens"
        pictures.append(
            {"kind": "angles", "title": title, "ks": [int(k) for k in labels], "curves": curves, "chance": chance}
        )
    return pictures


# --------------------------------------------------------------------------- relative change
def _amplified(spectrum: Spectrum, change: ModuleChange, name: str, pooling: str = "mean_abs") -> Amplification:
    pooled = change.pooled[name][list(POOLINGS).index(pooling)]  # type: ignore[arg-type]
    # One row of pooled |c_k| is its own mean of absolute values.
    return geometry.from_components(spectrum, pooled[None])


def planted_at_the_floor(spectrum: Spectrum, ratio: float = PLANTED_RATIO) -> Spectrum:
    """The spectrum with its smallest identified direction at ``ratio`` times sigma_1, where it still counts as one.

    Its sigma is known because it is planted, so that no floor of measurement applies to it (what the exact mode vouches
    for is larger by the root of d).

    Raises
    ------
    ValueError
        No direction is identified.
    """
    sigma, floor, index = spectrum.sigma.clone(), spectrum.floor.clone(), spectrum.index_min
    sigma[index] = ratio * sigma[0]
    floor[index] = 0.0
    return replace(spectrum, sigma=sigma, floor=floor)


def _resolved(trial: Trial, case: Case, given: ModuleEdits, names: Sequence[str]) -> dict[str, CheckResult]:
    """above-resolution: no direction that the states span is hidden by rounding, where its R_k could be anything."""
    hidden = {}
    for name in names:
        one = given.full[name]
        spanned = min(one.spectrum.d, given.sites[name].rank, one.spectrum.n - 1) - one.dead
        if (lost := spanned - one.spectrum.n_identified) > 0:
            hidden[name] = lost
    detail = f"directions that rounding hides, by module: {hidden}" if hidden else f"none in {', '.join(names)}"
    return passed("above-resolution", not hidden, detail)


@measure("module_mean_r")
def module_mean_r(trial: Trial, case: Case) -> Measurement:
    """Largest mean R_k over identified directions among the wi modules after one edit, per edit (Table 24)."""
    given, method = module_edits(trial, case), method_of(case)
    inputs = given.names(("wi",), given.reached)
    if not inputs:
        raise NotHere(
            f"{method} edits reach no wi module ({', '.join(given.names(('wi',)))}); they reach "
            f"{', '.join(given.names(BEFORE, given.reached))}"
        )
    placebo = module_changes(trial, case.model, single_states(trial, case, f"placebo:{method}"), what="placebos")
    base = {name: one.spectrum for name, one in given.full.items()}
    planted = {name: planted_at_the_floor(base[name]) for name in inputs}

    def largest(change: ModuleChange, part: Part = "wi", read: Callable[[Amplification], float] = _mean_r) -> float:
        return max(read(_amplified(base[name], change, name)) for name in given.names((part,)))

    made = module_measurement(trial, case, given)
    made.definitions = {
        "mean": t_interval([largest(change) for change in given.own]),
        "after-activation": t_interval([largest(change, "act") for change in given.own]),
        "without-largest": t_interval([largest(c, read=lambda a: a.mean_without_largest) for c in given.own]),
        "largest": t_interval([largest(change, read=lambda a: a.max) for change in given.own]),
        "wo": t_interval([largest(c, "wo") for c in given.own]) if given.names(("wo",), given.reached) else missing(),
    }
    # Over all wi modules, reached or not: an edit may reach one alone, and one number has no interval.
    every = given.names(("wi",))
    made.controls["no-op"] = t_interval([_mean_r(_amplified(base[name], given.idle, name)) for name in every])
    made.checks |= _resolved(trial, case, given, every)
    made.controls["planted-at-floor"] = t_interval(
        [max(_mean_r(_amplified(planted[name], change, name)) for name in inputs) for change in given.own]
    )
    made.notes["planted-at-floor"] = (
        f"each wi module's smallest identified direction planted at {PLANTED_RATIO:g} σ_1, the changes as measured"
    )
    made.comparators["placebo"] = [largest(change) for change in placebo]
    made.descriptive["by_module"] = _rate_table(given, base)
    made.descriptive["collapse"] = {name: _collapse(given.full[name]) for name in given.sites}
    groups = {method: made.definitions["mean"].units, "placebo (comparator)": made.comparators["placebo"]}
    groups["after the activation"] = made.definitions["after-activation"].units
    made.pictures.append(units_picture(case, f"Largest mean R_k among wi modules per {method} edit", groups))
    worst = max(inputs, key=lambda name: fmean(_mean_r(_amplified(base[name], c, name)) for c in given.own))
    made.pictures.append(_curves(base[worst], {method: given.own, "placebo": placebo}, worst))
    return made


def _mean_r(found: Amplification) -> float:
    return found.mean


def _rate_table(given: ModuleEdits, base: dict[str, Spectrum]) -> dict[str, Any]:
    """Statistics of R_k as in Table 24, means over edits, and how many directions of sigma = 0 an edit puts something
    into: there R_k would be unbounded.
    """
    table: dict[str, Any] = {}
    for name in given.names(("wi", "act", "wo"), given.reached):
        found, dead = [_amplified(base[name], change, name) for change in given.own], given.full[name].dead
        table[name] = {
            "mean": fmean(one.mean for one in found),
            "min": fmean(float(one.values.min()) for one in found),
            "max": fmean(one.max for one in found),
            "above_one": fmean(one.share_above(1.0) for one in found),
            "identified": base[name].n_identified,
            "dead_units": dead,
            "dead_units_moved": fmean(int((one.c[one.c.numel() - dead :] > 0).sum()) for one in found),
        }
    return table


def _collapse(found: ModuleSpectrum) -> dict[str, Any]:
    """The columns of Table 8, and how many directions are there at all; sigma_min is of the identified ones."""
    spectrum = found.spectrum
    if not float(spectrum.sigma[0]) > 0.0 or not spectrum.n_identified:
        return {"d": spectrum.d, "identified": spectrum.n_identified, "dead_units": found.dead}
    rank, ratio = exp_entropy(spectrum.sigma), sigma_min_ratio(spectrum)
    return {
        "d": spectrum.d,
        "r_eff": rank,
        "r_eff_over_d": rank / spectrum.d,
        "sigma_1": float(spectrum.sigma[0]),
        "sigma_min": ratio * float(spectrum.sigma[0]),
        "cond": 1.0 / ratio,
        "identified": spectrum.n_identified,
        "dead_units": found.dead,
        "smallest_of_all": float(spectrum.sigma[-1]),
    }


def _curves(spectrum: Spectrum, groups: dict[str, Sequence[ModuleChange]], name: str) -> dict[str, Any]:
    keep = spectrum.identified
    curves = []
    for label, many in groups.items():
        r = torch.stack([_amplified(spectrum, change, name).r for change in many]).mean(0)
        curves.append({"name": label, "sigma": spectrum.sigma[keep].tolist(), "r": r[keep].tolist()})
    return {"kind": "amplification", "title": f"R_k after one edit, {name}", "curves": curves, "one": 1.0}
