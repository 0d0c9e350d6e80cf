"""The rule that decides a case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editverdict.inference import verdicts
from editverdict.inference.controls import judge_comparator, judge_control
from editverdict.inference.intervals import LEVEL, Estimate, missing, t_interval
from editverdict.inference.pvalues import alpha
from editverdict.inference.rows import CheckResult, ControlResult, DefinitionResult, Region
from editverdict.inference.verdicts import CaseDecision, Late, decide_case, judge_definition

HIGH = Region(op=">=", threshold=0.5)
YES = t_interval([0.8, 0.82, 0.81, 0.79])
NO = t_interval([0.1, 0.12, 0.11, 0.09])
MAYBE = t_interval([0.1, 0.9, 0.5, 0.4])
GOOD, BAD = CheckResult(name="paired", ok=True, detail="hashes agree"), CheckResult(name="n", ok=False, detail="n < d")


def decided(primary: Estimate = YES, **more: Any) -> CaseDecision:
    given_: dict[str, Any] = {"describes": "share", "unit": "edit", "region": HIGH, "min_units": 4, **more}
    return decide_case(primary=primary, **given_)


def control(role: str, estimate: Estimate, name: str = "c") -> ControlResult:
    return judge_control(name, role, None, estimate, HIGH)  # type: ignore[arg-type]


FAILED, UNDECIDED, FINE = control("negative", YES), control("negative", MAYBE), control("negative", NO)


@pytest.mark.parametrize(
    ("primary", "more", "verdict", "says"),
    [
        (YES, {}, "supported", "SUPPORTED: share = 0.805 ["),
        (NO, {}, "refuted", "REFUTED: share = 0.105 ["),
        (MAYBE, {}, "inconclusive", "INCONCLUSIVE: share = 0.475 ["),
        (YES, {"checks": [GOOD, BAD]}, "invalid", "INVALID: check n: n < d"),
        (missing(), {"checks": [BAD]}, "invalid", "INVALID: check n"),
        (YES, {"controls": [FAILED]}, "invalid", "INVALID: negative control c shows the effect: 0.805 ["),
        (YES, {"controls": [control("positive", NO)]}, "invalid", "positive control c does not show the effect"),
        (missing(), {"controls": [FAILED]}, "invalid", "INVALID: negative"),
        (missing(), {"controls": [UNDECIDED]}, "inconclusive", "INCONCLUSIVE: no data for share"),
        (YES, {"min_units": 6}, "inconclusive", "INCONCLUSIVE: 4 of 6 edits; share = 0.805 ["),
        (t_interval([0.8]), {}, "inconclusive", "INCONCLUSIVE: 1 of 4 edits; share = 0.8 (1 edit)"),
        (YES, {"min_units": 6, "controls": [UNDECIDED]}, "inconclusive", "4 of 6 edits"),
        (YES, {"controls": [FINE, UNDECIDED]}, "inconclusive", "undecided: negative control c = 0.475 ["),
        (YES, {"controls": [FINE], "checks": [GOOD]}, "supported", "SUPPORTED"),
        (NO, {"controls": [control("negative", missing())]}, "inconclusive", "control c = no value"),
        (Estimate(0.8, None, 0.99, 9, (), "none"), {}, "inconclusive", "INCONCLUSIVE: no interval; share = 0.8"),
    ],
)
def test_decision_table(primary: Estimate, more: dict[str, Any], verdict: str, says: str) -> None:
    decision = decided(primary, **more)
    assert decision.verdict == verdict
    assert says in decision.reason and decision.reason.startswith(verdict.upper())


def test_level_and_alpha_are_those_that_the_rule_states() -> None:
    """99% and 0.005, in the docstring and in the code; decisions at the threshold itself go wrong that seldom."""
    text = " ".join((verdicts.__doc__ or "").split())
    assert f"nominal coverage of {100 * LEVEL:g}%" in text and f"one-sided alpha of {alpha(LEVEL):g}" in text
    rng, worlds = np.random.default_rng(5), 4000
    region = Region(op="<=", threshold=0.0)
    found = [decided(t_interval(rng.normal(size=20).tolist()), region=region).verdict for _ in range(worlds)]
    for word in ("supported", "refuted"):
        assert found.count(word) / worlds == pytest.approx(alpha(LEVEL), abs=0.004)


def test_reason_carries_the_numbers() -> None:
    estimate = Estimate(0.021, (0.011, 0.031), 0.99, 20, (), "t")
    decision = decided(estimate, describes="share of k with R_k > 1")
    assert decision.reason == (
        "REFUTED: share of k with R_k > 1 = 0.021 [0.011, 0.031] (99%, 20 edits), expected >= 0.5"
    )
    assert decision.margin_to_flip == pytest.approx(0.469)


def test_margin_exists_only_where_the_interval_decided() -> None:
    assert decided(MAYBE).margin_to_flip is not None
    for decision in (decided(min_units=6), decided(checks=[BAD]), decided(missing()), decided(controls=[UNDECIDED])):
        assert decision.margin_to_flip is None


def test_baselines_and_comparators_never_decide_validity() -> None:
    placebo = judge_comparator("placebo", YES.units, YES.units, HIGH)
    shown = control("baseline", YES)
    decision = decided(controls=[placebo, shown])
    assert (decision.verdict, decision.specific) == ("supported", "no")
    assert decided().specific is None
    assert decided(controls=[placebo], checks=[BAD]).specific is None


def rival(estimate: Estimate, role: str = "rival") -> DefinitionResult:
    return judge_definition("r", role, estimate, HIGH)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("primary", "other", "depends"),
    [
        (YES, rival(NO), True),
        (NO, rival(YES), True),
        (MAYBE, rival(YES), True),
        (YES, rival(YES), False),
        (YES, rival(MAYBE), False),
        (MAYBE, rival(MAYBE), False),
        (YES, rival(missing()), False),
        (YES, rival(NO, "descriptive"), False),
    ],
)
def test_depends_on_definition(primary: Estimate, other: DefinitionResult, depends: bool) -> None:
    assert decided(primary, definitions=[other]).depends_on_definition is depends


def test_nothing_depends_on_a_definition_where_the_interval_did_not_decide() -> None:
    for more in ({"min_units": 6}, {"checks": [BAD]}, {"controls": [UNDECIDED]}):
        assert not decided(YES, definitions=[rival(NO)], **more).depends_on_definition


# --------------------------------------------------------------------------- a part of the claim
def test_a_part_of_a_claim_refutes_it_and_does_not_support_it() -> None:
    held = decided(YES, part="two methods of four")
    assert held.verdict == "inconclusive" and held.margin_to_flip is None
    assert "can refute it and not support it (two methods of four); share = 0.805" in held.reason
    assert decided(NO, part="two methods of four").verdict == "refuted"
    assert decided(MAYBE, part="two methods of four").reason.startswith("INCONCLUSIVE: share")
    assert decided(YES, part="two", definitions=[rival(NO)]).depends_on_definition
    assert not decided(YES, part="two", definitions=[rival(YES)]).depends_on_definition


# --------------------------------------------------------------------------- what may come late
@pytest.mark.parametrize(
    ("claimed", "primary", "edits", "verdict"),
    [
        ("effect", NO, 10, "inconclusive"),
        ("effect", NO, 49, "inconclusive"),
        ("effect", NO, None, "inconclusive"),
        ("effect", NO, 50, "refuted"),
        ("effect", YES, 10, "supported"),
        ("effect", MAYBE, 10, "inconclusive"),
        ("absence", YES, 10, "inconclusive"),
        ("absence", YES, 50, "supported"),
        ("absence", NO, 10, "refuted"),
    ],
)
def test_what_has_not_come_before_the_horizon_decides_nothing(
    claimed: Any, primary: Estimate, edits: int | None, verdict: str
) -> None:
    decision = decided(primary, late=Late(claimed, 50, edits))
    assert decision.verdict == verdict and decision.reason.startswith(verdict.upper())
    hidden = decision.verdict == "inconclusive" and primary is not MAYBE
    assert ("is below the horizon of 50 edits" in decision.reason) == hidden
    assert (decision.margin_to_flip is None) == hidden
    if hidden and edits is not None:
        assert decision.reason.startswith(f"INCONCLUSIVE: T = {edits} is below the horizon of 50 edits: the effect ")
        alone = decided(primary)
        assert f"({alone.verdict} at this T alone); share = {primary.value:.4g} [" in decision.reason


def test_the_horizon_stands_behind_everything_else_in_the_rule() -> None:
    late = Late("effect", 50, 10)
    assert decided(NO, late=late, checks=[BAD]).verdict == "invalid"
    assert "4 of 6 edits" in decided(NO, late=late, min_units=6).reason
    assert "undecided" in decided(NO, late=late, controls=[UNDECIDED]).reason


def test_a_rival_that_has_not_come_yet_contradicts_nothing() -> None:
    late = Late("effect", 50, 10)
    assert not decided(YES, definitions=[rival(NO)], late=late).depends_on_definition
    assert decided(NO, definitions=[rival(YES)], late=late).depends_on_definition
    assert not decided(NO, definitions=[rival(NO)], late=late).depends_on_definition


def test_definitions_are_judged_anew_and_the_primary_one_is_the_estimate() -> None:
    stale = DefinitionResult(name="p", role="primary", estimate=9.0, interval=(8.0, 10.0), verdict="refuted")
    shown = DefinitionResult(name="d", role="descriptive", estimate=9.0, interval=(8.0, 10.0), verdict="refuted")
    primary, descriptive = decided(YES, definitions=[stale, shown]).definitions
    assert (primary.estimate, primary.interval, primary.verdict) == (YES.value, YES.interval, "supported")
    assert descriptive.verdict is None


@given(
    units=st.lists(st.floats(-5, 5), min_size=2, max_size=12),
    threshold=st.floats(-5, 5),
    ease=st.floats(0, 5),
    op=st.sampled_from([">=", ">", "<=", "<"]),
)
def test_an_easier_threshold_never_turns_supported_into_refuted(
    units: list[float], threshold: float, ease: float, op: str
) -> None:
    easier = threshold - ease if op in (">=", ">") else threshold + ease
    order = {"refuted": 0, "inconclusive": 1, "supported": 2}
    before, after = (
        decided(t_interval(units), min_units=2, region=Region.model_validate({"op": op, "threshold": t}))
        for t in (threshold, easier)
    )
    assert order[after.verdict] >= order[before.verdict]
