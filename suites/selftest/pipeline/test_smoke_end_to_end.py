"""From specs to rows, claims, manifest and evidence: the whole way, on a toy with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from editverdict.cli import app
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.rejudged_contests import contests_by
from editverdict.pipeline.setup import Options, load_library, make_trial
from editverdict.reporting.evidence import Evidence
from editverdict.schema.library import spec_hash
from suites.selftest.pipeline.sessions import ROOT, Session, fork


@pytest.fixture(scope="module")
def library():
    return load_library([ROOT / "specs"])


@pytest.fixture(scope="module")
def planned(library) -> dict:
    return {case.id: case for case in matrix(library, library.profiles["smoke"])}


def test_every_planned_case_has_one_row(smoke: Session, planned: dict) -> None:
    assert sorted(row.case for row in smoke.rows) == sorted(planned)
    assert {case.claim.suite for case in planned.values()} == {"hypotheses", "benchmark"}


def test_no_case_is_broken(smoke: Session) -> None:
    assert [(row.case, row.reason, row.traceback) for row in smoke.rows if row.verdict == "broken"] == []


def test_random_weights_support_and_refute_nothing(smoke: Session) -> None:
    assert {row.verdict for row in smoke.rows} <= {"inconclusive", "invalid", "not_run"}
    assert {row.scope for row in smoke.rows} == {"rehearsal"}


def test_what_is_printed_of_a_case_that_fails_is_short(smoke: Session) -> None:
    # pytest prints the fixtures of such a case, one of which has everything that was loaded so far.
    printed = [line for line in smoke.output.splitlines() if line.startswith("trial = ")]
    assert printed and all(line.startswith("trial = Trial(profile='smoke'") for line in printed)
    assert max(map(len, printed)) < 400 and "tensor([" not in smoke.output


def test_every_verdict_word_starts_its_reason(smoke: Session) -> None:
    assert [row.reason for row in smoke.rows if not row.reason.startswith(f"{row.verdict.upper()}: ")] == []


def test_rows_carry_what_the_verdict_stands_on(smoke: Session, planned: dict, library) -> None:
    for row in smoke.rows:
        claim = planned[row.case].claim
        assert row.expected.describe() and row.statement == claim.statement
        assert row.model in row.stands_on and row.scope_reason == "rehearsal-llama has random weights", row.case
        assert row.hashes["spec"] == spec_hash(claim)
        assert row.hashes["profile"] == spec_hash(library.profiles["smoke"])
        if row.verdict == "not_run":
            continue
        everywhere = {"spec", "profile", "model", "tokenizer", "architecture", "corpus", "protocol", "judge", "encoder"}
        own = ({"method"} if row.method else set()) | ({"data"} if row.dataset else set())
        assert set(row.hashes) == everywhere | own | {"evidence"}, row.case
        assert {check.name for check in row.checks} >= set(claim.checks), row.case
        assert {control.name for control in row.controls} >= {control.name for control in claim.controls}, row.case
        assert [d.name for d in row.definitions] == [d.name for d in claim.definitions]
        if row.estimate is not None:
            # One unit has no interval: the long chain alone is as long as some claims ask for.
            assert row.n_units == len(row.units) > 0 and (row.interval is not None) == (row.n_units > 1), row.case


def test_by_its_own_judge_a_runs_comparisons_are_found_again(smoke: Session, smoke_store: Path) -> None:
    """Out of the stored answers alone, fact by fact and question by question."""
    trial = make_trial(Options(profile="smoke", store=smoke_store), ROOT / "specs")
    made = contests_by(trial, smoke.run_dir, smoke.rows, "lexical", trial.profile.all_methods)
    told = smoke.json("comparisons.json")["tables"]
    assert told and [one.model_dump(mode="json") for one in made.tables] == told and made.left_out == []


def test_required_checks_appear_in_the_rows(smoke: Session, planned: dict) -> None:
    seen = 0
    for row in smoke.rows:
        wanted = {f"requires:{name}" for name in planned[row.case].claim.requires}
        named = {one.name for one in (*row.checks, *row.controls)}
        assert wanted <= named, row.case
        seen += len(wanted)
    assert seen > 0


def test_a_required_check_that_is_open_leaves_the_case_open(smoke: Session) -> None:
    by_claim = {row.claim: row.verdict for row in smoke.rows if row.kind == "check"}
    assert set(by_claim.values()) == {"inconclusive"}  # 4 of 20 text blocks
    needing = [row for row in smoke.rows if any(c.name.startswith("requires:") for c in row.controls)]
    otherwise = [row for row in needing if all(check.ok for check in row.checks)]
    assert otherwise and {row.verdict for row in otherwise} == {"inconclusive"}
    assert {c.outcome for row in needing for c in row.controls if c.name.startswith("requires:")} == {"undecided"}


def test_claims_about_chains_name_their_length(smoke: Session, planned: dict) -> None:
    chains = [row for row in smoke.rows if planned[row.case].claim.unit == "chain" and row.verdict != "not_run"]
    assert len(chains) >= 6
    for row in chains:
        length = row.descriptive["edits"]
        assert length in (3, 4), row.case  # the profile's chains, and its long one
        assert any(f"{word} {length}" in row.stands_on for word in ("chains of", "T = 1, 2,", "edit")), row.case


def test_a_horizon_out_of_reach_is_not_run(smoke: Session) -> None:
    rows = [row for row in smoke.rows if row.claim == "rq1-collapse-sequential"]
    assert [row.verdict for row in rows] == ["not_run"] * 2
    assert all("needs T ≥ 50" in row.reason and row.estimate is None for row in rows)


def test_evidence_files_are_what_the_renderers_read(smoke: Session) -> None:
    named = {row.case: row.evidence for row in smoke.rows if row.verdict != "not_run"}
    assert None not in named.values()
    files = {smoke.run_dir / name for name in named.values()}
    assert files == set((smoke.run_dir / "evidence").iterdir())
    for file in files:
        assert Evidence.model_validate(json.loads(file.read_text())).pictures


def test_judging_again_changes_nothing(smoke: Session) -> None:
    done = CliRunner().invoke(app, ["judge", str(smoke.run_dir)])
    assert done.exit_code == 0, done.output
    assert f"{len(smoke.rows)} cases judged again, 0 differ" in done.output


def test_claim_verdicts_count_all_planned_cases(smoke: Session, planned: dict) -> None:
    claims = {claim["claim"]: claim for claim in smoke.json("claims.json")}
    without = {name: claim["verdict"] for name, claim in claims.items() if not claim["cases"]}
    assert set(claims) - set(without) == {case.claim.id for case in planned.values()}
    assert set(without.values()) <= {"not_run"}  # about methods that the profile does not name
    assert [name for name, claim in claims.items() if claim["missing"] or claim["verdict"] == "incomplete"] == []
    for name, claim in claims.items():
        assert sorted(claim["cases"]) == sorted(case.id for case in planned.values() if case.claim.id == name)


def test_manifest_says_how_it_was_made(smoke: Session) -> None:
    manifest = smoke.json("manifest.json")
    assert manifest["profile"] == "smoke" and manifest["models"] == ["rehearsal-llama"]
    assert manifest["packages"]["torch"] and manifest["hardware"]["threads_per_process"] == 1
    stages = {stage["name"]: stage for stage in manifest["stages"]}
    assert {"edits", "optimised values", "hidden states after edits", "answers"} <= set(stages)
    assert all(stage["built"] > 0 and stage["reused"] == 0 for stage in stages.values()), stages
    assert sum(stage["built"] for stage in stages.values()) == len(smoke.keys("built"))


def test_one_process_builds_nothing_twice(smoke: Session) -> None:
    built = smoke.keys("built")
    assert len(built) == len(set(built)) > 0
    assert smoke.keys("failed") == smoke.keys("damaged") == []


@pytest.mark.parametrize("expression", ["gpu", "not gpu"])
def test_marker_gpu_is_on_every_case(tmp_path: Path, planned: dict, expression: str) -> None:
    found = fork(tmp_path, "--profile", "smoke", "--store", tmp_path / "store", "--collect-only", "-m", expression)
    items = [line for line in found.output.splitlines() if line.startswith("suites/")]
    if expression == "gpu":
        assert (found.code, len(items)) == (0, len(planned))
    else:
        assert (found.code, items) == (5, []), found.output  # 5: no test was collected
    assert not (tmp_path / "results.jsonl").exists()
