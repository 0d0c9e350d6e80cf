"""Scores against sums done by hand."""

from __future__ import annotations

import pytest

from editverdict.evaluation.dimensions import Scores, edit_counts, per_edit_scores, rows_of, scores_of
from editverdict.evaluation.lexical import LexicalJudge
from editverdict.evaluation.questions import Question
from editverdict.generation.decode import Answer

JUDGE = LexicalJudge()


def row(edit, dimension, kind, correct, same=None):  # type: ignore[no-untyped-def]
    return {"edit_id": edit, "dimension": dimension, "kind": kind, "correct": correct, "same_as_before": same}


ROWS = [
    row("a", "rel", "prompt", True),
    row("a", "gen", "rephrase", True),
    row("a", "gen", "rephrase", False),  # a: gen 1/2
    row("a", "loc", "same-relation", True, False),
    row("a", "loc", "same-relation", False, False),
    row("a", "loc", "same-relation", False, True),
    row("a", "loc", "other-relation", True, None),  # a: loc (1/3 + 1)/2 = 2/3; Eq. 4: 1/3
    row("a", "port", "inverse", False),
    row("a", "port", "alias", True),
    row("a", "port", "alias", True),  # a: port (0 + 1)/2
    row("b", "rel", "prompt", False),
    row("b", "gen", "rephrase", True),  # b: gen 1
    row("b", "loc", "same-relation", False, True),  # b: loc 0; Eq. 4: 1; no portability
]


def test_over_sub_kinds_then_over_edits():
    got = scores_of(ROWS)
    assert got.rel == pytest.approx(1 / 2)
    assert got.gen == pytest.approx(3 / 4)
    assert got.loc == pytest.approx(1 / 3)
    assert got.port == pytest.approx(1 / 2)  # of the one edit that has it
    assert got.loc_eq4 == pytest.approx(2 / 3)
    assert got.avg == pytest.approx((1 / 2 + 3 / 4 + 1 / 3 + 1 / 2) / 4)
    assert scores_of(ROWS, locality="eq4").avg == pytest.approx((1 / 2 + 3 / 4 + 2 / 3 + 1 / 2) / 4)
    assert edit_counts(ROWS) == {"rel": 2, "gen": 2, "loc": 2, "port": 1, "loc_eq4": 2}


def test_per_edit():
    got = per_edit_scores(ROWS)
    assert list(got) == ["a", "b"]
    assert got["a"] == Scores(1.0, 0.5, pytest.approx(2 / 3), 0.5, pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert got["b"] == Scores(0.0, 1.0, 0.0, None, 1.0, None)
    assert per_edit_scores(ROWS, parts=("rel", "loc"))["b"].avg == 0.0


def test_missing_is_not_zero():
    assert scores_of([]) == Scores()
    some = [r for r in ROWS if r["dimension"] != "gen"]
    got = scores_of(some)
    assert got.gen is None and got.avg is None and got.rel == 0.5
    assert scores_of(some, parts=("rel", "loc", "port")).avg == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
    no_before = [{**r, "same_as_before": None} for r in ROWS]
    assert scores_of(no_before).loc_eq4 is None and scores_of(no_before).avg is not None
    assert scores_of(no_before, locality="eq4").avg is None


def test_order_of_rows_does_not_matter():
    assert scores_of(ROWS[::-1]) == scores_of(ROWS)


def test_rows_keep_the_answers_and_judge_them():
    questions = [
        Question("a", "rel", "prompt", "p", ("Rome", "Roma")),
        Question("a", "loc", "x", "q", ("Paris",)),
        Question("a", "loc", "x", "r", ("Paris",)),
        Question("a", "loc", "x", "unseen", ("Paris",)),
    ]
    answers = [Answer(" Roma.", " Roma.\n", (1, 2), "stop"), " Lyon, of course", "Paris", ""]
    rows = rows_of(questions, answers, JUDGE, {"p": "x", "q": "lyon -- of course", "r": "Lyon"})
    assert rows[0] == {
        "edit_id": "a",
        "dimension": "rel",
        "kind": "prompt",
        "prompt": "p",
        "accepted": ["Rome", "Roma"],
        "answer": " Roma.",
        "correct": True,
        "same_as_before": None,
    }
    # Eq. 4 knows no truth: a wrong answer may be the same, a right one may be new; without a before there is none.
    assert [(r["correct"], r["same_as_before"]) for r in rows[1:]] == [(False, True), (True, False), (False, None)]
    assert [r["same_as_before"] for r in rows_of(questions, answers, JUDGE)] == [None] * 4


def test_refusals():
    with pytest.raises(ValueError, match="found 0 for 1 questions"):
        rows_of([Question("a", "rel", "prompt", "p", ("x",))], [], JUDGE)
    with pytest.raises(ValueError, match="edit a: dimension 'fluency'"):
        scores_of([row("a", "fluency", "x", True)])
    with pytest.raises(ValueError, match="parts of the average"):
        scores_of(ROWS, parts=())
    with pytest.raises(ValueError, match="parts of the average"):
        scores_of(ROWS, parts=("speed",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'accuracy' or 'eq4'"):
        scores_of(ROWS, locality="exact")  # type: ignore[arg-type]
