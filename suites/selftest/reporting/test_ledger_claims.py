"""The paper's ledger claim by claim: every finding counts for the claims whose tables it rests on, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.ledger.records import FILE, CellRecord
from editverdict.reporting.findings import findings_markdown
from editverdict.reporting.html import write_summary
from editverdict.reporting.ledger_claims import by_claim
from suites.selftest.reporting.test_ledger_section import case, finding

RESTS = {3: ("drop", "best"), 31: ("drop",)}


def over(*tables: int) -> dict[str, Any]:
    cells = tuple(CellRecord(table=number, keys={"method": "ROME"}, column="avg", printed="1.0") for number in tables)
    return {"cells": cells, "table": tables[0]}


def test_a_finding_counts_once_for_each_claim_whose_tables_it_rests_on() -> None:
    both = finding("ROME", "inconsistent", rule="twice", **over(3, 31))
    own = finding("MEND", "implausible", rule="once", **over(31))
    states = by_claim([case("twice", "inconsistent", both, tables=(3, 31), evidences=RESTS),
                       case("once", "implausible", own, tables=(31,), evidences={31: ("drop",)})])  # fmt: skip
    assert list(states) == ["best", "drop"]
    assert states["drop"].counts == {"inconsistent": 1, "implausible": 1} and states["drop"].off == 2
    assert states["best"].counts == {"inconsistent": 1} and states["best"].tables == {3}
    assert str(states["drop"]) == (
        "The paper's tables for this claim (3, 31): 1 inconsistent, 1 implausible findings; rules: twice, once."
    )


def test_what_is_only_rounded_or_open_names_no_rule() -> None:
    (state,) = by_claim([case("open", "undefined", finding("A", "undefined"), finding("B", "rounding"),
                              evidences={3: ("best",)})]).values()  # fmt: skip
    assert str(state) == "The paper's tables for this claim (3): 1 undefined, 1 rounding findings."
    (state,) = by_claim([case("fine", "consistent", evidences={3: ("best",)})]).values()
    assert str(state) == "The paper's tables for this claim (3): all in order."


def test_of_many_rules_those_with_most_findings_are_named() -> None:
    found = [finding(f"row {n}", "inconsistent", rule=f"rule-{n % 6}") for n in range(7)]
    (state,) = by_claim([case("many", "inconsistent", *found, evidences={3: ("best",)})]).values()
    assert state.ruled == "rule-0 (2), rule-1, rule-2, rule-3 and 2 more"


def test_reports_say_it_under_the_claim(
    run_dir: Path, claims: list[ClaimVerdict], rows: list[Row], manifest: dict[str, Any]
) -> None:
    name = claims[0].claim
    record = case("wrong", "inconsistent", finding("ROME", "inconsistent"), evidences={3: (name,)})
    said = "The paper's tables for this claim (3): 1 inconsistent finding; rules: averages."
    text = findings_markdown(claims, rows, manifest, [record])
    assert text.count(said) == 1 and said in text.split(f"- `{name}`")[1].split("\n- ")[0]
    assert "tables for this claim" not in findings_markdown(claims, rows, manifest)
    (run_dir / FILE).write_text(f"{record.model_dump_json()}\n")
    page = write_summary(run_dir).read_text(encoding="utf-8")
    assert page.count(said.replace("'", "&#x27;")) + page.count(said) == 1
    assert re.search(r"of 1 claims that rest on these tables, 1 rest", page)
