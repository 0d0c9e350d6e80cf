"""Amplification and performance (§4.4, B.6): do chains whose R_k is larger at the same T perform worse?

The paper correlates a summary of R_k with a score over the edit steps of one chain. Both change with T whatever the one
has to do with the other, so the verdict rests on the association within T over chains, of
:mod:`editverdict.inference.association`; the paper's own number stands beside it, ``descriptive: trend-confounded``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from editverdict.evaluation.dimensions import scores_of
from editverdict.evaluation.questions import DIMENSIONS, questions_of
from editverdict.inference.intervals import Estimate
from editverdict.pipeline.changes import Change
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.amplification import amplified
from editverdict.pipeline.measures.answering import HEADROOM
from editverdict.pipeline.measures.perturbation import method_of, reach, start, units_picture
from editverdict.pipeline.series import (
    AGGREGATIONS,
    CELLS,
    NEGATED,
    PRIMARY,
    SEEDS,
    SUMMARIES,
    Array,
    Cell,
    Series,
    agreement,
    associated,
    controls_of,
    definitions_of,
    family,
    planted_agreement,
    trends,
)
from editverdict.pipeline.trajectories import Trajectory, trajectory
from editverdict.pipeline.trial import Trial

FROM_T = 2
"""First T at which chains are ranked: a chain is more than one edit."""


# --------------------------------------------------------------------------- series: from artifacts
def _readings(trial: Trial, case: Case, change: Change, layers: Sequence[int]) -> dict[Cell, float]:
    values = [amplified(trial, case.model, change, layer).values for layer in layers]
    by_summary = {name: [read(r) for r in values] for name, read in SUMMARIES.items()}
    return {(s, a): float(AGGREGATIONS[a](by_summary[s])) for s, a in CELLS}


def _series(
    trial: Trial, case: Case, way: Trajectory, schedule: Sequence[int], chains: slice, layers: Sequence[int]
) -> Series:
    """The series of some chains at some T; beyond the chains' length there is the first chain alone."""
    r = [[_readings(trial, case, c, layers) for c in way.changes(t)[t][chains]] for t in schedule]
    scores = [[vars(s) for s in way.scores(t)[t][chains]] for t in schedule]

    def stacked(rows: Sequence[Sequence[Mapping[Any, float | None]]], name: Any) -> Array:
        table = [[math.nan if one[name] is None else one[name] for one in row] for row in rows]
        return np.asarray(table, dtype=float).T

    return Series(
        tuple(schedule),
        {cell: stacked(r, cell) for cell in CELLS},
        {name: stacked(scores, name) for name in (*DIMENSIONS, "loc_eq4")},
    )


@dataclass(frozen=True)
class Measured:
    """What all claims of this module look at, for one method."""

    way: Trajectory
    layers: tuple[int, ...]
    upto: tuple[int, ...]
    """T of the schedule up to the claim's own."""
    series: Series
    first: Series
    """The first chain alone, over all T that it reaches."""
    singles_rel: float | None
    """Reliability of the chains' edits made singly."""
    keys: tuple[str, ...]
    """Of the answers behind all this."""


def _measured(trial: Trial, case: Case) -> Measured:
    memo = ("correlation", case.model, method_of(case), case.dataset)
    if memo not in trial._memo:
        length = chain_length(trial, case)
        way, layers = trajectory(trial, case), reach(trial, case).layers
        upto = [t for t in way.schedule if t <= length]
        way.changes(*upto)
        within = [t for t in upto if t >= FROM_T]
        alone = way.single_answers(length)
        asked = [one for many in way.answers(*upto).values() for one in many]
        trial._memo[memo] = Measured(
            way,
            layers,
            tuple(upto),
            _series(trial, case, way, within, slice(None), layers),
            _series(trial, case, way, way.long_schedule, slice(1), layers),
            scores_of([row for one in alone for row in one.rows]).rel,
            tuple(one.key for one in (*alone, *asked)),
        )
    found: Measured = trial._memo[memo]
    return found


# --------------------------------------------------------------------------- what every claim here tells
def _checks(case: Case, made: Measurement, measured: Measured) -> None:
    rel = measured.singles_rel
    shown = "has no question" if rel is None else f"= {rel:.3f}"
    detail = f"reliability of single edits {shown}, at least {HEADROOM} needed to show a loss"
    made.checks |= passed("headroom-single-rel", rel is not None and rel >= HEADROOM, detail)
    answers = measured.way.answers(*measured.upto)
    wanted = sum(len(questions_of(r)) for t in answers for chain in measured.way.chains for r in chain[:t])
    found = sum(len(one.rows) for many in answers.values() for one in many)
    made.checks |= passed("answers-complete", found == wanted, f"{found} answers to {wanted} questions")


def _begun(trial: Trial, case: Case) -> tuple[Measurement, Measured]:
    """Checks, recipes and what is only described."""
    measured = _measured(trial, case)
    way, series = measured.way, measured.series
    changes = way.changes(*measured.upto)
    named = ", ".join(map(str, series.schedule))
    flat = [change for many in changes.values() for change in many]
    made = start(trial, case, flat, f"{len(way.chains)} chains of {measured.upto[-1]} edits, T = {named}")
    made.edits = measured.upto[-1]
    made.recipes += measured.keys
    _checks(case, made, measured)
    table = family(series)
    made.descriptive |= {
        "schedule": list(series.schedule),
        "layers": list(measured.layers),
        "left_out": series.left_out(),
        "median_R": _plain_table(series.amplification[PRIMARY]),
        "scores": {name: _plain_table(values) for name, values in series.performance.items()},
        "cells": table,
        "smallest_permutation_p": 1 / math.factorial(series.n_chains),
        "single_chain": _with_trends(measured.first, table),
    }
    return made, measured


def _plain_table(values: Array) -> list[list[float | None]]:
    return [[None if math.isnan(v) else float(v) for v in row] for row in values]


def _with_trends(first: Series, table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add the paper's statistic on our first chain to the cells, and say whether its signs are those within T."""
    found, signs, reach = trends(first), [], []
    for row in table:
        trend = found[row["summary"], row["aggregation"]][row["dimension"]]
        row["single_chain"] = None if trend is None else {"rho": trend.rho, "p": trend.p, "steps": trend.n_steps}
        if trend is not None:
            reach.append(trend.smallest_p)
            signs += [] if row["association"] is None else [trend.rho * row["association"] > 0]
    return {
        "role": "descriptive: trend-confounded",
        "T": list(first.schedule),
        "smallest_p": max(reach, default=None),
        "signs_as_within_T": f"{sum(signs)} of {len(signs)}",
    }


def _left_one_out(estimate: Estimate) -> list[float]:
    """The statistic without each chain, out of the pseudo-values."""
    n = len(estimate.units)
    if estimate.value is None or n < 2:
        return []
    return [(n * estimate.value - unit) / (n - 1) for unit in estimate.units]


def _pictures(case: Case, made: Measurement, title: str) -> None:
    """The case with its controls and the twelve associations of each dimension; beside it all of them as a table."""
    role = {control.name: control.role for control in case.claim.controls}
    table = made.descriptive["cells"]
    groups: dict[str, Sequence[float]] = {
        f"{case.method}, without one chain each": _left_one_out(made.definitions[case.claim.primary.name])
    }
    groups |= {f"{name} ({role[name]})": c.units for name, c in made.controls.items() if name in role}
    for name in DIMENSIONS:
        values = [row["association"] for row in table if row["dimension"] == name]
        groups[f"{name}, by summary and aggregation"] = [v for v in values if v is not None]
    made.pictures.append(units_picture(case, title, groups))
    by_cell = {(r["summary"], r["aggregation"], r["dimension"]): r["association"] for r in table}
    made.pictures.append(
        {
            "kind": "answers",
            "title": "Association within T of R_k and performance, by summary over directions and layers",
            "columns": ["R_k over directions", "over layers", *DIMENSIONS],
            "rows": [[s, a, *(by_cell[s, a, d] for d in DIMENSIONS)] for s, a in CELLS],
        }
    )


# --------------------------------------------------------------------------- the claims
def _association_claim(trial: Trial, case: Case, dimensions: Sequence[str], *, size: bool = False) -> Measurement:
    made, measured = _begun(trial, case)
    seeds = max(SEEDS, trial.profile.sizes.random_seeds)
    made.definitions = definitions_of(measured.series, dimensions, size=size)
    made.controls = controls_of(measured.series, dimensions, seeds, size=size)
    made.descriptive["by_dimension"] = {d: _number(associated(measured.series, PRIMARY, [d])) for d in dimensions}
    made.notes["chains-permuted"] = "independently at every T; largest of the dimensions' means over seeds"
    made.notes["scores-dealt"] = "at every T, the worst to the chain of the largest R_k"
    _pictures(case, made, f"Association within T of R_k and {', '.join(dimensions)} after {case.method} edits")
    return made


def _number(estimate: Estimate) -> dict[str, Any]:
    return {"association": estimate.value, "interval": None if estimate.interval is None else list(estimate.interval)}


BUT_GEN = tuple(d for d in DIMENSIONS if d != "gen")
"""The dimensions that the paper's significant cells are about."""


@measure("performance_association")
def performance_association(trial: Trial, case: Case) -> Measurement:
    """Largest association within T of the median R_k with Rel, Gen, Loc and Port: negative in all if it is."""
    return _association_claim(trial, case, DIMENSIONS)


@measure("performance_association_but_gen")
def performance_association_but_gen(trial: Trial, case: Case) -> Measurement:
    """The same with Rel, Loc and Port, which the paper's significant cells are about."""
    return _association_claim(trial, case, BUT_GEN)


@measure("performance_association_size_but_gen")
def performance_association_size_but_gen(trial: Trial, case: Case) -> Measurement:
    """Largest absolute association within T with Rel, Loc and Port: weak in all if it is small."""
    return _association_claim(trial, case, BUT_GEN, size=True)


@measure("reliability_association")
def reliability_association(trial: Trial, case: Case) -> Measurement:
    """The association with reliability alone."""
    return _association_claim(trial, case, ["rel"])


@measure("association_agreement")
def association_agreement(trial: Trial, case: Case) -> Measurement:
    """Smallest association over summaries, aggregations and dimensions, times the sign of the dimension's primary."""
    made, measured = _begun(trial, case)
    made.definitions = {"smallest": agreement(measured.series, DIMENSIONS)}
    made.controls = {
        "summaries-negated": planted_agreement(measured.series, DIMENSIONS, NEGATED),
        "scores-dealt": planted_agreement(measured.series, DIMENSIONS),
    }
    made.notes["summaries-negated"] = f"as scores-dealt, {' and '.join(NEGATED)} the other way round"
    made.notes["scores-dealt"] = "against whichever summary is looked at"
    _pictures(case, made, f"Agreement of the summaries of R_k after {case.method} edits")
    return made
