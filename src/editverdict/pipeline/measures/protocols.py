"""Protocols (C.1, Eq. 4): what a judge is worth, what locality means, how edits are grouped, what only a table says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from editverdict.data.errors import DataError
from editverdict.data.records import EditRecord
from editverdict.data.schedules import PAPER_RECORDS, PAPER_SIZES, Schedule, paper_schedules, readings
from editverdict.evaluation.dimensions import mean_of, per_edit_scores
from editverdict.evaluation.judging import Judgement
from editverdict.evaluation.labelled import Labelled, labelled_hash, read_labelled, shuffled
from editverdict.evaluation.lexical import normalise
from editverdict.inference.intervals import exact_interval, missing, seeds_interval, t_interval
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.judge_cards import agreement_with_labels, by_kind, strangers
from editverdict.pipeline.judging import judge_of, judged
from editverdict.pipeline.measurement import Case, Measurement, declare_checks, measure, passed
from editverdict.pipeline.measures.answering import SHARED, begin, seeds_of
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.trial import NotHere, Trial

declare_checks(
    judge_looks="of right answers dealt to other questions the judge accepts fewer than a tenth",
)


# --------------------------------------------------------------------------- a judge and labels
@measure("judge_agreement")
def judge_agreement(trial: Trial, case: Case) -> Measurement:
    """Share of labelled answers on which the profile's judge says what the label says (C.1)."""
    labelled = labelled_answers(trial)
    judge = judge_of(trial)
    said = judged(trial, [one.item for one in labelled], judge, label="labelled answers")
    dealt = shuffled(labelled)
    strange = judged(trial, dealt, judge, label="answers to other questions")
    made = Measurement(_agreements(labelled, said))
    # Labelled right beside another question: only a judge that does not look at the question agrees.
    made.controls["dealt"] = exact_interval([float(one.verdict == "yes") for one in strange])
    made.controls["labels"] = exact_interval([1.0] * len(labelled))
    control = strangers(dealt, strange)
    accepted = control["accepted"]
    made.checks |= passed(
        "judge-looks",
        control["outcome"] == "ok",
        f"{accepted['count']} of {accepted['total']} answers to other questions accepted: {control['outcome']}",
    )
    found = agreement_with_labels(labelled, said)
    made.descriptive["agreement"] = {name: found[name] for name in ("accuracy", "kappa", "undecided", "table")}
    made.descriptive["kinds"] = by_kind(labelled, said)
    questions = found["kappa"]["n_clusters"]
    made.descriptive["labelled"] = {"hash": labelled_hash(labelled), "items": len(labelled), "questions": questions}
    made.stands_on = (
        f"judge {trial.profile.judge} ({judge.id}), {len(labelled)} labelled answers to {questions} questions; "
        f"{case.model} is not asked"
    )
    made.recipes = [judge.id, labelled_hash(labelled)]
    made.pictures += [_kinds_picture(case, labelled, said), _disagreements(labelled, said)]
    return made


def labelled_answers(trial: Trial) -> list[Labelled]:
    """The labelled answers that go with the trial's specs.

    Raises
    ------
    NotHere
        The spec folders hold none.
    DataError
        They cannot be used.
    """
    if trial.labelled is None:
        raise NotHere("needs labelled answers: judges/labelled.jsonl in a folder of specs")
    return read_labelled(trial.labelled)


def _agrees(one: Labelled, said: Judgement) -> float:
    return float(one.label == said.verdict)


def _agreements(labelled: Sequence[Labelled], said: Sequence[Judgement]) -> dict[str, Any]:
    """By each definition."""
    pairs = list(zip(labelled, said, strict=True))
    questions: dict[str, list[float]] = {}
    for one, judgement in pairs:
        questions.setdefault(one.question_id, []).append(_agrees(one, judgement))
    decided = [_agrees(one, judgement) for one, judgement in pairs if judgement.verdict != "undecided"]
    return {
        "all": exact_interval([_agrees(one, judgement) for one, judgement in pairs]),
        "decided": exact_interval(decided),
        "by-question": t_interval([sum(own) / len(own) for own in questions.values()]),
    }


def _kinds_picture(case: Case, labelled: Sequence[Labelled], said: Sequence[Judgement]) -> dict[str, Any]:
    groups: dict[str, list[float]] = {}
    for one, judgement in zip(labelled, said, strict=True):
        groups.setdefault(f"{one.label}: {one.kind}", []).append(_agrees(one, judgement))
    return units_picture(case, "Agreement with the labels, by kind of answer", {k: groups[k] for k in sorted(groups)})


def _disagreements(labelled: Sequence[Labelled], said: Sequence[Judgement], limit: int = 20) -> dict[str, Any]:
    pairs = zip(labelled, said, strict=True)
    apart = [(one, judgement) for one, judgement in pairs if one.label != judgement.verdict]
    return {
        "kind": "answers",
        "title": f"Where the judge and the labels disagree ({len(apart)} of {len(labelled)})",
        "columns": ["question", "expected", "answer", "kind", "label", "judge"],
        "rows": [
            [o.item.question, o.item.accepted[0], o.item.answer, o.kind, o.label, j.verdict] for o, j in apart[:limit]
        ],
    }


# --------------------------------------------------------------------------- locality before any edit
@measure("locality_before_editing")
def locality_before_editing(trial: Trial, case: Case) -> Measurement:
    """Eq. 4 locality of a model in which nothing was changed, per edit, and its accuracy against the references."""
    asked = begin(trial, case, min(SHARED, trial.profile.sizes.chain_length))
    base, idle = asked.unedited(), asked.no_op()
    kept, right = _locality(idle, "loc_eq4"), _locality(base, "loc")
    made = Measurement({})
    # No floor of granularity: by definition there is nothing to be uncertain about.
    made.definitions["eq4"] = t_interval(list(kept.values()))
    made.definitions["accuracy"] = t_interval(list(right.values()))
    both = [edit for edit in kept if edit in right]
    made.definitions["difference"] = t_interval([kept[edit] - right[edit] for edit in both]) if both else missing()
    made.controls["answers-exchanged"] = seeds_interval(
        [mean_of(agreement_exchanged(one, seed) for one in idle) or 0.0 for seed in seeds_of(trial)]
    )
    units = {"Eq. 4": made.definitions["eq4"].units, "accuracy": made.definitions["accuracy"].units}
    units["answers-exchanged (negative)"] = made.controls["answers-exchanged"].units
    scores = {"no op": idle, "unedited": base}
    made = asked.finished(made, scores, "Locality before any edit, by both definitions", units)
    made.edits = 0
    return made


def _locality(answered: Sequence[Answered], name: str) -> dict[str, float]:
    found = {edit: getattr(s, name) for one in answered for edit, s in per_edit_scores(one.rows).items()}
    return {edit: float(value) for edit, value in found.items() if value is not None}


def agreement_exchanged(answered: Answered, seed: int) -> float:
    """Share of locality questions whose answer is the same as that of a question some places further on."""
    said = [normalise(row["answer"]) for row in answered.rows if row["dimension"] == "loc"]
    if len(said) < 2:
        return 0.0
    by = 1 + seed % (len(said) - 1)
    return sum(one == said[(place + by) % len(said)] for place, one in enumerate(said)) / len(said)


# --------------------------------------------------------------------------- groups of edits
@measure("schedule_of_the_paper")
def schedule_of_the_paper(trial: Trial, case: Case) -> Measurement:
    """Share of C.1's settings in which our schedules put an item, and ask it, as C.1 does, per item."""
    records = trial.records(str(case.dataset))
    if len(records) < 2 * PAPER_RECORDS:
        raise NotHere(
            f"needs {2 * PAPER_RECORDS} records, as many as C.1 takes and as many others for a control; dataset "
            f"'{case.dataset}' has {len(records)}"
        )
    try:
        found = paper_schedules(records)
    except DataError as error:
        raise NotHere(str(error)) from error
    made = Measurement({"as-in-c1": t_interval(as_in_c1(records, found))})
    made.controls["dealt-in-turn"] = t_interval(as_in_c1(records, [dealt_in_turn(one) for one in found]))
    others = paper_schedules(records[PAPER_RECORDS : 2 * PAPER_RECORDS])
    made.controls["second-hundred"] = t_interval(as_in_c1(records, others))
    made.stands_on = f"the first {PAPER_RECORDS} records of {case.dataset}; {case.model} is not asked"
    chains = trial.chains(str(case.dataset))
    made.descriptive["schedules"] = {one.id: [len(one.groups), one.size] for one in found}
    made.descriptive["elsewhere"] = {"chains": len(chains), "lengths": sorted({len(chain) for chain in chains})}
    made.recipes = [one.id for one in found]
    units: dict[str, Sequence[float]] = {"our schedules": made.definitions["as-in-c1"].units}
    units |= {f"{name} (negative)": control.units for name, control in made.controls.items()}
    made.pictures.append(units_picture(case, "Items that stand where C.1 puts them", units))
    return made


def as_in_c1(records: Sequence[EditRecord], schedules: Sequence[Schedule]) -> list[float]:
    """Per item of the first hundred: share of the settings 1, 10 and 100 that have it, and ask it, where C.1 does.

    That is in its group and place, and in the state after its group's last edit: arithmetic of C.1's words, not of the
    schedules' code.
    """
    made = {schedule.size: schedule for schedule in schedules}
    return [
        sum(_as_in_c1(records, item, size, made.get(size)) for size in PAPER_SIZES) / len(PAPER_SIZES)
        for item in range(PAPER_RECORDS)
    ]


def _as_in_c1(records: Sequence[EditRecord], item: int, size: int, schedule: Schedule | None) -> bool:
    if schedule is None or len(schedule.records) != PAPER_RECORDS or len(schedule.groups) != PAPER_RECORDS // size:
        return False
    start = item - item % size
    wanted = [record.id for record in records[start : start + size]]
    group = schedule.groups[start // size]
    (reading, *more) = readings(group)
    state, asked = [r.id for r in reading.made], [r.id for r in reading.asked]
    return not more and state == wanted and asked == wanted and wanted[item % size] == records[item].id


def dealt_in_turn(schedule: Schedule) -> Schedule:
    """The same items dealt to the groups in turn."""
    count = len(schedule.groups)
    return replace(schedule, groups=tuple(schedule.records[start::count] for start in range(count)))


# --------------------------------------------------------------------------- what only a table says
@measure("ticked_share")
def ticked_share(trial: Trial, case: Case) -> Measurement:
    """Share of surveyed methods with a tick: counted in the printed table, and measured nowhere.

    Raises
    ------
    NotHere
        Always: no run can tell how other papers have evaluated their methods.
    """
    raise NotHere(f"'{case.claim.id}' is data that no run can test: {case.claim.source.where}")
