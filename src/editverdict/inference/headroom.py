"""Headroom: whether a loss can be shown at all, from what is there before the edit.

Two conditions. The level before the edit is at least `LEAST` (decisions.md: below it, what is lost is lost in noise);
and there are enough right answers that losing *all* of them would be significant: with r of them the paired exact test
cannot go below ``2 * 0.5^r``, the p value of McNemar's test when r facts are lost and none is won.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 0.2
ALPHA = 0.01
"""Two-sided, as the intervals of 99%."""


@dataclass(frozen=True)
class Headroom:
    """What there is to lose."""

    value: float | None
    """Mean score before the edit, in [0, 1]; None: nothing was asked."""
    right: float
    """Sum of the scores: the number of right answers where scores are 0 or 1."""
    asked: int
    smallest_p: float
    """What a total loss would reach in the paired exact test."""
    enough: bool
    """Whether a loss can be shown."""
    detail: str
    """One sentence with the numbers."""


def right_answers_needed(alpha: float = ALPHA) -> int:
    """The least number of right answers of which a total loss is significant.

    Raises
    ------
    ValueError
        The level is not strictly between 0 and 1.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"a significance level must lie strictly between 0 and 1, found {alpha!r}")
    return max(1, math.ceil(1.0 - math.log2(alpha) - 1e-12))


def headroom(before: Sequence[float], what: str, *, least: float = LEAST, alpha: float = ALPHA) -> Headroom:
    """Decide whether a loss can be shown.

    Parameters
    ----------
    before
        Score in [0, 1] per fact, of the unedited model (or of single edits, where those are what may be lost).
    what
        The quantity in words, for the sentence.
    least
        Least mean score.
    alpha
        Two-sided level at which a total loss must be significant.

    Raises
    ------
    ValueError
        A score is not a number in [0, 1].
    """
    bad = [value for value in before if not 0.0 <= value <= 1.0]
    if bad:
        raise ValueError(f"{what}: {len(bad)} of {len(before)} scores are not in [0, 1], e.g. {bad[0]!r}")
    if not before:
        return Headroom(None, 0.0, 0, 1.0, False, f"{what}: nothing was asked, so there is nothing to lose")
    right, needed = math.fsum(before), right_answers_needed(alpha)
    value, smallest = right / len(before), min(1.0, 2.0 * 0.5**right)
    high, many = value >= least, right >= needed
    detail = f"{what} = {value:.3f} ({right:g} of {len(before)}), at least {least:g} needed to show a loss"
    if high and not many:
        detail += f"; of {right:g} right answers even a total loss has p = {smallest:.2g}, at least {needed} are needed"
    return Headroom(value, right, len(before), smallest, high and many, detail)
