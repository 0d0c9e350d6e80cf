"""The paper's tables beside a run on the toy: every table of a decoder has numbers, and they are the rows' own."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from statistics import fmean, median

import pytest

from editverdict.inference.rows import Row
from editverdict.reporting.evidence import AmplificationPicture
from editverdict.reporting.paper_export import write_paper_tables
from editverdict.reporting.paper_tables import beside_paper, figures, read_paper
from editverdict.reporting.run import Run, load_evidence, load_run
from suites.selftest.pipeline.sessions import ROOT, Session

PAPER = ROOT / "specs" / "paper"
ROME = "rehearsal-llama-ROME-worldfacts"


@pytest.fixture
def run(smoke: Session, tmp_path: Path) -> Run:
    """A copy of the run, to write into."""
    for name in ("results.jsonl", "claims.json", "manifest.json"):
        if (smoke.run_dir / name).exists():
            shutil.copy2(smoke.run_dir / name, tmp_path / name)
    shutil.copytree(smoke.run_dir / "evidence", tmp_path / "evidence")
    return load_run(tmp_path)


def row_of(run: Run, case: str) -> Row:
    return next(row for row in run.rows if row.case == case)


def test_every_table_of_a_decoder_has_numbers_of_this_run(run: Run) -> None:
    found = {beside.table.number: beside for beside in beside_paper(run, read_paper(PAPER))}
    measured = {number for number, beside in found.items() if beside.blocks}
    assert measured >= {1, 3, 5, 6, 7, 9, 10, 11, 16, 17, 18, 21, 22, 23, *range(29, 33), 37, 38}
    for beside in found.values():
        assert beside.missing or beside.blocks, beside.table.number
        for block in beside.blocks:
            assert all(row.scope == "rehearsal" for row in block.rows)
            # A decoder is measured fully: no column of the paper stays empty.
            absent = [name for record in block.records for name, value in record.items() if value is None]
            # An encoder-decoder, associations, portability after two edits: as far as there are any.
            partly = (2, 8, 12, 19, 20, 24, *range(25, 29), 37)
            assert not absent or beside.table.number in partly, (beside.table.number, absent)


def test_the_columns_agree_with_what_the_case_was_judged_by(run: Run) -> None:
    rates = row_of(run, f"amp-mean-max-extreme[{ROME}]")
    by_layer = rates.descriptive["by_layer"]
    estimates = {d.name: d.estimate for d in rates.definitions}
    assert fmean(found["mean"] for found in by_layer.values()) == pytest.approx(estimates["mean"])
    assert fmean(found["largest"] for found in by_layer.values()) == pytest.approx(estimates["largest"])
    shares = row_of(run, f"amp-many-gt1-single-edit[{ROME}]").descriptive["by_layer"]
    assert {n: found["share_above_one"] for n, found in by_layer.items()} == pytest.approx(shares)
    for found in by_layer.values():
        assert found["min"] <= found["mean"] <= found["largest"] and found["std"] > 0
    spectrum = row_of(run, "collapse-eff-rank[rehearsal-llama]")
    assert {n: found["r_eff_over_d"] for n, found in spectrum.descriptive["table"].items()} == pytest.approx(
        spectrum.descriptive["by_layer"]
    )
    for found in spectrum.descriptive["table"].values():
        assert found["cond"] == pytest.approx(found["sigma_1"] / found["sigma_min"])


def test_scores_of_answers_are_the_rows_own(run: Run) -> None:
    found = {beside.table.number: beside for beside in beside_paper(run, read_paper(PAPER))}
    scores = row_of(run, f"rq1-drop-single-to-seq[{ROME}]").descriptive["scores"]
    lines = {(r["method"], r["setting"]): r for block in found[3].blocks for r in block.records}
    assert set(lines) >= {("Pre-edit", "either"), ("ROME", "single"), ("ROME", "sequential"), ("SCR", "sequential")}
    for (method, setting), state in {("ROME", "single"): "single", ("ROME", "sequential"): "sequential"}.items():
        assert lines[method, setting]["loc"] == pytest.approx(100 * scores[state]["loc"])
    split = row_of(run, f"rq1-confidence-split[{ROME}]").descriptive["split_scores"]
    assert set(split) == {"high_logp", "low_logp"} and len(found[38].blocks[0].rows) == 2


def test_curves_along_chains_have_one_for_each_t(run: Run) -> None:
    row = row_of(run, f"cum-R-increases-with-steps[{ROME}]")
    evidence = load_evidence(run.path, row)
    assert evidence is not None
    pictures = [picture for picture in evidence.pictures if isinstance(picture, AmplificationPicture)]
    names = [f"ROME, T = {t}" for t in (1, 2, 3)] + ["placebo, T = 3"]
    assert pictures and all([curve.name for curve in picture.curves] == names for picture in pictures)
    assert len({tuple(curve.r) for picture in pictures for curve in picture.curves}) == len(names) * len(pictures)
    for picture, by_curve in zip(pictures, row.descriptive["directions"].values(), strict=True):
        for curve in picture.curves:
            values = [value for value in curve.r if value is not None]
            assert len(values) == len(curve.r)
            assert median(values) == pytest.approx(by_curve[curve.name]["median"], rel=1e-3)
            assert max(values) == pytest.approx(by_curve[curve.name]["max"], rel=1e-3)
    assert len(figures(run).blocks) == 2  # ROME and ROME-identity


def test_methods_of_the_run_stand_against_each_other(smoke: Session) -> None:
    (table,) = load_run(smoke.run_dir).contests
    pairs = {(line.schedule, line.first, line.second) for line in table.lines}
    wanted = {("single", "ROME", "ROME-identity"), ("after 3", "ROME", "ROME-identity")}
    assert pairs >= wanted | {("after 3", "ROME", "SCR"), ("after 3", "ROME-identity", "SCR")}
    assert not any(line.differs for line in table.lines)  # two chains tell nothing
    score = row_of(load_run(smoke.run_dir), f"rq1-drop-single-to-seq[{ROME}]").descriptive["scores"]["sequential"]
    own = next(
        line for line in table.lines if (line.schedule, line.first, line.dimension) == ("after 3", "ROME", "loc")
    )
    assert own.score_first == pytest.approx(score["loc"])


def test_page_and_exports_are_written(run: Run) -> None:
    page = write_paper_tables(run.path, PAPER).read_text(encoding="utf-8")
    assert "Rehearsal: random weights" in page and page.count("<svg") >= 3 and "could not be drawn" not in page
    with (run.path / "paper-tables" / "table_21.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    ours = [line for line in lines if line["source"] == "this run"]
    assert {line["method"] for line in ours} == {"ROME", "ROME-identity"} and all(
        float(line["r_max"]) > 0 for line in ours
    )
    assert "### Table 28" in (run.path / "paper-tables.md").read_text(encoding="utf-8")
