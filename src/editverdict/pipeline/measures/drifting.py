"""The drift of the basis along a chain: one change measured in the basis reached before it and in the base's (§4.3)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from torch import Tensor

from editverdict.editors.base import State
from editverdict.geometry.accumulation import basis_gap
from editverdict.geometry.checks import CheckOutcome
from editverdict.geometry.recomputed import check_reproduced, check_spectrum
from editverdict.geometry.sketch import Sketch
from editverdict.inference.intervals import t_interval
from editverdict.numerics.spectrum import Spectrum, sample_spectrum
from editverdict.pipeline import paired, validity
from editverdict.pipeline.changes import Reach, changes, hidden_after
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.perturbation import chain_states, method_of, reach, start, units_picture
from editverdict.pipeline.trial import Trial
from editverdict.store import Clock, Draft, Job, Recipe

GAP_VERSION = 3
AGAIN_VERSION = 1
FIRST_EDITS = 3
"""Chains whose first edit is measured, too: the bases before it are one, which needs no fine interval."""
APART = 1e-3
"""Between a stored reading and one found again, in log10: another machine rounds states otherwise, by 1e-6."""


@measure("drifting_basis_gap")
def drifting_basis_gap(trial: Trial, case: Case) -> Measurement:
    """log10 of the last edit's median R_k in the basis reached before it over that in the base's, per chain (§4.3)."""
    method, at, length = method_of(case), reach(trial, case), chain_length(trial, case)
    states = chain_states(trial, case, method, length)
    gaps, keys = _gaps(trial, case.model, states, at, method, first=FIRST_EDITS)
    imitated = chain_states(trial, case, f"placebo:{method}", length)
    random, _ = _gaps(trial, case.model, imitated, at, f"{method} placebo")
    own = changes(trial, case.model, states, what=f"{length} {method} edits")
    made = start(trial, case, own, f"{len(gaps)} chains, edit {length} of each")
    made.checks = validity.joined(made.checks, _found_again(trial, case.model, states[0], at, gaps[0]))
    made.recipes += keys
    made.edits = length
    made.definitions = {
        "median-r": t_interval([one["median"] for one in gaps]),
        "tail": t_interval([one["tail"] for one in gaps]),
    }
    made.controls["first-edit"] = t_interval([one["first"] for one in gaps if "first" in one])
    made.controls["halved-sigma"] = t_interval([one["halved"] for one in gaps])
    made.comparators["placebo"] = [one["median"] for one in random]
    made.pictures.append(
        units_picture(
            case,
            f"The reached basis against the base's, edit {length} of each {method} chain",
            {
                method: made.definitions["median-r"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "first-edit (negative)": made.controls["first-edit"].units,
                "halved-sigma (positive)": made.controls["halved-sigma"].units,
            },
        )
    )
    return made


def _gaps(
    trial: Trial, model_id: str, states: Sequence[State], at: Reach, what: str, first: int = 0
) -> tuple[list[dict[str, float]], list[str]]:
    """Per chain: the readings of :func:`_gap`, and their keys; several workers share the work."""
    sub = paired.subset(trial, model_id)
    order = trial.offset(list(range(len(states))))

    def job(state: State, with_first: bool) -> Job:
        recipe = Recipe.of(
            "drifting-basis",
            GAP_VERSION,
            model=trial.model(model_id).identity.fields(),
            subset=sub.key,
            state=state_key(state),
            layers=list(at.layers),
            first=with_first,
        )
        return Job(recipe, lambda draft: _gap(trial, model_id, state, at, draft, with_first=with_first))

    made = trial.store.build_many(
        [job(states[i], i < first) for i in order],
        progress=Clock(f"drifting bases, {what}", "chains", trial.report).tick,
    )
    found: dict[int, dict[str, float]] = {i: a.json() for i, a in zip(order, made, strict=True)}
    return [found[i] for i in range(len(states))], sorted(artifact.key for artifact in made)


def _gap(trial: Trial, model_id: str, state: State, at: Reach, draft: Draft, *, with_first: bool) -> None:
    """The last edit of a chain in the basis reached before it, against the base's; median over layers."""
    sub = paired.subset(trial, model_id)
    wanted = [state[:-1], state, *((state[:0], state[:1]) if with_first else ())]
    before, after, *early = (hidden_after(trial, model_id, one, start=at.start) for one in wanted)
    readings: dict[str, list[float]] = {"median": [], "tail": [], "halved": []}
    for layer in at.layers:
        reached, unedited = sample_spectrum(before[layer], activation_dtype=before[layer].dtype), sub.bases[layer]
        change = after[layer].double() - before[layer].double()
        halved = dataclasses.replace(unedited, sigma=unedited.sigma / 2, floor=unedited.floor / 2)
        for name, value in basis_gap(reached, unedited, change).items():
            readings[name].append(value)
        if early:
            none, one = (states[layer] for states in early)
            own = basis_gap(sample_spectrum(none, activation_dtype=none.dtype), unedited, one.double() - none.double())
            readings.setdefault("first", []).append(own["median"])
        readings["halved"].append(basis_gap(halved, unedited, change)["median"])
    draft.write_json({name: median(values) for name, values in readings.items()})


# --------------------------------------------------------------------------- found again
def _found_again(
    trial: Trial, model_id: str, state: State, at: Reach, stored: Mapping[str, float]
) -> list[validity.Finding]:
    """The first chain once more: its states run alone, its spectra held against sums, its readings by Eq. 11.

    The readings above make passes and spectra of their own, and keep none of them.
    """
    sub = paired.subset(trial, model_id)
    recipe = Recipe.of(
        "drifting-basis-again",
        AGAIN_VERSION,
        model=trial.model(model_id).identity.fields(),
        subset=sub.key,
        state=state_key(state),
        layers=list(at.layers),
    )
    found = trial.store.build(recipe, lambda draft: _gap_again(trial, model_id, state, at, draft)).json()
    outcomes = [CheckOutcome(str(name), bool(ok), str(detail)) for name, ok, detail in found["checks"]]
    outcomes.append(check_readings(stored, found["readings"]))
    return [validity.Finding("first chain", outcome) for outcome in outcomes]


def _gap_again(trial: Trial, model_id: str, state: State, at: Reach, draft: Draft) -> None:
    sub, loaded = paired.subset(trial, model_id), trial.model(model_id)
    outcomes: list[CheckOutcome] = []
    passes: list[dict[int, Tensor]] = []
    for one in (state[:-1], state):
        states = hidden_after(trial, model_id, one, start=at.start)
        again = validity.Again(loaded, sub.batches, sorted(states), one)
        outcomes.append(check_reproduced(again.stored(states), again.states))
        passes.append(states)
    before, after = passes
    readings: dict[str, list[float]] = {"median": [], "tail": []}
    for layer in at.layers:
        reached = sample_spectrum(before[layer], activation_dtype=before[layer].dtype)
        outcomes.append(check_spectrum(reached, Sketch.of(before[layer])))
        change = after[layer].double() - before[layer].double()
        for name, value in gap_again(reached, sub.bases[layer], change).items():
            readings[name].append(value)
    checks: list[list[Any]] = [[one.name, one.ok, one.detail] for one in outcomes]
    draft.write_json({"checks": checks, "readings": {name: median(values) for name, values in readings.items()}})


def gap_again(reached: Spectrum, base: Spectrum, change: Tensor) -> dict[str, float]:
    """As :func:`editverdict.geometry.accumulation.basis_gap`, by Eq. 11 and sorted lists in place of its functions."""
    both = (reached.identified & base.identified).tolist()

    def rates(spectrum: Spectrum) -> list[float]:
        mean = (change.double() @ spectrum.basis).abs().sum(dim=0) / len(change)
        found = (math.sqrt(spectrum.n) * mean / spectrum.sigma.clamp_min(1e-300)).tolist()
        return [value for value, kept in zip(found, both, strict=True) if kept]

    drifting, fixed = rates(reached), rates(base)
    last = max(1, len(fixed) // 10)
    return {
        "median": math.log10(median(drifting) / median(fixed)),
        "tail": math.log10(median(drifting[-last:]) / median(fixed[-last:])),
    }


def check_readings(stored: Mapping[str, float], again: Mapping[str, float]) -> CheckOutcome:
    """change-recomputed: the readings of a chain against those found again."""
    apart = {name: abs(stored[name] - value) for name, value in again.items()}
    text = ", ".join(f"{name} {stored[name]:.4g}, found again {value:.4g}" for name, value in again.items())
    return CheckOutcome("change-recomputed", all(one <= APART for one in apart.values()), text)
