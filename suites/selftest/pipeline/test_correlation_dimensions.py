"""Claims on R_k and performance: no dimension hides behind the others, and what comes late is not refuted early."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.regions import decide
from editverdict.inference.rows import Region
from editverdict.pipeline import cases
from editverdict.pipeline import series as c
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.setup import load_library
from editverdict.schema.claims import ClaimSpec
from suites.selftest.pipeline.planted_series import (
    ALL,
    Draw,
    dimensions_of,
    falling,
    judged,
    rising,
    series,
    signed,
    unlinked,
)
from suites.selftest.pipeline.sessions import ROOT


@pytest.fixture(scope="module")
def claims() -> Mapping[str, ClaimSpec]:
    return load_library([ROOT / "specs"]).claims


# --------------------------------------------------------------------------- every dimension
ROME_NEGATIVE, WEAK, LARGE = "corr-rome-negative", "corr-alphaedit-weak", "corr-R-large-implies-degradation"


@pytest.mark.parametrize(
    ("name", "signs", "verdict", "mean_would_say"),
    [
        (WEAK, {"rel": -1, "loc": 1, "port": 0, "gen": 0}, "refuted", "supported"),
        (ROME_NEGATIVE, {"rel": -1, "gen": -1, "loc": -1, "port": 0}, "refuted", "supported"),
        (ROME_NEGATIVE, {"rel": -1, "gen": -1, "loc": -1, "port": -1}, "supported", "supported"),
        (ROME_NEGATIVE, {"rel": -1, "gen": -1, "loc": -1, "port": 1}, "refuted", "inconclusive"),
        (LARGE, {"rel": -1, "gen": 0, "loc": 0, "port": 0}, "not supported", "supported"),
        (LARGE, {"rel": -1, "gen": 0, "loc": -1, "port": -1}, "supported", "supported"),
    ],
)
def test_no_dimension_hides_behind_the_others(
    claims: Mapping[str, ClaimSpec], name: str, signs: Mapping[str, float], verdict: str, mean_would_say: str
) -> None:
    claim, found = claims[name], signed(48, signs)
    decision, made = judged(claim, found, dimensions_of(claim))
    if verdict == "not supported":
        assert decision.verdict in ("refuted", "inconclusive"), decision.reason
    else:
        assert decision.verdict == verdict, decision.reason
    mean = made.definitions["mean-over-dimensions"]
    region = Region(op="within", low=-0.5, high=0.5) if name == WEAK else cases.region_of(claim)
    assert decide(region, mean.interval) == mean_would_say
    assert not decision.depends_on_definition, "the mean is described, and contradicts nothing"


def test_a_sign_that_flips_in_one_dimension_refutes_robustness(claims: Mapping[str, ClaimSpec]) -> None:
    claim = claims["corr-robust-to-summary"]
    assert judged(claim, signed(24, dict.fromkeys(DIMENSIONS, -1.0)), ALL)[0].verdict == "supported"
    # One summary goes with portability where the others go against it; the mean over dimensions is negative in all.
    rng = np.random.default_rng(1)
    base, port = rng.standard_normal((48, 2)), rng.standard_normal((48, 2))
    x = {cell: base + (0.9 if cell[0] == "q95" else -0.9) * port for cell in c.CELLS}
    found = c.Series((5, 10), x, dict.fromkeys((*DIMENSIONS, "loc_eq4"), -base) | {"port": port})
    assert all((c.averaged(found, cell, ALL).value or 0) < -0.3 for cell in c.CELLS)
    decision, made = judged(claim, found, ALL)
    assert decision.verdict == "refuted" and (made.definitions["smallest"].value or 0) < -0.4, decision.reason
    assert str(made.definitions["smallest"].note).startswith("least: port, q95")


# --------------------------------------------------------------------------- late effects
LATE_EFFECTS = {
    "corr-rome-negative",
    "corr-memit-negative",
    "corr-wise-partial",
    "corr-R-large-implies-degradation",
    "amp-method-differences",
    "cum-law-breaks",
    "pc-decay-with-edits",
    "pc-basis-drift-worse-than-linear",
}


def test_claims_about_what_comes_late_are_those_of_the_decisions(claims: Mapping[str, ClaimSpec]) -> None:
    assert {name for name, claim in claims.items() if claim.late == "effect"} == LATE_EFFECTS
    assert {name for name, claim in claims.items() if claim.late == "absence"} == {WEAK}


@pytest.mark.parametrize(
    ("name", "method", "horizon"),
    [
        (ROME_NEGATIVE, "ROME", 50),
        (ROME_NEGATIVE, "ROME-identity", 50),
        ("corr-memit-negative", "MEMIT", 1000),
        ("corr-wise-partial", "WISE", 1301),
        (WEAK, "AlphaEdit", 1301),
        ("amp-method-differences", "AlphaEdit", 500),
        ("corr-robust-to-summary", "ROME", None),
    ],
)
def test_horizons_are_the_papers(name: str, method: str, horizon: int | None) -> None:
    library = load_library([ROOT / "specs"])
    assert cases.horizon_of(library, Case(library.claims[name], "smollm2-135m", method, "worldfacts")) == horizon


@pytest.mark.parametrize(
    ("name", "link", "n", "verdict"),
    [
        (ROME_NEGATIVE, rising, 12, "inconclusive"),
        (ROME_NEGATIVE, falling, 12, "supported"),
        (WEAK, unlinked, 40, "inconclusive"),
        (WEAK, falling, 12, "refuted"),
    ],
)
def test_ten_edits_say_nothing_against_what_comes_after_fifty(
    claims: Mapping[str, ClaimSpec], name: str, link: Draw, n: int, verdict: str
) -> None:
    claim = claims[name].model_copy(update={"checks": ()})
    _, made = judged(claim, series(n, link), dimensions_of(claim))
    made.edits = 10
    decision = cases.rule(claim, made, horizon=50).decision
    assert decision.verdict == verdict, decision.reason
    assert ("T = 10 is below the horizon of 50 edits" in decision.reason) == (verdict == "inconclusive")
    made.edits = 50
    assert (
        cases.rule(claim, made, horizon=50).decision.verdict
        == judged(claim, series(n, link), dimensions_of(claim))[0].verdict
    )


def test_several_methods_are_named_once_each(claims: Mapping[str, ClaimSpec]) -> None:
    claim = claims[LARGE]
    assert claim.quantifier == "at_least_two" and set(claim.about) == {"ROME", "MEMIT", "WISE", "AlphaEdit"}
    with pytest.raises(ValueError, match="name two or more"):
        ClaimSpec.model_validate(claim.model_dump() | {"about": ("ROME",)})
    with pytest.raises(ValueError, match="'late_from' is of a claim that is 'late'"):
        ClaimSpec.model_validate(claim.model_dump() | {"late": None, "late_from": 50})
