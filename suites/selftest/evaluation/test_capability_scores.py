"""Scores of capability tasks, by hand; and what a boxed answer is."""

from __future__ import annotations

import math

import pytest

from editverdict.evaluation.boxed import graded, last_boxed, same_answer
from editverdict.evaluation.capability import (
    ITEM_BLOCKS,
    ItemScore,
    SuiteScores,
    above_chance,
    item_score,
    paired_differences,
    retained,
    suite_score,
)


def suite(**correct: list[float]) -> SuiteScores:
    items = {
        task: tuple(ItemScore(task, f"{task}-{n}", value, value / 2) for n, value in enumerate(values))
        for task, values in correct.items()
    }
    return SuiteScores(items, dict.fromkeys(correct, 0.25))


def test_an_item_is_right_where_its_answer_is_the_most_probable() -> None:
    found = item_score("t", "i", [math.log(0.1), math.log(0.3)], [1, 2], 1)
    assert found.correct == 1.0 and found.probability == pytest.approx(0.75) and found.nats == math.log(0.3) / 2
    assert item_score("t", "i", [-1.0, -2.0], [1, 1], 1).correct == 0.0


def test_ties_share_the_point() -> None:
    assert item_score("t", "i", [-1.0] * 4, [1] * 4, 2).correct == 0.25
    assert item_score("t", "i", [-1.0, -1.0, -2.0, -3.0], [1] * 4, 2).correct == 0.0


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_right(broken: float) -> None:
    assert item_score("t", "i", [broken, -5.0], [1, 1], 0).correct == 0.0
    assert item_score("t", "i", [broken, -5.0], [1, 1], 1).correct == 1.0
    found = item_score("t", "i", [broken, broken], [1, 1], 0)
    assert (found.correct, found.probability) == (0.0, 0.0)


def test_a_text_has_a_log_probability_alone() -> None:
    found = item_score("t", "i", [-12.0], [6], 0)
    assert found.nats == -2.0 and math.isnan(found.correct) and math.isnan(found.probability)


def test_a_suite_is_the_mean_of_its_tasks_whatever_their_sizes() -> None:
    scores = suite(a=[1.0] * 100, b=[0.0, 1.0])
    assert suite_score(scores) == 0.75 and above_chance(scores) == 0.5
    assert suite_score(scores, "probability") == 0.375


def test_the_share_retained() -> None:
    before = suite(a=[1.0, 1.0, 1.0, 0.0])
    assert retained(before, before) == 1.0
    assert retained(suite(a=[1.0, 0.0, 0.0, 0.0]), before) == 0.0
    assert retained(suite(a=[1.0, 1.0, 0.0, 0.0]), before) == 0.5
    assert retained(suite(a=[0.0] * 4), before) == -0.5
    assert retained(suite(a=[1.0, 1.0, 0.0, 0.0]), before, chance=False) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="there is no share to retain"):
        retained(before, suite(a=[1.0, 0.0, 0.0, 0.0]))


def test_other_items_are_not_compared() -> None:
    before, other = suite(a=[1.0, 1.0]), suite(a=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="task 'a': the two states were not scored on the same items"):
        retained(other, before)
    with pytest.raises(ValueError, match="not the same tasks"):
        retained(suite(b=[1.0, 1.0]), before)


def test_blocks_take_every_item_once_and_no_task_whole() -> None:
    scores = suite(a=[float(n) for n in range(45)], b=[0.0, 1.0, 2.0, 3.0, 4.0] * 5)
    assert scores.blocks == ITEM_BLOCKS
    for task in ("a", "b"):
        whole = len(scores.items[task])
        out = [whole - len(scores.values(task, without=b)) for b in range(scores.blocks)]
        assert sum(out) == whole and max(out) - min(out) <= 1
    assert suite(a=[1.0, 0.0, 1.0]).blocks == 3


def test_paired_differences_are_unedited_minus_edited() -> None:
    assert paired_differences(suite(a=[0.0, 1.0, 1.0]), suite(a=[1.0, 1.0, 0.0])) == {"a": [1.0, 0.0, -1.0]}


# --------------------------------------------------------------------------- generated solutions
def test_the_last_complete_box_counts() -> None:
    assert last_boxed(r"first \boxed{1}, then \boxed{\frac{3}{4}}.") == r"\frac{3}{4}"
    assert last_boxed(r"\boxed{5} and then \boxed{cut of") == "5"
    assert last_boxed("no box, 7") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("142", "142.0", True),
        (r"\frac{1}{2}", "0.5", True),
        (r"-\dfrac{3}{4}", "-0.75", True),
        (r"\tfrac12", "1/2", True),
        ("1,234", "1234", True),
        ("12,34", "1234", False),
        (r"$\left( 3, \frac{\pi}{2} \right)$", r"(3,\frac{\pi}{2})", True),
        (r"90^\circ", "90", True),
        (r"5\text{ cm}", "5", True),
        (r"\frac{1}{0}", "0", False),
        ("17", "71", False),
        ("x+1", "1+x", False),
        (r"\sqrt{2}", "1.41421356", False),
    ],
)
def test_answers_are_compared_as_numbers_or_as_text(one: str, other: str, same: bool) -> None:
    assert same_answer(one, other) is same and same_answer(other, one) is same


def test_a_solution_is_right_by_its_last_answer() -> None:
    assert graded(r"so \boxed{3}, no, \boxed{4}", ["4"]) == 1.0
    assert graded(r"so \boxed{4}, no, \boxed{3}", ["4"]) == 0.0
    assert graded("the answer is 4", ["4"]) == 0.0
    assert graded(r"\boxed{b}", ["a", "b"]) == 1.0
