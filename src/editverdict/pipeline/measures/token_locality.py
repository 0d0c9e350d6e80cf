"""Token-level locality (appendix C.5, Table 40): how many tokens of unrelated answers an edit leaves as they were.

The formulas are those of `evaluation/tokens.py`. Every definition is named SETTING-READING: the setting is one of Table
40's two, ``single`` (each edit alone) or ``sequence`` (after the chain's last edit, all its edits asked), or ``both``,
the smaller of the two; the reading is ``ratio``, ``over-before``, ``beginning`` or ``exact``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from editverdict.evaluation.tokens import per_edit_token_locality, token_locality, token_rows
from editverdict.inference.intervals import Estimate, missing, seeds_interval, t_interval
from editverdict.inference.ordering import Table, dealt, halves_agreement, order_agreement, order_interval
from editverdict.inference.smallest import smallest_mean
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.answering import (
    SCR,
    SHARED,
    AskedChains,
    begin,
    headroom,
    primary_and_controls,
    scr_threshold,
    seeds_of,
)
from editverdict.pipeline.measures.in_force import edits_in_force, not_asked, retrieval_in_force
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import less, mean, scores_in
from editverdict.pipeline.trial import NotHere, Trial

SETTINGS = ("single", "sequence")
READINGS = ("ratio", "over_before", "beginning", "exact")
NO_OP = "no-op"
LEAST = 7
"""Fewest methods that are put into an order: of seven, fewer than one order in twenty agrees by .7 by chance."""


# --------------------------------------------------------------------------- tokens kept
@dataclass(frozen=True)
class Kept:
    """Locality answers of a method in both settings beside those of the unedited model; one entry per chain."""

    before: list[Answered]
    single: list[Answered]
    sequence: list[Answered]

    def of(self, setting: str) -> list[Answered]:
        """The answers in one setting."""
        return self.single if setting == "single" else self.sequence

    def units(self, name: str, unit: str = "chain") -> list[float]:
        """One number per chain of a definition SETTING-READING; per edit where that is the unit of single edits."""
        setting, _, reading = name.partition("-")
        if setting == "single" and unit == "edit":
            return per_edit(self.single, self.before, reading)
        return per_chain(self.of(setting), self.before, reading)

    def estimate(self, name: str, unit: str = "chain", *, floor: bool = True) -> Estimate:
        """A definition with its interval; ``floor``: a unit is known to one answer in so many at best."""
        setting, _, reading = name.partition("-")
        if setting == "both":
            parts = {one: self.units(f"{one}-{reading}") for one in SETTINGS}
            return smallest_mean(parts, resolution=self.step() if floor else 0.0)
        own = unit if setting == "single" else "chain"
        return t_interval(self.units(name, own), resolution=self.step(own) if floor else 0.0)

    def step(self, unit: str = "chain") -> float:
        """One answer in so many, of a chain or of an edit."""
        if unit == "edit":
            rows = [row for one in self.before for row in one.rows]
            return len({row["edit_id"] for row in rows}) / len(rows)
        return 1 / min(len(one.rows) for one in self.before)


def only_locality(answered: Sequence[Answered]) -> list[Answered]:
    """The locality questions alone, so that all states have the same rows in the same order."""
    return [Answered([row for row in one.rows if row["dimension"] == "loc"], [], one.key) for one in answered]


def per_chain(answered: Sequence[Answered], before: Sequence[Answered], reading: str) -> list[float]:
    """Token-level locality of each chain's edits by one reading.

    Raises
    ------
    ValueError
        A chain has no locality question.
    """
    found = []
    for one, was in zip(answered, before, strict=True):
        value = getattr(token_locality(token_rows(one.rows, was.rows)), reading.replace("-", "_"))
        if value is None:
            raise ValueError("a chain has no locality question; token-level locality needs one")
        found.append(float(value))
    return found


def per_edit(answered: Sequence[Answered], before: Sequence[Answered], reading: str) -> list[float]:
    """Token-level locality of each edit that has a locality question, chain by chain."""
    found = []
    for one, was in zip(answered, before, strict=True):
        edits = per_edit_token_locality(token_rows(one.rows, was.rows)).values()
        values = [edit[reading.replace("-", "_")] for edit in edits]
        found += [value for value in values if value is not None]
    return found


def kept_by(asked: AskedChains, method: str) -> Kept:
    """What a method leaves as it was; ``no-op`` is the unedited model by the way of an edit."""
    if method == NO_OP:
        single, sequence = asked.no_op_single(), asked.no_op()
    else:
        single, sequence = asked.single_locality(method), asked.after_locality(method)
    return Kept(only_locality(asked.unedited()), only_locality(single), only_locality(sequence))


# --------------------------------------------------------------------------- answers that are another question's
def exchanged(before: Sequence[Answered], seed: int) -> list[Answered]:
    """The unedited model's own answers, each to another question of its chain: what agrees by chance.

    A question whose counterpart has the same prompt is left out.
    """
    found = []
    for one in before:
        count = len(one.rows)
        by = 1 + seed % max(1, count - 1)
        pairs = [(row, one.rows[(i + by) % count]) for i, row in enumerate(one.rows)]
        rows = [{**row, "tokens": other["tokens"]} for row, other in pairs if other["prompt"] != row["prompt"]]
        found.append(Answered(rows, [], one.key))
    return found


def by_chance(trial: Trial, before: Sequence[Answered], reading: str) -> Estimate:
    """A reading of exchanged answers, over at least twenty ways to exchange them."""
    values = []
    for seed in seeds_of(trial):
        rows = [
            row
            for one, was in zip(exchanged(before, seed), before, strict=True)
            for row in token_rows(one.rows, was.rows)
        ]
        value = getattr(token_locality(rows), reading.replace("-", "_"))
        if value is None:
            return missing(note="all questions of a chain are one question")
        values.append(float(value))
    return seeds_interval(values)


# --------------------------------------------------------------------------- checks and what is shown
def changed(answered: Sequence[Answered], before: Sequence[Answered]) -> dict[str, int]:
    """How many answers have other tokens than before, and how many there are."""
    flags = [not row["exact"] for a, b in zip(answered, before, strict=True) for row in token_rows(a.rows, b.rows)]
    return {"changed": sum(flags), "answers": len(flags)}


def same_tokens_same_verdict(kept: Kept) -> dict[str, Any]:
    """The check that what follows from kept tokens does follow: the same judgement, and so the same Loc."""
    wrong = same = 0
    for setting in SETTINGS:
        for one, was in zip(kept.of(setting), kept.before, strict=True):
            known = {(row["edit_id"], row["prompt"]): row for row in was.rows}
            for row in one.rows:
                old = known[row["edit_id"], row["prompt"]]
                if list(row["tokens"]) == list(old["tokens"]):
                    same += 1
                    wrong += row["correct"] != old["correct"]
    detail = f"{wrong} of {same} answers with the tokens of before are judged otherwise than before"
    return passed("same-tokens-same-verdict", wrong == 0, detail)


def complete(kept: Sequence[Kept]) -> dict[str, Any]:
    """The check that every locality question has one answer in every state that is compared."""
    many = [(one.before, one.of(setting)) for one in kept for setting in SETTINGS]
    short = sum(len(a.rows) != len(b.rows) for before, now in many for a, b in zip(before, now, strict=True))
    asked = sum(len(one.rows) for one in kept[0].before)
    return passed("answers-complete", short == 0, f"{asked} locality questions; {short} chains with another number")


def shown(kept: Kept) -> dict[str, Any]:
    """All readings in both settings, answers changed, and Loc, for the record."""
    return {
        "tokens": {s: {r: mean(per_chain(kept.of(s), kept.before, r)) for r in READINGS} for s in SETTINGS},
        "changed": {s: changed(kept.of(s), kept.before) for s in SETTINGS},
        "locality": {"unedited": mean(scores_in(kept.before, "loc"))}
        | {s: mean(scores_in(kept.of(s), "loc")) for s in SETTINGS},
    }


# --------------------------------------------------------------------------- one method
@measure("tokens_kept")
def tokens_kept(trial: Trial, case: Case) -> Measurement:
    """Share of the tokens of locality answers that are as before the edit (Table 40)."""
    method, claim = case.method or NO_OP, case.claim
    alone = claim.edits == 1
    asked = begin(trial, case, min(SHARED, trial.profile.sizes.chain_length) if alone else None)
    kept = kept_by(asked, method)
    floor = claim.kind != "identity"
    made = Measurement({})
    for definition in claim.definitions:
        if definition.name == "loc-as-before":
            made.definitions[definition.name] = loc_as_before(kept)
        else:
            made.definitions[definition.name] = kept.estimate(definition.name, claim.unit, floor=floor)
    made.controls = _controls(asked, case, kept)
    scores = {"unedited": kept.before, "single": kept.single, "sequence": kept.sequence}
    title = f"Tokens of locality answers kept by {method}, per {claim.unit}"
    made = asked.finished(made, scores, title, primary_and_controls(made, case, method))
    made.checks |= complete([kept]) | same_tokens_same_verdict(kept)
    if case.method:  # an idle one keeps every token, and would be told from GRACE by nothing here
        own = asked.own_prompts(method, single=alone)
        made.checks |= edits_in_force({method: own}, asked.unedited())
        made.recipes += [one.key for one in own if one.key not in made.recipes]
    made.descriptive |= shown(kept)
    if alone:
        made.edits, made.resolution = 1, kept.step("edit")
        count = len(made.definitions[claim.primary.name].units)
        made.stands_on = f"{case.subject}, {count} single edits, protocol {trial.profile.protocol_of(case.model).id}"
    return made


def loc_as_before(kept: Kept) -> Estimate:
    """1 - |Loc - Loc of the unedited model|, the smaller of single and sequence, per chain."""
    was = scores_in(kept.before, "loc")
    return smallest_mean({s: [1 - abs(x) for x in less(scores_in(kept.of(s), "loc"), was)] for s in SETTINGS})


def _controls(asked: AskedChains, case: Case, kept: Kept) -> dict[str, Estimate]:
    """The controls that the claim names, each by the definition that it names, or by the primary one."""
    found: dict[str, Estimate] = {}
    for control in case.claim.controls:
        name = control.definition or case.claim.primary.name
        if control.name == NO_OP:
            found[NO_OP] = kept_by(asked, NO_OP).estimate(name, case.claim.unit, floor=False)
        elif control.name == "answers-exchanged":
            found[control.name] = by_chance(asked.trial, kept.before, name.partition("-")[2])
        elif control.name == "ten-fold":
            gross = only_locality(asked.ten_fold(method_of(case)))
            found[control.name] = Kept(kept.before, [], gross).estimate(name, floor=False)
    return found


# --------------------------------------------------------------------------- retrieval beside a method
@measure("scr_tokens_kept")
def scr_tokens_kept(trial: Trial, case: Case) -> Measurement:
    """Share of tokens that retrieval with in-context answering keeps, minus the method's, per chain (Table 40)."""
    method, primary = method_of(case), case.claim.primary.name
    scr_threshold(trial, case)
    asked = begin(trial, case)
    own, idle, retrieving = kept_by(asked, method), kept_by(asked, NO_OP), asked.scr()
    scr = Kept(own.before, only_locality(asked.single_locality(SCR)), only_locality(retrieving))

    def over(first: Kept, second: Kept, name: str, *, floor: bool = True) -> Estimate:
        difference = less(first.units(name), second.units(name))
        return t_interval(difference, resolution=own.step() if floor else 0.0)

    made = Measurement({d.name: over(scr, own, d.name) for d in case.claim.definitions})
    made.controls["no-op-beside"] = over(scr, idle, primary, floor=False)
    made.controls["no-op-instead"] = over(idle, own, primary, floor=False)
    scores = {SCR: scr.sequence, "method": own.sequence, "unedited": own.before}
    title = f"Tokens of locality answers kept, SCR minus {method}, per chain"
    made = asked.finished(made, scores, title, primary_and_controls(made, case, SCR))
    made.checks |= complete([own, scr, idle]) | retrieval_in_force(retrieving)
    made.descriptive |= {SCR: shown(scr), method: shown(own)}
    return made


# --------------------------------------------------------------------------- methods in order
def ordered_methods(trial: Trial, case: Case) -> list[str]:
    """The profile's methods that change weights or keep a memory, and can answer on this model.

    Raises
    ------
    NotHere
        They are fewer than `LEAST`.
    """
    kinds = ("parameter", "external-memory")
    found = [m for m in trial.profile.methods_of(case.claim.id) if trial.library.methods[m].kind in kinds]
    if SCR in found:
        try:
            scr_threshold(trial, case)
        except NotHere:
            found.remove(SCR)
    if len(found) < LEAST:
        raise NotHere(
            f"needs >= {LEAST} methods to compare two orders of them; profile '{trial.profile.id}' has {len(found)}: "
            f"{', '.join(found) or 'none'}"
        )
    return found


def _tables(kept: dict[str, Kept], name: str) -> tuple[Table, Table]:
    """Tokens kept and Loc, ``[methods][chains]``; a name that ends in ``-eq4`` has Loc by Eq. 4."""
    loc = "loc_eq4" if name.endswith("-eq4") else "loc"
    reading, setting = name.removesuffix("-eq4"), name.partition("-")[0]
    tokens = [one.units(reading) for one in kept.values()]
    return np.asarray(tokens), np.asarray([scores_in(one.of(setting), loc) for one in kept.values()])


@measure("token_order")
def token_order(trial: Trial, case: Case) -> Measurement:
    """Spearman over methods of the tokens kept with Loc, means over chains (Table 40 beside Tables 29-31)."""
    methods = ordered_methods(trial, case)
    asked = begin(trial, case)
    kept = {method: kept_by(asked, method) for method in methods}
    before = next(iter(kept.values())).before
    names = [definition.name for definition in case.claim.definitions]
    made = Measurement({name: order_interval(*_tables(kept, name)) for name in names})
    tokens, loc = _tables(kept, case.claim.primary.name)
    seeds = seeds_of(trial)
    made.controls["methods-dealt"] = _over_seeds([order_agreement(dealt(tokens, seed), loc) for seed in seeds])
    made.controls["halves-of-chains"] = _over_seeds([halves_agreement(tokens, seed) for seed in seeds])
    scores = {"unedited": before} | {f"sequence {m}": one.sequence for m, one in kept.items()}
    title = "Agreement of two orders of methods, without one chain each"
    made = asked.finished(made, scores, title, primary_and_controls(made, case, "methods"))
    made.checks |= complete(list(kept.values()))
    made.checks |= headroom("headroom-loc", mean(scores_in(before, "loc")), "locality of the unedited model")
    # Idle, a method would be the unedited model, at the top of both orders.
    made.checks |= retrieval_in_force(asked.scr()) if SCR in kept else not_asked(f"{SCR} is none of the methods")
    editing = {name: asked.own_prompts(name) for name in methods if name != SCR}
    made.checks |= edits_in_force(editing, asked.unedited())
    made.recipes += [one.key for own in editing.values() for one in own if one.key not in made.recipes]
    made.descriptive["methods"] = {m: shown(one) for m, one in kept.items()}
    made.pictures.append(_method_table(kept))
    return made


def _over_seeds(values: Sequence[float | None]) -> Estimate:
    known = [one for one in values if one is not None]
    return seeds_interval(known) if len(known) == len(values) else missing(note="a score is the same for all methods")


def _method_table(kept: dict[str, Kept]) -> dict[str, Any]:
    columns = [(f"{s}: {what}", s, what) for s in SETTINGS for what in ("match", "exact", "Loc")]

    def value(one: Kept, setting: str, what: str) -> float:
        if what == "Loc":
            return mean(scores_in(one.of(setting), "loc"))
        return mean(per_chain(one.of(setting), one.before, "ratio" if what == "match" else "exact"))

    return {
        "kind": "answers",
        "title": "Tokens kept and locality, by method",
        "columns": ["method", *(title for title, _, _ in columns)],
        "rows": [[m, *(f"{value(one, s, what):.3f}" for _, s, what in columns)] for m, one in kept.items()],
    }
