"""Time: what edits add to a query, and how long they take (RQ4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from editverdict.generation.latency import EXACTLY
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.pipeline.edit_times import AGAIN, TEXT_ALONE, EditTimes, edit_times
from editverdict.pipeline.latency import NO_OP, PLANTED, SLOWDOWN, Times, control_times, times_of
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.perturbation import method_of, units_picture
from editverdict.pipeline.scr_edits import EMBEDDED, REBUILT, TEXT, text_times
from editverdict.pipeline.scr_grid import METHOD, scr_settings
from editverdict.pipeline.timing import had_processor
from editverdict.pipeline.trial import NotHere, Trial

HIDDEN = "GRACE"
"""The method that keeps hidden states."""


def exact_tokens(*many: Times) -> dict[str, Any]:
    """The check ``tokens-exact``."""
    found = sorted(set().union(*(times.tokens for times in many)))
    return passed("tokens-exact", found == [EXACTLY], f"answers of {found} new tokens, expected {EXACTLY} each")


def described(trial: Trial, case: Case, made: Measurement, what: str, *many: Any) -> Measurement:
    """What a measurement of times stands on: recipes, machine, and whether it had the processor to itself."""
    made.recipes = [one.key for one in many]
    made.stands_on = f"{case.subject}, {what}; times are judged as ratios within one process"
    made.descriptive["machine"] = many[0].machine
    wall, cpu = (math.fsum(one.spent[i] for one in many) for i in (0, 1))
    made.checks |= had_processor(trial, wall, cpu, many[0].machine)
    return made


def how_asked(trial: Trial, model_id: str) -> str:
    """How timed queries are put, in words."""
    form = trial.profile.protocol_of(model_id).prompt_form
    return f"greedy answers of exactly {EXACTLY} tokens, one query at a time, {form} form"


# --------------------------------------------------------------------------- latency
@measure("latency_ratio")
def latency_ratio(trial: Trial, case: Case) -> Measurement:
    """Latency of a query to the edited model over that of the same query to the unedited one, per query."""
    method, length = method_of(case), chain_length(trial, case)
    dataset = str(case.dataset)
    own = times_of(trial, case.model, dataset, method, length)
    guard = control_times(trial, case.model, dataset, length)
    made = Measurement({"wall-clock": t_interval(own.ratios(method))})
    made.definitions["decoding-alone"] = t_interval(own.ratios(method, lambda query: query.decoding))
    on_cpu = trial.device.type == "cpu"
    made.definitions["cpu-time"] = (
        t_interval(own.ratios(method, lambda query: query.cpu))
        if on_cpu
        else missing(note=f"the work is done by {trial.device.type}")
    )
    made.controls["no-op"] = t_interval(guard.ratios(NO_OP))
    made.controls["planted-slowdown"] = t_interval(guard.ratios(PLANTED))
    made.comparators[METHOD] = _beside(trial, case, length)
    made.edits = length
    every = (own, guard)
    described(
        trial,
        case,
        made,
        f"{len(own.chains)} queries, {how_asked(trial, case.model)}, after chains of {length} edits",
        *every,
    )
    made.checks |= exact_tokens(*every)
    made.descriptive |= {
        "seconds_per_query": {name: own.seconds(name) for name in own.queries},
        "seconds_of_retrieval": {name: own.seconds(name, lambda query: query.retrieval) for name in own.queries},
        "planted": SLOWDOWN,
    }
    made.pictures.append(
        units_picture(
            case,
            f"Latency of a query after {length} {method} edits over the unedited model's",
            {
                method: made.definitions["wall-clock"].units,
                "no-op (negative)": made.controls["no-op"].units,
                "planted-slowdown (positive)": made.controls["planted-slowdown"].units,
                f"{METHOD} (comparator)": made.comparators[METHOD],
            },
        )
    )
    return made


def _beside(trial: Trial, case: Case, length: int) -> list[float]:
    """SCR's ratios on the same queries; none where it cannot be run on this model."""
    try:
        scr_settings(trial, case.model)
    except NotHere:
        return []
    return times_of(trial, case.model, str(case.dataset), METHOD, length).ratios(METHOD)


# --------------------------------------------------------------------------- edit time
def log_ratio(top: Sequence[float], bottom: Sequence[float]) -> list[float]:
    """log10 of paired ratios."""
    return [math.log10(a / b) for a, b in zip(top, bottom, strict=True)]


def _smallest(*parts: Sequence[float]) -> list[float]:
    return [min(values) for values in zip(*parts, strict=True)]


def edits_beside(trial: Trial, case: Case, method: str) -> EditTimes:
    """Edit times of a method with those of text and of hidden states beside them; all claims about time share them."""
    scr_settings(trial, case.model)
    if HIDDEN not in trial.library.methods:
        raise NotHere(f"needs a method with id '{HIDDEN}' in specs/methods: it keeps hidden states")
    return edit_times(trial, case.model, str(case.dataset), (METHOD, HIDDEN, method), HIDDEN)


@measure("edit_time_order")
def edit_time_order(trial: Trial, case: Case) -> Measurement:
    """Smallest step, in log10, on the way from text to hidden states to parameters, per edit."""
    method = method_of(case)
    times = edits_beside(trial, case, method)

    def steps_up(wall: dict[str, list[float]], text: str = METHOD) -> Estimate:
        return t_interval(_smallest(log_ratio(wall[HIDDEN], wall[text]), log_ratio(wall[method], wall[HIDDEN])))

    once, again = times.wall[HIDDEN], times.wall[f"{HIDDEN} {AGAIN}"]
    twice = [a + b for a, b in zip(once, again, strict=True)]
    made = Measurement({"wall-clock": steps_up(times.wall), "text-alone": steps_up(times.wall, TEXT_ALONE)})
    made.definitions["cpu-time"] = (
        steps_up(times.cpu)
        if _all_positive(times.cpu, method)
        else missing(note="an edit took less CPU time than the clock resolves")
    )
    made.controls["same-again"] = t_interval(_smallest(log_ratio(once, again), log_ratio(again, once)))
    made.controls["twice"] = t_interval(log_ratio(twice, once))
    made.edits = 1
    described(trial, case, made, f"{len(once)} single edits, each made by itself", times)
    made.descriptive["seconds_per_edit"] = {name: median_of(own) for name, own in times.wall.items()}
    made.descriptive["cpu_seconds_per_edit"] = {name: median_of(own) for name, own in times.cpu.items()}
    made.pictures.append(
        units_picture(
            case,
            f"Edit time: smallest step from {METHOD} (text) to {HIDDEN} (hidden states) to {method} (parameters)",
            {
                method: made.definitions["wall-clock"].units,
                "same-again (negative)": made.controls["same-again"].units,
                "twice (positive)": made.controls["twice"].units,
            },
        )
    )
    return made


def _all_positive(times: dict[str, list[float]], method: str) -> bool:
    return all(value > 0 for name in (METHOD, HIDDEN, method) for value in times[name])


def median_of(values: Sequence[float]) -> float:
    """Median, for display."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


@measure("text_edit_share")
def text_edit_share(trial: Trial, case: Case) -> Measurement:
    """Time of an edit that is kept as text over that of a query to the same memory, per edit."""
    times = text_times(trial, case.model, str(case.dataset))
    made = Measurement({"embedded": t_interval(times.shares(EMBEDDED)), "text-alone": t_interval(times.shares(TEXT))})
    made.controls["rebuilt"] = t_interval(times.shares(REBUILT))
    made.controls["text-alone"] = made.definitions["text-alone"]
    made.edits = 1
    sizes = " and ".join(map(str, times.wall))
    described(trial, case, made, f"one more text in memories of {sizes}, queries of exactly {EXACTLY} tokens", times)
    made.descriptive["seconds"] = {
        str(size): {what: median_of(own) for what, own in of_size.items()} for size, of_size in times.wall.items()
    }
    made.pictures.append(
        units_picture(
            case,
            f"Edit time of {METHOD} over the time of a query, worse of memories of {sizes} texts",
            {
                METHOD: made.definitions["embedded"].units,
                "rebuilt (negative)": made.controls["rebuilt"].units,
                "text-alone (positive)": made.controls["text-alone"].units,
            },
        )
    )
    return made
