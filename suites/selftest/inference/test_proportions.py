"""Exact intervals of shares: what they hold, how they are replayed, and the tests that they invert."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from editverdict.inference.intervals import ESTIMATION_KEY, exact_interval
from editverdict.inference.proportions import at_least_p, at_most_p, clopper_pearson
from editverdict.inference.pvalues import alpha, case_p_values
from editverdict.inference.replay import replayed
from editverdict.inference.rows import Region, Row


def units(count: int, total: int) -> list[float]:
    return [1.0] * count + [0.0] * (total - count)


def row(count: int, total: int, op: str, threshold: float, verdict: str) -> Row:
    found = exact_interval(units(count, total))
    return Row.model_validate(
        {
            "case": "c[m]",
            "claim": "c",
            "statement": "s",
            "paper": "p",
            "hypothesis": "h",
            "where": "w",
            "profile": "smoke",
            "verdict": verdict,
            "reason": "r",
            "quantity": "q",
            "estimate": found.value,
            "interval": found.interval,
            "level": found.level,
            "n_units": found.n_units,
            "units": found.units,
            "expected": Region(op=op, threshold=threshold),  # type: ignore[arg-type]
            "descriptive": {ESTIMATION_KEY: found.record()},
        }
    )


def test_the_paper_s_own_number() -> None:
    """240 of 250 at 95%: what the threshold of the claim on judges is read off."""
    assert clopper_pearson(240, 250, 0.95) == pytest.approx((0.92767, 0.98065), abs=1e-5)


def test_all_of_n_is_no_point() -> None:
    found = exact_interval(units(93, 93))
    assert found.value == 1.0 and found.interval == pytest.approx((0.005 ** (1 / 93), 1.0))
    assert exact_interval(units(0, 93)).interval == pytest.approx((0.0, 1 - 0.005 ** (1 / 93)))


def test_it_covers_at_least_as_often_as_it_says() -> None:
    """Exactly, by the binomial distribution, for shares over the whole scale."""
    total = 40
    ends = np.array([exact_interval(units(count, total)).interval for count in range(total + 1)])
    for share in np.linspace(0.01, 0.99, 99):
        held = (ends[:, 0] <= share) & (share <= ends[:, 1])
        assert stats.binom.pmf(np.arange(total + 1), total, share)[held].sum() >= 0.99


def test_what_is_no_yes_or_no_is_refused_and_nothing_is_missing() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        exact_interval([0.5, 1.0])
    assert exact_interval([]).interval is None and exact_interval([]).value is None


def test_it_is_replayed_from_the_row() -> None:
    found = exact_interval(units(66, 93))
    assert replayed(found.units, found.value, found.level, found.record()) == found


@pytest.mark.parametrize(
    ("count", "op", "threshold", "verdict"),
    [
        (66, ">=", 0.93, "refuted"),
        (93, ">=", 0.93, "supported"),
        (5, "<=", 0.2, "supported"),
        (60, "<", 0.2, "refuted"),
    ],
)
def test_p_values_agree_with_the_interval(count: int, op: str, threshold: float, verdict: str) -> None:
    one = case_p_values(row(count, 93, op, threshold, verdict))
    decisive, other = (one.support, one.refute) if verdict == "supported" else (one.refute, one.support)
    assert decisive < alpha(0.99) < other
    assert at_least_p(3, 10, 0.5) + at_most_p(2, 10, 0.5) == pytest.approx(1.0)
