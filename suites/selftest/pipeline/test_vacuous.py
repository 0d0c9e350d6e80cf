"""`validate --vacuous`: planted bad claims are named, each for what it is, and all shipped claims pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from editverdict.pipeline import vacuous
from editverdict.pipeline.cases import blank_row
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.runs import judge_claims
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.vacuous import try_claims
from editverdict.schema.claims import ClaimSpec

SPECS = Path(__file__).resolve().parents[3] / "specs"


def claim(op: str = ">=", **more: Any) -> ClaimSpec:
    """A claim about a share, at least one half unless told otherwise."""
    expect = {"op": op, "threshold": 0.5, "origin": "convention", "ref": "half"}
    fields: dict[str, Any] = {
        "id": "mine",
        "statement": "Most directions are changed.",
        "source": {"paper": "Mine", "hypothesis": "H", "where": "here"},
        "quantity": "a_share",
        "describes": "share of directions",
        "reduce": "one number per edit",
        "subject": ("model",),
        "range": (0.0, 1.0),
        "unit": "edit",
        "min_units": 20,
        "definitions": ({"name": "primary-one", "role": "primary"}, {"name": "rival-one", "role": "rival"}),
        "expect": expect | more.pop("expect", {}),
        "controls": (
            {"name": "no-op", "role": "negative"},
            {"name": "huge", "role": "positive"},
            {"name": "placebo", "role": "comparator"},
            {"name": "shown", "role": "baseline"},
        ),
        "checks": ("samples-paired",),
        "requires": ("smallpert-paired",),
        "population": "any",
        "family": "mine",
    }
    return ClaimSpec(**{key: value for key, value in {**fields, **more}.items() if value is not None})


def findings(spec: ClaimSpec) -> str:
    return "\n".join(map(str, try_claims([spec]).findings))


WITHIN = {"op": "within", "threshold": None, "low": -0.25, "high": 0.25}


@pytest.mark.parametrize(
    "sound",
    [
        claim(),
        claim("<"),
        claim(">", range=(None, None)),
        claim(expect=WITHIN, range=(None, None)),
        claim(expect=WITHIN, range=(-0.25, 1.0)),
        claim("<=", expect={"threshold": 1e-6}, range=(0.0, None), unit="text_block"),
        claim(unit="seed"),
        claim(min_units=2, unit="chain"),
        claim("<=", controls=({"name": "thirty-fold", "role": "positive", "must": "not_show"},)),
        claim(kind="check", controls=()),
        claim(kind="identity", requires=(), checks=()),
    ],
)
def test_sound_claims_pass(sound: ClaimSpec) -> None:
    outcome = try_claims([sound])
    assert outcome.findings == () and outcome.measurements >= 9 and outcome.worlds == 0


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (claim(expect={"threshold": 0.0}), "cannot fail: no possible value of a quantity in [0, 1] lies outside >= 0"),
        (claim("<=", expect={"threshold": 1.0}), "cannot fail"),
        (
            claim(">", expect={"threshold": 1.0}),
            "cannot be won: no possible value of a quantity in [0, 1] lies inside > 1",
        ),
        (claim("<", expect={"threshold": 0.0}), "cannot be won"),
        (claim(">=", expect={"threshold": 1.0}), "cannot be won"),
        (claim(expect=WITHIN, range=(-0.2, 0.2)), "cannot fail"),
        (claim(expect=WITHIN, range=(1.0, None)), "cannot be won"),
        (claim(expect={"threshold": 0.0}), "negative control 'no-op' can never be in order: it must lie outside >= 0"),
        (claim(">", expect={"threshold": 2.0}), "positive control 'huge' can never be in order"),
        (claim(range=None), "no 'range': write the least and largest possible value of 'a_share'"),
        (claim(range=(1.0, 0.0)), "its range [1, 0] is empty"),
    ],
)
def test_bad_claims_are_named(bad: ClaimSpec, says: str) -> None:
    assert says in findings(bad) and findings(bad).startswith("mine: ")


def test_an_explicit_range_without_bounds_is_a_range() -> None:
    assert findings(claim(range=(None, None))) == ""


def test_a_rule_that_always_supports_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the trials are for: judging code that forgets controls or thresholds does not pass."""
    honest = vacuous.rule

    class Ruled:
        def __init__(self, decision: Any) -> None:
            self.decision = decision

    def always(*args: Any, **more: Any) -> Ruled:
        decision = honest(*args, **more).decision
        return Ruled(type(decision)("supported", "SUPPORTED: as ever", None, False, None, decision.definitions))

    monkeypatch.setattr(vacuous, "rule", always)
    found = findings(claim())
    assert "units within [0, 0.5] should make it refuted, and it is SUPPORTED" in found
    for what in (
        "a wrong control 'no-op'",
        "an undecided control 'huge'",
        "a failed check 'samples-paired'",
        "'smallpert-paired' refuted, which it requires,",
        "units across the threshold",
        "no data",
        "19 units",
    ):
        assert what in found


def test_all_shipped_claims_pass_and_have_a_range() -> None:
    """With planted worlds for every quantity that has a family, on both sides of the threshold."""
    library = load_library([SPECS])
    quick = try_claims(library.claims.values(), worlds=False)
    assert quick.findings == () and quick.claims == len(library.claims)
    some = [library.claims[name] for name in ("smallpert-norm", "pc-dominant-stable-early", "amp-c-comparable")]
    outcome = try_claims(some)
    assert outcome.findings == () and outcome.worlds == 6


def test_a_planted_world_that_is_judged_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim about the wrong end: its spec says the cosine must be small, and the world is the other way round."""
    library = load_library([SPECS])
    spec = library.claims["pc-dominant-stable-early"]
    real = vacuous.clear_plant

    def swapped(family: Any, region: Any, answer: Any, seed: int) -> Any:
        return real(family, region, "refuted" if answer == "supported" else "supported", seed)

    monkeypatch.setattr(vacuous, "clear_plant", swapped)
    found = "\n".join(map(str, try_claims([spec]).findings))
    assert "a planted world" in found and "should make it supported, and it is REFUTED" in found


@pytest.mark.parametrize("late", ["effect", "absence"])
def test_what_has_not_come_below_the_horizon_must_stay_open(late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(claim(late=late)) == ""
    monkeypatch.setattr("editverdict.inference.verdicts.Late.hides", lambda self, verdict: False)
    assert "below the horizon, should make it inconclusive" in findings(claim(late=late))


def test_shipped_claims_that_say_every_range_over_it() -> None:
    """By their own words; a claim of quantifier ``exists`` says "some", and cannot."""
    found = {c.id: c.ranges_over for c in load_library([SPECS]).claims.values() if c.ranges_over}
    assert found == {
        "amp-cross-architecture": ("model", "family"),
        "collapse-universal": ("model",),
        "cum-R-increases-with-steps": ("model", "method"),
        "rq1-scale": ("model",),
    }
    with pytest.raises(ValueError, match="'exists' says \"some\""):
        ClaimSpec.model_validate(claim().model_dump() | {"quantifier": "exists", "ranges_over": ("model",)})


def test_a_run_of_one_model_does_not_support_a_claim_about_every_model(tmp_path: Path) -> None:
    """The claim's own case may be supported on that model; the claim stays open."""
    trial = make_trial(Options(profile="smoke", store=tmp_path), SPECS)
    cases = [one for one in matrix(trial.library, trial.profile) if one.claim.id.startswith("collapse-")]
    rows = [blank_row(trial, one, "supported", "SUPPORTED: planted") for one in cases]
    found = {one.claim: one for one in judge_claims(trial, rows, ["hypotheses"])}
    assert len({row.model for row in rows}) == 1
    assert found["collapse-cond"].verdict == "supported"
    universal = found["collapse-universal"]
    assert universal.verdict == "inconclusive" and "about all models" in universal.reason
