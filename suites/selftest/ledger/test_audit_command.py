"""``editverdict audit``: what a user sees and the exit code, on the paper's tables and on foreign ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from editverdict.ledger.names import _named, misnamed
from editverdict.ledger.rules import read_rules
from editverdict.ledger.tables import read_ledger
from suites.selftest.conftest import Done

ROOT = Path(__file__).resolve().parents[3]
PAPER = ROOT / "specs" / "paper"
HEAD = "model,dataset,setting,method,rel,gen,loc,port,avg\n"
OWN_RULE = """rules:
  - id: own-average
    kind: mean
    statement: The average is the mean of three.
    family: own
    tables: [3]
    settings: {of: [rel, gen, loc], equals: avg}
"""


@pytest.fixture
def audit(cli: Callable[..., Done]) -> Callable[..., Done]:
    """Run ``editverdict audit``."""
    return lambda *words: cli("audit", *words)


def table_3(folder: Path, *rows: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "table_03.csv").write_text(HEAD + "".join(f"M,ZsRE,{row}\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Averages alone: what other rules say of a made-up table is no matter here."""
    folder = tmp_path / "rules"
    folder.mkdir()
    shutil.copy(ROOT / "specs" / "consistency" / "averages.yaml", folder)
    return folder


def test_one_foreign_table_in_order(audit, tmp_path: Path, rules: Path) -> None:
    done = audit(table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,25.00"), "--rules", rules)
    assert (done.code, done.err) == (0, "")
    assert "1 tables, 1 cases of 1 rules: 1 consistent" in done.out
    assert "5 columns of numbers, 0 that no rule reaches" in done.out


def test_one_foreign_table_with_a_wrong_average(audit, tmp_path: Path, rules: Path) -> None:
    done = audit(table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,26.00"), "--rules", rules)
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("inconsistent: ")]
    assert "[table-03]" in line and "expected 25" in line and "printed 26.00" in line


def test_the_last_digit_is_no_error(audit, tmp_path: Path, rules: Path) -> None:
    done = audit(table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.01,25.01"), "--rules", rules)
    assert done.code == 0 and "1 rounding" in done.out


def test_all_rules_on_one_foreign_table_give_no_traceback(audit, tmp_path: Path) -> None:
    done = audit(table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,25.00"))
    assert done.code in (0, 1) and "Traceback" not in done.err and "1 tables" in done.out


def test_own_rules(audit, tmp_path: Path) -> None:
    folder = table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,20.00")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(OWN_RULE, encoding="utf-8")
    done = audit(folder, "--rules", tmp_path / "mine", "--reach")
    assert done.code == 0 and "not reached: Table 3 port" in done.out


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["single,ROME,ten,20.00,30.00,40.00,25.00"], ["table_03.csv:2: rel", "expected a number", "found", "'ten'"]),
        (["single,ROME,1,1,1,1,1", "single,ROME,1,1,1,1,1"], ["table_03.csv:3", "stands on line 2, too"]),
        (["single,ROME,1,1,1"], ["table_03.csv:2", "7 fields", "9 fields"]),
        ([], ["table_03.csv:1", "at least one row"]),
    ],
)
def test_bad_tables_are_exit_code_2(audit, tmp_path: Path, rows: list[str], words: list[str]) -> None:
    done = audit(table_3(tmp_path / "own", *rows))
    assert done.code == 2 and done.out == ""
    assert all(word in done.err for word in words if word != "found"), done.err


def test_no_such_folder(audit, tmp_path: Path) -> None:
    done = audit(tmp_path / "nowhere")
    assert done.code == 2 and "no such folder" in done.err


def test_misspelt_settings_of_own_rules(audit, tmp_path: Path) -> None:
    folder = table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,20.00")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.yaml").write_text(OWN_RULE.replace("equals", "equal"), encoding="utf-8")
    done = audit(folder, "--rules", tmp_path / "mine")
    assert done.code == 2 and "mine.yaml:7" in done.err and "equals" in done.err


def test_findings_in_a_file(audit, tmp_path: Path) -> None:
    file = tmp_path / "findings.json"
    done = audit(PAPER, "--json", file)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["tables"] == list(range(1, 47)) and found["not_held"] == []
    findings = [finding for case in found["cases"] for finding in case["findings"]]
    assert sum(found["verdicts"].values()) == len(findings) > 200
    assert done.code == (1 if found["verdicts"]["inconsistent"] else 0)
    first = findings[0]
    assert {"rule", "table", "row", "verdict", "expected", "found", "sentence", "cells"} <= first.keys()
    assert {"table", "keys", "column", "printed"} == first["cells"][0].keys()


def test_reach_names_columns_that_no_rule_reaches(audit, rules: Path) -> None:
    done = audit(PAPER, "--reach", "--rules", rules)
    summary = next(line for line in done.out.splitlines() if "columns of numbers" in line)
    bare = [line for line in done.out.splitlines() if line.startswith("not reached: Table ")]
    assert f" {len(bare)} that no rule reaches; of " in summary


def test_the_folder_of_csv_files_alone_will_do(audit, rules: Path) -> None:
    whole, alone = audit(PAPER, "--rules", rules), audit(PAPER / "tables", "--rules", rules)
    held = [[line for line in done.out.splitlines() if "not read" not in line] for done in (whole, alone)]
    assert held[0] == held[1] and (whole.code, alone.code) == (0, 0)


def test_what_the_paper_says_is_held_against_its_tables_when_asked(audit, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    shutil.copy(PAPER / "tables" / "table_01.csv", tmp_path / "own")
    (plain, asked) = audit(tmp_path / "own"), audit(tmp_path / "own", "--paper")
    assert "caption-sigma-min" not in plain.out and "inconsistent: caption-sigma-min[table-01]" in asked.out


# --------------------------------------------------------------------------- nothing goes by in silence
def own_rules(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[rel, gen, loc]", "[rel, genn, loc]", ["settings.of", "'genn'", "did you mean 'gen'?"]),
        ("equals: avg", "equals: average", ["settings.equals", "'average'"]),
        ("tables: [3]", "tables: [93]", ["tables", "'93'"]),
        ("tables: [3]", "tables: [3]\n    where: {methd: [ROME]}", ["where", "'methd'", "did you mean 'method'?"]),
    ],
)
def test_misspelt_names_in_own_rules(audit, tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    folder = table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,20.00")
    done = audit(folder, "--rules", own_rules(tmp_path, OWN_RULE.replace(old, new)))
    assert done.code == 2 and "mine.yaml" in done.err and all(word in done.err for word in words), done.err


def test_rules_that_find_no_row_are_named_with_the_reason(audit, tmp_path: Path) -> None:
    folder = table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,20.00")
    two = (
        OWN_RULE + OWN_RULE.removeprefix("rules:\n").replace("own-average", "of-mend") + "    where: {method: [MEND]}\n"
    )
    done = audit(folder, "--rules", own_rules(tmp_path, two))
    assert done.code == 0 and "1 cases are not held:" in done.out
    assert "not held: of-mend[table-03]: no row in table-03 that it is about" in done.out


def test_if_no_rule_can_be_held_nothing_was_checked(audit, tmp_path: Path) -> None:
    folder = table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,20.00")
    done = audit(folder, "--rules", own_rules(tmp_path, OWN_RULE + "    where: {method: [MEND]}\n"))
    assert done.code == 2 and "nothing was checked" in done.err and "not held: own-average" in done.out


def test_a_file_in_a_folder_that_is_not_there(audit, tmp_path: Path, rules: Path) -> None:
    folder = table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,25.00")
    done = audit(folder, "--rules", rules, "--json", tmp_path / "x" / "found.json")
    assert done.code == 2 and "--json" in done.err and "No such file or directory" in done.err
    assert "Traceback" not in done.err and "1 cases of 1 rules" in done.out


def test_files_that_are_not_read_are_named_first_and_last(audit, tmp_path: Path, rules: Path) -> None:
    folder = table_3(tmp_path / "own", "single,ROME,10.00,20.00,30.00,40.00,25.00")
    shutil.copy(folder / "table_03.csv", folder / "table_29a.csv")
    lines = audit(folder, "--rules", rules).out.splitlines()
    assert lines[0] == lines[-1] == "table_29a.csv: not read, since the index names no such file"


def test_our_rules_have_no_misspelt_names() -> None:
    held = read_rules(ROOT / "specs" / "consistency")
    assert misnamed(held, read_ledger(PAPER).shapes) == []
    assert sum(bool(list(_named(rule.settings))) for rule in held) > len(held) / 2
