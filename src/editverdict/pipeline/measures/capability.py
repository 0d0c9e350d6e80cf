"""What edited models are still able to do: scores on suites of tasks beside the unedited model's (RQ2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors.base import State
from editverdict.evaluation.capability import (
    Reading,
    SuiteScores,
    above_chance,
    paired_differences,
    retained,
    suite_score,
)
from editverdict.inference.intervals import Estimate, jackknife_interval, missing, t_interval
from editverdict.inference.standard_errors import shared_error
from editverdict.pipeline.capability import PLANTED_NORM, InForce, Scored, protocol_id, scored, suite_of
from editverdict.pipeline.edits import editor_of, steps
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, declare_checks, measure, passed
from editverdict.pipeline.measures.perturbation import method_of, units_picture
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.capabilities import CapabilityGroup, CapabilitySpec

HEADROOM = 0.2
DESTROYED = 6
"""Planted updates, one per seed: as many as the chains of a claim."""
AGAIN = 2
"""Chains after whose removal the unedited model is scored again; nothing varies there unless something is left."""

declare_checks(
    headroom_capability="the unedited model scores at least 0.2 above guessing, and above it by its interval",
    items_complete="every state was scored on every item, and on the same ones",
)


@measure("capability_retained")
def capability_retained(trial: Trial, case: Case) -> Measurement:
    """Share of the score above guessing that is left after the chain, on tasks to be worked out (Table 33)."""
    return _retained(trial, case, "reasoning")


@measure("broader_retained")
def broader_retained(trial: Trial, case: Case) -> Measurement:
    """The same on tasks of knowledge and language (Table 34)."""
    return _retained(trial, case, "broader")


def scored_chains(
    trial: Trial, model_id: str, method: str, suite: CapabilitySpec, chains: Sequence[Sequence[EditRecord]]
) -> list[Scored]:
    """The state after each chain, scored; put in force the way that the method needs."""
    own = not method.startswith("placebo:") and editor_of(trial, method, model_id).answers_itself
    states: list[State] = [steps(trial, model_id, method, chain) for chain in chains]
    many = [
        InForce(f"{method} chains", state, method=method if own else None, memory=tuple(chain) if own else ())
        for state, chain in zip(states, chains, strict=True)
    ]
    return scored(trial, model_id, suite, many)


def chains_reached(trial: Trial, case: Case) -> list[list[EditRecord]]:
    """The chains that are as long as the claim asks for, cut to that length.

    Raises
    ------
    NotHere
        The profile has none. A rehearsal with random weights takes its short ones.
    """
    wanted, sizes = int(case.claim.edits), trial.profile.sizes
    longest = max(sizes.chain_length, sizes.long_chain)
    if longest < wanted:
        if trial.library.models[case.model].weights != "random":
            raise NotHere(f"needs T ≥ {wanted}; the longest chain of profile '{trial.profile.id}' has {longest} edits")
        wanted = sizes.chain_length
    return [chain[:wanted] for chain in trial.chains(str(case.dataset)) if len(chain) >= wanted]


def retained_estimate(
    edited: Sequence[SuiteScores], unedited: SuiteScores, reading: Reading = "correct", *, chance: bool = True
) -> Estimate:
    """Share retained, one unit per chain; what the items add, which all chains have in common, is in the interval.

    Missing where the unedited model is no better than guessing, or the reading does not exist (generated answers have
    no probability among choices).
    """
    values = [v for one in (unedited, *edited) for task in one.chance for v in one.values(task, reading)]
    if any(value != value for value in values):
        return missing(note="generated answers are right or wrong, and have no probability among choices")
    score = above_chance if chance else suite_score
    blocks = range(unedited.blocks)
    if not edited or min(score(unedited, reading, b) for b in (None, *blocks)) <= 0.0:
        return missing(note="the unedited model is no better than guessing")
    units = [retained(one, unedited, reading, chance=chance) for one in edited]
    if len(blocks) < 2:
        return t_interval(units, resolution=_step(unedited))
    left = [fmean(retained(one, unedited, reading, b, chance=chance) for one in edited) for b in blocks]
    return t_interval(units, resolution=_step(unedited) if reading == "correct" else 0.0, shared=shared_error(left))


def _step(unedited: SuiteScores) -> float:
    """What one item moves the share by."""
    fewest = min(len(unedited.items[task]) for task in unedited.chance)
    return 1.0 / (len(unedited.chance) * fewest * max(above_chance(unedited), 1e-9))


def unedited_interval(scores: SuiteScores) -> Estimate:
    """The suite's score above guessing of one state, with its interval over blocks of items."""
    full, blocks = above_chance(scores), range(scores.blocks)
    if len(blocks) < 2:
        return missing(note="too few items for an interval")
    return jackknife_interval(full, [above_chance(scores, without=b) for b in blocks])


def _retained(trial: Trial, case: Case, group: CapabilityGroup) -> Measurement:
    method, suite = method_of(case), suite_of(trial, group)
    if editor_of(trial, method, case.model).answers_itself:
        raise NotHere(f"needs the control of a state that is removed again, and that of {method} is more than weights")
    chains = chains_reached(trial, case)
    made = Measurement({}, edits=len(chains[0]) if chains else 0)
    (before,) = scored(trial, case.model, suite, [InForce("unedited model")])
    made.checks |= headroom_of(before.scores)
    made.descriptive |= {
        "suite": suite.id,
        "capability_protocol": protocol_id(trial, suite),
        "unedited_above_chance": list(unedited_interval(before.scores).interval or ()),
    }
    made.stands_on = (
        f"{case.subject}, {len(chains)} chains of {made.edits} edits, suite {suite.id}, "
        f"protocol {made.descriptive['capability_protocol']}"
    )
    made.recipes = [before.key]
    if not made.checks["headroom-capability"].ok:
        made.descriptive["tasks"] = _tasks(suite, before.scores, {})
        made.checks |= passed("items-complete", True, "only the unedited model was scored: it has nothing to lose")
        made.pictures.append(_table(suite, before.scores, {}))
        raise Unmeasurable(made)
    after = scored_chains(trial, case.model, method, suite, chains)
    destroyed = scored(
        trial, case.model, suite, [InForce("planted updates", planted=seed) for seed in range(DESTROYED)]
    )
    removed = [steps(trial, case.model, method, chain) for chain in chains[:AGAIN]]
    again = scored(trial, case.model, suite, [InForce("unedited again", removed=state) for state in removed])
    placebo = scored_chains(trial, case.model, f"placebo:{method}", suite, chains)
    states = {method: after, "placebo": placebo, "planted update": destroyed}
    made.checks |= items_complete(before.scores, [one.scores for many in states.values() for one in many])
    _judged_numbers(made, case, before.scores, after, destroyed, again, placebo)
    made.descriptive["tasks"] = _tasks(suite, before.scores, states)
    made.descriptive["items_lost_and_won"] = _flips(before.scores, after)
    made.recipes += [one.key for one in (*after, *placebo, *destroyed, *again)]
    made.notes["planted"] = f"{DESTROYED} random updates, {PLANTED_NORM:g} times as large as the weight"
    made.pictures.append(_table(suite, before.scores, states))
    return made


def _judged_numbers(
    made: Measurement,
    case: Case,
    before: SuiteScores,
    after: Sequence[Scored],
    destroyed: Sequence[Scored],
    again: Sequence[Scored],
    placebo: Sequence[Scored],
) -> None:
    def share(many: Sequence[Scored], reading: Reading = "correct", *, chance: bool = True) -> Estimate:
        return retained_estimate([one.scores for one in many], before, reading, chance=chance)

    readings = {
        "above-chance": share(after),
        "accuracy": share(after, chance=False),
        "probability": share(after, "probability"),
    }
    made.definitions = {d.name: readings[d.name] for d in case.claim.definitions}
    made.controls["planted"] = share(destroyed)
    # Without a floor: where nothing was left behind, all of them are 1 to the last bit.
    made.controls["unedited-again"] = t_interval([retained(one.scores, before) for one in again])
    made.comparators["placebo"] = share(placebo).units
    made.resolution = _step(before)
    method = str(case.method)
    made.pictures.append(
        units_picture(
            case,
            f"Share of the score above guessing after {made.edits} {method} edits, per chain",
            {
                method: readings["above-chance"].units,
                "unedited again": made.controls["unedited-again"].units,
                "planted (positive)": made.controls["planted"].units,
                "placebo (comparator)": made.comparators["placebo"],
            },
        )
    )


def headroom_of(before: SuiteScores) -> dict[str, Any]:
    """The check that the unedited model has some ability to lose."""
    found = unedited_interval(before)
    low = found.interval[0] if found.interval else 0.0
    full = above_chance(before)
    shown = "no interval" if found.interval is None else f"[{found.interval[0]:.3f}, {found.interval[1]:.3f}]"
    return passed(
        "headroom-capability",
        full >= HEADROOM and low > 0.0,
        f"the unedited model scores {full:.3f} {shown} above guessing; at least {HEADROOM} needed to show a loss",
    )


def items_complete(before: SuiteScores, others: Sequence[SuiteScores]) -> dict[str, Any]:
    """The check that all states were scored on the same items."""
    wanted = {task: [one.item for one in items] for task, items in before.items.items()}
    bad = sum({task: [i.item for i in items] for task, items in one.items.items()} != wanted for one in others)
    count = sum(map(len, wanted.values()))
    return passed("items-complete", bad == 0, f"{bad} of {len(others)} states lack some of the {count} items")


def _tasks(suite: CapabilitySpec, before: SuiteScores, states: Mapping[str, Sequence[Scored]]) -> dict[str, Any]:
    """Per task: guessing, the unedited model with its interval, and the mean over chains of each kind of state."""
    found: dict[str, Any] = {}
    for task in suite.tasks:
        read = SuiteScores.text_values if task.chance is None else SuiteScores.values
        own = read(before, task.id)
        found_interval = t_interval(own, resolution=0.0 if task.chance is None else 1.0)
        interval = (found_interval if task.chance is None else found_interval.within((0.0, 1.0))).interval
        found[task.id] = {
            "metric": task.metric,
            "items": len(own),
            "chance": task.chance,
            "unedited": fmean(own),
            "unedited_interval": list(interval or ()),
            "above_chance": None if task.chance is None else bool(interval and interval[0] > task.chance),
        }
        for name, many in states.items():
            found[task.id][name] = fmean(fmean(read(one.scores, task.id)) for one in many)
    return found


def _flips(before: SuiteScores, after: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Per task, mean over chains: items that the unedited model alone has right, and that it alone has wrong."""
    found = [paired_differences(one.scores, before) for one in after]
    return {
        task: {
            "lost": fmean(sum(d for d in one[task] if d > 0) for one in found),
            "won": fmean(-sum(d for d in one[task] if d < 0) for one in found),
        }
        for task in before.chance
    }


def _table(suite: CapabilitySpec, before: SuiteScores, states: Mapping[str, Sequence[Scored]]) -> dict[str, Any]:
    """The same as :func:`_tasks`, to be shown."""
    tasks = _tasks(suite, before, states)

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    rows = [
        [
            name,
            task["metric"],
            str(task["items"]),
            cell(task["chance"]),
            f"{cell(task['unedited'])} [{', '.join(map(cell, task['unedited_interval']))}]",
            *(cell(task[kind]) for kind in states),
        ]
        for name, task in tasks.items()
    ]
    columns = ["task", "metric", "items", "guessing", "unedited", *states]
    return {"kind": "answers", "title": "Tasks of the suite, mean over chains", "columns": columns, "rows": rows}
