"""What a run folder keeps of the rules: written and read back, the last of a case counts, the worst come first."""

from __future__ import annotations

from pathlib import Path

import pytest

from editverdict.inference.results import append_line
from editverdict.ledger.audit import cases_of, run_case
from editverdict.ledger.records import (
    FILE,
    CaseRecord,
    broken_record,
    cases_by_verdict,
    families,
    read_records,
    record_of,
    rows_by_verdict,
    worst_first,
)
from editverdict.ledger.rules import read_rules
from editverdict.ledger.tables import Ledger, read_ledger

SPECS = Path(__file__).resolve().parents[3] / "specs"


@pytest.fixture(scope="module")
def paper() -> Ledger:
    return read_ledger(SPECS / "paper")


def averages(ledger: Ledger, table: int) -> CaseRecord:
    cases = cases_of(read_rules(SPECS / "consistency"), ledger)
    case = next(c for c in cases if c.rule.spec.kind == "mean" and c.tables == (table,))
    return record_of(run_case(case, ledger), ledger)


def spoiled(paper: Ledger, table: int, rows: int = 1) -> Ledger:
    """Averages of the first rows of a table, ten too large."""
    cells = [line.cells["avg"] for line in paper[table].lines[:rows]]
    return paper.with_texts({(c.table, c.line, c.column): f"{c.value + 10:.2f}" for c in cells})


def test_rows_that_hold_are_counted_and_others_listed(paper: Ledger) -> None:
    fine = averages(paper, 29)
    assert fine.verdict == "consistent" and fine.findings == () and sum(fine.counts.values()) >= 30
    record = averages(spoiled(paper, 29, 2), 29)
    assert record.verdict == "inconsistent" and record.counts["inconsistent"] == len(record.findings) == 2
    assert sum(record.counts.values()) == sum(fine.counts.values())
    first = record.findings[0]
    line = paper[29].lines[0]
    assert first.row == line.label and {cell.column for cell in first.cells} == {"rel", "gen", "loc", "port", "avg"}
    assert first.cells[0].keys == dict(line.keys) and first.found == f"{line.cells['avg'].value + 10:.2f}"
    assert str(first.cells[-1]).startswith(f"Table 29, {line.label}, avg: ")
    assert first.cells[-1].brief.startswith("Table 29, avg: ")


def test_a_file_reads_back_and_the_last_of_a_case_counts(paper: Ledger, tmp_path: Path) -> None:
    old, new, other = averages(spoiled(paper, 29), 29), averages(paper, 29), averages(spoiled(paper, 3), 3)
    for record in (old, other, new):
        append_line(tmp_path / FILE, record.model_dump_json())
    assert read_records(tmp_path / FILE) == (new, other)
    assert read_records(tmp_path / "none.jsonl") == ()


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('\n{"case": 1}\n')
    with pytest.raises(ValueError, match=rf"{FILE}, line 2: expected what a rule found"):
        read_records(tmp_path / FILE)


def test_order_and_sums(paper: Ledger) -> None:
    fine, one, two = averages(paper, 30), averages(spoiled(paper, 29), 29), averages(spoiled(paper, 3, 2), 3)
    case = next(c for c in cases_of(read_rules(SPECS / "consistency"), paper) if c.tables == (31,))
    broken = broken_record(case, paper, "ValueError: no row")
    records = [fine, one, two, broken]
    assert worst_first(records) == [broken, two, one]
    assert cases_by_verdict(records) == {"consistent": 1, "inconsistent": 2, "broken": 1}
    sums = rows_by_verdict(records)
    assert sums["inconsistent"] == 3 and "implausible" not in sums
    assert sum(sums.values()) == sum(sum(record.counts.values()) for record in (fine, one, two))
    assert families([fine, one]) == {fine.family: [fine, one]}
