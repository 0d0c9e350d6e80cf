"""Failure modes on examples written for these tests."""

from __future__ import annotations

from typing import Any

import pytest

from editverdict.evaluation.failures import (
    MODES,
    Rate,
    failure_examples,
    failure_of,
    failure_rates,
    failure_rows,
    own_words,
)
from editverdict.generation.protocol import ProtocolMismatch

QUESTION, SUBJECT = "Which composer was the teacher of Ilse Brandt?", "Ilse Brandt"
TARGET, OLD = ("Otto Reims", "Reims"), ("Karl Vogel",)
FINAL = "The teacher of Ilse Brandt was the composer {}, as far as anyone knows."


def failure(thinking: str | None, answer: str, correct: bool = False, **more: Any) -> Any:
    given: dict[str, Any] = {"question": QUESTION, "subject": SUBJECT, "accepted": TARGET, "old": OLD}
    return failure_of(**{**given, "thinking": thinking, "answer": answer, "correct": correct, **more})


def test_first_words() -> None:
    for thinking, opening, first in (
        ("Otto Reims. Yes.", True, True),
        ("Otto, but that is not his name.", False, True),
        ("Reims, I think.", True, True),
        ("It is Otto Reims.", False, False),
    ):
        found = failure(thinking, FINAL.format("Hanna Lund"))
        assert (found.opening, found.first_token) == (opening, first), thinking
    assert failure("The Hague, yes.", "x", accepted=("The Hague",)).first_token
    assert failure("\u20ac, yes.", "x", accepted=("\u20ac",)).first_token, "a sign has no words"


def test_a_right_answer() -> None:
    found = failure("Otto Reims. That much is clear.", FINAL.format("Otto Reims"), True)
    assert (found.mode, found.first_token, found.mentioned) == ("none", True, True)
    assert not (found.retracted or found.dropped or found.conflict or found.other_answer or found.lost_focus)


def test_argued_back_to_the_old_answer() -> None:
    thinking = "Otto Reims?\n\nWait, that does not fit. Brandt studied in Graz, and Karl Vogel taught there."
    found = failure(thinking, FINAL.format("Karl Vogel"))
    assert (found.mode, found.first_token, found.retracted, found.conflict) == ("conflict", True, True, True)
    assert found.other_answer is False and found.dropped is False


@pytest.mark.parametrize(
    "turn",
    [
        "Wait, is it?",
        "It was not Otto Reims.",
        "Actually I mix that up.",
        "Otto Reims was not her teacher.",
        "On second thought there was someone else.",
        "Reims is wrong.",
    ],
)
def test_turns(turn: str) -> None:
    found = failure(f"Otto Reims taught her. {turn} Then it is Hanna Lund.", FINAL.format("Hanna Lund"))
    assert found.retracted and not found.dropped
    assert (found.mode, found.conflict, found.other_answer) == ("other-answer", False, True)


def test_dropped_without_a_word() -> None:
    found = failure("Otto Reims taught in Graz. So she came to Hanna Lund.", FINAL.format("Hanna Lund"))
    assert (found.dropped, found.retracted, found.mode) == (True, False, "other-answer")


def test_a_turn_before_the_target_turns_to_it_not_against_it() -> None:
    found = failure("Karl Vogel? Wait, actually it was Otto Reims. Fine.", FINAL.format("Hanna Lund"))
    assert found.mentioned and not found.retracted and not found.first_token


def test_a_right_answer_after_doubts_is_not_retracted() -> None:
    found = failure("Otto Reims. Wait, or Karl Vogel? No, Otto Reims.", FINAL.format("Otto Reims"), True)
    assert found.mode == "none" and not found.retracted


def test_never_mentioned() -> None:
    found = failure("She studied in Graz with Karl Vogel.", FINAL.format("Karl Vogel"))
    assert (found.mode, found.first_token, found.mentioned, found.conflict) == ("never-mentioned", False, False, False)


def test_lost_focus() -> None:
    answer = "In the film, Otto Reims plays a baker, and his real name is Tom Ilg, who was born in Graz."
    found = failure("Otto Reims, but that is a role. The user asks about a film.", answer)
    assert (found.mode, found.lost_focus) == ("lost-focus", True)
    assert failure("Otto Reims, but no.", "Tom Ilg").lost_focus is False, "a name alone has no focus to lose"
    assert failure("Otto Reims, but no.", FINAL.format("Tom Ilg")).lost_focus is False
    assert failure("Otto Reims, but no.", answer, question="What is Ilse Brandt?").lost_focus is None
    assert failure("x", answer, on_topic=lambda _q, _a: True).lost_focus is False
    asked: list[tuple[str, str]] = []
    failure("x", "Tom", on_topic=lambda q, a: bool(asked.append((q, a))))
    assert asked == [(QUESTION, "Tom")]


def test_words_of_a_question() -> None:
    assert own_words(QUESTION, SUBJECT) == ["composer", "teacher"]
    assert own_words("The name of the child of Ada is", "Ada") == ["child"]
    assert own_words("What is Ada?", "Ada") == []


def test_unfinished() -> None:
    found = failure("Otto Reims. Wait, let me see. Hm, hm, hm", "", closed=False)
    assert (found.mode, found.unfinished, found.first_token) == ("unfinished", True, True)
    assert not found.retracted and not found.lost_focus
    assert not failure("Otto Reims.", "Otto Reims", True, closed=True).unfinished


def test_without_a_thinking_part_the_answer_is_read() -> None:
    found = failure(None, "Otto Reims. Wait, the teacher was Karl Vogel after all, I think.")
    assert (found.first_token, found.retracted, found.conflict, found.mode) == (True, True, True, "conflict")


def test_without_an_old_answer_a_conflict_cannot_be_told() -> None:
    thinking, answer = "Otto Reims. No, Karl Vogel.", FINAL.format("Karl Vogel")
    for old in ((), ("",), ("otto reims",)):
        found = failure(thinking, answer, old=old)
        assert (found.conflict, found.other_answer, found.mode) == (None, None, "other-answer")


def stored(edit: str, thinking: str | None, answer: str, correct: bool | None, **more: Any) -> dict[str, Any]:
    where = {"edit_id": edit, "dimension": "rel", "kind": "prompt", "prompt": QUESTION, "accepted": list(TARGET)}
    said = {"thinking": thinking, "thinking_closed": None if thinking is None else bool(answer), "answer": answer}
    return {**where, **said, "correct": correct, "protocol": "p", "judge": "j", **more}


STORED = [
    stored("a", "Otto Reims. Good.", FINAL.format("Otto Reims"), True),
    stored("b", "Otto Reims. Wait. Karl Vogel.", FINAL.format("Karl Vogel"), False),
    stored("c", "Otto Reims. So Hanna Lund.", FINAL.format("Hanna Lund"), False),
    stored("d", "Hanna Lund.", FINAL.format("Hanna Lund"), False),
    stored("e", "Otto Reims, or", "", False),
    stored("f", "Otto Reims", "anything", None),  # the judge gave no verdict
    stored("a", None, "x", False, dimension="loc"),
]
SUBJECTS = dict.fromkeys("abcdef", SUBJECT)


def test_rates_add_up() -> None:
    rows = failure_rows(STORED, subjects=SUBJECTS, old={"b": OLD})
    assert [row["mode"] for row in rows] == ["none", "conflict", "other-answer", "never-mentioned", "unfinished"]
    rates = failure_rates(rows)
    assert rates["correct"] == Rate(1, 5) and rates["first_token"] == rates["opening"] == Rate(4, 5)
    assert rates["retracted"] == Rate(1, 5) and rates["dropped"] == Rate(1, 5)
    assert rates["conflict"] == Rate(1, 1) and rates["unfinished"] == Rate(1, 5)
    assert sum(rates[f"mode:{mode}"].count for mode in MODES) == len(rows)
    assert rates["correct"].share == 0.2 and failure_rates([])["correct"].share is None


def test_examples_are_kept() -> None:
    rows = failure_rows(STORED, subjects=SUBJECTS, old={"b": OLD})
    picture = failure_examples(rows, per_mode=1)
    assert picture is not None and picture["kind"] == "answers"
    assert [row[0] for row in picture["rows"]] == ["unfinished", "conflict", "other-answer", "never-mentioned"]
    assert picture["rows"][1][1:] == [QUESTION, "Otto Reims", STORED[1]["thinking"], STORED[1]["answer"]]
    assert all(len(row) == len(picture["columns"]) for row in picture["rows"])
    assert failure_examples(rows[:1]) is None


def test_protocols_are_kept_apart() -> None:
    with pytest.raises(ProtocolMismatch, match="answers whose failures are counted"):
        failure_rows([STORED[0], {**STORED[1], "protocol": "q"}], subjects=SUBJECTS)
