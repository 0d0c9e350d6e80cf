"""What edited models answer: retention over a chain, the drop from single to sequential, and SCR beside a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.evaluation.dimensions import Locality, edit_counts, scores_of
from editverdict.evaluation.probability import probability_scores
from editverdict.evaluation.questions import DIMENSIONS, questions_of
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.pipeline.answers import Answered, Asked, answers_before, ask, in_state, known_edits, unedited
from editverdict.pipeline.edits import editor_of, singles, steps
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.perturbation import method_of, units_picture
from editverdict.pipeline.trial import NotHere, Trial

HEADROOM = 0.2
TEN = 10.0
PROBED = 20
"""Edits of a long chain that the controls of retention ask again one by one."""
Chain = list[EditRecord]


def _chains(trial: Trial, case: Case, length: int) -> list[Chain]:
    return [chain[:length] for chain in trial.chains(str(case.dataset)) if len(chain) >= length]


def _everything(chains: Sequence[Chain]) -> list[EditRecord]:
    return [record for chain in chains for record in chain]


def _single_answers(
    trial: Trial, case: Case, method: str, chains: Sequence[Chain], before: dict[str, str], **options: Any
) -> list[Answered]:
    """Per chain: each of its records edited alone on the clean model and asked; rows put together."""
    records = _everything(chains)
    states = singles(trial, case.model, method, records)
    asked = [
        in_state(trial, case.model, method, f"{method} single edits", [r], s, **options)
        for r, s in zip(records, states, strict=True)
    ]
    found = iter(ask(trial, case.model, asked, before=before))
    together = []
    for chain in chains:
        parts = [next(found) for _ in chain]
        together.append(
            Answered(
                [row for p in parts for row in p.rows], [row for p in parts for row in p.probability], parts[0].key
            )
        )
    return together


def _chain_answers(
    trial: Trial, case: Case, method: str, chains: Sequence[Chain], before: dict[str, str], **options: Any
) -> list[Answered]:
    """Per chain: the state after its last edit, asked about all its edits (retention)."""
    states = [steps(trial, case.model, method, chain) for chain in chains]
    asked = [
        in_state(trial, case.model, method, f"{method} chains", c, s, **options)
        for c, s in zip(chains, states, strict=True)
    ]
    return ask(trial, case.model, asked, before=before)


def average(answered: Answered, locality: Locality = "accuracy") -> float:
    """Unweighted mean of Rel, Gen, Loc and Port over the edits of one set of answers."""
    found = scores_of(answered.rows, locality=locality).avg
    if found is None:
        raise ValueError(f"a dimension has no question at all: {edit_counts(answered.rows)}; an average needs all four")
    return found


def _unanswerable(case: Case, chains: Sequence[Chain]) -> Measurement | None:
    """A measurement that is invalid because some chain has no question of some dimension, if so."""
    lacking = []
    for number, chain in enumerate(chains):
        present = {q.dimension for record in chain for q in questions_of(record)}
        lacking += [f"chain {number + 1} has no {name} question" for name in DIMENSIONS if name not in present]
    if chains and not lacking:
        return None
    made = Measurement({d.name: missing(note="a dimension has no question") for d in case.claim.definitions})
    made.checks |= passed("answers-complete", False, "; ".join(lacking[:4]) or "no chain is long enough")
    made.stands_on = case.subject
    made.pictures.append(units_picture(case, "No data", {"no data": []}))
    return made


def _table(**many: Sequence[Answered]) -> dict[str, dict[str, float | None]]:
    """Mean scores over chains per kind of state, for the record."""
    table: dict[str, dict[str, float | None]] = {}
    for name, answered in many.items():
        rows = [row for one in answered for row in one.rows]
        table[name] = dict(vars(scores_of(rows)))
        probability = [row for one in answered for row in one.probability]
        if probability:
            table[name] |= {k: v for k, v in vars(probability_scores(probability)).items() if v is not None}
    return table


def _examples(title: str, limit: int = 12, **many: Answered) -> dict[str, Any]:
    """Raw answers side by side."""
    names = list(many)
    first = many[names[0]].rows
    rows = []
    for number, row in enumerate(first[:limit]):
        said = [many[name].rows[number]["answer"].strip()[:60] for name in names]
        rows.append([row["dimension"], row["kind"], row["prompt"], row["accepted"][0], *said])
    return {
        "kind": "answers",
        "title": title,
        "columns": ["dimension", "kind", "prompt", "expected", *names],
        "rows": rows,
    }


def _complete(name: str, answered: Sequence[Answered], chains: Sequence[Chain]) -> dict[str, Any]:
    wanted = sum(len(questions_of(record)) for record in _everything(chains))
    found = sum(len(one.rows) for one in answered)
    return passed(name, wanted == found, f"{found} answers to {wanted} questions")


def _headroom(name: str, value: float, what: str) -> dict[str, Any]:
    return passed(name, value >= HEADROOM, f"{what} = {value:.3f}, at least {HEADROOM} needed to show a loss")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _describe(trial: Trial, case: Case, made: Measurement, chains: Sequence[Chain], length: int) -> None:
    made.edits = length
    made.resolution = 1 / (4 * length)
    how = f"protocol {trial.profile.protocol_of(case.model).id}, judge {trial.profile.judge}"
    made.stands_on = f"{case.subject}, {len(chains)} chains of {length} edits, {how}"
    base = unedited(trial, case.model, _everything(chains))
    made.descriptive["scores"] = _table(unedited=[base]) | made.descriptive.get("scores", {})
    known = {r["edit_id"] + r["prompt"]: r["correct"] for r in base.rows if r["dimension"] == "loc"}
    made.descriptive["headroom"] = {
        "locality_questions_right_before": sum(known.values()),
        "locality_questions": len(known),
        "efficacy_before": probability_scores(base.probability).efficacy,
        "edits_whose_old_object_is_known": sorted(known_edits(trial, base, _everything(chains))),
    }


def _require_deltas(trial: Trial, case: Case, method: str) -> None:
    """Refuse methods whose state cannot be scaled tenfold: the positive control would be no control."""
    if editor_of(trial, method, case.model).answers_itself:
        raise NotHere(f"needs the control of ten ΔW, and the state of {method} is more than weight deltas")


# --------------------------------------------------------------------------- single to sequential
@measure("average_drop")
def average_drop(trial: Trial, case: Case) -> Measurement:
    """Average of single edits minus average after the chain, same facts, per chain (Tables 29-32)."""
    method, length = method_of(case), chain_length(trial, case)
    _require_deltas(trial, case, method)
    chains = _chains(trial, case, length)
    if (unanswerable := _unanswerable(case, chains)) is not None:
        return unanswerable
    before = answers_before(trial, case.model, _everything(chains))
    alone = _single_answers(trial, case, method, chains, before)
    after = _chain_answers(trial, case, method, chains, before, probabilities=True)
    gross = _chain_answers(trial, case, method, chains, before, scale=TEN)
    # By the very same way as the method: singles in small batches, chains in large ones, through an editor.
    idle = drop_of_no_op(trial, case, chains, before)
    resolution = 1 / (4 * length)

    def drop(singles_: Sequence[Answered], chain: Sequence[Answered], locality: Locality = "accuracy") -> Estimate:
        return t_interval(
            [average(a, locality) - average(b, locality) for a, b in zip(singles_, chain, strict=True)],
            resolution=resolution,
        )

    made = Measurement({"locality-accuracy": drop(alone, after), "locality-eq4": drop(alone, after, "eq4")})
    made.controls["ten-fold"] = drop(alone, gross)
    made.controls["no-op"] = t_interval(idle)
    made.checks |= _headroom("headroom-single-avg", _mean([average(a) for a in alone]), "average of single edits")
    made.checks |= _complete("answers-complete", after, chains)
    made.descriptive["scores"] = _table(single=alone, sequential=after, ten_fold=gross)
    _describe(trial, case, made, chains, length)
    made.recipes = [one.key for one in (*alone, *after)]
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
        _examples("Answers before and after, first chain", single=alone[0], sequential=after[0]),
    ]
    return made


def drop_of_no_op(trial: Trial, case: Case, chains: Sequence[Chain], before: dict[str, str]) -> list[float]:
    """The same drop for the editor that changes nothing, per chain."""
    alone = _single_answers(trial, case, "no-op", chains, before)
    after = _chain_answers(trial, case, "no-op", chains, before)
    return [average(a) - average(b) for a, b in zip(alone, after, strict=True)]


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
    _require_deltas(trial, case, method)
    length = horizon(trial, method)
    chains = _chains(trial, case, length)
    before = answers_before(trial, case.model, _everything(chains))
    rel: dict[str, Any] = {"dimensions": ("rel",), "probabilities": True}
    alone = _single_answers(trial, case, method, chains, before, **rel)
    after = _chain_answers(trial, case, method, chains, before, **rel)
    gross = _chain_answers(trial, case, method, chains, before, dimensions=("rel",), scale=TEN)
    again = _probed(trial, case, method, chains, before, placebo=False)
    with_placebo = _probed(trial, case, method, chains, before, placebo=True)
    probed = [_first(a) for a in alone]

    def rel_of(one: Answered) -> float:
        return float(scores_of(one.rows).rel or 0.0)

    def efficacy(one: Answered) -> float:
        return float(probability_scores(one.probability).efficacy or 0.0)

    made = Measurement({})
    singles_rel = _mean([rel_of(a) for a in alone])
    made.checks |= _headroom("headroom-single-rel", singles_rel, "reliability of single edits")
    wanted = len(_everything(chains))
    found = sum(len(one.rows) for one in after)
    made.checks |= passed("answers-complete", found == wanted, f"{found} answers to {wanted} questions")
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
        kept = [rel_of(_first(b)) / rel_of(a) for a, b in zip(probed, after, strict=True)]
        made.comparator_subject["placebo"] = kept
    made.notes["placebo"] = f"the first {PROBED} edits, each alone amid the random updates of the whole placebo chain"
    made.notes["singles-again"] = f"the first {PROBED} edits of each chain"
    made.descriptive["scores"] = _table(single=alone, sequential=after)
    made.descriptive["reliability"] = {"single": singles_rel, "sequential": _mean([rel_of(a) for a in after])}
    _describe(trial, case, made, chains, length)
    made.resolution = 1 / PROBED
    made.recipes = [one.key for one in after]
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
        _examples("Answers before and after, first chain", single=alone[0], sequential=after[0]),
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
    if "SCR" not in trial.library.methods:
        raise NotHere("needs a method with id 'SCR' in specs/methods")
    scr_spec = trial.library.methods["SCR"]
    if (scr_spec.hyperparameters | scr_spec.per_model.get(case.model, {})).get("threshold") is None:
        raise NotHere(
            f"needs SCR's confirmation threshold for this model: methods[SCR].per_model.{case.model}.threshold"
        )
    chains = _chains(trial, case, length)
    if (unanswerable := _unanswerable(case, chains)) is not None:
        return unanswerable
    before = answers_before(trial, case.model, _everything(chains))
    after = _chain_answers(trial, case, method, chains, before, probabilities=True)
    others = [*chains[1:], chains[0]]
    memories = {"SCR": chains, "SCR, irrelevant memory": others}
    scr, irrelevant = (
        ask(
            trial,
            case.model,
            [Asked(label, tuple(c), method="SCR", memory=tuple(m)) for c, m in zip(chains, memory, strict=True)],
            before=before,
        )
        for label, memory in memories.items()
    )
    gold = ask(trial, case.model, [Asked("gold context", tuple(c), gold=True) for c in chains], before=before)
    resolution = 1 / (4 * length)

    def advantage(one: Sequence[Answered], locality: Locality = "accuracy") -> Estimate:
        return t_interval(
            [average(a, locality) - average(b, locality) for a, b in zip(one, after, strict=True)],
            resolution=resolution,
        )

    made = Measurement({"locality-accuracy": advantage(scr), "locality-eq4": advantage(scr, "eq4")})
    made.controls["irrelevant-memory"] = advantage(irrelevant)
    made.controls["gold-context"] = advantage(gold)
    made.checks |= _headroom("headroom-gold", _mean([average(a) for a in gold]), "average with the gold context")
    made.checks |= _complete("answers-complete", scr, chains)
    made.descriptive["scores"] = _table(method=after, SCR=scr, irrelevant_memory=irrelevant, gold_context=gold)
    made.descriptive["confirmed"] = _confirmed(scr)
    _describe(trial, case, made, chains, length)
    made.recipes = [one.key for one in (*after, *scr)]
    made.pictures += [
        units_picture(
            case,
            f"SCR minus {method}, average of four dimensions, per chain",
            {
                "SCR": made.definitions["locality-accuracy"].units,
                "irrelevant-memory (negative)": made.controls["irrelevant-memory"].units,
                "gold-context (positive)": made.controls["gold-context"].units,
            },
        ),
        _examples("Answers, first chain", method=after[0], SCR=scr[0], gold=gold[0]),
    ]
    return made


def _confirmed(answered: Sequence[Answered]) -> dict[str, float]:
    """Share of questions, by dimension, for which SCR put a text into the context."""
    found: dict[str, list[bool]] = {}
    for one in answered:
        for row in one.rows:
            found.setdefault(row["dimension"], []).append(row["given"] is not None)
    return {dimension: sum(values) / len(values) for dimension, values in found.items()}
