"""Reasoning models under sequential edits beside standard ones, and what AlphaEdit keeps and loses (RQ2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from editverdict.evaluation.capability import retained
from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.inference.smallest import Part, weakest_part
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.capability import InForce, protocol_id, scored, suite_of
from editverdict.pipeline.edits import steps
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, declare_checks, measure, passed
from editverdict.pipeline.measures.answering import HEADROOM, AskedChains, begin, headroom, require_deltas
from editverdict.pipeline.measures.asked_alike import PUT, unlike
from editverdict.pipeline.measures.capability import (
    AGAIN,
    DESTROYED,
    headroom_of,
    items_complete,
    retained_estimate,
    scored_chains,
)
from editverdict.pipeline.measures.forcing import unfinished_in
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import less, mean, scores_in
from editverdict.pipeline.trial import NotHere, Trial

STANDARD = "llama-3.1-8b-instruct"
"""The general-purpose model of Table 29 that Table 3 is compared with."""
KEPT_REASONING, KEPT_EDITS = 0.9, 0.5
"""Shares of reasoning and of edits beyond which they count as kept (claims.md 52 and 44)."""


declare_checks(headroom_standard="the standard model has scores left after the chain: another can be worse")


# --------------------------------------------------------------------------- a reasoning model beside a standard one
def standard_beside(trial: Trial, case: Case) -> str:
    """The standard model that a reasoning model is held against.

    Raises
    ------
    NotHere
        The profile lacks it, the reasoning model has no protocol that parts its thinking from its answer, or the two
        are asked in different ways beside that.
    """
    if STANDARD not in trial.profile.models:
        there = ", ".join(trial.profile.models)
        raise NotHere(f"compares {case.model} with {STANDARD} at equal N; profile '{trial.profile.id}' has {there}")
    if trial.profile.protocol_of(case.model).thinking is None:
        raise NotHere(
            f"needs a protocol with a thinking part for {case.model}, or its thoughts are taken for its answer: "
            f"profiles[{trial.profile.id}].protocols.{case.model}.thinking"
        )
    if (how := unlike(trial, case.model, STANDARD, PUT)) is not None:
        raise NotHere(
            "compares two models, whose protocols may differ in the thinking part and the length of answers alone; "
            f"{how} (profiles[{trial.profile.id}].protocols)"
        )
    return STANDARD


def unfinished(answered: Sequence[Answered]) -> dict[str, int]:
    """Answers that never came to an end within the limit, of all answers; they stay in the average, as wrong ones."""
    return {"unfinished": unfinished_in(answered, DIMENSIONS), "answers": sum(len(one.rows) for one in answered)}


def _over(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(first, second, strict=True)]


@measure("reasoning_beside_standard")
def reasoning_beside_standard(trial: Trial, case: Case) -> Measurement:
    """Average after the chain in a reasoning model minus that in a standard one, same facts, per chain (Table 3)."""
    method, beside = method_of(case), standard_beside(trial, case)
    asked = begin(trial, case)
    other = begin(trial, Case(case.claim, beside, case.method, case.dataset))
    own, theirs = asked.after(method), other.after(method)
    alone, theirs_alone = asked.single(method), other.single(method)
    gold, idle = asked.gold(), asked.no_op()

    def average(answered: Sequence[Answered]) -> list[float]:
        return scores_in(answered, *DIMENSIONS)

    def worse(answered: Sequence[Answered], *names: str) -> Estimate:
        step = 1 / (len(names) * asked.length)
        return t_interval(less(scores_in(answered, *names), scores_in(theirs, *names)), resolution=step)

    made = Measurement({"average": worse(own, *DIMENSIONS), "rel-and-gen": worse(own, "rel", "gen")})
    singles = average(alone), average(theirs_alone)
    made.definitions["share-of-single"] = missing(note="single edits score 0")
    if all(min(one) > 0 for one in singles):
        shares = [_over(average(after), single) for after, single in zip((own, theirs), singles, strict=True)]
        made.definitions["share-of-single"] = t_interval(less(*shares), resolution=1 / (4 * asked.length))
    made.controls["gold-context"] = worse(gold, *DIMENSIONS)
    made.controls["no-op"] = worse(idle, *DIMENSIONS)
    made.comparators["single"] = less(*singles)
    left = mean(average(theirs))
    made.checks |= passed(
        "headroom-standard",
        left >= HEADROOM,
        f"average after the chain in {beside} = {left:.3f}, at least {HEADROOM} needed for another to be worse",
    )
    made.resolution = 1 / (4 * asked.length)
    made.descriptive["average"] = {case.model: mean(average(own)), beside: left}
    made.descriptive["thinking"] = unfinished(own)
    units = {
        method: made.definitions["average"].units,
        "gold-context (negative)": made.controls["gold-context"].units,
        "no-op (positive)": made.controls["no-op"].units,
        "single (comparator)": made.comparators["single"],
    }
    scores = {"sequential": own, "single": alone, "gold context": gold, f"sequential in {beside}": theirs}
    title = f"Average after {asked.length} {method} edits, {case.model} minus {beside}, per chain"
    made = asked.finished(made, scores, title, units, shown=("sequential", f"sequential in {beside}"))
    theirs_by = trial.profile.protocol_of(beside).id
    made.stands_on = f"{made.stands_on}; {beside} by protocol {theirs_by}"
    return made


# --------------------------------------------------------------------------- AlphaEdit's trade-off
def reasoning_part(estimate: Estimate) -> Part:
    """The share of reasoning kept beyond what is asked, over the room up to all of it; with the error of the items."""
    part = Part(tuple(unit - KEPT_REASONING for unit in estimate.units), estimate.resolution, estimate.shared)
    return part.over(1.0 - KEPT_REASONING)


def edits_part(answered: Sequence[Answered], single: Sequence[float], step: float) -> Part:
    """The share of Rel and Gen kept beyond a half, over the room up to all of it."""
    shares = _over(scores_in(answered, "rel", "gen"), single)
    return Part(tuple(share - KEPT_EDITS for share in shares), step).over(1.0 - KEPT_EDITS)


def locality_part(before: Sequence[float], after: Sequence[float], step: float) -> Part:
    """The locality lost, over what there was to lose."""
    return Part(tuple(less(before, after)), step).over(mean(before))


def _reasoning_left(trial: Trial, case: Case, asked: AskedChains, made: Measurement) -> dict[str, Estimate]:
    """Shares of reasoning that are left: after the chains, of the unedited model scored again, of planted updates."""
    method, suite = method_of(case), suite_of(trial, "reasoning")
    (before,) = scored(trial, case.model, suite, [InForce("unedited model")])
    made.checks |= headroom_of(before.scores)
    made.descriptive |= {"suite": suite.id, "capability_protocol": protocol_id(trial, suite)}
    if not made.checks["headroom-capability"].ok:
        made.checks |= passed("items-complete", True, "only the unedited model was scored: it has nothing to lose")
        raise Unmeasurable(made)
    after = scored_chains(trial, case.model, method, suite, asked.chains)
    gone = scored(trial, case.model, suite, [InForce("planted updates", planted=seed) for seed in range(DESTROYED)])
    removed = [steps(trial, case.model, method, chain) for chain in asked.chains[:AGAIN]]
    again = scored(trial, case.model, suite, [InForce("unedited again", removed=state) for state in removed])
    made.checks |= items_complete(before.scores, [one.scores for one in (*after, *gone, *again)])
    made.recipes += [one.key for one in after]
    return {
        "after": retained_estimate([one.scores for one in after], before.scores),
        "destroyed": retained_estimate([one.scores for one in gone], before.scores),
        # Without a floor: where nothing was left behind, all of them are 1 to the last bit.
        "again": t_interval([retained(one.scores, before.scores) for one in again]),
    }


@measure("reasoning_kept_locality_lost")
def reasoning_kept_locality_lost(trial: Trial, case: Case) -> Measurement:
    """The weakest of: reasoning kept beyond .9, edits kept beyond a half, locality lost; after the same chain."""
    method = method_of(case)
    suite_of(trial, "reasoning")  # says what is needed before anything is measured
    require_deltas(trial, case, method)
    asked = begin(trial, case)
    made = Measurement({d.name: missing(note="single edits score 0") for d in case.claim.definitions})
    left = _reasoning_left(trial, case, asked, made)
    states = {
        "single": asked.single(method),
        "sequential": asked.after(method),
        "gold context": asked.gold(),
        "no op": asked.no_op(),
        "unedited": asked.unedited(),
    }
    single, loc = scores_in(states["single"], "rel", "gen"), scores_in(states["unedited"], "loc")
    rel = mean(scores_in(states["single"], "rel"))
    made.checks |= headroom("headroom-single-rel", rel, "reliability of single edits")
    made.checks |= headroom("headroom-loc", mean(loc), "locality of the unedited model")
    if min(single) > 0 and mean(loc) > 0:
        _joint(made, left, states, 1 / asked.length)
    made.descriptive["reasoning_retained"] = {name: found.value for name, found in left.items()}
    units = {method: made.definitions["all-parts"].units}
    units |= {f"part: {name}": made.definitions[name].units for name in ("reasoning", "edits", "locality")}
    units |= {f"{name} (control)": found.units for name, found in made.controls.items()}
    title = f"Weakest of reasoning kept, edits kept and locality lost after {asked.length} {method} edits"
    keys = list(made.recipes)
    made = asked.finished(made, states, title, units, shown=("single", "sequential"))
    made.recipes = [*keys, *(key for key in made.recipes if key not in keys)]
    return made


def _joint(made: Measurement, left: Mapping[str, Estimate], states: Mapping[str, list[Answered]], step: float) -> None:
    """The joint margin of the chain, and of states in which exactly one part is broken, or none."""
    single, loc = scores_in(states["single"], "rel", "gen"), scores_in(states["unedited"], "loc")
    after, gold = states["sequential"], states["gold context"]
    parts = {
        "reasoning": reasoning_part(left["after"]),
        "edits": edits_part(after, single, step),
        "locality": locality_part(loc, scores_in(after, "loc"), step),
    }
    eq4 = locality_part([1.0] * len(loc), scores_in(after, "loc_eq4"), step)
    made.definitions |= {
        "all-parts": weakest_part(parts),
        "locality-eq4": weakest_part(parts | {"locality": eq4}),
        **{name: t_interval(p.units, resolution=p.resolution, shared=p.shared) for name, p in parts.items()},
    }
    planted = {
        "reasoning": reasoning_part(left["again"]),
        "edits": edits_part(gold, single, 0.0),
        "locality": locality_part(loc, [0.0] * len(loc), 0.0),
    }
    broken = {
        "planted": {},
        "reasoning-lost": {"reasoning": reasoning_part(left["destroyed"])},
        "edits-lost": {"edits": edits_part(states["no op"], single, 0.0)},
        "locality-kept": {"locality": locality_part(loc, scores_in(gold, "loc"), 0.0)},
    }
    for name, instead in broken.items():
        made.controls[name] = weakest_part(planted | instead)
    made.descriptive["parts"] = {name: mean(part.units) for name, part in parts.items()}
    made.descriptive["weakest"] = made.definitions["all-parts"].note
