"""How far a judge can be trusted: agreement with labels, consistency with itself, and a control that it must pass.

Everything a judge says here is kept as any other judgement is, so an interrupted card goes on where it was, and a
second one costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from editverdict.evaluation.judging import Item, Judgement, cost_of
from editverdict.evaluation.labelled import Labelled, labelled_hash, shuffled
from editverdict.inference.agreement import Share, kappa_interval
from editverdict.pipeline.judging import judge_of, judged
from editverdict.pipeline.trial import Trial

JUDGE_CARD_VERSION = 1
LENIENT = 0.1
"""The control fails if the judge says yes to more than this share of answers to other questions, and holds if the exact
interval of that share lies below it. Ours: a judge beyond it would give a model that answers nothing a tenth of the
points. Fixed before any judge was measured."""


def judge_card(trial: Trial, judge_id: str, labelled: Sequence[Labelled]) -> dict[str, Any]:
    """Everything that is known of a judge, as plain values.

    Parameters
    ----------
    trial
        Library, store and device.
    judge_id
        Id of a judge spec.
    labelled
        Answers with labels, from `editverdict.evaluation.labelled.read_labelled`.

    Raises
    ------
    NotHere
        The judge needs its key.
    JudgeError
        It cannot be asked; what it has said is kept.
    """
    judge = judge_of(trial, judge_id)
    items = [one.item for one in labelled]
    first = judged(trial, items, judge, label=f"{judge_id}, labelled answers")
    again = judged(trial, items, judge, label=f"{judge_id}, the same again", time=1)
    turned = [replace(item, order="turned") for item in items]
    other_way = judged(trial, turned, judge, label=f"{judge_id}, the other way round")
    dealt = shuffled(labelled)
    strange = judged(trial, dealt, judge, label=f"{judge_id}, answers to other questions")
    return {
        "version": JUDGE_CARD_VERSION,
        "judge": judge_id,
        "id": judge.id,
        "fields": judge.fields(),
        "model": judge.fields().get("name") or judge.fields().get("model"),
        "prompt": judge.fields().get("prompt"),
        "reads": judge.reads,
        "labelled": {"hash": labelled_hash(labelled), "items": len(labelled), "questions": _questions(labelled)},
        "agreement": agreement_with_labels(labelled, first),
        "kinds": by_kind(labelled, first),
        "consistency": {"again": _same(first, again), "turned": _same(first, other_way)},
        "shuffled": strangers(dealt, strange),
        "disagreements": _disagreements(labelled, first),
        "cost": asdict(cost_of([*first, *again, *other_way, *strange])),
        "levels": {"interval": Share(0, 0).level, "lenient": LENIENT},
    }


def _questions(labelled: Sequence[Labelled]) -> int:
    return len({one.question_id for one in labelled})


def _share(count: int, total: int) -> dict[str, Any]:
    share = Share(count, total)
    return {"count": count, "total": total, "value": share.value, "interval": share.interval}


def agreement_with_labels(labelled: Sequence[Labelled], said: Sequence[Judgement]) -> dict[str, Any]:
    """Accuracy, kappa and the table of labels against verdicts; what is undecided agrees with no label."""
    labels, verdicts = [one.label for one in labelled], [one.verdict for one in said]
    right = sum(label == verdict for label, verdict in zip(labels, verdicts, strict=True))
    decided = [v for v in verdicts if v != "undecided"]
    kappa = kappa_interval(labels, verdicts, [one.question_id for one in labelled])
    pairs = list(zip(labels, verdicts, strict=True))
    return {
        "accuracy": _share(right, len(labels)),
        "accuracy_of_decided": _share(right, len(decided)),
        "undecided": len(verdicts) - len(decided),
        "kappa": asdict(kappa),
        "table": {
            label: {verdict: pairs.count((label, verdict)) for verdict in ("yes", "no", "undecided")}
            for label in ("yes", "no")
        },
    }


def by_kind(labelled: Sequence[Labelled], said: Sequence[Judgement]) -> dict[str, dict[str, Any]]:
    """Accuracy by label and kind of answer."""
    found: dict[str, list[bool]] = {}
    for one, judgement in zip(labelled, said, strict=True):
        found.setdefault(f"{one.label}: {one.kind}", []).append(one.label == judgement.verdict)
    return {kind: _share(sum(found[kind]), len(found[kind])) for kind in sorted(found, reverse=True)}


def _same(first: Sequence[Judgement], second: Sequence[Judgement]) -> dict[str, Any]:
    """Share of equal verdicts."""
    return _share(sum(a.verdict == b.verdict for a, b in zip(first, second, strict=True)), len(first))


def strangers(dealt: Sequence[Item], said: Sequence[Judgement]) -> dict[str, Any]:
    """How often the judge accepts an answer to another question, and whether that is little enough (``outcome``)."""
    undecided = sum(one.verdict == "undecided" for one in said)
    # Of what was decided: a judge that never says anything has not shown that it can say no.
    accepted = _share(sum(one.verdict == "yes" for one in said), len(said) - undecided)
    low, high = accepted["interval"] or (0.0, 1.0)
    outcome = "ok" if high < LENIENT else "failed" if low > LENIENT else "undecided"
    examples = [
        {"question": item.question, "accepted": list(item.accepted), "answer": item.answer, "reason": one.reason}
        for item, one in zip(dealt, said, strict=True)
        if one.verdict == "yes"
    ]
    return {"accepted": accepted, "undecided": undecided, "outcome": outcome, "examples": examples[:5]}


def _disagreements(labelled: Sequence[Labelled], said: Sequence[Judgement]) -> list[dict[str, Any]]:
    return [
        {
            "question": one.item.question,
            "accepted": list(one.item.accepted),
            "answer": one.item.answer,
            "kind": one.kind,
            "label": one.label,
            "verdict": judgement.verdict,
            "reason": judgement.reason,
        }
        for one, judgement in zip(labelled, said, strict=True)
        if one.label != judgement.verdict
    ]


def agreement_of(items: Sequence[Item], one: Sequence[Judgement], other: Sequence[Judgement]) -> dict[str, Any]:
    """How far two judges agree about the same answers; answers to one question are one cluster."""
    verdicts = [[judgement.verdict for judgement in many] for many in (one, other)]
    same = sum(a == b for a, b in zip(*verdicts, strict=True))
    kappa = kappa_interval(verdicts[0], verdicts[1], [item.question for item in items])
    return {"same": _share(same, len(one)), "kappa": asdict(kappa)}
