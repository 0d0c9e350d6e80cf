"""Scores of answers, chain by chain and as tables, and planted answers in the place of given ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from editverdict.evaluation.dimensions import Locality, edit_counts, scores_of, undecided
from editverdict.evaluation.judging import Item
from editverdict.evaluation.probability import probability_scores
from editverdict.evaluation.questions import DIMENSIONS, Dimension
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.judging import judged
from editverdict.pipeline.trial import Trial

EVENT_DIMENSIONS: tuple[Dimension, ...] = ("loc", "port")
"""Events have no prompt of their own, and so neither reliability nor generalization (Tables 35 and 36)."""


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return sum(values) / len(values)


def by_eq4(dimensions: Sequence[str]) -> list[str]:
    """The same dimensions with locality by Eq. 4."""
    return ["loc_eq4" if name == "loc" else name for name in dimensions]


def average(answered: Answered, locality: Locality = "accuracy", parts: Sequence[Dimension] = DIMENSIONS) -> float:
    """Unweighted mean of Rel, Gen, Loc and Port, or of some of them, over the edits of one set of answers."""
    found = scores_of(answered.rows, locality=locality, parts=parts).avg
    if found is None:
        wanted = ", ".join(parts)
        raise ValueError(f"a dimension has no question at all: {edit_counts(answered.rows)}; an average needs {wanted}")
    return found


def scores_in(answered: Sequence[Answered], *dimensions: str) -> list[float]:
    """Per chain the mean of some dimensions (``loc_eq4`` for Eq. 4); each must have been asked."""
    found = []
    for one in answered:
        scores = vars(scores_of(one.rows))
        if lacking := [name for name in dimensions if scores[name] is None]:
            raise ValueError(f"no answer to any question of {', '.join(lacking)}: {edit_counts(one.rows)}")
        found.append(mean([float(scores[name]) for name in dimensions]))
    return found


def less(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """First minus second, chain by chain."""
    return [a - b for a, b in zip(first, second, strict=True)]


def score_table(**many: Sequence[Answered]) -> dict[str, dict[str, float | None]]:
    """Mean scores over chains per kind of state, for the record."""
    table: dict[str, dict[str, float | None]] = {}
    for name, answered in many.items():
        rows = [row for one in answered for row in one.rows]
        # Asked about nothing but what events have: then their average is meant.
        only = {row["dimension"] for row in rows} == {*EVENT_DIMENSIONS}
        table[name] = dict(vars(scores_of(rows, parts=EVENT_DIMENSIONS if only else DIMENSIONS)))
        if open_ := undecided(rows):
            table[name]["undecided"] = open_
        probability = [row for one in answered for row in one.probability]
        if probability:
            table[name] |= {k: v for k, v in vars(probability_scores(probability)).items() if v is not None}
    return table


def examples(title: str, limit: int = 12, **many: Answered) -> dict[str, Any]:
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


# --------------------------------------------------------------------------- planted answers
def said_instead(trial: Trial, answered: Answered, say: Callable[[int, dict[str, Any]], str]) -> Answered:
    """The same questions with planted answers, judged by the profile's judge.

    Parameters
    ----------
    trial
        Whose judge.
    answered
        Judged answers.
    say
        (number, row) -> the answer in place of the row's.
    """
    said = [say(number, row) for number, row in enumerate(answered.rows)]
    items = [Item(row["prompt"], tuple(row["accepted"]), text) for row, text in zip(answered.rows, said, strict=True)]
    verdicts = judged(trial, items, label="planted answers")
    rows = [
        {**row, "answer": text, "correct": one.correct}
        for row, text, one in zip(answered.rows, said, verdicts, strict=True)
    ]
    return Answered(rows, [], answered.key)


def right_answers(trial: Trial, answered: Sequence[Answered]) -> list[Answered]:
    """As if every question had been answered by the first answer that counts as right."""
    return [said_instead(trial, one, lambda _, row: str(row["accepted"][0])) for one in answered]
