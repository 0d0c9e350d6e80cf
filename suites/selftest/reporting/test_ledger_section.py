"""The paper's ledger in the report: counts, the broken ones worst first, nothing lost and nothing unescaped."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from editverdict.ledger.records import FILE, CaseRecord, CellRecord, FindingRecord
from editverdict.reporting.allure_ledger import description, labels, parameters, title
from editverdict.reporting.allure_results import categories
from editverdict.reporting.export import write_exports
from editverdict.reporting.html import write_summary
from editverdict.reporting.ledger_section import OPENED, SHOWN
from editverdict.reporting.run import load_run
from editverdict.reporting.terminal import ledger_text
from suites.selftest.reporting.test_render import Page


def finding(row: str, verdict: Any, **changes: Any) -> FindingRecord:
    cell = CellRecord(table=3, keys={"method": row}, column="avg", printed="24.75")
    values: dict[str, Any] = {"rule": "averages", "table": 3, "row": row, "verdict": verdict, "found": "25.75",
                              "expected": "24.7 to 24.8", "sentence": "The average is not that.",
                              "cells": (cell,)}  # fmt: skip
    return FindingRecord(**values | changes)


def case(name: str, verdict: Any, *findings: FindingRecord, fine: int = 3, **changes: Any) -> CaseRecord:
    counts: dict[Any, int] = {"consistent": fine}
    for one in findings:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    values: dict[str, Any] = {"case": f"{name}[table-03]", "rule": name, "kind": "mean", "family": "averages",
                              "statement": f"Statement of {name}.", "why": "It means this.", "tables": (3,),
                              "verdict": verdict, "summary": f"Summary of {name}.", "counts": counts,
                              "findings": findings}  # fmt: skip
    return CaseRecord(**values | changes)


@pytest.fixture
def records(hostile: str) -> list[CaseRecord]:
    return [
        case("fine", "consistent", fine=7),
        case("odd", "implausible", finding("WISE", "implausible"), family="identical rows", tables=(4, 5, 9)),
        case("wrong", "inconsistent", finding("MEND", "rounding"), finding("ROME", "inconsistent", sentence=hostile)),
        case("open", "undefined", finding("SCR", "undefined")),
        case("bug", "broken", fine=0, summary="ValueError: no row"),
    ]


@pytest.fixture
def with_ledger(run_dir: Path, records: list[CaseRecord]) -> Path:
    (run_dir / FILE).write_text("".join(f"{record.model_dump_json()}\n" for record in records))
    return run_dir


def test_the_page_has_the_section(with_ledger: Path, hostile: str) -> None:
    text = write_summary(with_ledger).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and "script" not in page.tags and hostile in page.text
    assert "part-ledger" in page.ids and "#part-ledger" in page.links
    words = page.text[page.text.index("The paper's ledger", page.text.index("Claims")) :]
    assert "5 rules with their tables: 1 consistent, 1 undefined, 1 implausible, 1 inconsistent, 1 broken" in words
    assert "20 checks of printed numbers: 16 consistent, 1 rounding, 1 undefined" in words
    order = [words.index(f"Statement of {name}.") for name in ("bug", "wrong", "odd", "open")]
    assert order == sorted(order) and "Statement of fine." not in words
    assert words.index("Table 3, ROME") < words.index("Table 3, MEND")  # within a case the worst first, too
    for word in (
        "24.7 to 24.8",
        "25.75",
        "The average is not that.",
        "Table 3, avg: 24.75",
        "identical rows",
        "4-5, 9",
    ):
        assert word in words


def test_long_lists_are_cut_with_a_word_and_few_are_unfolded(run_dir: Path) -> None:
    many = [case(f"rule-{i:02d}", "inconsistent", *(finding(f"row {j}", "inconsistent") for j in range(SHOWN + 4)))
            for i in range(OPENED + 3)]  # fmt: skip
    (run_dir / FILE).write_text("".join(f"{record.model_dump_json()}\n" for record in many))
    text = write_summary(run_dir).read_text(encoding="utf-8")
    assert text.count(f"4 more rows are in {FILE}.") == len(many)
    section = text[text.index('id="part-ledger"') : text.index("How to read this page")]
    assert len(re.findall(r"<details open>", section)) == OPENED and section.count("<details>") >= 3


def test_a_run_without_rules_has_no_section(run_dir: Path) -> None:
    assert "The paper's ledger" not in Page(write_summary(run_dir).read_text(encoding="utf-8")).text


def test_a_damaged_file_costs_the_section_alone(with_ledger: Path) -> None:
    (with_ledger / FILE).write_text("{broken\n")
    run = load_run(with_ledger)
    assert run.ledger == () and len(run.rows) == 6
    words = Page(write_summary(with_ledger).read_text(encoding="utf-8")).text
    assert "The paper's ledger is left out" in words and f"{FILE}, line 1" in words


def test_findings_and_terminal(with_ledger: Path, records: list[CaseRecord]) -> None:
    write_exports(with_ledger)
    text = (with_ledger / "findings.md").read_text(encoding="utf-8")
    assert "## The paper's ledger" in text and "- **inconsistent**: Table 3: Statement of wrong." in text
    assert text.index("Summary of wrong.") < text.index("Summary of odd.") < text.index("## What this stands on")
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(ledger_text(records, shown=2))
    shown = console.export_text()
    assert "5 rules with their tables" in shown and "inconsistent Table 3: Statement of wrong." in shown
    assert "Statement of odd." not in shown


# ------------------------------------------------------------------------------- allure
def test_a_rule_in_allures_words(records: list[CaseRecord], hostile: str) -> None:
    fine, odd, wrong, _, bug = records
    severities = {dict(labels(one))["verdict"]: dict(labels(one))["severity"] for one in records}
    assert severities == {"consistent": "trivial", "implausible": "normal", "inconsistent": "critical",
                          "undefined": "minor", "broken": "blocker"}  # fmt: skip
    found = labels(odd)
    assert dict(found)["suite"] == "ledger" and dict(found)["feature"] == "identical rows"
    assert [value for name, value in found if name == "table"] == ["4", "5", "9"]
    assert title(odd) == "Tables 4, 5, 9: Statement of odd."
    assert dict(parameters(wrong)) == {"tables": "Table 3", "rows": "3 consistent, 1 rounding, 1 inconsistent",
                                       "row": "ROME", "expected": "24.7 to 24.8", "printed": "25.75"}  # fmt: skip
    text = description(wrong)
    assert text.index("| inconsistent |") < text.index("| rounding |") and "It means this." in text
    assert hostile not in text and "&lt;script&gt;" in text
    assert "ValueError: no row" in description(bug)
    assert "| inconsistent" not in description(fine)


def test_categories_tell_the_ledger_from_the_claims() -> None:
    found = {item["name"]: item for item in categories()}
    messages = {
        "failed": {"INCONSISTENT: 2 rows": "Printed numbers that cannot both hold",
                   "IMPLAUSIBLE: 2 rows": "Printed numbers that an artefact explains better",
                   "REFUTED: r = 1": "Refuted"},
        "skipped": {"Skipped: UNDEFINED: 1 row": "The paper does not say enough",
                    "Skipped: INCONCLUSIVE: r": "Inconclusive"},
    }  # fmt: skip
    for status, expected in messages.items():
        for message, name in expected.items():
            matching = [
                item["name"]
                for item in found.values()
                if status in item["matchedStatuses"] and re.fullmatch(item["messageRegex"], message)
            ]
            assert matching == [name]
