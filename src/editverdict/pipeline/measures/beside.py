"""Methods and models beside each other, after the same chains: angles and relative change (B.3, B.5.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from editverdict.geometry.amplification import from_components, planted_near_null
from editverdict.inference.intervals import t_interval
from editverdict.pipeline import base
from editverdict.pipeline.changes import Change
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.along import along, long_enough, rates
from editverdict.pipeline.measures.perturbation import angle, method_of, no_op, reach, start, units_picture
from editverdict.pipeline.trial import NotHere, Trial

# --------------------------------------------------------------------------- methods beside each other
LATE = ("MEMIT", "ROME")
"""Methods of which B.5.1 says that their R_k rises sharply."""


@measure("calmer_than_others")
def calmer_than_others(trial: Trial, case: Case) -> Measurement:
    """log10 of the smaller median R_k of MEMIT and ROME over the method's, after the chain, per chain (B.5.1)."""
    method, length = method_of(case), chain_length(trial, case)
    others = list(LATE)
    if lacking := [name for name in others if name not in trial.profile.methods_of(case.claim.id)]:
        raise NotHere(f"compares {method} with {' and '.join(LATE)}, and the profile lacks {' and '.join(lacking)}")
    cases = {name: Case(case.claim, case.model, name, case.dataset) for name in (method, *others)}
    shared = set.intersection(*(set(reach(trial, one).layers) for one in cases.values()))
    layers = sorted(shared)

    def typical(found: Sequence[Change]) -> list[float]:
        return [median(a.median for a in rates(trial, case, c, layers).values()) for c in found]

    measured = {name: along(trial, case, name, [1, length]) for name in cases}
    values = {name: typical(found[length]) for name, found in measured.items()}
    first = typical(measured[others[-1]][1])
    lowest = [min(values[name][i] for name in others) for i in range(len(values[method]))]
    everything = [change for found in measured.values() for many in found.values() for change in many]
    made = start(trial, case, everything, f"{len(lowest)} chains of {length} edits beside {' and '.join(others)}")
    made.edits = length
    made.definitions = {
        "median-r": t_interval([math.log10(a / b) for a, b in zip(lowest, values[method], strict=True)])
    }
    late = values[others[-1]]
    made.controls["first-edit-beside"] = t_interval([math.log10(a / b) for a, b in zip(first, late, strict=True)])
    made.controls["first-edit-instead"] = t_interval([math.log10(a / b) for a, b in zip(late, first, strict=True)])
    made.descriptive["median_r"] = {name: sum(many) / len(many) for name, many in values.items()}
    made.descriptive["layers"] = layers
    made.pictures.append(
        units_picture(case, f"Median R_k of others over {method}'s", {method: made.definitions["median-r"].units})
    )
    return made


# --------------------------------------------------------------------------- models beside each other
@measure("more_extreme_than_others")
def more_extreme_than_others(trial: Trial, case: Case) -> Measurement:
    """log10 of the largest R_k after the chain in this model over the mean of the profile's others, chain by chain."""
    length = chain_length(trial, case)
    others = [name for name in trial.profile.models if name != case.model]
    if not others:
        raise NotHere(f"compares {case.model} with other models, and the profile has no other")

    def largest(model_id: str, *, planted: bool = False) -> list[float]:
        one = Case(case.claim, model_id, case.method, case.dataset)
        at, found = reach(trial, one), []
        for change in along(trial, one, method_of(one), [length])[length]:
            values = [a.max for a in rates(trial, one, change, at.layers).values()]
            if planted:
                spectrum = planted_near_null(base.spectra(trial, model_id)[at.edited].spectrum, 1e-8, exact=True)
                values.append(from_components(spectrum, change.pooled[at.edited][0][None]).max)
            found.append(max(values))
        return found

    there = [largest(name) for name in others]
    mean = [sum(math.log10(one[i]) for one in there) / len(there) for i in range(len(there[0]))]
    own, extreme = largest(case.model), largest(case.model, planted=True)
    measured = along(trial, case, method_of(case), [length])[length]
    made = start(trial, case, measured, f"{len(own)} chains of {length} edits beside {', '.join(others)}")
    made.edits = length
    made.definitions = {"largest": t_interval([math.log10(a) - b for a, b in zip(own, mean, strict=True)])}
    theirs = [largest(name, planted=True) for name in others]
    high = [sum(math.log10(one[i]) for one in theirs) / len(theirs) for i in range(len(own))]
    made.controls["planted-in-others"] = t_interval([math.log10(a) - b for a, b in zip(own, high, strict=True)])
    made.controls["planted-near-null"] = t_interval([math.log10(a) - b for a, b in zip(extreme, mean, strict=True)])
    made.descriptive["largest_r"] = {case.model: own} | dict(zip(others, there, strict=True))
    made.pictures.append(
        units_picture(case, "Largest R_k beside other models", {case.model: made.definitions["largest"].units})
    )
    return made


# --------------------------------------------------------------------------- subspaces of two methods
ROME = "ROME"


@measure("steadier_than_rome")
def steadier_than_rome(trial: Trial, case: Case) -> Measurement:
    """Cosine of the largest principal angle at k = 10, the method's minus ROME's, same chains (Tables 13-18)."""
    if ROME not in trial.profile.methods_of(case.claim.id):
        raise NotHere(f"compares {case.method} with {ROME}, and the profile does not have it")
    method, length = method_of(case), long_enough(trial, case)
    other = Case(case.claim, case.model, ROME, case.dataset)
    layers = sorted(set(reach(trial, case).layers) & set(reach(trial, other).layers))
    own, theirs = (along(trial, case, name, [length])[length] for name in (method, ROME))
    idle = angle(no_op(trial, case.model, reach(trial, other).start), layers, "10")
    ours, rome = ([angle(c, layers, "10") for c in many] for many in (own, theirs))
    made = start(trial, case, [*own, *theirs], f"{len(own)} chains of {length} edits beside {ROME}")
    made.edits = length
    made.definitions = {"largest-angle": t_interval([a - b for a, b in zip(ours, rome, strict=True)])}
    made.controls["rome-beside-no-op"] = t_interval([b - idle for b in rome])
    made.controls["no-op"] = t_interval([idle - b for b in rome])
    made.descriptive["cosine"] = {method: sum(ours) / len(ours), ROME: sum(rome) / len(rome)}
    made.descriptive["layers"] = layers
    made.pictures.append(
        units_picture(
            case,
            f"{method}'s cosine minus {ROME}'s, per chain",
            {
                method: made.definitions["largest-angle"].units,
                "rome-beside-no-op (negative)": made.controls["rome-beside-no-op"].units,
                "no-op (positive)": made.controls["no-op"].units,
            },
        )
    )
    return made
