"""Retention at the horizon runs its whole way on the toy, with a method whose horizon the toy's chains reach."""

from __future__ import annotations

from pathlib import Path

from suites.selftest.pipeline.sessions import fork

METHOD = """
methods:
  - id: ROME
    editor: rome
    kind: parameter
    family: locate-then-edit
    reference: a horizon within reach
    horizon: 3
    horizon_ref: this test
    hyperparameters: {prefixes: 1, prefix_tokens: 3}
    hyperparameters_source: this test
"""


def test_retention_is_measured_and_guarded(tmp_path: Path, smoke_store: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "rome.yaml").write_text(METHOD)
    options = ("--profile", "smoke", "--methods", "ROME", "--claims", "rq1-collapse-sequential", "--specs", str(specs))
    session = fork(tmp_path / "run", *options, "--store", smoke_store)
    (row,) = session.rows
    # The toy knows nothing, so there is nothing to lose, and the check says so; everything else was measured.
    assert row.verdict == "invalid"
    assert "headroom-single-rel" in row.reason
    checks = {check.name: check.ok for check in row.checks}
    assert checks["answers-complete"]
    assert row.descriptive["edits"] == 3
    assert row.descriptive["scores"]["sequential"]["rel"] is not None
    assert {d.name for d in row.definitions} == {"generated", "efficacy"}
    assert session.keys("built", "answers")
