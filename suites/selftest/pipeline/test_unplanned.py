"""A claim without a case says what is missing: of every profile that ships, and in the run's findings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from editverdict.inference.claims import claim_verdict
from editverdict.pipeline.matrix import cases_of, planned_claims
from editverdict.pipeline.measurement import measures
from editverdict.pipeline.runs import judge_claims
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.pipeline.unplanned import ENCODER_DECODER, unplanned, why_no_case
from editverdict.reporting.findings import findings_markdown
from suites.selftest.pipeline.sessions import ROOT

LIBRARY = load_library([ROOT / "specs"])
SUITES = ("hypotheses", "benchmark")


def reason(profile: str, claim: str) -> str:
    return why_no_case(LIBRARY, LIBRARY.profiles[profile], LIBRARY.claims[claim])


@pytest.mark.parametrize("profile", list(LIBRARY.profiles))
def test_every_claim_without_a_case_names_something_concrete(profile: str) -> None:
    own = LIBRARY.profiles[profile]
    planned = {claim.id for claim in planned_claims(LIBRARY, own) if cases_of(LIBRARY, own, claim)}
    known = {*LIBRARY.models, *LIBRARY.methods, *LIBRARY.datasets}
    for claim in LIBRARY.claims.values():
        if claim.kind == "survey" or claim.id in planned:
            continue
        head, *parts = why_no_case(LIBRARY, own, claim).split("; ")
        assert (parts and "plans no case" in head) or f"profile '{profile}'" in head, claim.id
        needs = [part for part in parts if part.startswith("needs ")]
        where = [part for part in parts if part.startswith("on trial in ")]
        assert needs or where, claim.id
        for need in needs:
            asked = need.split(" (")[0]  # what is in brackets is what there is
            assert any(re.search(rf"(?<![\w+-]){re.escape(name)}(?![\w+-])", asked) for name in known) or (
                "--easyedit-python" in need
            ), need
        assert not where or any(f"{name} (" in where[0] for name in LIBRARY.profiles if name != profile), claim.id
        assert not re.search(r"\(random|rehearsal|smoke", "; ".join(where)), claim.id  # those can decide nothing


@pytest.mark.parametrize(
    ("profile", "claim", "says"),
    [
        ("laptop", "alpha-l2-sensitive", ("needs AlphaEdit on trial for it", "AlphaEdit is on trial there for other",
                                          "on trial in overnight (smollm2-135m)")),
        ("laptop", "rq1-scale", ("needs the model llama-2-13b or qwen3-14b", "(a GPU with CUDA, llama-2-13b")),
        ("laptop", "amp-t5", ("needs an encoder-decoder such as t5-3b", "needs MEND or FT-L", "on trial in paper-t5")),
        ("laptop", "rq3-scr-best", ("needs data of events, such as elken", "; records-100 (smollm2-135m)")),
        ("laptop", "comb-retrieval-helps", ("a method of kind combination, such as ROME+SCR",)),
        ("laptop", "sens-vram-flat", ("profile 'laptop' leaves this claim to others (left_out)", "overnight (")),
        ("laptop", "alpha-impl-consistent", ("needs AlphaEdit-L2-1", "--easyedit-python")),
        ("laptop", "corr-wise-partial", ("WISE, whose states are more than changed weights", "no profile that ships")),
        ("records-60", "smallpert-norm", ("has claims of its own choice", "laptop (smollm2-135m)")),
        # Chains of a hundred edits: those of overnight are of twenty.
        ("laptop", "rq2-capability-100edits-alphaedit", ("on trial in long-chains (smollm2-135m); paper (a GPU",)),
    ],
)  # fmt: skip
def test_what_is_missing_is_told(profile: str, claim: str, says: tuple[str, ...]) -> None:
    told = reason(profile, claim)
    assert all(text in told for text in says), told


def test_an_encoder_decoder_is_what_its_measures_are_of() -> None:
    found = {name for name, one in measures().items() if one.__module__.endswith("measures.encoder_decoder")}
    assert found == ENCODER_DECODER


def test_verdicts_and_findings_say_it(tmp_path: Path) -> None:
    trial = make_trial(Options(profile="laptop", store=tmp_path), ROOT / "specs")
    verdicts = {one.claim: one for one in judge_claims(trial, [], SUITES)}
    assert verdicts["rq1-scale"].verdict == "not_run"
    assert verdicts["rq1-scale"].reason == f"NOT RUN: {reason('laptop', 'rq1-scale')}"
    left = unplanned(trial.library, trial.profile, SUITES)
    assert set(left) == set(trial.profile.claims_elsewhere) and not set(left) & set(verdicts)
    assert unplanned(trial.library, trial.profile, ["hypotheses"]) == {}
    text = findings_markdown(list(verdicts.values()), [], {"profile": "laptop", "unplanned": left})
    section = text.split(f"## Not on trial in this profile ({len(left)})")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for name in left) and "left_out" in section
    assert section.count("\n- ") == len(set(left.values())) < len(left)
    assert "Not on trial in this profile" not in findings_markdown([], [], {"unplanned": {}})


def test_claims_that_the_user_chose_are_no_choice_of_the_profile(tmp_path: Path) -> None:
    trial = make_trial(Options(profile="laptop", claims=("smallpert-norm",), store=tmp_path), ROOT / "specs")
    assert unplanned(trial.library, trial.profile, SUITES) == {}


def test_without_a_library_the_verdict_still_has_a_reason() -> None:
    assert claim_verdict("c", [], []).reason == "NOT RUN: the profile plans no case of this claim"
    assert claim_verdict("c", [], [], unplanned="needs a GPU").reason == "NOT RUN: needs a GPU"
