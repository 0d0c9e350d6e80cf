"""Values that a quantity cannot have are caught, and those at its ends are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from editverdict.ledger.audit import Case, run_case
from editverdict.ledger.rules import read_rules
from editverdict.ledger.tables import Cell, read_ledger
from suites.selftest.ledger.made_up import hold, table, verdicts

ROOT = Path(__file__).resolve().parents[3]
SHARES = {"units": {"percent": {"low": 0, "high": 100}, "fraction": {"low": 0, "high": 1}}, "others": {"low": 0}}


@pytest.mark.parametrize(
    ("unit", "printed", "verdict"),
    [("percent", "100.00", "consistent"), ("percent", "0.00", "consistent"), ("percent", "100.01", "rounding"),
     ("percent", "100.10", "inconsistent"), ("percent", "-3.00", "inconsistent"), ("fraction", "1.00", "consistent"),
     ("fraction", "14.26", "inconsistent"), ("seconds", "14.26", "consistent"), ("seconds", "-0.20", "inconsistent")],
)  # fmt: skip
def test_ends_of_a_unit(unit: str, printed: str, verdict: str) -> None:
    (found,) = hold("possible-values", SHARES, table(1, ["m"], f"m,a,b\nA,{printed},0.50", unit))
    assert (found.verdict, found.binding) == (verdict, ())
    if verdict == "inconsistent":
        assert found.found == f"a {printed}"


def test_a_column_goes_before_its_unit() -> None:
    settings = SHARES | {"columns": {"rho": {"low": -1, "high": 1}}}
    made = table(1, ["m"], "m,rho\nA,-0.95\nB,-1.05\nC,1.00\nD,-1.00")
    assert [one.verdict for one in hold("possible-values", settings, made)] == [
        "consistent",
        "inconsistent",
        "consistent",
        "consistent",
    ]


@pytest.mark.parametrize(
    ("row", "verdict"),
    [("0.00,1.24,2.18", "consistent"), ("1.24,1.24,1.24", "consistent"), ("1.30,1.24,2.18", "inconsistent"),
     ("1.25,1.24,2.18", "consistent"), ("1.26,1.24,2.18", "rounding"), ("0.00,2.90,2.18", "inconsistent"),
     ("-,2.90,2.18", "inconsistent"), ("-,-,2.18", "none")],
)  # fmt: skip
def test_minimum_mean_and_maximum(row: str, verdict: str) -> None:
    made = table(1, ["m"], f"m,min,mean,max\nA,{row}", "")
    found = hold("possible-values", {"ascending": [["min", "mean", "max"]]}, made)
    assert verdicts(found) == ({} if verdict == "none" else {verdict: 1})


def test_no_more_than_there_are() -> None:
    counts, sizes = table(1, ["m", "k"], "m,k,n\nA,1,4096\nA,2,4099\nB,1,9999", ""), table(2, ["m"], "m,d\nA,4096", "")
    settings = {"at_most": {"n": "d"}, "on": ["m"]}
    found = hold("possible-values", settings, counts, sizes)
    assert [one.verdict for one in found] == ["consistent", "inconsistent"]
    assert {cell.column for cell in found[1].cells} == {"n", "d"}


# --------------------------------------------------------------------------- the rules themselves, on planted values
PLANTED = [
    (29, "rel", "169.49"), (37, "value", "8.30"), (42, "edit_time", "-14.07"), (1, "r_eff", "5096"),
    (8, "sigma_1", "-6"), (9, "min", "7.24"), (12, "mean", "900.00"), (13, "cos", "1.999"), (21, "num_gt1", "9095"),
    (23, "r_mean", "9.9e9"), (2, "rho", "-9.8834"), (26, "p", "1.9996"),
]  # fmt: skip


@pytest.mark.parametrize(("number", "column", "text"), PLANTED)
def test_impossible_values_in_the_papers_tables_are_caught(number: int, column: str, text: str) -> None:
    ledger = read_ledger(ROOT / "specs" / "paper")
    rules = [rule for rule in read_rules(ROOT / "specs" / "consistency") if rule.spec.kind == "possible-values"]
    (rule,) = [rule for rule in rules if number in rule.spec.tables]
    case = Case(rule, (number, *rule.spec.beside.get(str(number), ())))
    assert {one.verdict for one in run_case(case, ledger).findings} == {"consistent"}
    cell: Cell = next(cell for cell in ledger[number].cells if cell.column == column and cell.number)
    wrong = run_case(case, ledger.with_texts({(number, cell.line, column): text}))
    assert sum(one.verdict == "inconsistent" for one in wrong.findings) == 1
