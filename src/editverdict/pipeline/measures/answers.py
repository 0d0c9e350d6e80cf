"""What edited models answer: retention over a chain, the drop from single to sequential, and SCR beside a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from editverdict.evaluation.dimensions import Locality, scores_of
from editverdict.evaluation.probability import probability_scores
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.pipeline.answers import Answered, Asked, answers_before, ask
from editverdict.pipeline.edits import singles, steps
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure
from editverdict.pipeline.measures.answering import (
    SCR,
    TEN,
    Chain,
    chain_answers,
    chains_of,
    complete,
    describe,
    dimensions_of,
    everything,
    gold_answers,
    headroom,
    irrelevant,
    judged_enough,
    kept,
    require_deltas,
    scr_answers,
    scr_threshold,
    single_answers,
    unanswerable,
)
from editverdict.pipeline.measures.in_force import retrieval_in_force
from editverdict.pipeline.measures.perturbation import method_of, units_picture
from editverdict.pipeline.measures.scores import average, examples, mean, score_table
from editverdict.pipeline.trial import NotHere, Trial

PROBED = 20
"""Edits of a long chain that the controls of retention ask again one by one."""


# --------------------------------------------------------------------------- single to sequential
@measure("average_drop")
def average_drop(trial: Trial, case: Case) -> Measurement:
    """Average of single edits minus average after the chain, same facts, per chain (Tables 29-32)."""
    method, length = method_of(case), chain_length(trial, case)
    require_deltas(trial, case, method)
    chains = chains_of(trial, case, length)
    if (lacking := unanswerable(case, chains)) is not None:
        return lacking
    before = answers_before(trial, case.model, everything(chains))
    parts = dimensions_of(chains)
    alone = single_answers(trial, case, method, chains, before)
    after = chain_answers(trial, case, method, chains, before, probabilities=True)
    gross = chain_answers(trial, case, method, chains, before, scale=TEN)
    # By the very same way as the method: singles in small batches, chains in large ones, through an editor.
    idle = drop_of_no_op(trial, case, chains, before)
    resolution = 1 / (len(parts) * length)

    def drop(singles_: Sequence[Answered], chain: Sequence[Answered], locality: Locality = "accuracy") -> Estimate:
        return t_interval(
            [average(a, locality, parts) - average(b, locality, parts) for a, b in zip(singles_, chain, strict=True)],
            resolution=resolution,
        )

    made = Measurement({"locality-accuracy": drop(alone, after), "locality-eq4": drop(alone, after, "eq4")})
    made.controls["ten-fold"] = drop(alone, gross)
    made.controls["no-op"] = t_interval(idle)
    made.checks |= headroom(
        "headroom-single-avg", mean([average(a, parts=parts) for a in alone]), "average of single edits"
    )
    states = {"single": alone, "sequential": after, "ten_fold": gross}
    made.checks |= complete("answers-complete", after, chains, states)
    made.descriptive["scores"] = score_table(**states)
    describe(trial, case, made, chains, length)
    made.recipes = [one.key for one in (*alone, *after)]
    made.facts = [kept(method, chains, alone, None), kept(method, chains, after, length)]
    made.pictures += [
        units_picture(
            case,
            f"Drop from single to {length} sequential {method} edits, per chain",
            {
                method: made.definitions["locality-accuracy"].units,
                "no-op (negative)": made.controls["no-op"].units,
                "ten-fold (positive)": made.controls["ten-fold"].units,
            },
        ),
        examples("Answers before and after, first chain", single=alone[0], sequential=after[0]),
    ]
    return made


def drop_of_no_op(trial: Trial, case: Case, chains: Sequence[Chain], before: dict[str, str]) -> list[float]:
    """The same drop for the editor that changes nothing, per chain."""
    alone = single_answers(trial, case, "no-op", chains, before)
    after = chain_answers(trial, case, "no-op", chains, before)
    parts = dimensions_of(chains)
    return [average(a, parts=parts) - average(b, parts=parts) for a, b in zip(alone, after, strict=True)]


# --------------------------------------------------------------------------- retention at the horizon
def horizon(trial: Trial, method: str) -> int:
    """The method's horizon; NotHere if the profile's longest chain does not reach it, or the paper reports none."""
    spec, longest = trial.library.methods[method], trial.profile.sizes.long_chain
    if spec.horizon is None:
        raise NotHere(f"the paper reports no collapse of {method} at any T, so the claim has no horizon")
    if longest < spec.horizon:
        raise NotHere(
            f"needs T ≥ {spec.horizon} ({spec.horizon_ref}); the longest chain of profile '{trial.profile.id}' "
            f"has {longest}"
        )
    return spec.horizon


@measure("retention_ratio")
def retention_ratio(trial: Trial, case: Case) -> Measurement:
    """Reliability after the chain over reliability of the same edits made singly, per chain (Table 37)."""
    method = method_of(case)
    require_deltas(trial, case, method)
    length = horizon(trial, method)
    chains = chains_of(trial, case, length)
    before = answers_before(trial, case.model, everything(chains))
    rel: dict[str, Any] = {"dimensions": ("rel",), "probabilities": True}
    alone = single_answers(trial, case, method, chains, before, **rel)
    after = chain_answers(trial, case, method, chains, before, **rel)
    gross = chain_answers(trial, case, method, chains, before, dimensions=("rel",), scale=TEN)
    again = _probed(trial, case, method, chains, before, placebo=False)
    with_placebo = _probed(trial, case, method, chains, before, placebo=True)
    probed = [_first(a) for a in alone]

    def rel_of(one: Answered) -> float:
        return float(scores_of(one.rows).rel or 0.0)

    def efficacy(one: Answered) -> float:
        return float(probability_scores(one.probability).efficacy or 0.0)

    made = Measurement({})
    singles_rel = mean([rel_of(a) for a in alone])
    made.checks |= headroom("headroom-single-rel", singles_rel, "reliability of single edits")
    states = {"single": alone, "sequential": after, "ten fold": gross}
    made.checks |= judged_enough("answers-complete", after, len(everything(chains)), states)
    usable = all(rel_of(a) > 0 for a in (*alone, *probed))
    made.definitions["generated"] = (
        _ratios(after, alone, rel_of, length) if usable else missing(note="single edits score 0")
    )
    made.definitions["efficacy"] = (
        _ratios(after, alone, efficacy, length) if all(efficacy(a) > 0 for a in alone) else missing()
    )
    if usable:
        made.controls["singles-again"] = _ratios(again, probed, rel_of, PROBED)
        made.controls["ten-fold"] = _ratios(gross, alone, rel_of, length)
        made.comparators["placebo"] = [rel_of(b) / rel_of(a) for a, b in zip(probed, with_placebo, strict=True)]
        made.comparator_subject["placebo"] = [rel_of(_first(b)) / rel_of(a) for a, b in zip(probed, after, strict=True)]
    made.notes["placebo"] = f"the first {PROBED} edits, each alone amid the random updates of the whole placebo chain"
    made.notes["singles-again"] = f"the first {PROBED} edits of each chain"
    made.descriptive["scores"] = score_table(single=alone, sequential=after)
    made.descriptive["reliability"] = {"single": singles_rel, "sequential": mean([rel_of(a) for a in after])}
    describe(trial, case, made, chains, length)
    made.resolution = 1 / PROBED
    made.recipes = [one.key for one in after]
    made.facts = [kept(method, chains, alone, None), kept(method, chains, after, length)]
    made.pictures += [
        units_picture(
            case,
            f"Retention after {length} {method} edits",
            {
                method: made.definitions["generated"].units,
                "singles-again (negative)": made.controls.get("singles-again", missing()).units,
                "ten-fold (positive)": made.controls.get("ten-fold", missing()).units,
                "placebo (comparator)": made.comparators.get("placebo", []),
            },
        ),
        examples("Answers before and after, first chain", single=alone[0], sequential=after[0]),
    ]
    return made


def _ratios(top: Sequence[Answered], bottom: Sequence[Answered], read: Any, length: int) -> Estimate:
    return t_interval([read(a) / read(b) for a, b in zip(top, bottom, strict=True)], resolution=1 / length)


def _probed(
    trial: Trial, case: Case, method: str, chains: Sequence[Chain], before: dict[str, str], placebo: bool
) -> list[Answered]:
    """Per chain, its first single edits asked again: after the chain was removed, or amid its placebo's updates."""
    found = []
    for chain in chains:
        own = singles(trial, case.model, method, chain[:PROBED])
        other = steps(trial, case.model, f"placebo:{method}" if placebo else method, chain)
        label = f"{method} single edits {'amid placebo' if placebo else 'again'}"
        states: dict[str, Any] = {} if placebo else {"removed": other}
        asked = [
            Asked(label, (r,), (*s, *other) if placebo else s, dimensions=("rel",), **states)
            for r, s in zip(chain, own, strict=False)
        ]
        parts = ask(trial, case.model, asked, before=before)
        found.append(Answered([row for p in parts for row in p.rows], [], parts[0].key))
    return found


def _first(answered: Answered) -> Answered:
    """The answers of the probed edits alone, for a comparison of equals."""
    return Answered(answered.rows[:PROBED], [], answered.key)


# --------------------------------------------------------------------------- SCR beside the method
@measure("scr_advantage")
def scr_advantage(trial: Trial, case: Case) -> Measurement:
    """Average of SCR minus average of the method after the same chain, per chain."""
    method, length = method_of(case), chain_length(trial, case)
    scr_threshold(trial, case)
    chains = chains_of(trial, case, length)
    if (lacking := unanswerable(case, chains)) is not None:
        return lacking
    before = answers_before(trial, case.model, everything(chains))
    parts = dimensions_of(chains)
    after = chain_answers(trial, case, method, chains, before, probabilities=True)
    scr = scr_answers(trial, case, chains, chains, before)
    beside = scr_answers(trial, case, chains, irrelevant(chains), before, "SCR, irrelevant memory")
    gold = gold_answers(trial, case, chains, before)
    resolution = 1 / (len(parts) * length)

    def advantage(one: Sequence[Answered], locality: Locality = "accuracy") -> Estimate:
        return t_interval(
            [average(a, locality, parts) - average(b, locality, parts) for a, b in zip(one, after, strict=True)],
            resolution=resolution,
        )

    made = Measurement({"locality-accuracy": advantage(scr), "locality-eq4": advantage(scr, "eq4")})
    made.controls["irrelevant-memory"] = advantage(beside)
    made.controls["gold-context"] = advantage(gold)
    made.checks |= headroom(
        "headroom-gold", mean([average(a, parts=parts) for a in gold]), "average with the gold context"
    )
    states = {"method": after, "SCR": scr, "irrelevant_memory": beside, "gold_context": gold}
    made.checks |= complete("answers-complete", scr, chains, states) | retrieval_in_force(scr)
    made.descriptive["scores"] = score_table(**states)
    made.descriptive["confirmed"] = _confirmed(scr)
    describe(trial, case, made, chains, length)
    made.recipes = [one.key for one in (*after, *scr)]
    made.facts = [kept(method, chains, after, length), kept(SCR, chains, scr, length)]
    made.pictures += [
        units_picture(
            case,
            f"SCR minus {method}, average of {len(parts)} dimensions, per chain",
            {
                "SCR": made.definitions["locality-accuracy"].units,
                "irrelevant-memory (negative)": made.controls["irrelevant-memory"].units,
                "gold-context (positive)": made.controls["gold-context"].units,
            },
        ),
        examples("Answers, first chain", method=after[0], SCR=scr[0], gold=gold[0]),
    ]
    return made


def _confirmed(answered: Sequence[Answered]) -> dict[str, float]:
    """Share of questions, by dimension, for which SCR put a text into the context."""
    found: dict[str, list[bool]] = {}
    for one in answered:
        for row in one.rows:
            found.setdefault(row["dimension"], []).append(row["given"] is not None)
    return {dimension: sum(values) / len(values) for dimension, values in found.items()}
