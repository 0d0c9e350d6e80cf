"""The ledger plugin in sessions of its own: what a session writes, says and shows of the rules over the tables."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from editverdict.ledger.records import FILE, CaseRecord, read_records

ROOT = Path(__file__).resolve().parents[3]
PAPER = ROOT / "specs" / "paper" / "tables"
RULE = "average-of-dimensions"


def session(*options: str | Path) -> tuple[int, str]:
    """Exit code and output of a session of the suite's averages."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "EDITVERDICT_RUN_DIR"))}
    command = [sys.executable, "-m", "pytest", "suites/consistency", "-q", "--tb=short", "-k", RULE, *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Table 3 with an average ten too large, Table 29 as printed, Table 31 without any average."""
    folder = tmp_path / "tables"
    folder.mkdir()
    third = (PAPER / "table_03.csv").read_text()
    assert ",24.75" in third
    (folder / "table_03.csv").write_text(third.replace(",24.75", ",34.75"))
    (folder / "table_29.csv").write_text((PAPER / "table_29.csv").read_text())
    head, *lines = (PAPER / "table_31.csv").read_text().splitlines()
    bare = [f"{line.rpartition(',')[0]}," for line in lines]
    (folder / "table_31.csv").write_text("\n".join([head, *bare]) + "\n")
    return folder


def by_table(folder: Path) -> dict[int, CaseRecord]:
    return {one.tables[0]: one for one in read_records(folder / FILE) if one.rule == RULE}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_what_a_session_leaves(tables: Path, tmp_path: Path, workers: tuple[str, ...]) -> None:
    run_dir = tmp_path / "run"
    code, output = session("--tables", tables, "--run-dir", run_dir, "--alluredir", tmp_path / "allure", *workers)
    assert code == 1, output
    found = by_table(run_dir)
    assert {number: one.verdict for number, one in found.items()} == {3: "inconsistent", 29: "consistent", 31: "broken"}
    assert found[3].counts["inconsistent"] == len(found[3].findings) == 1 and found[3].findings[0].found == "34.75"
    assert "finds no row" in found[31].summary
    assert "3 rules with their tables: 1 consistent, 1 inconsistent, 1 broken" in output
    checks = sum(sum(one.counts.values()) for one in found.values())
    assert f"{checks} checks of printed numbers: {checks - 1} consistent, 1 inconsistent" in output
    assert "INCONSISTENT: " in output
    reach = re.search(r"ledger: (\d+) columns of numbers, (\d+) that no rule reaches; of (\d+) numbers .* (\d+) and "
                      r"determine (\d+) \(in (\d+) columns\)", output)  # fmt: skip
    assert reach is not None
    # Of five columns in each of three tables the rule reaches all in two; in the third it was broken.
    assert (reach[1], reach[2], reach[6]) == ("14", "4", "10") and reach[4] == reach[5] and int(reach[5]) >= checks * 5
    shown = [json.loads(path.read_text()) for path in (tmp_path / "allure").glob("*-result.json")]
    states = {}
    for result in shown:
        labels = {item["name"]: item["value"] for item in result["labels"]}
        assert (labels["suite"], labels["epic"], labels["story"]) == ("ledger", "The paper's ledger", RULE)
        assert "case" not in labels  # that is a claim's
        states[labels["table"]] = (result["status"], labels["severity"], labels["verdict"])
        assert (
            result["name"].startswith(f"Table {labels['table']}: ")
            and labels["verdict"].upper() in result["description"]
        )
        values = {item["name"]: item["value"] for item in result["parameters"]}
        assert values["tables"] == f"Table {labels['table']}" and len(values["audited"]) < 60
    assert states == {"3": ("failed", "critical", "inconsistent"), "29": ("passed", "trivial", "consistent"),
                      "31": ("broken", "blocker", "broken")}  # fmt: skip


def test_without_a_run_folder_the_terminal_has_the_counts(tmp_path: Path) -> None:
    before = set((ROOT / "reports").rglob(FILE))
    code, output = session("--tables", PAPER)
    assert code in (0, 1) and "the paper's ledger: " in output and " checks of printed numbers: " in output
    assert set((ROOT / "reports").rglob(FILE)) == before


def test_a_session_of_other_tests_says_nothing_of_the_ledger() -> None:
    code, output = session("--deselect", "suites/consistency")
    assert code == 5 and "the paper's ledger" not in output
