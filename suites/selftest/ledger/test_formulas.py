"""Two formulas are the same or not, by their values; a formula that is none is refused when it is read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from editverdict.ledger.audit import Audited, cases_of, run_case
from editverdict.ledger.rules import read_rules
from editverdict.ledger.tables import Ledger, read_ledger
from editverdict.schema.errors import SpecError

PAPER = Path(__file__).resolve().parents[3] / "specs" / "paper"
RULE = """rules:
  - id: made-up
    kind: formulas
    statement: Both are the same.
    family: theory
    tables: [21]
    settings: {{one: "{one}", other: "{other}", variables: {{x: [-2, 3], y: [1, 2]}}, should: {should}}}
    broken: undefined
"""


@cache
def paper() -> Ledger:
    return read_ledger(PAPER)


def held(folder: Path, one: str, other: str, should: str) -> Audited:
    (folder / "made-up.yaml").write_text(RULE.format(one=one, other=other, should=should), encoding="utf-8")
    ledger = paper()
    (case,) = cases_of(read_rules(folder), ledger)
    return run_case(case, ledger)


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("(x + y) ** 2", "x ** 2 + 2 * x * y + y ** 2", True),
        ("x / y", "sqrt(x ** 2) / y", False),
        ("abs(x) / y", "sqrt(x ** 2) / y", True),
        ("x", "x + 1e-6", False),
        ("2", "4 / 2", True),
    ],
)
def test_by_their_values(tmp_path: Path, one: str, other: str, agree: bool) -> None:
    assert held(tmp_path, one, other, "agree").verdict == ("consistent" if agree else "undefined")
    assert held(tmp_path, one, other, "differ").verdict == ("undefined" if agree else "consistent")


def test_a_difference_is_shown_where_it_is(tmp_path: Path) -> None:
    (finding,) = held(tmp_path, "x / y", "abs(x) / y", "agree").findings
    assert " and " in finding.found and "at x = -" in finding.found and finding.cells == ()


@pytest.mark.parametrize("bad", ["x +", "__import__('os')", "x.real", "'x'", "[x]", "min(x, y)"])
def test_what_is_no_formula_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(SpecError, match="made-up"):
        held(tmp_path, bad, "y", "agree")


def test_a_variable_without_a_range(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no range for z"):
        held(tmp_path, "x + z", "y", "agree")


def test_the_papers_formulas() -> None:
    ledger = paper()
    rules = [rule for rule in read_rules(PAPER.parent / "consistency") if rule.spec.kind == "formulas"]
    found = {one.case.rule.spec.id: one for one in (run_case(case, ledger) for case in cases_of(rules, ledger))}
    signed = found["two-forms-of-the-ratio"].findings[0]
    assert signed.verdict == "inconsistent" and "c = -" in signed.found
    assert found["theorem-says-more-than-the-definition"].verdict == "undefined"
    assert found["first-order-step-where-it-is-measured"].verdict == "undefined"
