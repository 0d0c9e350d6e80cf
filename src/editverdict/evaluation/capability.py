"""Scores of capability tasks: pure functions of what was found per item.

A suite's score is the mean over its tasks of the mean over their items, so that a task counts the same however many
items it has. *Above chance* is that score minus the same mean of what blind guessing scores. The share of it that an
edited model *retains* is its score above chance over the unedited model's, on the very same items.

Items are dealt to blocks in turn within each task; leaving out one block after the other says what it does to a number
that these items were taken and no others. Intervals are the caller's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ITEM_BLOCKS = 20
"""Blocks that the items of a suite are dealt to, where its tasks have so many."""
Reading = Literal["correct", "probability"]


@dataclass(frozen=True)
class ItemScore:
    """One item, scored."""

    task: str
    item: str
    correct: float
    """1 if right, 0 if wrong; a share where several choices tie or an answer was drawn several times; NaN for texts."""
    probability: float
    """Of the right choice among the choices; NaN where the answer is generated or the item is a text."""
    nats: float = math.nan
    """Mean log-probability per token of the right choice; NaN where the answer is generated."""


@dataclass(frozen=True)
class SuiteScores:
    """The items of a suite's tasks, scored in one state."""

    items: Mapping[str, tuple[ItemScore, ...]]
    """Task -> its items, always in the same order."""
    chance: Mapping[str, float]
    """Task -> accuracy of blind guessing, for tasks scored by accuracy; the suite's score is over these."""

    @property
    def blocks(self) -> int:
        """Number of blocks that items are dealt to: no task may lose all of its items with one of them."""
        return min(ITEM_BLOCKS, *(len(self.items[task]) for task in self.chance))

    def values(self, task: str, reading: Reading = "correct", without: int | None = None) -> list[float]:
        """One value per item, in order; ``without``: a block that is left out."""
        kept = [one for n, one in enumerate(self.items[task]) if n % self.blocks != without]
        return [one.correct if reading == "correct" else one.probability for one in kept]

    def text_values(self, task: str) -> list[float]:
        """Mean log-probability per token, in nats, per item of a task that is scored by it."""
        return [one.nats for one in self.items[task]]


def item_score(task: str, item: str, logprobs: Sequence[float], tokens: Sequence[int], answer: int) -> ItemScore:
    """Score an item from the log-probability of each of its choices.

    Parameters
    ----------
    task, item
        Names.
    logprobs
        Natural logarithm of the probability of each whole choice after the prompt.
    tokens
        Number of tokens of each choice.
    answer
        Place of the right one.

    Returns
    -------
    ItemScore
        A choice whose log-probability is not a number, as a broken model gives them, is never the most probable; an
        item without any number is wrong. Ties share the point, so that a model that finds all alike scores chance.
    """
    known = [value if math.isfinite(value) else -math.inf for value in logprobs]
    nats = known[answer] / tokens[answer]
    if len(known) == 1:
        return ItemScore(task, item, math.nan, math.nan, nats)
    best = max(known)
    if best == -math.inf:
        return ItemScore(task, item, 0.0, 0.0, nats)
    winners = [i for i, value in enumerate(known) if value == best]
    correct = 1.0 / len(winners) if answer in winners else 0.0
    weights = [math.exp(value - best) for value in known]
    return ItemScore(task, item, correct, weights[answer] / math.fsum(weights), nats)


def suite_score(scores: SuiteScores, reading: Reading = "correct", without: int | None = None) -> float:
    """Mean over tasks of the mean over items.

    Raises
    ------
    ValueError
        A task has no items left.
    """
    return _mean([_mean(scores.values(task, reading, without)) for task in scores.chance])


def above_chance(scores: SuiteScores, reading: Reading = "correct", without: int | None = None) -> float:
    """The suite's score minus that of blind guessing."""
    return suite_score(scores, reading, without) - _mean(list(scores.chance.values()))


def retained(
    edited: SuiteScores,
    unedited: SuiteScores,
    reading: Reading = "correct",
    without: int | None = None,
    *,
    chance: bool = True,
) -> float:
    """Share of the unedited model's score above chance that the edited model has.

    1: nothing is lost; 0: no better than guessing; below 0: worse than guessing. With ``chance=False`` the ratio of the
    scores themselves, which is the same where answers are generated.

    Raises
    ------
    ValueError
        The two were not scored on the same items, or the unedited model scores no better than guessing.
    """
    require_same_items(edited, unedited)
    score = above_chance if chance else suite_score
    before = score(unedited, reading, without)
    if not before > 0.0:
        raise ValueError(f"the unedited model scores {before:.3g} above guessing: there is no share to retain")
    return score(edited, reading, without) / before


def require_same_items(one: SuiteScores, other: SuiteScores) -> None:
    """Refuse a comparison of scores on different items.

    Raises
    ------
    ValueError
        Names the first task whose items differ.
    """
    if list(one.items) != list(other.items):
        raise ValueError(f"not the same tasks: {sorted(one.items)} and {sorted(other.items)}")
    for task, items in one.items.items():
        if [i.item for i in items] != [i.item for i in other.items[task]]:
            raise ValueError(f"task '{task}': the two states were not scored on the same items")


def paired_differences(edited: SuiteScores, unedited: SuiteScores) -> dict[str, list[float]]:
    """Task -> per item, unedited minus edited: for paired comparisons (McNemar, bootstrap) by whoever makes them."""
    require_same_items(edited, unedited)
    return {
        task: [a - b for a, b in zip(unedited.values(task), edited.values(task), strict=True)]
        for task in unedited.chance
    }


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise ValueError("no items to average")
    return math.fsum(values) / len(values)
