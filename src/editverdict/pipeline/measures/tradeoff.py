"""Time against time and against quality: the Pareto front of all methods, and SCR beside a parameter method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.evaluation.dimensions import scores_of
from editverdict.inference.intervals import LEVEL, Estimate, t_interval
from editverdict.inference.standard_errors import mean_of, standard_error
from editverdict.pipeline.answers import Answered, Asked, answers_before, ask, in_state
from editverdict.pipeline.edit_times import TEXT_ALONE, EditTimes
from editverdict.pipeline.edits import editor_of, steps
from editverdict.pipeline.latency import NO_OP, PLANTED, control_times, times_of
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.efficiency import (
    described,
    edits_beside,
    exact_tokens,
    how_asked,
    log_ratio,
    median_of,
)
from editverdict.pipeline.measures.in_force import retrieval_in_force
from editverdict.pipeline.measures.perturbation import method_of, units_picture
from editverdict.pipeline.scr_grid import METHOD, scr_settings
from editverdict.pipeline.trial import NotHere, Trial

Parts = dict[str, list[float]]


# --------------------------------------------------------------------------- both at once
def _compared(trial: Trial, case: Case) -> list[str]:
    """The profile's methods that a Pareto front is made of."""
    kinds = {m: trial.library.methods[m].kind for m in trial.profile.methods_of(case.claim.id)}
    found = [m for m, kind in kinds.items() if kind in ("parameter", "external-memory")]
    lacking = {"parameter", "external-memory"} - {kinds[m] for m in found}
    if lacking:
        raise NotHere(f"needs methods of both kinds; profile '{trial.profile.id}' has none of kind {sorted(lacking)}")
    return found


def regret(latencies: Parts, edits: Parts) -> tuple[list[float], list[str]]:
    """How far the best of several methods is from being best on both counts.

    Parameters
    ----------
    latencies
        Method -> latency over the unedited model's, one per unit.
    edits
        Method -> time of an edit, one per unit; all methods in the same unit (:func:`over_text`).

    Returns
    -------
    tuple
        Per unit, the smallest over methods of the larger of log10(latency ratio) and log10(edit time over the fastest
        method's); and which method that is.
    """
    units, which = [], []
    for at in range(len(next(iter(latencies.values())))):
        fastest = min(own[at] for own in edits.values())
        each = {name: max(math.log10(latencies[name][at]), math.log10(edits[name][at] / fastest)) for name in latencies}
        best = min(each, key=lambda name: each[name])
        units.append(each[best])
        which.append(best)
    return units, which


def over_text(edits: Mapping[str, EditTimes], count: int) -> Parts:
    """Method -> time of each edit over that of keeping the same edit as a text, with which it was timed in turns.

    Each method was timed in a process of its own, so that seconds of two methods may be of two loads of the machine, or
    of two machines. SCR was timed beside every one of them: over its time they are in one unit, and the ratio of two
    such ratios is the one of the two methods.
    """
    pairs = {name: zip(one.wall[name], one.wall[METHOD], strict=True) for name, one in edits.items()}
    return {name: [own / text for own, text in own_pairs][:count] for name, own_pairs in pairs.items()}


@measure("both_axes_regret")
def both_axes_regret(trial: Trial, case: Case) -> Measurement:
    """Distance of the best method from no added latency at the shortest edit time, per query and edit."""
    methods, length = _compared(trial, case), chain_length(trial, case)
    dataset = str(case.dataset)
    if METHOD in methods:
        scr_settings(trial, case.model)
    timed = {m: times_of(trial, case.model, dataset, m, length) for m in methods}
    guard = control_times(trial, case.model, dataset, length)
    edits = {m: edits_beside(trial, case, m) for m in methods}
    count = min(len(guard.chains), *(len(one.wall[m]) for m, one in edits.items()))
    latencies = {m: one.ratios(m)[:count] for m, one in timed.items()}
    seconds = {m: one.wall[m][:count] for m, one in edits.items()}
    over = over_text(edits, count)
    units, which = regret(latencies, over)
    fastest = min(over, key=lambda name: median_of(over[name]))
    free = {"free": guard.ratios(NO_OP)[:count]}, {"free": over[fastest]}
    slow = {"slow": guard.ratios(PLANTED)[:count]}, {"slow": over[fastest]}
    made = Measurement({"best-on-both": t_interval(units)})
    made.controls["free-lunch"] = t_interval(regret(*free)[0])
    made.controls["planted-slowdown"] = t_interval(regret(*slow)[0])
    made.edits = length
    every = list({one.key: one for one in (*timed.values(), guard)}.values())
    described(
        trial,
        case,
        made,
        f"{', '.join(methods)}, chains of {length} edits, {how_asked(trial, case.model)}",
        *every,
        *edits.values(),
    )
    made.checks |= exact_tokens(*every)
    made.descriptive["nearest_to_the_corner"] = {name: which.count(name) for name in methods}
    made.descriptive["front"] = _front(latencies, over)
    made.descriptive["edit_time_over_a_text"] = {name: median_of(own) for name, own in over.items()}
    made.pictures += [
        units_picture(
            case,
            "Distance of the best method from the corner",
            {
                "all methods": units,
                "free-lunch (negative)": made.controls["free-lunch"].units,
                "planted-slowdown (positive)": made.controls["planted-slowdown"].units,
            },
        ),
        pareto_picture(trial, latencies, seconds, made.descriptive["front"]),
    ]
    return made


def _front(latencies: Parts, edits: Parts) -> list[str]:
    """Methods that no other beats on both counts, by medians."""
    at = {name: (median_of(latencies[name]), median_of(edits[name])) for name in latencies}
    return [
        name
        for name, (x, y) in at.items()
        if not any((a <= x and b <= y and (a, b) != (x, y)) for other, (a, b) in at.items() if other != name)
    ]


def pareto_picture(trial: Trial, latencies: Parts, seconds: Parts, front: Sequence[str]) -> dict[str, Any]:
    """Edit time against latency, one point per method with the intervals of both.

    Seconds are what each method's own timing showed; ``front`` is found from ratios.
    """
    points = []
    for name in latencies:
        x, y = t_interval([math.log10(one) for one in seconds[name]]), t_interval(latencies[name])
        points.append(
            {
                "name": name,
                "group": trial.library.methods[name].kind,
                "x": 10 ** float(x.value or 0.0),
                "x_interval": [10**end for end in x.interval] if x.interval else None,
                "y": y.value,
                "y_interval": list(y.interval) if y.interval else None,
                "on_front": name in front,
            }
        )
    return {
        "kind": "pareto",
        "title": "Edit time and latency: lower left is better on both",
        "x": "seconds per edit (geometric mean)",
        "y": "latency of a query over the unedited model's",
        "points": points,
    }


# --------------------------------------------------------------------------- SCR and a parameter method
def weakest(parts: Parts, level: float = LEVEL) -> tuple[str, Estimate]:
    """The part that stands least above zero, and its estimate at a level that allows for all of them.

    All parts are above zero iff the one with the smallest t value is; some part is below zero iff that one is, which is
    then the smallest of several and gets Bonferroni's level.
    """
    corrected = 1 - (1 - level) / len(parts)

    def t_value(name: str) -> float:
        units = parts[name]
        error = standard_error(units) if len(units) > 1 else 0.0
        mean = mean_of(units)
        return mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0

    name = min(parts, key=t_value)
    return name, t_interval(parts[name], corrected)


@measure("scr_tradeoff")
def scr_tradeoff(trial: Trial, case: Case) -> Measurement:
    """SCR against a parameter method: less edit time, more latency, higher reliability and locality, per chain."""
    method, length, dataset = method_of(case), chain_length(trial, case), str(case.dataset)
    scr_settings(trial, case.model)
    if editor_of(trial, method, case.model).answers_itself:
        raise NotHere(f"needs the control of ten ΔW, and the state of {method} is more than weight deltas")
    chains = [chain[:length] for chain in trial.chains(dataset) if len(chain) >= length]
    everything = [record for chain in chains for record in chain]
    before = answers_before(trial, case.model, everything)
    after = _after(trial, case, method, chains, before)
    gross = _after(trial, case, method, chains, before, scale=10.0)
    held = {"SCR": chains, "SCR, irrelevant memory": [*chains[1:], chains[0]]}
    scr, irrelevant = (
        ask(
            trial,
            case.model,
            [Asked(label, tuple(c), method=METHOD, memory=tuple(m)) for c, m in zip(chains, memory, strict=True)],
            before=before,
        )
        for label, memory in held.items()
    )
    gold = ask(trial, case.model, [Asked("gold context", tuple(c), gold=True) for c in chains], before=before)
    own, other = (times_of(trial, case.model, dataset, m, length) for m in (method, METHOD))
    guard = control_times(trial, case.model, dataset, length)
    edits = edits_beside(trial, case, method)

    # Single edits are dealt over whole chains, of which the states here may be the beginnings.
    numbers = [_chain_of(trial.chains(dataset), one.id) for one in trial.singles(dataset)[: len(edits.wall[method])]]
    edit_part = _per_chain(log_ratio(edits.wall[method], edits.wall[METHOD]), numbers, len(chains))
    latency_part = _per_chain(log_ratio(other.ratios(METHOD), own.ratios(method)), own.chains, len(chains))
    planted = _per_chain([math.log10(r) for r in guard.ratios(PLANTED)], guard.chains, len(chains))
    free = _per_chain(log_ratio(edits.wall[method], edits.wall[TEXT_ALONE]), numbers, len(chains))
    times = {"edit-time": edit_part, "latency": latency_part}
    name, found = weakest(times | _answers_apart(scr, after))
    made = Measurement({"weakest-part": found})
    made.controls["irrelevant-memory"] = weakest(times | _answers_apart(irrelevant, after))[1]
    made.controls["ten-fold"] = weakest({"edit-time": free, "latency": planted} | _answers_apart(gold, gross))[1]
    made.edits = length
    described(
        trial,
        case,
        made,
        f"{len(chains)} chains of {length} edits, {how_asked(trial, case.model)}",
        own,
        other,
        guard,
        edits,
    )
    made.checks |= exact_tokens(own, other, guard) | retrieval_in_force(scr)
    parts = times | _answers_apart(scr, after)
    made.descriptive["parts"] = {part: {"mean": mean_of(units), "units": units} for part, units in parts.items()}
    made.descriptive["weakest"] = name
    made.descriptive["scores"] = {
        label: dict(vars(scores_of([row for one in many for row in one.rows])))
        for label, many in ((METHOD, scr), (method, after))
    }
    made.descriptive["seconds_per_edit"] = {label: median_of(edits.wall[label]) for label in (METHOD, method)}
    made.descriptive["seconds_per_query"] = {METHOD: other.seconds(METHOD), method: own.seconds(method)}
    made.recipes += [one.key for one in (*after, *scr)]
    made.pictures.append(
        units_picture(
            case,
            f"SCR against {method}, per chain: each part is to be above zero (log10 of times, shares of answers)",
            {f"weakest: {name}": found.units, **{part: units for part, units in parts.items() if part != name}},
        )
    )
    return made


def _after(
    trial: Trial,
    case: Case,
    method: str,
    chains: Sequence[Sequence[EditRecord]],
    before: dict[str, str],
    scale: float = 1.0,
) -> list[Answered]:
    """Answers of a method's states after whole chains."""
    states = [steps(trial, case.model, method, chain) for chain in chains]
    asked = [
        in_state(trial, case.model, method, f"{method} chains", chain, state, scale=scale)
        for chain, state in zip(chains, states, strict=True)
    ]
    return ask(trial, case.model, asked, before=before)


def _answers_apart(one: Sequence[Answered], other: Sequence[Answered]) -> Parts:
    """Reliability and locality of one minus the other's, per chain."""
    scores = [(scores_of(a.rows), scores_of(b.rows)) for a, b in zip(one, other, strict=True)]
    return {
        "reliability": [float(a.rel or 0.0) - float(b.rel or 0.0) for a, b in scores],
        "locality": [float(a.loc or 0.0) - float(b.loc or 0.0) for a, b in scores],
    }


def _chain_of(chains: Sequence[Sequence[Any]], record_id: str) -> int:
    return next(n for n, chain in enumerate(chains) if any(record.id == record_id for record in chain))


def _per_chain(values: Sequence[float], numbers: Sequence[int], count: int) -> list[float]:
    """Mean per chain of values that are dealt over chains; each chain must have one."""
    own = [[value for value, number in zip(values, numbers, strict=True) if number == chain] for chain in range(count)]
    if not all(own):
        raise NotHere(
            f"needs a timed query and a timed edit for each of {count} chains; raise timed_prompts, timed_edits"
        )
    return [math.fsum(part) / len(part) for part in own]
