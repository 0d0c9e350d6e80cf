"""Events in the place of facts (RQ3): single edits, sequences, facts beside events, SCR; and methods with a memory.

An average is that of locality and portability, the two dimensions that an event has. Weights are given the facts that
are drawn from an event, a memory its sentence (`editverdict.pipeline.event_facts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from editverdict.data.records import kind_of
from editverdict.evaluation.dimensions import Locality, per_edit_scores, scores_by_kind
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.inference.smallest import smallest_mean
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.measurement import Case, Measurement, declare_checks, measure, passed
from editverdict.pipeline.measures.answering import (
    SCR,
    SHARED,
    AskedChains,
    begin,
    headroom,
    primary_and_controls,
    scr_threshold,
)
from editverdict.pipeline.measures.answers import horizon
from editverdict.pipeline.measures.in_force import edits_in_force, not_asked, retrieval_in_force
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import (
    EVENT_DIMENSIONS,
    by_eq4,
    less,
    mean,
    right_answers,
    said_instead,
    scores_in,
)
from editverdict.pipeline.trial import NotHere, Trial

declare_checks(
    headroom_single_loc="single edits reach a locality of 0.2: there is something to lose",
    headroom_gold_port="with the right text in the context portability reaches 0.2 on either data: it can be answered",
)


def portability_by_kind(**many: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """State -> kind of question -> share; what an event states, what follows from it, and what it leaves open."""
    return {
        state: {
            kind: found.share
            for kind, found in scores_by_kind([row for one in answered for row in one.rows], "port").items()
        }
        for state, answered in many.items()
    }


# --------------------------------------------------------------------------- single edits
def by_event(answered: Sequence[Answered], locality: Locality = "accuracy") -> dict[str, float]:
    """Event -> mean of its locality and its portability; an event that lacks one of them is left out."""
    scores = {
        event: found.avg
        for one in answered
        for event, found in per_edit_scores(one.rows, locality=locality, parts=EVENT_DIMENSIONS).items()
    }
    return {event: value for event, value in scores.items() if value is not None}


@measure("event_gain")
def event_gain(trial: Trial, case: Case) -> Measurement:
    """Mean of locality and portability of an event edited alone, minus that of the unedited model, per event."""
    method = method_of(case)
    asked = begin(trial, case, min(SHARED, trial.profile.sizes.chain_length))
    alone, base, idle, gold = asked.single(method), asked.unedited(), asked.no_op_single(), asked.gold()
    silent = [said_instead(trial, one, lambda *_: "") for one in base]
    events = len(by_event(alone))
    step = events / max(1, sum(len(one.rows) for one in alone))

    def gain(answered: Sequence[Answered], locality: Locality = "accuracy") -> list[float]:
        high, low = by_event(answered, locality), by_event(base, locality)
        return [high[event] - low[event] for event in high]

    made = Measurement({"locality-accuracy": t_interval(gain(alone), resolution=step)})
    made.definitions["locality-eq4"] = t_interval(gain(alone, "eq4"), resolution=step)
    made.controls["no-op"] = t_interval(gain(idle))
    made.controls["silent"] = t_interval(gain(silent))
    made.comparators["gold-context"] = gain(gold)
    made.checks |= headroom("headroom-loc", mean(scores_in(base, "loc")), "locality of the unedited model")
    made.descriptive["gain"] = {n: mean(less(scores_in(alone, n), scores_in(base, n))) for n in EVENT_DIMENSIONS}
    made.descriptive["portability_by_kind"] = portability_by_kind(single=alone, unedited=base, gold_context=gold)
    scores = {"single": alone, "unedited": base, "gold context": gold, "no op": idle}
    made = asked.finished(made, scores, f"Single {method} edits minus the unedited model, per event",
                          primary_and_controls(made, case, method))  # fmt: skip
    made.edits, made.resolution = 1, step
    made.stands_on = made.stands_on.replace(
        f"{len(asked.chains)} chains of {asked.length} edits", f"{events} events, each edited alone"
    )
    return made


# --------------------------------------------------------------------------- sequences
@measure("event_retention")
def event_retention(trial: Trial, case: Case) -> Measurement:
    """Average after the chain over that of the same events edited singly, per chain, at the method's horizon."""
    method = method_of(case)
    asked = begin(trial, case, horizon(trial, method))
    alone, after, gross = asked.single(method), asked.after(method), asked.ten_fold(method)
    idle_alone, idle = asked.no_op_single(), asked.no_op()
    step = 1 / asked.length

    def share(top: Sequence[Answered], bottom: Sequence[Answered], *names: str, resolution: float = 0.0) -> Estimate:
        high = scores_in(bottom, *names)
        if min(high) <= 0:
            return missing(note="single edits score 0")
        ratios = [a / b for a, b in zip(scores_in(top, *names), high, strict=True)]
        return t_interval(ratios, resolution=resolution)

    made = Measurement({"average": share(after, alone, *EVENT_DIMENSIONS, resolution=step)})
    made.definitions["locality"] = share(after, alone, "loc", resolution=step)
    made.definitions["portability"] = share(after, alone, "port", resolution=step)
    made.controls["no-op"] = share(idle, idle_alone, *EVENT_DIMENSIONS)
    made.controls["ten-fold"] = share(gross, alone, *EVENT_DIMENSIONS)
    made.checks |= headroom("headroom-single-loc", mean(scores_in(alone, "loc")), "locality of single edits")
    scores = {"single": alone, "sequential": after, "ten fold": gross}
    title = f"Average after {asked.length} events over single {method} edits, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, method))


# --------------------------------------------------------------------------- facts beside events
def data_of_events(trial: Trial) -> str:
    """The profile's first dataset of events.

    Raises
    ------
    NotHere
        It has none.
    """
    for name in trial.profile.datasets:
        kind = trial.library.datasets[name].kind
        if kind == "events" or (kind is None and kind_of(trial.records(name)) == "events"):
            return name
    raise NotHere(
        f"compares facts with events, and profile '{trial.profile.id}' has no data of events "
        f"({', '.join(trial.profile.datasets)}); --profile records-100, or name one with --datasets"
    )


@measure("facts_over_events")
def facts_over_events(trial: Trial, case: Case) -> Measurement:
    """What editing adds to portability on facts minus what it adds on events, after a chain of either.

    Beyond the unedited model on both sides: the questions of two datasets are not equally hard, and an editor that
    changes nothing would otherwise have a verdict from that alone.

    Chains of one are as independent of each other as of those of the other; that they are paired by their place costs
    degrees of freedom and nothing else.
    """
    method, events_id = method_of(case), data_of_events(trial)
    facts, events = begin(trial, case), begin(trial, replace(case, dataset=events_id))
    count, step = min(len(facts.chains), len(events.chains)), 1 / facts.length
    after, of_events = facts.after(method), events.after(method)
    base, base_events = facts.unedited(), events.unedited()
    idle, idle_events = facts.no_op(), events.no_op()
    gold, gold_events = facts.gold(), events.gold()

    def over(first: Sequence[Answered], second: Sequence[Answered], *names: str) -> list[float]:
        return less(scores_in(first[:count], *names), scores_in(second[:count], *names))

    def gained(first: Sequence[Answered], second: Sequence[Answered], *names: str) -> list[float]:
        return less(over(first, second, *names), over(base, base_events, *names))

    made = Measurement({"gained": t_interval(gained(after, of_events, "port"), resolution=step)})
    made.definitions["portability"] = t_interval(over(after, of_events, "port"), resolution=step)
    made.definitions["gained-loc-and-port"] = t_interval(gained(after, of_events, *EVENT_DIMENSIONS), resolution=step)
    made.controls["no-op"] = t_interval(gained(idle, idle_events, "port"))
    made.controls["gold-over-unedited"] = t_interval(gained(gold, base_events, "port"))
    made.comparators["gold-context"] = gained(gold, gold_events, "port")
    least = min(mean(scores_in(gold, "port")), mean(scores_in(gold_events, "port")))
    made.checks |= headroom("headroom-gold-port", least, "the lesser portability with the gold context")
    scores = {
        "facts": after,
        "events": of_events,
        "facts unedited": base,
        "events unedited": base_events,
        "facts gold": gold,
        "events gold": gold_events,
    }
    title = f"Portability of {method} on {case.dataset} minus on {events_id}, per chain"
    made = facts.finished(made, scores, title, primary_and_controls(made, case, method), shown=["facts"])
    made.stands_on += f"; beside {_beside(events, events_id, made)}"
    return made


def _beside(events: AskedChains, name: str, made: Measurement) -> str:
    """The other side in words; its own completeness joins the check."""
    told = Measurement({})
    scores = {"events": events.unedited()}
    events.finished(told, scores, "", {})
    whole, own = told.checks["answers-complete"], made.checks["answers-complete"]
    detail = f"{own.detail}; of {name} {whole.detail}"
    made.checks |= passed("answers-complete", own.ok and whole.ok, detail)
    if "facts_of_events" in told.descriptive:
        made.descriptive["facts_of_events"] = told.descriptive["facts_of_events"]
    return told.stands_on or name


# --------------------------------------------------------------------------- SCR beside every row of the tables
@measure("scr_best_on_events")
def scr_best_on_events(trial: Trial, case: Case) -> Measurement:
    """Smallest of four: SCR minus the method and minus the unedited model, in portability and in the average."""
    method = method_of(case)
    scr_threshold(trial, case)
    asked = begin(trial, case)
    after, base = asked.after(method), asked.unedited()
    scr, other, gold = asked.scr(), asked.scr_irrelevant(), asked.gold()
    whole, step = {"port": ("port",), "avg": EVENT_DIMENSIONS}, 1 / asked.length

    def ahead(answered: Sequence[Answered], resolution: float, eq4: bool = False) -> Estimate:
        def lead(of: Sequence[Answered], names: Sequence[str]) -> list[float]:
            named = by_eq4(names) if eq4 else names
            return less(scores_in(answered, *named), scores_in(of, *named))

        rivals = {method: after, "unedited": base}
        parts = {f"{n} over {who}": lead(of, names) for n, names in whole.items() for who, of in rivals.items()}
        return smallest_mean(parts, resolution=resolution)

    made = Measurement({"locality-accuracy": ahead(scr, step), "locality-eq4": ahead(scr, step, eq4=True)})
    # Texts that change nothing, as they should, are exactly where they were: a floor would leave that undecided.
    made.controls["irrelevant-memory"] = ahead(other, 0.0)
    made.controls["right-answers"] = ahead(right_answers(trial, scr), 0.0)
    made.checks |= headroom("headroom-gold", mean(scores_in(gold, *EVENT_DIMENSIONS)), "average with the gold context")
    made.checks |= retrieval_in_force(scr) | edits_in_force({method: after}, base)
    made.descriptive["advantage"] = {
        f"{n} over {who}": mean(less(scores_in(scr, n), scores_in(of, n)))
        for n in EVENT_DIMENSIONS
        for who, of in ((method, after), ("unedited", base))
    }
    made.descriptive["portability_by_kind"] = portability_by_kind(SCR=scr, method=after, unedited=base)
    scores = {"SCR": scr, "method": after, "unedited": base, "irrelevant memory": other, "gold context": gold}
    title = f"SCR minus {method} and minus the unedited model, the least, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, SCR))


# --------------------------------------------------------------------------- methods with a memory
@measure("memory_drop")
def memory_drop(trial: Trial, case: Case) -> Measurement:
    """Average of single edits minus average after the chain, of a method that keeps its edits beside the weights."""
    method = method_of(case)
    if method == SCR:
        scr_threshold(trial, case)
    asked = begin(trial, case)
    alone, after = asked.single(method), asked.scr() if method == SCR else asked.after(method)
    base, idle_alone, idle = asked.unedited(), asked.no_op_single(), asked.no_op()
    names = asked.dimensions
    step = 1 / (len(names) * asked.length)

    def drop(first: Sequence[Answered], second: Sequence[Answered], *of: str, resolution: float = step) -> Estimate:
        return t_interval(less(scores_in(first, *of), scores_in(second, *of)), resolution=resolution)

    made = Measurement({"locality-accuracy": drop(alone, after, *names)})
    made.definitions["locality-eq4"] = drop(alone, after, *by_eq4(names))
    made.controls["forgotten"] = drop(alone, base, *names)
    made.controls["no-op"] = drop(idle_alone, idle, *names, resolution=0.0)
    high = mean(scores_in(alone, *names))
    made.checks |= headroom("headroom-single-avg", high, "average of single edits")
    other = f"{method} keeps no texts; the control 'forgotten' says whether it holds anything"
    made.checks |= retrieval_in_force(alone) if method == SCR else not_asked(other)
    made.descriptive["drop"] = {n: mean(less(scores_in(alone, n), scores_in(after, n))) for n in names}
    scores = {"single": alone, "sequential": after, "unedited": base}
    title = f"Single {method} edits minus {asked.length} in a row, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, method))
