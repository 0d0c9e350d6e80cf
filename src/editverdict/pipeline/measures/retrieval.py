"""SCR in every dimension, its locality and its memory (§5.2), and edited models that answer from a memory (D).

Retrieval with in-context answering (SCR) leaves the weights alone; a combination ``X+SCR`` puts X's edited model in its
place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import Estimate, missing, seeds_interval, t_interval
from editverdict.inference.smallest import smallest_mean
from editverdict.pipeline.answers import Answered, Asked, ask
from editverdict.pipeline.edits import parts_of, steps
from editverdict.pipeline.lengths import length_from
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.answering import (
    SCR,
    TEN,
    AskedChains,
    begin,
    chain_answers,
    headroom,
    irrelevant,
    primary_and_controls,
    require_deltas,
    scr_threshold,
    seeds_of,
)
from editverdict.pipeline.measures.in_force import retrieval_in_force, texts_given
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import by_eq4, less, mean, right_answers, said_instead, scores_in
from editverdict.pipeline.trial import NotHere, Trial


# --------------------------------------------------------------------------- every dimension
@measure("scr_in_every_dimension")
def scr_in_every_dimension(trial: Trial, case: Case) -> Measurement:
    """Smallest, over the dimensions, of SCR minus the method after the chain (Tables 3, 29-32)."""
    method = method_of(case)
    scr_threshold(trial, case)
    asked = begin(trial, case)
    after, scr, other, gold = asked.after(method), asked.scr(), asked.scr_irrelevant(), asked.gold()

    def smallest(answered: Sequence[Answered], of: Sequence[str], resolution: float) -> Estimate:
        parts = {name: less(scores_in(answered, name), scores_in(after, name)) for name in of}
        return smallest_mean(parts, resolution=resolution)

    step, names = 1 / asked.length, asked.dimensions
    made = Measurement({"locality-accuracy": smallest(scr, names, step)})
    made.definitions["locality-eq4"] = smallest(scr, by_eq4(names), step)
    made.controls["irrelevant-memory"] = smallest(other, names, step)
    made.controls["right-answers"] = smallest(right_answers(trial, scr), names, 0.0)
    made.checks |= headroom("headroom-gold", mean(scores_in(gold, *names)), "average with the gold context")
    made.checks |= retrieval_in_force(scr)
    made.descriptive["advantage"] = {n: mean(less(scores_in(scr, n), scores_in(after, n))) for n in names}
    scores = {"SCR": scr, "method": after, "irrelevant memory": other, "gold context": gold}
    title = f"SCR minus {method}, smallest of {len(names)} dimensions, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, SCR))


# --------------------------------------------------------------------------- locality
@measure("scr_locality")
def scr_locality(trial: Trial, case: Case) -> Measurement:
    """Locality of SCR minus locality of the unedited model, per chain."""
    scr_threshold(trial, case)
    asked = begin(trial, case)
    scr, base, idle, other = asked.scr(), asked.unedited(), asked.no_op(), asked.scr_irrelevant()
    before = scores_in(base, "loc")
    questions = min(sum(row["dimension"] == "loc" for row in one.rows) for one in base)
    step = 1 / questions
    made = Measurement({"accuracy": t_interval(less(scores_in(scr, "loc"), before), resolution=step)})
    made.definitions["eq4"] = t_interval([one - 1.0 for one in scores_in(scr, "loc_eq4")], resolution=step)
    made.controls["no-op"] = t_interval(less(scores_in(idle, "loc"), before), resolution=step)
    seeds = seeds_of(trial)
    made.controls["answers-exchanged"] = seeds_interval(
        [mean(less(scores_in(exchanged(trial, scr, seed), "loc"), before)) for seed in seeds]
    )
    made.checks |= headroom("headroom-loc", mean(before), "locality of the unedited model")
    made.checks |= retrieval_in_force(scr)
    made.descriptive["locality"] = {
        "unedited": mean(before),
        SCR: mean(scores_in(scr, "loc")),
        "irrelevant memory": mean(scores_in(other, "loc")),
    }
    scores = {"SCR": scr, "unedited": base, "irrelevant memory": other}
    title = "Locality of SCR minus that of the unedited model, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, SCR))


def exchanged(trial: Trial, answered: Sequence[Answered], seed: int) -> list[Answered]:
    """The same answers to other questions: each question gets that of one further on in its dimension, never its own.

    Questions of one edit lie side by side, so that the smallest shifts may meet a question with the same answer.
    """

    def turned(one: Answered) -> Answered:
        lists: dict[str, list[str]] = {}
        for row in one.rows:
            lists.setdefault(row["dimension"], []).append(row["answer"])
        place = _places(one)

        def say(number: int, row: dict[str, Any]) -> str:
            said = lists[row["dimension"]]
            by = 1 + seed % max(1, len(said) - 1)
            return said[(place[number] + by) % len(said)]

        return said_instead(trial, one, say)

    return [turned(one) for one in answered]


def _places(answered: Answered) -> list[int]:
    """Per row, which one of its dimension it is."""
    seen: dict[str, int] = {}
    places = []
    for row in answered.rows:
        places.append(seen.get(row["dimension"], 0))
        seen[row["dimension"]] = places[-1] + 1
    return places


# --------------------------------------------------------------------------- the size of the memory
@measure("scr_single_to_sequential")
def scr_single_to_sequential(trial: Trial, case: Case) -> Measurement:
    """Average of SCR with one edit in its memory minus with the whole chain there, same facts, per chain."""
    scr_threshold(trial, case)
    asked = begin(trial, case)
    alone, together, other = asked.single(SCR), asked.scr(), asked.scr_irrelevant()
    idle_alone, idle = asked.no_op_single(), asked.no_op()
    parts = asked.dimensions
    step = 1 / (len(parts) * asked.length)

    def change(first: Sequence[Answered], second: Sequence[Answered], *names: str) -> Estimate:
        return t_interval(less(scores_in(first, *names), scores_in(second, *names)), resolution=step)

    made = Measurement({"locality-accuracy": change(alone, together, *parts)})
    made.definitions["locality-eq4"] = change(alone, together, *by_eq4(parts))
    made.controls["irrelevant-memory"] = change(alone, other, *parts)
    made.controls["no-op"] = change(idle_alone, idle, *parts)
    made.checks |= headroom("headroom-single-avg", mean(scores_in(alone, *parts)), "average of SCR, one edit")
    made.checks |= retrieval_in_force(alone)  # of the one edit: a chain that finds none is what would refute the claim
    scores = {"single": alone, "sequential": together, "irrelevant memory": other}
    title = f"SCR with one edit minus with {asked.length} edits in its memory, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, SCR))


# --------------------------------------------------------------------------- edited models with a memory
def edited_by(trial: Trial, method: str) -> str:
    """X of the combination ``X+SCR``.

    Raises
    ------
    NotHere
        The method is no combination with SCR.
    """
    parts = parts_of(trial, method)
    if parts is None or parts[1] != SCR:
        raise NotHere(f"is about combinations with {SCR} (X+{SCR}), and {method} is none")
    return parts[0]


def combined(asked: AskedChains, method: str) -> list[Answered]:
    """After the chain, the edited model answering from a memory of it."""
    return asked.told(method, chain_answers(asked.trial, asked.case, method, asked.chains, asked.before))


@measure("scr_over_combination")
def scr_over_combination(trial: Trial, case: Case) -> Measurement:
    """Average of SCR minus average of X+SCR after the same chain, per chain (Table 43)."""
    method = method_of(case)
    parametric = edited_by(trial, method)
    scr_threshold(trial, case)
    asked = begin(trial, case)
    scr, both, plain, gold = asked.scr(), combined(asked, method), asked.after(parametric), asked.gold()
    step = 1 / (4 * asked.length)

    def over(answered: Sequence[Answered], *names: str) -> Estimate:
        return t_interval(less(scores_in(answered, *names), scores_in(both, *names)), resolution=step)

    made = Measurement({"locality-accuracy": over(scr, *DIMENSIONS)})
    made.definitions["locality-eq4"] = over(scr, "rel", "gen", "loc_eq4", "port")
    # Without the floor of granularity: a method and a combination that both answer nothing are equal, not undecided.
    made.controls["method-alone"] = t_interval(less(scores_in(plain, *DIMENSIONS), scores_in(both, *DIMENSIONS)))
    made.controls["gold-context"] = over(gold, *DIMENSIONS)
    made.checks |= headroom("headroom-gold", mean(scores_in(gold, *DIMENSIONS)), "average with the gold context")
    made.checks |= retrieval_in_force(scr)
    made.descriptive["texts_given"] = texts_given(SCR=scr, combination=both)
    scores = {"SCR": scr, "combination": both, "method alone": plain, "gold context": gold}
    title = f"SCR minus {method} after {asked.length} edits, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, SCR))


@measure("gain_by_retrieval")
def gain_by_retrieval(trial: Trial, case: Case) -> Measurement:
    """Average of X+SCR minus average of X after the same chain, per chain (Table 43 beside Tables 29 and 37)."""
    method = method_of(case)
    parametric = edited_by(trial, method)
    scr_threshold(trial, case)
    asked = begin(trial, case)
    scr, both, plain, gold = asked.scr(), combined(asked, method), asked.after(parametric), asked.gold()
    states = [steps(trial, case.model, method, chain) for chain in asked.chains]
    other = ask(
        trial,
        case.model,
        [
            Asked(f"{method}, irrelevant memory", tuple(c), s, method=method, memory=tuple(m))
            for c, s, m in zip(asked.chains, states, irrelevant(asked.chains), strict=True)
        ],
        before=asked.before,
    )
    step = 1 / (4 * asked.length)

    def gain(answered: Sequence[Answered], *names: str) -> Estimate:
        return t_interval(less(scores_in(answered, *names), scores_in(plain, *names)), resolution=step)

    made = Measurement({"locality-accuracy": gain(both, *DIMENSIONS)})
    made.definitions["locality-eq4"] = gain(both, "rel", "gen", "loc_eq4", "port")
    made.controls["irrelevant-memory"] = gain(other, *DIMENSIONS)
    made.controls["gold-context"] = gain(gold, *DIMENSIONS)
    made.checks |= headroom("headroom-gold", mean(scores_in(gold, *DIMENSIONS)), "average with the gold context")
    made.checks |= retrieval_in_force(scr)
    made.descriptive["texts_given"] = texts_given(SCR=scr, combination=both)
    scores = {"combination": both, "method alone": plain, "irrelevant memory": other, "gold context": gold}
    title = f"{method} minus {parametric} after {asked.length} edits, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, method))


# --------------------------------------------------------------------------- collapsed models
UNRECOVERABLE_FROM = {"MEND+SCR": 10, "ROME+SCR": 100, "MEMIT+SCR": 500}
"""First N at which Table 43 prints 0.0 for a combination."""
COLLAPSED = 0.1
"""Share of SCR's average below which an edited model counts as collapsed."""


@measure("collapsed_with_retrieval")
def collapsed_with_retrieval(trial: Trial, case: Case) -> Measurement:
    """Average of X+SCR over average of SCR where X alone has collapsed, per chain (Table 43)."""
    method = method_of(case)
    parametric = edited_by(trial, method)
    needed = UNRECOVERABLE_FROM.get(method)
    toy = trial.library.models[case.model].weights == "random"
    if needed is None and not toy:
        raise NotHere(f"Table 43 prints no collapse of {method} at any N")
    length = length_from(trial, case, needed or 0, "Table 43")
    scr_threshold(trial, case)
    require_deltas(trial, case, parametric)
    asked = begin(trial, case, length)
    scr, both, plain = asked.scr(), combined(asked, method), asked.after(parametric)
    gross, first = _ten_fold_with_gold(asked, parametric), asked.gold()
    high = scores_in(scr, *DIMENSIONS)
    step = 1 / (4 * asked.length)
    made = Measurement({"share-of-scr": missing(note="SCR scores 0")})
    if min(high) > 0:

        def share(answered: Sequence[Answered]) -> list[float]:
            return [a / b for a, b in zip(scores_in(answered, *DIMENSIONS), high, strict=True)]

        made.definitions["share-of-scr"] = t_interval(share(both), resolution=step)
        made.controls["gold-unedited"] = t_interval(share(first))
        made.controls["ten-fold"] = t_interval(share(gross))
        left = mean(share(plain))
        detail = f"{parametric} alone has {left:.3f} of SCR's average; collapsed means at most {COLLAPSED}"
        made.checks |= passed("collapsed", left <= COLLAPSED, detail)
    else:
        made.checks |= passed("collapsed", False, "SCR scores 0, so that nothing can be told from it")
    made.checks |= headroom("headroom-scr", mean(high), "average of SCR")
    made.checks |= retrieval_in_force(scr)
    made.descriptive["texts_given"] = texts_given(SCR=scr, combination=both)
    scores = {"combination": both, "method alone": plain, "SCR": scr, "ten fold, gold context": gross}
    title = f"{method} over SCR after {asked.length} edits, per chain"
    return asked.finished(made, scores, title, primary_and_controls(made, case, method))


def _ten_fold_with_gold(asked: AskedChains, parametric: str) -> list[Answered]:
    """The right statement before the questions, in a model with ten times the chain's ΔW."""
    states = [steps(asked.trial, asked.case.model, parametric, chain) for chain in asked.chains]
    many = [
        Asked("gold context, ten ΔW", tuple(c), s, scale=TEN, gold=True)
        for c, s in zip(asked.chains, states, strict=True)
    ]
    return ask(asked.trial, asked.case.model, many, before=asked.before)
