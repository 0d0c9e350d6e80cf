"""Whether facts that the model is sure of lose otherwise than others over a sequence of edits (Table 38)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from editverdict.data.records import EditRecord
from editverdict.data.schedules import confidence_split
from editverdict.evaluation.dimensions import per_edit_scores
from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import missing, seeds_interval, t_interval
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, declare_checks, measure, passed
from editverdict.pipeline.measures.answering import begin, complete, headroom, seeds_of
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.schedules import about_the_edit, by_edit
from editverdict.pipeline.measures.scores import mean
from editverdict.pipeline.trial import NotHere, Trial

declare_checks(
    enough_lost="over the chain one half of the facts loses at least the claim's margin: the halves could lose unlike"
)


def confidence(unedited: Answered) -> dict[str, float]:
    """Edit -> log P of its old object after its own prompt, in the unedited model."""
    return {row["edit_id"]: row["logp_rival"] for row in unedited.probability if row["part"] == "efficacy"}


def halves(chain: Sequence[EditRecord], confident: Mapping[str, float]) -> tuple[set[str], set[str]]:
    """Edits in the more and in the less confident half of a chain (`data.schedules.confidence_split`).

    Raises
    ------
    NotHere
        There are no two edits with different values: the data name no old objects.
    """
    if len(set(confident.values())) < 2:
        raise NotHere(f"needs old objects of different probability in every chain, found {len(confident)} in one")
    split = confidence_split(chain, confident)
    return {record.id for record in split.high}, {record.id for record in split.low}


def interaction(single: Mapping[str, float], after: Mapping[str, float], high: set[str], low: set[str]) -> float:
    """How much more the edits of the first group lose from single to sequential than those of the second."""
    return _lost(single, after, high) - _lost(single, after, low)


def _lost(single: Mapping[str, float], after: Mapping[str, float], group: set[str]) -> float:
    """Mean loss over the edits of a group that were judged both times."""
    return mean([single[edit] - after[edit] for edit in sorted(group) if edit in single and edit in after])


@measure("confidence_interaction")
def confidence_interaction(trial: Trial, case: Case) -> Measurement:
    """Loss of Rel and Gen over the chain: facts with the more probable old object minus the others (Table 38)."""
    method, asked = method_of(case), begin(trial, case)
    alone, after, base = asked.single(method), asked.after(method), asked.unedited()
    groups = [halves(chain, confidence(one)) for chain, one in zip(asked.chains, base, strict=True)]

    def read(answered: Answered, rel_only: bool = False) -> dict[str, float]:
        scores = {e: s.rel if rel_only else about_the_edit(s) for e, s in per_edit_scores(answered.rows).items()}
        return {edit: float(score) for edit, score in scores.items() if score is not None}

    single, chain = [read(one) for one in alone], [read(one) for one in after]
    if any(not (g & s.keys() & c.keys()) for s, c, own in zip(single, chain, groups, strict=True) for g in own):
        none = missing(note="of a half of some chain's facts no answer has a verdict")
        made = Measurement({definition.name: none for definition in case.claim.definitions})
        made.checks |= complete("answers-complete", alone, asked.chains, {"single": alone, "sequential": after})
        raise Unmeasurable(made)
    step = 1 / asked.length
    made = Measurement({})
    made.definitions["rel-and-gen"] = t_interval(
        [interaction(s, c, *g) for s, c, g in zip(single, chain, groups, strict=True)], resolution=step
    )
    made.definitions["rel"] = t_interval(
        [interaction(read(s, True), read(c, True), *g) for s, c, g in zip(alone, after, groups, strict=True)],
        resolution=2 * step,
    )
    lost_low = [
        interaction(s, s | dict.fromkeys(low, 0.0), high, low) for s, (high, low) in zip(single, groups, strict=True)
    ]
    made.controls["low-group-lost"] = t_interval(lost_low)
    drawn = [_drawn(single, chain, seed) for seed in seeds_of(trial)]
    made.controls["groups-drawn"] = seeds_interval(drawn)
    by_group = {
        name: {"single": _in_group(single, groups, k), "sequential": _in_group(chain, groups, k)}
        for k, name in ((0, "high_logp"), (1, "low_logp"))
    }
    worst = min(one["single"] for one in by_group.values())
    made.checks |= headroom("headroom-single-rel", worst, "Rel and Gen of single edits in the weaker group")
    made.checks |= _enough_lost(case, by_group)
    made.descriptive["by_group"] = by_group
    made.descriptive["split_scores"] = _split_scores(alone, after, groups)
    units = {
        method: made.definitions["rel-and-gen"].units,
        "low-group-lost (negative)": made.controls["low-group-lost"].units,
        "groups-drawn (positive)": made.controls["groups-drawn"].units,
    }
    scores = {"single": alone, "sequential": after}
    return asked.finished(made, scores, f"Loss of confident minus other facts after {method} edits", units)


def _in_group(scores: Sequence[Mapping[str, float]], groups: Sequence[tuple[set[str], set[str]]], k: int) -> float:
    """Mean over chains of the mean over a chain's group."""
    return mean([mean([s[e] for e in sorted(g[k]) if e in s]) for s, g in zip(scores, groups, strict=True)])


def _enough_lost(case: Case, by_group: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The check that the halves could lose unlike: where neither loses the margin, they differ by less than it."""
    margin = float(case.claim.expect.high or 0.0)
    lost = {name: one["single"] - one["sequential"] for name, one in by_group.items()}
    told = ", ".join(f"{name} {value:.3f}" for name, value in lost.items())
    needed = f"one of them at least {margin:g}, else they cannot lose unlike by it"
    return passed("enough-lost", max(lost.values()) >= margin, f"lost over the chain: {told}; {needed}")


def _drawn(single: Sequence[Mapping[str, float]], chain: Sequence[Mapping[str, float]], seed: int) -> float:
    """Mean interaction over chains where the groups are halves drawn at random."""
    found = []
    for number, (s, c) in enumerate(zip(single, chain, strict=True)):
        edits = [str(edit) for edit in np.random.default_rng([seed, number]).permutation(sorted(s))]
        cut = len(edits) // 2
        found.append(interaction(s, c, set(edits[:cut]), set(edits[cut:])))
    return mean(found)


def _split_scores(
    alone: Sequence[Answered], after: Sequence[Answered], groups: Sequence[tuple[set[str], set[str]]]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Group -> single or sequential -> dimension -> mean over edits."""
    table: dict[str, dict[str, dict[str, float | None]]] = {}
    for k, group in ((0, "high_logp"), (1, "low_logp")):
        ids = set().union(*(g[k] for g in groups))
        table[group] = {}
        for name, many in (("single", alone), ("sequential", after)):
            edits = [s for e, s in by_edit(many).items() if e in ids]
            table[group][name] = {
                d: mean(values) if (values := [v for s in edits if (v := getattr(s, d)) is not None]) else None
                for d in DIMENSIONS
            }
    return table
