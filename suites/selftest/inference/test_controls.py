"""Controls and comparators."""

from __future__ import annotations

import pytest

from editverdict.inference.controls import (
    combined_specific,
    control_outcome,
    default_must,
    judge_comparator,
    judge_control,
)
from editverdict.inference.intervals import missing, seeds_interval, t_interval
from editverdict.inference.rows import Region
from editverdict.inference.standard_errors import Shared

HIGH = Region(op=">=", threshold=0.5)
LOW = Region(op="<=", threshold=0.5)
NEAR = Region(op="within", low=-1.0, high=1.0)


@pytest.mark.parametrize(
    ("must", "interval", "outcome"),
    [
        ("show", (0.5, 0.9), "ok"),
        ("show", (0.1, 0.4), "failed"),
        ("show", (0.4, 0.6), "undecided"),
        ("not_show", (0.1, 0.4), "ok"),
        ("not_show", (0.5, 0.9), "failed"),
        ("not_show", (0.4, 0.5), "undecided"),
        ("show", None, "undecided"),
        ("not_show", None, "undecided"),
    ],
)
def test_outcome_table(must: str, interval: tuple[float, float] | None, outcome: str) -> None:
    assert control_outcome(must, HIGH, interval) == outcome  # type: ignore[arg-type]


def test_roles_have_defaults_and_the_spec_may_override_them() -> None:
    big = t_interval([0.8, 0.81, 0.82, 0.8])
    assert (default_must("positive"), default_must("negative")) == ("show", "not_show")
    assert judge_control("planted", "positive", None, big, HIGH).outcome == "ok"
    assert judge_control("no-op", "negative", None, big, HIGH).outcome == "failed"
    breaks = judge_control("30x", "positive", "not_show", big, LOW)
    assert (breaks.outcome, breaks.must, breaks.n_units) == ("ok", "not_show", 4)


def test_baselines_are_shown_and_comparators_refused() -> None:
    shown = judge_control("no-op", "baseline", None, t_interval([0.1, 0.2]), HIGH)
    assert (shown.outcome, shown.must, shown.estimate) == ("shown", None, pytest.approx(0.15))
    with pytest.raises(ValueError, match="judge_comparator"):
        judge_control("placebo", "comparator", "show", t_interval([0.1]), HIGH)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no 'must'"):
        default_must("comparator")


def test_missing_or_thin_controls_stay_undecided() -> None:
    absent = judge_control("no-op", "negative", None, missing(), HIGH)
    assert (absent.outcome, absent.estimate, absent.note) == ("undecided", None, "no data")
    thin = judge_control("no-op", "negative", None, t_interval([0.0, 0.0]), HIGH, min_units=6)
    assert (thin.outcome, thin.interval, thin.estimate, thin.note) == ("undecided", None, 0.0, "2 of 6 units")
    seeds = judge_control("gauss", "negative", None, seeds_interval([0.01 * k for k in range(5)]), HIGH)
    assert seeds.outcome == "undecided" and seeds.note is not None and "5 of 20 seeds" in seeds.note


def test_seed_controls_are_judged_by_the_mean_and_show_the_range() -> None:
    values = [0.1] * 19 + [0.9]  # one seed shows the effect, the mean does not
    result = judge_control("gauss", "negative", None, seeds_interval(values), HIGH)
    assert result.outcome == "ok" and result.note is not None and "percentile" in result.note


@pytest.mark.parametrize(
    ("region", "subject", "comparator", "specific"),
    [
        (HIGH, [0.9, 0.8, 0.91, 0.82], [0.2, 0.1, 0.2, 0.1], "yes"),
        (HIGH, [0.2, 0.1, 0.2, 0.1], [0.9, 0.8, 0.91, 0.82], "no"),
        (LOW, [0.2, 0.1, 0.2, 0.1], [0.9, 0.8, 0.91, 0.82], "yes"),
        (HIGH, [0.2, 0.9, 0.1, 0.8], [0.5, 0.5, 0.5, 0.5], "undecided"),
        (HIGH, [0.2, 0.3, 0.4], [0.2, 0.3, 0.4], "no"),  # exactly the same: nothing specific
        (NEAR, [0.1, -0.2, 0.1, 0.0], [3.0, -3.1, 2.9, 3.0], "yes"),
        (NEAR, [3.0, -3.1, 2.9, 3.0], [0.1, -0.2, 0.1, 0.0], "no"),
        (HIGH, [0.2], [0.1], "undecided"),
        (HIGH, [0.2, 0.3], [], "undecided"),
    ],
)
def test_specificity(region: Region, subject: list[float], comparator: list[float], specific: str) -> None:
    result = judge_comparator("placebo", subject, comparator, region)
    assert (result.specific, result.outcome, result.must) == (specific, "shown", None)


def test_contrast_points_in_the_direction_of_the_claim() -> None:
    assert judge_comparator("p", [3.0, 5.0], [1.0, 2.0], HIGH).contrast == 2.5
    assert judge_comparator("p", [3.0, 5.0], [1.0, 2.0], LOW).contrast == -2.5
    assert judge_comparator("p", [0.5, -0.5], [2.5, -2.5], NEAR).contrast == 2.0
    with pytest.raises(ValueError, match="same units"):
        judge_comparator("p", [3.0, 5.0], [1.0], HIGH)


def test_combining_specificity() -> None:
    assert combined_specific([]) is None
    assert combined_specific([None, None]) is None
    assert combined_specific(["yes", None]) == "yes"
    assert combined_specific(["yes", "undecided"]) == "undecided"
    assert combined_specific(["yes", "undecided", "no"]) == "no"


def test_a_contrast_with_an_error_in_common_takes_the_place_of_pairing() -> None:
    """Twenty seeds of a comparator around one number of the subject: a tight pairing that knows no text noise."""
    seeds = [0.9 + 0.001 * (k % 3) for k in range(20)]
    assert judge_comparator("twin", [0.88] * 20, seeds, LOW).specific == "yes"
    shared = t_interval([0.88 - seed for seed in seeds], shared=Shared(0.02, 19))
    result = judge_comparator("twin", [0.88] * 20, seeds, LOW, contrast=shared)
    assert result.specific == "undecided" and result.contrast == pytest.approx(0.021, abs=0.001)
    assert result.estimate == pytest.approx(0.901, abs=0.001) and result.n_units == 20  # the comparator itself is shown
    biased = t_interval([0.88 - seed for seed in seeds], bias=(-0.1, 0.0))
    assert judge_comparator("twin", [], seeds, LOW, contrast=biased).specific == "undecided"
    none = judge_comparator("twin", [0.88] * 20, seeds, LOW, contrast=missing(note="one block of texts"))
    assert none.specific == "undecided" and none.note == "one block of texts"
    with pytest.raises(ValueError, match="no direction"):
        judge_comparator("twin", [0.88] * 20, seeds, NEAR, contrast=shared)
