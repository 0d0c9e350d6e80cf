"""`judge`, `compare` and `report`, as a user meets them, on the rows of a run that is made up."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editverdict.inference.controls import control_outcome
from editverdict.inference.intervals import ESTIMATION_KEY, t_interval
from editverdict.inference.results import append_row
from editverdict.inference.rows import ControlResult, Region, Row
from editverdict.inference.verdicts import decide_case
from suites.selftest.conftest import Done

UNITS = (0.61, 0.64, 0.66, 0.63, 0.62, 0.65)


def row_of(case: str, units: tuple[float, ...] = UNITS, **changes: Any) -> Row:
    """A judged row, as the pipeline makes them."""
    region = Region(op=">=", threshold=0.5, origin="ours", rationale="a half")
    primary = t_interval(units)
    control = ControlResult(
        name="null", role="negative", must="not_show", estimate=0.1, interval=(0.0, 0.2), n_units=6,
        outcome=control_outcome("not_show", region, (0.0, 0.2)),
    )  # fmt: skip
    decided = decide_case(
        describes="share", unit="edit", region=region, primary=primary, min_units=4, controls=(control,)
    )
    fields: dict[str, Any] = {
        "case": case, "claim": case.partition("[")[0], "statement": "Edits matter.", "paper": "A paper",
        "hypothesis": "H1", "where": "Table 1", "model": "m", "method": "ROME", "profile": "laptop",
        "quantity": "share", "describes": "share", "unit": "edit", "min_units": 4, "expected": region,
        "verdict": decided.verdict, "reason": decided.reason, "estimate": primary.value, "interval": primary.interval,
        "n_units": primary.n_units, "units": primary.units, "margin_to_flip": decided.margin_to_flip,
        "specific": decided.specific, "controls": (control,), "definitions": decided.definitions,
        "descriptive": {ESTIMATION_KEY: primary.record()},
    }  # fmt: skip
    return Row(**(fields | changes))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Two judged cases and one that was not run."""
    folder = tmp_path / "run"
    append_row(folder / "results.jsonl", row_of("one[m-ROME]"))
    append_row(folder / "results.jsonl", row_of("two[m-ROME]", tuple(u - 0.5 for u in UNITS)))
    append_row(folder / "results.jsonl", row_of("three[m-ROME]", verdict="not_run", reason="NOT RUN: needs CUDA"))
    return folder


def change(folder: Path, case: str, **values: Any) -> None:
    """Tamper with one row."""
    file = folder / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["case"] == case:
            row.update(values)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_judge_agrees_with_what_was_stored(cli: Callable[..., Done], run_folder: Path) -> None:
    for place in (run_folder, run_folder / "results.jsonl"):
        done = cli("judge", place)
        assert done.code == 0 and "3 cases judged again, 0 differ" in done.out


@pytest.mark.parametrize(
    ("case", "tampered", "said"),
    [
        ("two[m-ROME]", {"verdict": "supported"}, "two[m-ROME]: stored supported, judged refuted"),
        ("one[m-ROME]", {"units": [0.1, 0.2, 0.1, 0.2, 0.1, 0.2]}, "one[m-ROME]: stored supported, judged refuted"),
        ("one[m-ROME]", {"expected": {"op": ">=", "threshold": 0.9}}, "judged refuted"),
        ("one[m-ROME]", {"checks": [{"name": "paired", "ok": False, "detail": "no"}]}, "judged invalid"),
        ("one[m-ROME]", {"reason": "SUPPORTED: because I say so"}, "stored supported, judged supported"),
    ],
)
def test_judge_finds_a_tampered_row(
    cli: Callable[..., Done], run_folder: Path, case: str, tampered: dict[str, Any], said: str
) -> None:
    change(run_folder, case, **tampered)
    done = cli("judge", run_folder)
    assert done.code == 1 and said in done.out and "3 cases judged again, 1 differ" in done.out


def test_judge_finds_a_control_that_no_longer_holds(cli: Callable[..., Done], run_folder: Path) -> None:
    control = row_of("one[m-ROME]").controls[0].model_copy(update={"interval": (0.7, 0.8), "outcome": "ok"})
    change(run_folder, "one[m-ROME]", controls=[json.loads(control.model_dump_json())])
    done = cli("judge", run_folder)
    assert done.code == 1 and "judged invalid" in done.out


def test_a_damaged_file(cli: Callable[..., Done], run_folder: Path) -> None:
    file = run_folder / "results.jsonl"
    file.write_text("{not json}\n" + file.read_text())
    for command in ("judge", "report"):
        done = cli(command, run_folder)
        assert done.code == 2 and "results.jsonl" in done.err and "1" in done.err


@pytest.mark.parametrize("command", ["judge", "report", "compare"])
def test_no_such_run(cli: Callable[..., Done], tmp_path: Path, command: str) -> None:
    words = [tmp_path / "nowhere"] * (2 if command == "compare" else 1)
    done = cli(command, *words)
    assert done.code == 2 and "nowhere" in done.err and "results.jsonl" in done.err


def test_compare(cli: Callable[..., Done], run_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "results.jsonl").write_bytes((run_folder / "results.jsonl").read_bytes())
    change(other, "one[m-ROME]", seconds=99.0, host="elsewhere", worker="gw7", started="later", peak_memory_mib=1.0)
    same = cli("compare", run_folder, other)
    assert same.code == 0 and "3 and 3 rows, 0 differences" in same.out
    change(other, "two[m-ROME]", estimate=0.1000000001)
    differs = cli("compare", run_folder, other / "results.jsonl")
    assert differs.code == 1 and "two[m-ROME]: estimate:" in differs.out and "1 differences" in differs.out
    append_row(other / "results.jsonl", row_of("four[m-ROME]"))
    assert "four[m-ROME]: row: False != True" in cli("compare", run_folder, other).out


def test_report(cli: Callable[..., Done], run_folder: Path) -> None:
    done = cli("report", run_folder)
    assert "No Allure report" in done.out and "supported" in done.out.lower()
    shown = re.search(r"^report: (.+)$", done.out, re.M)
    assert shown is not None
    page = Path(shown[1])
    assert page.is_file() and page.parent == run_folder
    text = page.read_text()
    assert all(part in text for part in ("one[m-ROME]", "two[m-ROME]", "needs CUDA"))
    assert "://" not in text.replace("http://www.w3.org/", "")
    assert done.code == 0


def test_a_report_on_a_broken_case_ends_with_one(cli: Callable[..., Done], run_folder: Path) -> None:
    append_row(run_folder / "results.jsonl", row_of("five[m-ROME]", verdict="broken", reason="BROKEN: out of memory"))
    done = cli("report", run_folder)
    assert done.code == 1 and "1 planned case(s) broken: five[m-ROME]" in done.out
