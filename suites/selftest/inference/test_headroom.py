"""Headroom: a share, a number of right answers, and the p value that a total loss would reach."""

from __future__ import annotations

import pytest

from editverdict.inference.comparisons import mcnemar
from editverdict.inference.headroom import headroom, right_answers_needed


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.001, 0.5])
def test_the_number_needed_is_the_least_that_is_significant(alpha: float) -> None:
    needed = right_answers_needed(alpha)
    assert mcnemar([1] * needed, [0] * needed).p_exact <= alpha
    assert needed == 1 or mcnemar([1] * (needed - 1), [0] * (needed - 1)).p_exact > alpha


def test_both_conditions() -> None:
    assert headroom([1] * 8 + [0] * 32, "accuracy").enough  # exactly a fifth, and eight of them
    low = headroom([1] * 8 + [0] * 33, "accuracy")
    assert not low.enough and low.detail == "accuracy = 0.195 (8 of 41), at least 0.2 needed to show a loss"
    few = headroom([1] * 7, "accuracy")
    assert not few.enough and "of 7 right answers even a total loss has p = 0.016, at least 8 are needed" in few.detail
    assert few.smallest_p == pytest.approx(mcnemar([1] * 7, [0] * 7).p_exact)
    assert headroom([1] * 7, "accuracy", alpha=0.05).enough
    assert headroom([0.5] * 16, "share").right == 8.0


def test_nothing_asked_and_nonsense() -> None:
    nothing = headroom([], "locality")
    assert nothing.value is None and not nothing.enough and "nothing was asked" in nothing.detail
    with pytest.raises(ValueError, match=r"locality: 1 of 2 scores are not in \[0, 1\], e.g. 1.5"):
        headroom([1.0, 1.5], "locality")
    with pytest.raises(ValueError, match="not in"):
        headroom([float("nan")], "locality")
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        right_answers_needed(1.0)
