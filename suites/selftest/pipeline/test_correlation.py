"""Claims on R_k and performance, judged on planted series: what they find, refuse, and cannot tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from editverdict.evaluation.dimensions import Scores
from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import Estimate, seeds_interval
from editverdict.inference.regions import decide
from editverdict.inference.replay import replayed
from editverdict.pipeline import cases
from editverdict.pipeline import series as c
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures import correlation
from editverdict.pipeline.setup import load_library
from editverdict.schema.claims import ClaimSpec
from suites.selftest.pipeline.planted_series import (
    ALL,
    BUT_GEN,
    STEPS,
    Draw,
    dimensions_of,
    falling,
    halfway,
    judged,
    rising,
    series,
    unlinked,
)
from suites.selftest.pipeline.sessions import ROOT


@pytest.fixture(scope="module")
def claims() -> Mapping[str, ClaimSpec]:
    return load_library([ROOT / "specs"]).claims


# --------------------------------------------------------------------------- what the verdicts say
@pytest.mark.parametrize(
    ("name", "link", "n", "verdict"),
    [
        ("corr-rome-negative", falling, 12, "supported"),
        ("corr-rome-negative", rising, 12, "refuted"),
        ("corr-rome-negative", unlinked, 20, "refuted"),
        ("corr-rome-negative", halfway, 6, "inconclusive"),
        ("corr-alphaedit-weak", unlinked, 40, "supported"),
        ("corr-alphaedit-weak", falling, 12, "refuted"),
        ("corr-alphaedit-weak", rising, 12, "refuted"),
        ("corr-alphaedit-weak", halfway, 12, "inconclusive"),
        ("corr-R-large-implies-degradation", falling, 12, "supported"),
        ("corr-R-large-implies-degradation", rising, 12, "refuted"),
        ("corr-R-large-implies-degradation", unlinked, 12, "inconclusive"),
        ("corr-wise-partial", falling, 12, "supported"),
        ("corr-robust-to-summary", falling, 20, "supported"),
        ("corr-robust-to-summary", rising, 20, "supported"),
    ],
)
def test_verdicts_on_planted_series(
    claims: Mapping[str, ClaimSpec], name: str, link: Draw, n: int, verdict: str
) -> None:
    decision, _ = judged(claims[name], series(n, link), dimensions_of(claims[name]))
    assert decision.verdict == verdict, decision.reason


def test_opposite_trends_alone_support_nothing_though_the_papers_statistic_is_minus_one(
    claims: Mapping[str, ClaimSpec],
) -> None:
    for seed in range(8):
        found = series(12, unlinked, seed)
        alone = c.Series(STEPS, {k: v[:1] for k, v in found.amplification.items()}, _first(found.performance))
        trend = c.trends(alone)[c.PRIMARY]["rel"]
        assert trend is not None and trend.rho == pytest.approx(-1) and trend.smallest_p == pytest.approx(1 / 3)
        for name in ("corr-rome-negative", "corr-R-large-implies-degradation"):
            decision, _ = judged(claims[name], found, BUT_GEN)
            assert decision.verdict in ("refuted", "inconclusive"), decision.reason


def test_too_few_chains_are_counted(claims: Mapping[str, ClaimSpec]) -> None:
    decision, made = judged(claims["corr-rome-negative"], series(2, falling, steps=(2,)), ALL)
    assert decision.verdict == "inconclusive" and "2 of 6 chains" in decision.reason
    assert made.definitions["median-mean"].value == -1.0


def test_scores_that_never_vary_are_no_association(claims: Mapping[str, ClaimSpec]) -> None:
    found = series(8, lambda _, own: 0.0 * own)
    decision, made = judged(claims["corr-alphaedit-weak"], found, BUT_GEN)
    # Taken for zero, this would be the very support of a weak association.
    assert decision.verdict == "inconclusive" and made.definitions["median-mean"].value is None
    assert "rel, loc, port" in str(made.definitions["median-mean"].note)
    assert {(row["association"], row["p"]) for row in c.family(found)} == {(None, None)}


def test_a_control_that_does_not_do_its_part_makes_the_case_invalid(claims: Mapping[str, ClaimSpec]) -> None:
    found, linked = series(12, falling), seeds_interval([-0.9 + 0.001 * i for i in range(20)])
    strong = seeds_interval([0.9 + 0.001 * i for i in range(20)])
    decision, _ = judged(claims["corr-rome-negative"], found, ALL, chains_permuted=linked)
    assert decision.verdict == "invalid" and "chains-permuted" in decision.reason
    decision, _ = judged(claims["corr-rome-negative"], found, ALL, scores_dealt=c.permuted(found, c.PRIMARY, ALL))
    assert decision.verdict == "invalid" and "scores-dealt" in decision.reason
    decision, _ = judged(claims["corr-alphaedit-weak"], series(20, unlinked), BUT_GEN, chains_permuted=strong)
    assert decision.verdict == "invalid" and "chains-permuted" in decision.reason
    decision, _ = judged(
        claims["corr-robust-to-summary"], found, ALL, summaries_negated=c.planted_agreement(found, ALL)
    )
    assert decision.verdict == "invalid" and "summaries-negated" in decision.reason


@pytest.mark.parametrize("link", [falling, rising, unlinked])
@pytest.mark.parametrize("n", [6, 12])
def test_controls_do_not_depend_on_what_is_found(claims: Mapping[str, ClaimSpec], link: Draw, n: int) -> None:
    names = ("corr-rome-negative", "corr-alphaedit-weak", "corr-R-large-implies-degradation", "corr-robust-to-summary")
    for name in names:
        _, made = judged(claims[name], series(n, link), BUT_GEN)
        region = cases.region_of(claims[name])
        outcomes = [
            cases._control(control, made, made.definitions[claims[name].primary.name], region)
            for control in claims[name].controls
        ]
        assert [(one.name, one.outcome) for one in outcomes if one.outcome != "ok"] == []


# --------------------------------------------------------------------------- parts
def test_dealt_scores_are_the_strongest_link_and_permuted_ones_none() -> None:
    found = series(6, falling)
    for sign in (1.0, -1.0):
        turned = c.Series(STEPS, found.amplification, {d: sign * y for d, y in found.performance.items()})
        assert c.linked(turned, c.PRIMARY, ALL).interval == pytest.approx((-1, -1))
        assert c.linked(turned, c.PRIMARY, ALL, size=True).interval == pytest.approx((1, 1))
    none = c.permuted(found, c.PRIMARY, ALL)
    assert none.n_units == c.SEEDS and abs(none.value or 1) < 0.05


def test_dealt_scores_stay_what_they_are() -> None:
    r, y = np.array([[3.0, 1.0], [1.0, 2.0], [2.0, 3.0]]), np.array([[0.2, 0.5], [0.2, 0.5], [0.4, 0.5]])
    assert c.dealt(r, y).tolist() == [[0.2, 0.5], [0.4, 0.5], [0.2, 0.5]]
    assert c.dealt(r, y, 1.0)[:, 0].tolist() == [0.4, 0.2, 0.2]


def test_scores_too_coarse_for_a_link_leave_the_positive_control_open(claims: Mapping[str, ClaimSpec]) -> None:
    # All but one chain answer everything: no order of these scores shows a link surely, though R falls with them.
    rng = np.random.default_rng(0)
    r = np.sort(rng.standard_normal((12, 3)), axis=0)
    good = -r + 0.01 * rng.standard_normal(r.shape)
    coarse = np.where(np.arange(12)[:, None] == 11, 0.9, 1.0) * np.ones((12, 3))
    found = c.Series(STEPS, dict.fromkeys(c.CELLS, r), dict.fromkeys((*DIMENSIONS, "loc_eq4"), good) | {"port": coarse})
    control = c.linked(found, c.PRIMARY, ALL)
    assert control.interval is None or control.interval[1] > -0.5
    decision, _ = judged(claims["corr-rome-negative"], found, ALL)
    assert decision.verdict == "inconclusive" and "scores-dealt" in decision.reason
    # Scores in steps of a fifth, as reliability has them after five edits, do show it.
    steps = c.Series(STEPS, found.amplification, {d: np.round(y * 2) / 2 for d, y in found.performance.items()})
    assert decide(cases.region_of(claims["corr-rome-negative"]), c.linked(steps, c.PRIMARY, BUT_GEN[:2]).interval) == (
        "supported"
    )


def test_one_summary_that_disagrees_refutes_robustness(claims: Mapping[str, ClaimSpec]) -> None:
    found = series(12, falling)
    turned = dict(found.amplification) | {("q95", "max"): -found.amplification["q95", "max"]}
    decision, made = judged(claims["corr-robust-to-summary"], c.Series(STEPS, turned, found.performance), ALL)
    assert decision.verdict == "refuted" and (made.definitions["smallest"].value or 0) < -0.8


def test_the_smallest_of_many_noisy_cells_refutes_nothing(claims: Mapping[str, ClaimSpec]) -> None:
    # All cells go together with performance a little: the claim holds, and some cell is below zero by chance.
    claim, below = claims["corr-robust-to-summary"], 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(12, 1)) * np.ones(3)
        noisy = {cell: 0.1 * own + rng.normal(size=(12, 1)) for cell in c.CELLS}
        found = c.agreement(c.Series(STEPS, noisy, dict.fromkeys(DIMENSIONS, own)), ALL)
        below += (found.value or 0) < 0
        assert decided(claim, found) == "inconclusive"
        again = replayed(found.units, found.value, found.level, found.record())
        assert again == replace(found, note=None, parts=1)
    assert below >= 8


def decided(claim: ClaimSpec, found: Estimate) -> str:
    return decide(cases.region_of(claim), found.interval)


def test_signs_are_told_apart_by_both_sides() -> None:
    other = ("q95", "max")
    assert c.together({c.PRIMARY: (-0.9, -0.5), other: (-0.8, -0.2)}) == (0.2, 0.8)
    assert c.together({c.PRIMARY: (-0.9, -0.5), other: (0.1, 0.3)}) == (-0.3, -0.1)
    # The primary cell may be of either sign: with the other one's, nothing disagrees.
    assert c.together({c.PRIMARY: (-0.2, 0.4), other: (-0.9, -0.5)}) == (-0.9, 0.2)
    assert c.together({c.PRIMARY: (-0.2, 0.4), other: None}) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [((-0.5, -0.2, -0.4), 0.2), ((0.5, 0.2, 0.4), 0.2), ((-0.5, 0.3, -0.4), -0.3), ((0.0, 0.3, -0.4), 0.0)],
)
def test_weakest_takes_the_sign_of_the_primary(values: tuple[float, ...], expected: float) -> None:
    readings: dict[c.Cell, float | None] = dict(zip((c.PRIMARY, ("q90", "max"), ("q95", "max")), values, strict=True))
    assert c.weakest(readings) == pytest.approx(expected)
    assert c.weakest(readings | {("q95", "max"): None}) is None


def test_the_family_has_48_cells_and_is_corrected_as_one() -> None:
    table = c.family(series(6, falling))
    assert len({(r["summary"], r["aggregation"], r["dimension"]) for r in table}) == len(table) == 48
    assert min(r["p"] for r in table) >= 1 / math.factorial(6)
    # Six chains cannot reach significance after Holm over 48 cells, however strong the link.
    assert min(r["p_holm"] for r in table) >= 48 / 720 and all(r["p"] <= r["p_bh"] <= r["p_holm"] for r in table)


def test_the_single_chain_stands_beside_the_cells_with_what_its_steps_can_reach() -> None:
    found = series(8, rising)
    first = c.Series(STEPS, {k: v[:1] for k, v in found.amplification.items()}, _first(found.performance))
    table = c.family(found)
    told = correlation._with_trends(first, table)
    # Within T the two go together; over the steps of one chain they part with the trend.
    assert all(row["single_chain"]["rho"] == pytest.approx(-1) for row in table)
    assert all(row["association"] > 0.8 for row in table)
    assert told["signs_as_within_T"] == "0 of 48" and told["smallest_p"] == pytest.approx(1 / 3)
    short = c.Series((2,), {k: v[:1, :1] for k, v in first.amplification.items()},
                     {k: v[:, :1] for k, v in first.performance.items()})  # fmt: skip
    assert correlation._with_trends(short, table)["smallest_p"] is None and table[0]["single_chain"] is None


def _first(performance: Mapping[str, c.Array]) -> dict[str, c.Array]:
    return {name: values[:1] for name, values in performance.items()}


def test_a_step_at_which_a_chain_has_no_question_is_left_out_by_name() -> None:
    found = series(8, falling)
    port = found.performance["port"].copy()
    port[3, 0] = np.nan
    gap = c.Series(STEPS, found.amplification, {**found.performance, "port": port})
    assert gap.left_out() == ["port at T = 2: 1 of 8 chains have no such question yet"]
    assert [side.shape for side in gap.pair(c.PRIMARY, "port")] == [(8, 2), (8, 2)]
    assert c.associated(gap, c.PRIMARY, ALL).value is not None
    assert c.permuted(gap, c.PRIMARY, ALL, 20).n_units == 20
    nowhere = c.Series(STEPS, found.amplification, {**found.performance, "port": np.full((8, 3), np.nan)})
    assert c.associated(nowhere, c.PRIMARY, ALL).value is None
    assert c.associated(nowhere, c.PRIMARY, ("rel", "loc")).value is not None


def test_summaries_by_hand() -> None:
    r = torch.arange(1.0, 21.0, dtype=torch.float64).flip(0)
    r[0] = 1e9
    read = {name: summary(r) for name, summary in c.SUMMARIES.items()}
    assert read["median"] == 10.5 and read["trimmed"] == pytest.approx(np.arange(3, 19).mean())
    assert read["q90"] == pytest.approx(18.1) and read["q95"] > 1e7
    assert {name: both([1.0, 2.0, 9.0]) for name, both in c.AGGREGATIONS.items()} == {"mean": 4, "max": 9, "median": 2}


def test_series_are_read_off_the_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Chain i at T has R_k of i + T at layer 1 and ten times that at layer 2, and no portability at T = 2 in chain 0.
    def amplified(_trial: Any, _model: str, change: float, layer: int) -> Any:
        return SimpleNamespace(values=torch.full((20,), change * (1 if layer == 1 else 10), dtype=torch.float64))

    monkeypatch.setattr(correlation, "amplified", amplified)

    def scores(t: int) -> dict[int, list[Scores]]:
        return {t: [Scores(0.1 * i, 0.2, 0.3, None if (i, t) == (0, 2) else 0.4, 1.0) for i in range(3)]}

    way: Any = SimpleNamespace(changes=lambda t: {t: [float(i + t) for i in range(3)]}, scores=scores)
    case: Any = SimpleNamespace(model="m")
    found = correlation._series(None, case, way, (2, 5), slice(None), (1, 2))  # type: ignore[arg-type]
    assert found.amplification["q90", "mean"].tolist() == [[11.0, 27.5], [16.5, 33.0], [22.0, 38.5]]
    assert found.amplification["median", "max"].tolist() == [[20.0, 50.0], [30.0, 60.0], [40.0, 70.0]]
    assert found.performance["rel"].tolist() == [[0.0, 0.0], [0.1, 0.1], [0.2, 0.2]]
    assert np.isnan(found.performance["port"]).tolist() == [[True, False], [False, False], [False, False]]
    first = correlation._series(None, case, way, (2, 5), slice(1), (1, 2))  # type: ignore[arg-type]
    assert first.n_chains == 1 and first.amplification["q90", "mean"].tolist() == [[11.0, 27.5]]


def test_the_picture_shows_the_case_its_controls_and_all_cells(claims: Mapping[str, ClaimSpec]) -> None:
    from editverdict.reporting.evidence import Evidence

    claim, found = claims["corr-rome-negative"], series(6, falling)
    _, made = judged(claim, found, ALL)
    made.descriptive["cells"] = c.family(found)
    correlation._pictures(Case(claim, "m", "ROME", "d"), made, "title")
    units: Any = Evidence.model_validate({"pictures": made.pictures}).pictures[0]
    assert [group.name for group in units.groups[:3]] == [
        "ROME, without one chain each",
        "chains-permuted (negative)",
        "scores-dealt (positive)",
    ]
    assert [len(group.values) for group in units.groups] == [6, c.SEEDS, 6, 12, 12, 12, 12]
    assert all(-1 - 1e-9 <= value <= 1 + 1e-9 for group in units.groups[:2] for value in group.values)
