"""Rows per fact, kinds, teacher-forced rows, and the guard that keeps protocols apart."""

from __future__ import annotations

import pytest

from editverdict.evaluation.dimensions import KindScore, per_edit_scores, scores_by_kind, scores_of
from editverdict.evaluation.facts import fact_rows
from editverdict.evaluation.forced import forced_pairs, forced_rows
from editverdict.evaluation.questions import Question
from editverdict.generation.forced import Forced
from editverdict.generation.protocol import ProtocolMismatch


def row(edit, dimension, kind, correct, same=None, protocol="p", judge="j", **more):  # type: ignore[no-untyped-def]
    where = {"edit_id": edit, "dimension": dimension, "kind": kind, "prompt": f"{edit} {dimension} {kind}"}
    return {**where, "correct": correct, "same_as_before": same, "protocol": protocol, "judge": judge, **more}


ROWS = [
    row("a", "rel", "prompt", True),
    row("a", "gen", "rephrase", False),
    row("a", "loc", "same", True, True, tokens=[1, 2]),
    row("a", "port", "alias", True),
    row("a", "port", "alias", False),
    row("a", "port", "inverse", False),
    row("b", "rel", "prompt", False),
    row("b", "loc", "same", False, False, tokens=[1, 3]),
    row("b", "port", "alias", True),
]
BEFORE = [row("a", "loc", "same", True, tokens=[1, 2]), row("b", "loc", "same", True, tokens=[1, 2])]


def test_kinds() -> None:
    assert scores_by_kind(ROWS, "port") == {
        "alias": KindScore(pytest.approx(3 / 4), 2, 3),  # type: ignore[arg-type]
        "inverse": KindScore(0.0, 1, 1),
    }
    assert scores_by_kind(ROWS, "rel") == {"prompt": KindScore(0.5, 2, 2)}
    assert scores_by_kind([row("a", "port", "alias", None)], "port") == {}
    with pytest.raises(ValueError, match="one of rel, gen, loc, port, found 'speed'"):
        scores_by_kind(ROWS, "speed")  # type: ignore[arg-type]


def test_a_row_per_fact() -> None:
    chance = {"part": "efficacy", "kind": "prompt", "logp_expected": -1.0, "logp_rival": -2.0, "edit_id": "b"}
    a, b = fact_rows(ROWS, subjects={"a": "Rome", "b": "Goa"}, before=BEFORE, probability=[chance])
    assert a["edit_id"] == "a" and a["subject"] == "Rome" and (a["protocol"], a["judge"]) == ("p", "j")
    assert (a["rel"], a["gen"], a["loc"], a["loc_eq4"]) == (1.0, 0.0, 1.0, 1.0)
    assert a["port"] == pytest.approx(1 / 4) and a["port:alias"] == 0.5 and a["port:inverse"] == 0.0
    assert a["avg"] == pytest.approx((1 + 0 + 1 + 1 / 4) / 4)
    assert (a["token_match"], a["token_exact"], a["efficacy"]) == (1.0, 1.0, None)
    assert (b["gen"], b["avg"], b["port:inverse"]) == (None, None, None)
    assert (b["token_match"], b["token_beginning"], b["token_exact"], b["efficacy"]) == (0.5, 0.5, 0.0, 1.0)
    assert set(a) == set(b)
    means = scores_of(ROWS)
    assert means.rel == (a["rel"] + b["rel"]) / 2 and means.loc == (a["loc"] + b["loc"]) / 2


def test_facts_need_subjects() -> None:
    with pytest.raises(ValueError, match=r"no subject for edit b \(1 of 2 edits\)"):
        fact_rows(ROWS, subjects={"a": "Rome"})


@pytest.mark.parametrize("change", [{"protocol": "other"}, {"judge": "other"}, {"protocol": None}])
def test_different_protocols_are_never_averaged(change: dict[str, str | None]) -> None:
    mixed = [*ROWS, {**row("c", "port", "alias", True), **change}]
    for average in (scores_of, per_edit_scores, lambda rows: scores_by_kind(rows, "port")):
        average(ROWS)
        with pytest.raises(ProtocolMismatch, match="neither compared nor averaged"):
            average(mixed)
    with pytest.raises(ProtocolMismatch):
        fact_rows(mixed, subjects={"a": "x", "b": "y", "c": "z"})


QUESTIONS = [
    Question("a", "rel", "prompt", "p", ("New York", "NYC")),
    Question("a", "loc", "same", "q", ("Paris",)),
    Question("a", "loc", "same", "r", ("San Marino",)),
]
FORCED = [
    Forced((1, 2), (1, 9), " New Delhi"),
    Forced((3,), (3,), " Paris"),
    Forced((4, 5, 6), (8, 5, 7), " Santa Marina"),
]


def test_forced_rows() -> None:
    assert forced_pairs(QUESTIONS) == [("p", "New York"), ("q", "Paris"), ("r", "San Marino")]
    rows = forced_rows(QUESTIONS, FORCED, "tf", {("q", "Paris"): [2], ("r", "San Marino"): [8, 5, 6]})
    assert [r["correct"] for r in rows] == [0.5, 1.0, pytest.approx(1 / 3)]
    assert [r["all_correct"] for r in rows] == [False, True, False]
    assert [r["first_correct"] for r in rows] == [True, True, False]
    assert [r["same_as_before"] for r in rows] == [None, 0.0, pytest.approx(2 / 3)]
    scores = scores_of(rows)
    assert scores.rel == 0.5 and scores.loc == pytest.approx(2 / 3) and scores.loc_eq4 == pytest.approx(1 / 3)
    assert [r["same_as_before"] for r in forced_rows(QUESTIONS, FORCED, "tf")] == [None] * 3
    free = [{**row("a", "rel", "prompt", True), "protocol": "free"}]
    with pytest.raises(ProtocolMismatch, match=r"free/j, tf/argmax"):
        scores_of([*rows, *free])


def test_forced_rows_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="found 2 for 3 questions"):
        forced_rows(QUESTIONS, FORCED[:2], "tf")
    with pytest.raises(ValueError, match="2 tokens from before the edit for 'q', expected 1"):
        forced_rows(QUESTIONS, FORCED, "tf", {("q", "Paris"): [3, 3]})
