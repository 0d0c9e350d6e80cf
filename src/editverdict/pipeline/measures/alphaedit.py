"""AlphaEdit under two weights of its L2 term, in several models and in two implementations (C.6, Table 41)."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import Estimate, t_interval
from editverdict.inference.smallest import smallest_mean
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.comparing import in_other_form
from editverdict.pipeline.edits import editor_of
from editverdict.pipeline.forms import forms_of
from editverdict.pipeline.frames import in_bare_form
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.answering import begin, headroom, primary_and_controls
from editverdict.pipeline.measures.asked_alike import unlike
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import less, mean, scores_in
from editverdict.pipeline.trial import NotHere, Trial

STRONG, WEAK = "AlphaEdit", "AlphaEdit-L2-1"
"""L2 = 10 and L2 = 1, the two of Table 41."""
OUTSIDE = "easyedit:AlphaEdit"
"""EasyEdit's own AlphaEdit, with L2 = 1 as its configurations have it."""


def _needs(trial: Trial, case: Case, *methods: str) -> None:
    if lacking := [name for name in methods if name not in trial.profile.methods_of(case.claim.id)]:
        raise NotHere(f"compares {case.method} with {' and '.join(lacking)}, which the profile does not have")


def _difference(first: Sequence[Answered], second: Sequence[Answered], names: Sequence[str], length: int) -> Estimate:
    step = 1 / (len(names) * length)
    return t_interval(less(scores_in(first, *names), scores_in(second, *names)), resolution=step)


@measure("gain_by_l2")
def gain_by_l2(trial: Trial, case: Case) -> Measurement:
    """Reliability after the chain with L2 = 10 minus with L2 = 1, per chain (Table 41)."""
    _needs(trial, case, STRONG, WEAK)
    asked = begin(trial, case)
    strong, weak = asked.after(STRONG), asked.after(WEAK)
    alone, idle, gold = asked.single(STRONG), asked.no_op(), asked.gold()
    made = Measurement({"rel": _difference(strong, weak, ["rel"], asked.length)})
    made.definitions["average"] = _difference(strong, weak, DIMENSIONS, asked.length)
    made.controls["no-op"] = _difference(idle, weak, ["rel"], asked.length)
    made.controls["gold-context"] = _difference(gold, weak, ["rel"], asked.length)
    made.checks |= headroom("headroom-single-rel", mean(scores_in(alone, "rel")), "reliability of single edits")
    scores = {"L2 10": strong, "L2 1": weak, "single L2 10": alone, "gold context": gold}
    title = f"Reliability after {asked.length} edits, L2 = 10 minus L2 = 1, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, method_of(case)))


@measure("l2_tradeoff")
def l2_tradeoff(trial: Trial, case: Case) -> Measurement:
    """Smaller of the advantages of L2 = 1 in single edits and of L2 = 10 after the chain, in reliability (Table 41)."""
    _needs(trial, case, STRONG, WEAK)
    asked = begin(trial, case)
    strong, weak = asked.after(STRONG), asked.after(WEAK)
    strong_alone, weak_alone = asked.single(STRONG), asked.single(WEAK)
    idle, idle_alone, gold = asked.no_op(), asked.no_op_single(), asked.gold()
    step = 1 / asked.length

    def both(alone: Sequence[Answered], after: Sequence[Answered], names: Sequence[str], resolution: float) -> Estimate:
        parts = {
            "single": less(scores_in(weak_alone, *names), scores_in(alone, *names)),
            "sequential": less(scores_in(after, *names), scores_in(weak, *names)),
        }
        return smallest_mean(parts, resolution=resolution)

    made = Measurement({"rel": both(strong_alone, strong, ["rel"], step)})
    made.definitions["average"] = both(strong_alone, strong, DIMENSIONS, step / 4)
    made.controls["no-op"] = both(idle_alone, idle, ["rel"], 0.0)
    made.controls["gold-context"] = both(idle_alone, gold, ["rel"], step)
    made.notes["no-op"] = "in the place of L2 = 10"
    made.notes["gold-context"] = (
        "in the place of L2 = 10 after the chain, the unedited model in its place in single edits"
    )
    made.checks |= headroom("headroom-single-rel", mean(scores_in(weak_alone, "rel")), "reliability of single edits")
    scores = {"L2 10": strong, "L2 1": weak, "single L2 10": strong_alone, "single L2 1": weak_alone}
    title = "L2 = 1 better in single edits and L2 = 10 after the chain: the smaller advantage, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, method_of(case)))


def _asked_alike(trial: Trial, model: str) -> list[str]:
    """The profile's other models that answer by the same protocol: scores under another one say nothing here.

    Raises
    ------
    NotHere
        There is none.
    """
    others = {name: unlike(trial, model, name) for name in trial.profile.models if name != model}
    found = [name for name, how in others.items() if how is None]
    if not found:
        why = "; ".join(how for how in others.values() if how) or "the profile has no other"
        raise NotHere(f"compares {model} with other models that are asked alike: {why}")
    return found


@measure("kept_unlike_other_models")
def kept_unlike_other_models(trial: Trial, case: Case) -> Measurement:
    """Reliability after the chain in this model minus the best of the profile's other models, chain by chain."""
    method = method_of(case)
    others = _asked_alike(trial, case.model)
    # One model at a time is in memory, so each one's answers are read before the next.
    theirs = {}
    for name in others:
        asked = begin(trial, Case(case.claim, name, method, case.dataset))
        theirs[name] = scores_in(asked.after(method), "rel")
    best = [max(values) for values in zip(*theirs.values(), strict=True)]
    asked = begin(trial, case)
    own, alone, idle, gold = asked.after(method), asked.single(method), asked.no_op(), asked.gold()
    step = 1 / asked.length

    def beyond(answered: Sequence[Answered]) -> Estimate:
        return t_interval(less(scores_in(answered, "rel"), best), resolution=step)

    made = Measurement({"rel": beyond(own)})
    made.controls["no-op"] = beyond(idle)
    made.controls["gold-context"] = beyond(gold)
    made.checks |= headroom("headroom-single-rel", mean(scores_in(alone, "rel")), "reliability of single edits")
    made.descriptive["reliability"] = {case.model: mean(scores_in(own, "rel"))} | {
        n: mean(v) for n, v in theirs.items()
    }
    scores = {"sequential": own, "single": alone, "gold context": gold}
    title = f"Reliability after {asked.length} {method} edits in {case.model} minus the best of others, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, method_of(case)))


@measure("other_implementation")
def other_implementation(trial: Trial, case: Case) -> Measurement:
    """Reliability after the chain by EasyEdit's AlphaEdit minus by ours, same L2 and facts, per chain.

    On the bare prompt whatever form the profile edits in, since EasyEdit's editors know no other; where that is another
    form than the profile's, what the states came to is marked, for it belongs into no table with its other methods.
    """
    usual, trial, method = forms_of(trial, case), in_bare_form(trial), method_of(case)
    if OUTSIDE not in trial.library.methods:
        raise NotHere(f"needs the method '{OUTSIDE}' in specs/methods")
    editor_of(trial, OUTSIDE, case.model)  # says what is needed before anything is measured
    asked = begin(trial, case)
    own, theirs = asked.after(method), asked.after(OUTSIDE)
    alone, idle = asked.single(method), asked.no_op()
    made = Measurement({"rel": _difference(theirs, own, ["rel"], asked.length)})
    made.definitions["average"] = _difference(theirs, own, DIMENSIONS, asked.length)
    made.controls["no-op"] = _difference(idle, own, ["rel"], asked.length)
    made.controls["itself"] = _difference(own, own, ["rel"], asked.length)
    made.checks |= headroom("headroom-single-rel", mean(scores_in(alone, "rel")), "reliability of single edits")
    scores = {"EasyEdit": theirs, "ours": own, "single": alone}
    title = f"Reliability after {asked.length} edits, EasyEdit's AlphaEdit minus ours, per chain"
    made = asked.finished(made, scores, title, primary_and_controls(made, case, method_of(case)))
    if (form := forms_of(trial, case)["edited"]) != usual["edited"]:
        made.facts = in_other_form(made.facts, form)
    return made
