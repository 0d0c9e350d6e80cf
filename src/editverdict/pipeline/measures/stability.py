"""Principal subspaces along a chain (Assumption 4.3, Tables 13 to 18): decay, loss, and the drift of the basis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from scipy import stats

from editverdict.geometry import angles as geometry
from editverdict.inference.bounded import units_to_exclude
from editverdict.inference.intervals import LEVEL, Estimate, bounded_interval, missing, seeds_interval, t_interval
from editverdict.pipeline import paired, validity
from editverdict.pipeline.changes import Change, changes
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.along import Along, along, long_enough, schedule, states_along
from editverdict.pipeline.measures.perturbation import (
    CONTROL_EDITS,
    THIRTY,
    angle,
    chain_states,
    method_of,
    no_op,
    planted_drift,
    reach,
    start,
    units_picture,
)
from editverdict.pipeline.sample_bias import chain_bias
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.wide_angles import HasAngles

STEEPEST = 1.2
"""Angle, in radians, of the planted rotation at the last T."""


RHO = (-1.0, 1.0)
"""Least and largest Spearman's rho."""


def trend(lengths: Sequence[int], values: Sequence[float]) -> float | None:
    """Spearman's rho of values with T; None where they are all equal: there is none, which is not a rho of zero."""
    if len(set(values)) == 1:
        return None
    return min(max(float(stats.spearmanr(lengths, values).statistic), RHO[0]), RHO[1])


def trend_step(count: int) -> float:
    """Largest distance between neighbouring values of Spearman's rho of so many pairs without ties.

    The sum of squared rank differences takes every even value, which makes 12 / (n (n^2 - 1)), but that of three pairs
    is never 4: there rho is -1, -1/2, 1/2 or 1.
    """
    return 1.0 if count == 3 else 12.0 / (count * (count * count - 1))


def trends(lengths: Sequence[int], curves: Sequence[Sequence[float]]) -> Estimate:
    """Mean over chains of rho of T with each curve; no value where a chain has no trend.

    A chain whose value is the same at every T speaks against a decay, so the others must not decide without it; and as
    a rho of zero it would speak for it in a mean. The interval assumes nothing of how rho is spread over chains
    (:func:`editverdict.inference.intervals.bounded_interval`).
    """
    found = [trend(lengths, one) for one in curves]
    still = [number for number, one in enumerate(found) if one is None]
    if still:
        return missing(note=f"the same at every T, and so without a trend: chains {', '.join(map(str, still))}")
    return bounded_interval([one for one in found if one is not None], RHO)


def _by_chain(measured: Along, layers: Sequence[int], label: str, reading: str = "largest_angle") -> list[list[float]]:
    """Per chain: a principal cosine at each T, median over layers."""
    count = len(next(iter(measured.values())))
    return [[angle(many[i], layers, label, reading) for many in measured.values()] for i in range(count)]


def _width(trial: Trial, model_id: str) -> int:
    return int(next(iter(paired.subset(trial, model_id).states.values())).shape[1])


def _flat(measured: Along) -> list[Change]:
    return [change for many in measured.values() for change in many]


def table(measured: Along, layer: int) -> dict[str, dict[str, float]]:
    """T -> k -> mean cosine of the largest angle at one layer, as in Tables 13 to 18."""
    return {
        str(t): {
            label: sum(c.angles[layer][label]["largest_angle"] for c in many) / len(many)
            for label in many[0].angles[layer]
        }
        for t, many in measured.items()
    }


# --------------------------------------------------------------------------- decay with T
@measure("angle_trend")
def angle_trend(trial: Trial, case: Case) -> Measurement:
    """Spearman's rho of T with the cosine at k = 10, per chain over the schedule (Tables 13-18)."""
    method, at = method_of(case), reach(trial, case)
    lengths = schedule(trial, chain_length(trial, case))
    own, placebo = (along(trial, case, m, lengths) for m in (method, f"placebo:{method}"))
    curves, imitated = (_by_chain(many, at.layers, "10") for many in (own, placebo))
    deep = list(geometry.paper_ks(_width(trial, case.model)))[-1]
    made = start(trial, case, _flat(own), f"{len(curves)} chains at T = {', '.join(map(str, lengths))}")
    made.edits = lengths[-1]
    made.resolution = trend_step(len(lengths))
    made.definitions = {
        name: trends(lengths, many)
        for name, many in (
            ("k10", curves),
            ("deepest-k", _by_chain(own, at.layers, deep)),
            ("edited-layer", _by_chain(own, [at.edited], "10")),
        )
    }
    made.controls["shuffled"] = _shuffled(trial, lengths, curves)
    made.controls["growing-rotation"] = _growing(trial, case, lengths)
    pairs = [(trend(lengths, a), trend(lengths, b)) for a, b in zip(curves, imitated, strict=True)]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    # A chain without a trend leaves the contrast open, on whichever side it is.
    made.comparators["placebo"] = [b for _, b in both] if len(both) == len(pairs) else []
    made.comparator_subject["placebo"] = [a for a, _ in both] if len(both) == len(pairs) else []
    made.descriptive["chains_of_this_length_needed"] = units_to_exclude(RHO, case.claim.expect.threshold or 0.0, LEVEL)
    made.descriptive["cosines_by_T_and_k"] = {str(n): table(own, n) for n in at.layers}
    made.descriptive["k"] = geometry.paper_ks(_width(trial, case.model))
    made.pictures += [
        units_picture(
            case,
            f"Trend of the leading subspace along {method} chains",
            {
                method: made.definitions["k10"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "shuffled (negative)": made.controls["shuffled"].units,
                "growing-rotation (positive)": made.controls["growing-rotation"].units,
            },
        ),
        _series(lengths, {method: curves, "placebo": imitated}),
    ]
    return made


def _series(lengths: Sequence[int], groups: dict[str, list[list[float]]]) -> dict[str, Any]:
    return {
        "kind": "series",
        "title": "Leading subspace (k = 10) against the number of edits, mean over chains",
        "x": "edits T",
        "y": "cosine of the largest principal angle",
        "curves": [
            {"name": name, "x": list(lengths), "y": [sum(column) / len(column) for column in zip(*many, strict=True)]}
            for name, many in groups.items()
        ],
    }


def _shuffled(trial: Trial, lengths: Sequence[int], curves: Sequence[Sequence[float]]) -> Estimate:
    """Trends with the order of T drawn anew for every chain, mean over chains: one per seed."""
    values: list[list[float]] = []
    for seed in range(trial.profile.sizes.random_seeds):
        generator = np.random.default_rng([trial.profile.seed, seed])
        drawn = [trend(lengths, list(generator.permutation(one))) for one in curves]
        values.append([rho for rho in drawn if rho is not None])
    if not all(values):
        return missing(note="no chain has a trend that the order of T could change")
    return seeds_interval([float(np.mean(one)) for one in values])


def _growing(trial: Trial, case: Case, lengths: Sequence[int]) -> Estimate:
    """Trends of the base's own basis rotated by an angle that grows with T: one per seed."""
    basis = paired.subset(trial, case.model).bases[reach(trial, case).edited].basis
    k = min(10, basis.shape[0] - 1)

    def cosine(t: int, seed: int) -> float:
        rotated = geometry.rotate_uniform(basis, STEEPEST * t / lengths[-1], seed)
        return geometry.angle_profile(basis, rotated, k).largest_angle

    seeds = range(trial.profile.sizes.random_seeds)
    found = [trend(lengths, [cosine(t, seed) for t in lengths]) for seed in seeds]
    return seeds_interval([rho for rho in found if rho is not None])


# --------------------------------------------------------------------------- loss of the leading subspace
def cosines(chains: Sequence[Change], layers: Sequence[int], reading: str = "largest_angle") -> Estimate:
    """Mean over chains of the cosine at k = 10, median over layers first: layers of one chain are no units."""
    return t_interval([angle(change, layers, "10", reading) for change in chains])


@measure("leading_subspace_loss")
def leading_subspace_loss(trial: Trial, case: Case) -> Measurement:
    """Cosine of the largest principal angle at k = 10 after a long chain (Tables 16-18)."""
    method, at, length = method_of(case), reach(trial, case), long_enough(trial, case)
    states = chain_states(trial, case, method, length)
    own = changes(trial, case.model, states, what=f"{length} {method} edits")
    placebo = changes(
        trial, case.model, chain_states(trial, case, f"placebo:{method}", length), what=f"{length} {method} placebos"
    )
    gross = changes(trial, case.model, states[:CONTROL_EDITS], THIRTY, what=f"30-fold {method} chains")
    made = start(trial, case, own, f"{len(own)} chains of {length} edits")
    made.edits = length
    made.definitions = {
        "largest-angle": cosines(own, at.layers),
        "mean-cosine": cosines(own, at.layers, "mean"),
    }
    made.controls["no-op"] = t_interval(
        [no_op(trial, case.model, at.start).angles[n]["10"]["largest_angle"] for n in at.layers]
    )
    made.controls["thirty-fold"] = cosines(gross, at.layers)
    made.comparators["placebo"] = list(cosines(placebo, at.layers).units)
    k, width = min(10, _width(trial, case.model) - 1), _width(trial, case.model)
    made.descriptive["chance"] = geometry.angle_profile(
        geometry.random_subspace(width, k, 1), geometry.random_subspace(width, k, 2), k
    ).largest_angle
    made.descriptive["by_layer"] = {
        str(n): sum(c.angles[n]["10"]["largest_angle"] for c in own) / len(own) for n in at.layers
    }
    made.pictures.append(
        units_picture(
            case,
            f"Leading subspace after {length} {method} edits",
            {
                method: made.definitions["largest-angle"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "thirty-fold (positive)": made.controls["thirty-fold"].units,
            },
        )
    )
    return made


# --------------------------------------------------------------------------- the tail first, over T
@measure("drift_over_schedule")
def drift_over_schedule(trial: Trial, case: Case) -> Measurement:
    """Loss at the deepest k minus loss at k = 10, mean over the schedule, per chain (B.3)."""
    method, at = method_of(case), reach(trial, case)
    lengths = schedule(trial, chain_length(trial, case))
    own, placebo = (along(trial, case, m, lengths) for m in (method, f"placebo:{method}"))
    deep = list(geometry.paper_ks(_width(trial, case.model)))[-1]

    def drift(change: HasAngles, reading: str = "largest_angle") -> float:
        return median(change.angles[n]["10"][reading] - change.angles[n][deep][reading] for n in at.layers)

    def per_chain(measured: Along, reading: str = "largest_angle") -> list[float]:
        count = len(next(iter(measured.values())))
        return [sum(drift(many[i], reading) for many in measured.values()) / len(measured) for i in range(count)]

    made = start(trial, case, _flat(own), f"{len(own[lengths[0]])} chains at T = {', '.join(map(str, lengths))}")
    made.edits = lengths[-1]
    states = states_along(trial, case, method, lengths)
    for name, reading in (("mean-cosine", "mean"), ("largest-angle", "largest_angle")):
        few = chain_bias(trial, case.model, states, own, partial(drift, reading=reading), f"{method} chains")
        made.definitions[name] = few.hulled(per_chain(own, reading))
        if few.said:
            made.descriptive["power"] = few.said
    made.recipes += few.keys
    made.checks = validity.joined(made.checks, few.findings)
    made.controls["planted-tail-rotation"] = planted_drift(trial, case.model, deep, tail=True)
    made.controls["rotation-equal-in-k"] = planted_drift(trial, case.model, deep, tail=False)
    made.comparators["placebo"] = per_chain(placebo)
    made.descriptive["by_T"] = {str(t): sum(drift(c) for c in many) / len(many) for t, many in own.items()}
    made.pictures.append(
        units_picture(
            case,
            f"Extra loss of the tail along {method} chains",
            {method: made.definitions["largest-angle"].units, "placebo (comparator)": made.comparators["placebo"]},
        )
    )
    return made
