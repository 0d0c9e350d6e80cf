"""The table of methods against each other in the summary, the findings and as CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from editverdict.inference.contests import Contest, Fact, MethodState, contest
from editverdict.reporting.contests import FILE, TITLE, contests_csv
from editverdict.reporting.export import write_exports
from editverdict.reporting.html import write_summary
from editverdict.reporting.run import load_run

NAMES = ("ROME", "SCR", "<b>&|")


def made() -> Contest:
    """SCR keeps everything, the others one fact in three."""

    def state(method: str) -> MethodState:
        scores = {f"{c}-{e}": float(method == "SCR" or (e + c) % 3 == 0) for c in range(6) for e in range(10)}
        facts = {name: Fact(f"S{name}", int(name[0]), {"rel": score}) for name, score in scores.items()}
        return MethodState(method, "after 10", "p/j", facts, {"rel": {f"{n}|q": s for n, s in scores.items()}})

    told = {"left_out": ["WISE: NOT_RUN: <script>"], "remarks": ["ROME: edited otherwise <i>"]}
    return contest("m", "d", "p/j", [state(n) for n in NAMES], draws=99, **told)


@pytest.fixture
def with_contests(run_dir: Path) -> Path:
    (run_dir / FILE).write_text(json.dumps({"of": "k", "tables": [made().model_dump(mode="json")]}), encoding="utf-8")
    return run_dir


def test_the_summary_has_the_table_and_the_reasons(with_contests: Path) -> None:
    page = write_summary(with_contests).read_text(encoding="utf-8")
    assert TITLE in page and "<b>ROME − SCR</b>" in page and "not compared: WISE: NOT_RUN: &lt;script&gt;" in page
    assert "3 comparisons of two methods on the same facts, 2 of which show a difference" in page
    assert "<p>ROME: edited otherwise &lt;i&gt;.</p>" in page
    assert "<b>&|" not in page and "ROME − &lt;b&gt;&amp;|" in page


def test_findings_and_csv_have_every_line(with_contests: Path) -> None:
    assert "comparisons.csv" in [path.name for path in write_exports(with_contests)]
    text = (with_contests / "findings.md").read_text(encoding="utf-8")
    assert "\nROME: edited otherwise &lt;i&gt;.\n" in text
    assert f"## {TITLE}" in text and "| after 10 | Rel | ROME − SCR |" in text and "&lt;b&gt;&amp;\\|" in text
    with (with_contests / "comparisons.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    found = made().lines
    assert [float(line["p_holm"]) for line in lines] == [line.p_holm for line in found]
    assert [line["differs"] for line in lines] == ["True", "False", "True"]


def test_a_run_without_facts_has_no_table_and_a_torn_one_a_note(run_dir: Path) -> None:
    assert TITLE not in write_summary(run_dir).read_text(encoding="utf-8")
    (run_dir / FILE).write_text("{", encoding="utf-8")
    assert any(FILE in note for note in load_run(run_dir).notes) and load_run(run_dir).contests == ()


def by_another_judge(run_dir: Path, facts: str) -> None:
    table = made().model_dump(mode="json") | {"score_id": "p/other"}
    record = {"judge": {"name": "other", "id": "j2"}, "facts": facts, "tables": [table]}
    (run_dir / "comparisons-by-other.json").write_text(json.dumps(record), encoding="utf-8")


def test_tables_by_another_judge_stand_behind_the_runs_own_and_in_no_file_with_them(with_contests: Path) -> None:
    own = json.loads((with_contests / FILE).read_text())
    (with_contests / FILE).write_text(json.dumps(own | {"facts": "f"}), encoding="utf-8")
    by_another_judge(with_contests, "f")
    page = write_summary(with_contests).read_text(encoding="utf-8")
    assert page.index("protocol and judge p/j") < page.index("protocol and judge p/other")
    assert page.count("By judge other, not the run&#x27;s own.") == 1
    write_exports(with_contests)
    assert "protocol and judge p/other." in (with_contests / "findings.md").read_text(encoding="utf-8")
    assert "p/other" not in (with_contests / "comparisons.csv").read_text(encoding="utf-8")


def test_tables_by_another_judge_of_other_facts_are_left_out_with_a_note(with_contests: Path) -> None:
    own = json.loads((with_contests / FILE).read_text())
    (with_contests / FILE).write_text(json.dumps(own | {"facts": "f"}), encoding="utf-8")
    by_another_judge(with_contests, "older")
    run = load_run(with_contests)
    assert len(run.contests) == 1 and run.contests_by == ()
    (note,) = (note for note in run.notes if "comparisons-by-other.json" in note)
    assert "of other facts than this run's" in note and "--judge other" in note
    (with_contests / "comparisons-by-other.json").write_text("[]", encoding="utf-8")
    assert any("comparisons-by-other.json cannot be read" in note for note in load_run(with_contests).notes)


def test_absent_numbers_are_empty_in_the_csv() -> None:
    one = made()
    line = one.lines[0].model_copy(update={"interval": None, "p_mcnemar": None, "only_first": None})
    (row,) = csv.DictReader(io.StringIO(contests_csv([one.model_copy(update={"lines": (line,)})])))
    assert (row["low"], row["p_mcnemar"], row["only_first"]) == ("", "", "") and row["p"] != ""
