"""Claims over their planned cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from editverdict.inference.claims import claim_verdict, generality_of, stands_on
from editverdict.inference.intervals import Estimate, jackknife_interval, t_interval
from editverdict.inference.pvalues import alpha, case_p_values, family_p_values
from editverdict.inference.rows import ClaimVerdict, Region, Row
from editverdict.inference.standard_errors import Shared

YES, NO, MAYBE = [0.8, 0.82, 0.81, 0.79], [0.1, 0.12, 0.11, 0.09], [0.1, 0.9, 0.5, 0.4]
WEAK_NO = [0.5 - 0.01 * (2.5 + d) for d in (-1.0, 0.0, 1.0, -1.0, 1.0)]  # refuted alone, lost after Holm over several


def judge(rows: list[Row], planned: list[str] | None = None, **more: Any):  # type: ignore[no-untyped-def]
    return claim_verdict("some-claim", rows, [row.case for row in rows] if planned is None else planned, **more)


@pytest.mark.parametrize(
    ("kinds", "everywhere", "somewhere"),
    [
        (["yes", "yes"], "supported", "supported"),
        (["no", "no"], "refuted", "refuted"),
        (["yes", "no"], "refuted", "supported"),
        (["yes", "maybe"], "inconclusive", "supported"),
        (["no", "maybe"], "refuted", "inconclusive"),
        (["maybe", "maybe"], "inconclusive", "inconclusive"),
        (["yes", "absent"], "incomplete", "supported"),
        (["no", "absent"], "refuted", "incomplete"),
        (["yes", "broken"], "broken", "supported"),
        (["no", "broken"], "refuted", "broken"),
        (["broken", "invalid"], "broken", "broken"),
        (["broken", "absent"], "incomplete", "incomplete"),
        (["maybe", "invalid"], "invalid", "invalid"),
        (["invalid", "not_run"], "invalid", "invalid"),
        (["yes", "not_run"], "incomplete", "supported"),
        (["maybe", "not_run"], "incomplete", "incomplete"),
        (["no", "not_run"], "refuted", "incomplete"),
        (["not_run", "not_run"], "not_run", "not_run"),
        (["absent", "absent"], "incomplete", "incomplete"),
        (["yes"], "supported", "supported"),
        (["no"], "refuted", "refuted"),
        (["maybe"], "inconclusive", "inconclusive"),
        (["invalid"], "invalid", "invalid"),
        (["broken"], "broken", "broken"),
        (["not_run"], "not_run", "not_run"),
        (["absent"], "incomplete", "incomplete"),
        ([], "not_run", "not_run"),
    ],
)
def test_precedence(make_row: Any, kinds: list[str], everywhere: str, somewhere: str) -> None:
    units = {"yes": YES, "no": NO, "maybe": MAYBE}
    rows, planned = [], []
    for number, kind in enumerate(kinds):
        model = f"m{number}"
        planned.append(f"some-claim[{model}-ROME]")
        if kind in units:
            rows.append(make_row(units[kind], model=model))
        elif kind != "absent":
            rows.append(make_row(model=model, verdict=kind))
    for quantifier, expected in (("all", everywhere), ("exists", somewhere)):
        verdict = judge(rows, planned, quantifier=quantifier)
        assert verdict.verdict == expected
        assert verdict.reason.startswith(expected.upper().replace("_", " ") + ": ")
        assert set(verdict.missing) == {c for c, kind in zip(planned, kinds, strict=True) if kind == "absent"}


def test_a_single_case_passes_its_verdict_on_uncorrected(make_row: Any) -> None:
    row = make_row(WEAK_NO)
    verdict = judge([row])
    assert (row.verdict, verdict.verdict, verdict.reason) == ("refuted", "refuted", row.reason)


def test_a_weak_refutation_is_lost_in_the_correction(make_row: Any) -> None:
    rows = [make_row(WEAK_NO), *(make_row(YES, model=f"y{k}") for k in range(5))]
    assert alpha(0.99) / 6 < case_p_values(rows[0]).refute < alpha(0.99)
    verdict = judge(rows)
    assert verdict.verdict == "inconclusive"
    assert "refuted before, not after Holm: some-claim[m1-ROME]" in verdict.reason
    strong = [make_row(NO), *rows[1:]]
    assert judge(strong).verdict == "refuted"


def test_completing_a_run_never_undoes_a_refutation(make_row: Any) -> None:
    rows = [make_row(NO), make_row(YES, model="m2"), make_row(MAYBE, model="m3")]
    planned = [row.case for row in rows]
    assert [judge(rows[:k], planned).verdict for k in (1, 2, 3)] == ["refuted"] * 3


def test_family_correction_takes_the_place_of_the_own_one(make_row: Any) -> None:
    weak = make_row(WEAK_NO)
    family = [weak, *(make_row(YES, claim=f"c{k}") for k in range(6))]
    corrected = family_p_values(family)
    assert corrected[weak.case] == pytest.approx(7 * case_p_values(weak).refute)
    assert judge([weak], family_p=corrected).verdict == "inconclusive"
    with pytest.raises(ValueError, match="direction"):
        family_p_values(family, "sideways")
    with pytest.raises(ValueError, match="one row per case"):
        family_p_values([weak, weak])


def test_most_is_clustered_by_model(make_row: Any) -> None:
    def rows(good: int, bad: int) -> list[Row]:
        return [make_row(YES, model=f"g{k}", method=m) for k in range(good) for m in ("A", "B", "C")] + [
            make_row(NO, model=f"b{k}", method=m) for k in range(bad) for m in ("A", "B", "C")
        ]

    assert judge(rows(6, 0), quantifier="most").verdict == "supported"
    assert judge(rows(0, 6), quantifier="most").verdict == "refuted"
    assert judge(rows(3, 3), quantifier="most").verdict == "inconclusive"
    one = judge(rows(1, 0), quantifier="most")
    assert one.verdict == "inconclusive" and "one model" in one.reason
    assert judge(rows(2, 0), quantifier="most").verdict == "inconclusive"  # two models of three cases: too few
    undecided = [make_row(MAYBE, model=f"g{k}") for k in range(6)]
    assert judge(undecided, quantifier="most").verdict == "inconclusive"


def test_mean_over_models(make_row: Any) -> None:
    rows = [make_row([0.7 + 0.01 * k, 0.72, 0.74], model=f"m{k}") for k in range(5)]
    verdict = judge(rows, quantifier="mean")
    assert verdict.verdict == "supported" and "mean over 5 models" in verdict.reason
    assert judge(rows[:1], quantifier="mean").verdict == "inconclusive"
    thin = [*rows, make_row([0.7], model="thin")]
    assert judge(thin, quantifier="mean").verdict == "inconclusive"
    other = [*rows, make_row(YES, model="z", expected=Region(op=">=", threshold=0.6))]
    with pytest.raises(ValueError, match="same expected region"):
        judge(other, quantifier="mean")


# --------------------------------------------------------------------------- at least two methods
BARELY = [1.0 - unit for unit in WEAK_NO]
NAMED = ("ROME", "MEMIT", "WISE", "AlphaEdit")


def several(make_row: Any, **verdicts: Any) -> ClaimVerdict:
    """The claim over one case per named method; a word makes the case an unjudged one, None leaves it without a row."""
    rows = [
        make_row(verdict=found, method=method) if isinstance(found, str) else make_row(found, method=method)
        for method, found in verdicts.items()
        if found is not None
    ]
    planned = [make_row(YES, method=method).case for method in verdicts]
    return claim_verdict("some-claim", rows, planned, quantifier="at_least_two", about=NAMED)


@pytest.mark.parametrize(
    ("found", "verdict", "says"),
    [
        ({"ROME": YES, "MEMIT": YES, "AlphaEdit": NO}, "supported", "2 of 3 planned cases supported after Holm"),
        ({"ROME": YES, "MEMIT": YES, "AlphaEdit": None}, "supported", "2 of 3"),
        ({"ROME": YES, "MEMIT": YES, "AlphaEdit": "broken"}, "supported", "2 of 3"),
        # One method is not several, whatever the others.
        ({"ROME": YES, "MEMIT": NO, "AlphaEdit": NO}, "inconclusive", "of 4 methods 2 ruled out (MEMIT, AlphaEdit)"),
        ({"ROME": YES}, "inconclusive", "not planned: AlphaEdit, MEMIT, WISE"),
        ({"ROME": NO}, "inconclusive", "of 4 methods 1 ruled out (ROME), 3 needed"),
        # A counterexample or two is none; WISE, which was not looked at, may be one of two with the third.
        ({"ROME": NO, "MEMIT": NO}, "inconclusive", "3 needed"),
        ({"ROME": NO, "MEMIT": NO, "AlphaEdit": NO}, "refuted", "fewer than two can be left: of 4 methods 3 ruled out"),
        ({"ROME": NO, "MEMIT": NO, "AlphaEdit": NO, "WISE": YES}, "refuted", "3 ruled out"),
        ({"ROME": NO, "MEMIT": NO, "AlphaEdit": MAYBE}, "inconclusive", "2 ruled out"),
        ({"ROME": NO, "MEMIT": NO, "AlphaEdit": NO, "WISE": None}, "incomplete", "no row for"),
        ({"ROME": NO, "MEMIT": NO, "AlphaEdit": NO, "WISE": "not_run"}, "incomplete", "1 not run"),
        ({"ROME": "not_run", "MEMIT": "not_run"}, "not_run", "because"),
        ({"ROME": YES, "MEMIT": "invalid", "AlphaEdit": NO}, "invalid", "because"),
        ({"ROME": YES, "MEMIT": "broken", "AlphaEdit": "invalid"}, "broken", "because"),
        ({}, "not_run", "plans no case"),
    ],
)
def test_at_least_two_methods(make_row: Any, found: dict[str, Any], verdict: str, says: str) -> None:
    decision = several(make_row, **found)
    assert decision.verdict == verdict and says in decision.reason, decision.reason


def test_two_models_of_one_method_are_not_two_methods(make_row: Any) -> None:
    rows = [make_row(YES), make_row(YES, model="m2"), make_row(NO, method="MEMIT")]
    assert judge(rows, quantifier="at_least_two", about=NAMED).verdict == "inconclusive"
    assert judge([*rows, make_row(YES, method="MEMIT", model="m2")], quantifier="at_least_two").verdict == "supported"
    # Ruled out is a method in all of its cases.
    out = [make_row(NO, method=m, model=model) for m in ("ROME", "MEMIT", "AlphaEdit") for model in ("m1", "m2")]
    assert judge(out, quantifier="at_least_two", about=NAMED).verdict == "refuted"
    saved = [*out[:-1], make_row(YES, method="AlphaEdit", model="m2")]
    assert judge(saved, quantifier="at_least_two", about=NAMED).verdict == "inconclusive"


def test_two_methods_are_supported_after_holm_alone(make_row: Any) -> None:
    alone = make_row(BARELY, method="MEMIT")
    assert alone.verdict == "supported" and 0.005 / 3 < case_p_values(alone).support < 0.005
    # The second of four has three left to be corrected for, the second of two none.
    assert several(make_row, ROME=YES, MEMIT=BARELY, AlphaEdit=MAYBE, WISE=MAYBE).verdict == "inconclusive"
    assert several(make_row, ROME=YES, MEMIT=BARELY).verdict == "supported"


def test_at_least_two_is_wrong_no_oftener_than_it_says(make_row: Any) -> None:
    """Two of three methods sit at the threshold itself, the third beyond it: support and refutation of 600 worlds."""
    rng, wrong = np.random.default_rng(0), {"supported": 0, "refuted": 0}
    for _ in range(600):
        at = {m: (0.5 + rng.normal(size=8)).tolist() for m in ("ROME", "MEMIT")}
        low = {"AlphaEdit": (-9.5 + rng.normal(size=8)).tolist()}
        high = {"AlphaEdit": (10.5 + rng.normal(size=8)).tolist()}
        for word, third in (("refuted", low), ("supported", high)):
            rows = [make_row(units, method=m) for m, units in (at | third).items()]
            wrong[word] += judge(rows, quantifier="at_least_two").verdict == word
    assert max(wrong.values()) <= 9, wrong  # 600 x .005 = 3 expected at most; ten would be one chance in a thousand


def test_stands_on_names_models_methods_t_and_scope(make_row: Any) -> None:
    rows = [make_row(YES), make_row(YES, model="m2", method="SCR")]
    assert stands_on(rows) == "m1, m2, ROME, SCR, T = 10 (extension)"
    assert stands_on([]) == "nothing decided"
    own = make_row(NO, stands_on="SmolLM2-135M, ROME, T = 10", scope="rehearsal")
    assert judge([own, rows[1]]).stands_on == "SmolLM2-135M, ROME, T = 10 (rehearsal)"  # the counterexample alone
    assert judge([make_row(verdict="broken")]).stands_on == "nothing decided"


def test_generality_counts_decided_models_of_the_population(make_row: Any) -> None:
    rows = [make_row(YES), make_row(YES, model="m2"), make_row(model="m3", verdict="broken")]
    assert generality_of(rows, ["m1", "m3", "m4", "m5"]) == "1 of 4 models of the claim's population, and beyond it m2"
    assert judge(rows[:1], generality="1 of 4").generality == "1 of 4"


def test_only_planned_cases_count_and_none_twice(make_row: Any) -> None:
    good, stray = make_row(YES), make_row(NO, model="stray")
    assert judge([good, stray], [good.case]).verdict == "supported"
    with pytest.raises(ValueError, match="several rows"):
        judge([good, good], [good.case])
    with pytest.raises(ValueError, match="but its row says some-claim"):
        claim_verdict("another", [good], [good.case])


def test_flags_are_gathered(make_row: Any) -> None:
    rows = [make_row(YES, specific="yes"), make_row(YES, model="m2", specific="no", depends_on_definition=True)]
    verdict = judge(rows)
    assert (verdict.specific, verdict.depends_on_definition) == ("no", True)
    assert judge(rows[:1]).specific == "yes"


def test_p_values_agree_with_scipy(make_row: Any) -> None:
    units = [0.4, 0.55, 0.47, 0.61, 0.58]
    found = case_p_values(make_row(units))
    assert found.support == pytest.approx(stats.ttest_1samp(units, 0.5, alternative="greater").pvalue)
    assert found.refute == pytest.approx(stats.ttest_1samp(units, 0.5, alternative="less").pvalue)
    region = Region(op="within", low=0.3, high=0.7)
    low = stats.ttest_1samp(units, 0.3, alternative="greater").pvalue
    high = stats.ttest_1samp(units, 0.7, alternative="less").pvalue
    assert case_p_values(make_row(units, expected=region)).support == pytest.approx(max(low, high))
    assert case_p_values(make_row(verdict="broken")).refute == 1.0


@given(
    units=st.lists(st.floats(-3, 3).map(lambda x: round(x, 3)), min_size=2, max_size=9),
    threshold=st.floats(-3, 3).map(lambda x: round(x, 3)),
    op=st.sampled_from([">=", ">", "<=", "<", "within"]),
    bias=st.sampled_from([None, 0.1, -0.3, (-0.2, 0.1)]),
    shared=st.sampled_from([None, Shared(0.4, 3)]),
)
def test_p_values_agree_with_the_interval(
    make_row: Any,
    units: list[float],
    threshold: float,
    op: str,
    bias: float | tuple[float, float] | None,
    shared: Shared | None,
) -> None:
    region = (
        Region(op="within", low=threshold - 1, high=threshold + 1)
        if op == "within"
        else Region.model_validate({"op": op, "threshold": threshold})
    )
    estimate = t_interval(units, shared=shared)
    if bias is not None:
        mean = float(np.mean(units))
        estimate = jackknife_interval(mean, [(mean * len(units) - u) / (len(units) - 1) for u in units], bias=bias)
    row = make_row(estimate=estimate, expected=region)
    edges = [region.low, region.high, region.threshold]
    gaps = [abs(e - i) for e in edges if e is not None for i in row.interval]
    if min(gaps) < 1e-9:
        return  # rounding decides there
    p = case_p_values(row)
    assert (p.support < alpha(0.99)) == (row.verdict == "supported")
    assert (p.refute < alpha(0.99)) == (row.verdict == "refuted")


def test_p_values_without_spread_and_without_record(make_row: Any) -> None:
    edge = make_row([0.5, 0.5, 0.5])
    assert (case_p_values(edge).support, case_p_values(edge).refute) == (0.0, 1.0)
    strict = make_row([0.5, 0.5, 0.5], expected=Region(op=">", threshold=0.5))
    assert (case_p_values(strict).support, case_p_values(strict).refute) == (1.0, 0.0)
    row = make_row(NO)
    bare = row.model_copy(update={"descriptive": {}})
    assert case_p_values(bare).refute == pytest.approx(case_p_values(row).refute)
    unbounded = make_row(estimate=Estimate(1.0, (-math.inf, math.inf), 0.99, 5, (), "none"))
    assert case_p_values(unbounded).support == 1.0


# --------------------------------------------------------------------------- claims that say "every"
def test_one_model_does_not_support_a_claim_about_all(make_row: Any) -> None:
    """The toy of two methods on one model made "in every decoder family" hold."""
    rows = [make_row(YES), make_row(YES, method="MEMIT")]
    assert judge(rows).verdict == "supported"
    verdict = judge(rows, ranges_over=("model",))
    assert verdict.verdict == "inconclusive" and verdict.reason.startswith(
        "INCONCLUSIVE: the claim is about all models"
    )
    assert judge(rows[:1], ranges_over=("model",)).verdict == "inconclusive"  # the single case, too
    assert judge([*rows, make_row(YES, model="m2")], ranges_over=("model",)).verdict == "supported"
    assert judge(rows, ranges_over=("method",)).verdict == "supported"
    assert judge(rows[:1], ranges_over=("method",)).verdict == "inconclusive"


def test_one_counterexample_refutes_a_claim_about_all(make_row: Any) -> None:
    assert judge([make_row(NO)], ranges_over=("model", "family")).verdict == "refuted"
    assert judge([make_row(NO), make_row(YES, model="m2")], ranges_over=("model",)).verdict == "refuted"
    assert judge([make_row(MAYBE)], ranges_over=("model",)).verdict == "inconclusive"


def test_two_models_of_one_family_are_one_family(make_row: Any) -> None:
    def of(model: str, family: str | None) -> Row:
        row = make_row(YES, model=model)
        named = row.descriptive | ({} if family is None else {"model_type": family})
        return row.model_copy(update={"descriptive": named})

    one, two = [of("a", "llama"), of("b", "llama")], [of("a", "llama"), of("b", "gpt2")]
    assert judge(one, ranges_over=("model", "family")).verdict == "inconclusive"
    assert "decided for 1 (llama)" in judge(one, ranges_over=("model", "family")).reason
    assert judge(two, ranges_over=("model", "family")).verdict == "supported"
    assert judge([of("a", None), of("b", None)], ranges_over=("family",)).verdict == "inconclusive"
