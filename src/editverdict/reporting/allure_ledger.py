"""A rule over the paper's tables in Allure's vocabulary: pure functions, free of pytest and of the Allure package."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.ledger.records import CaseRecord, FindingRecord
from editverdict.reporting.cards import code, table, text

EPIC = "The paper's ledger"
SUITE = "ledger"
SHOWN = 40
"""Rows that a description lists; all are in the attached file."""
_SEVERITY = {"inconsistent": "critical", "implausible": "normal", "broken": "blocker", "undefined": "minor"}


def title(record: CaseRecord) -> str:
    """E.g. ``Table 29: The average is the plain mean of the four dimensions.``"""
    return f"{tables_text(record.tables)}: {record.statement}"


def tables_text(tables: tuple[int, ...]) -> str:
    """``Table 3`` or ``Tables 2, 25``."""
    return f"Table{'s' if len(tables) > 1 else ''} {', '.join(map(str, tables))}"


def runs_text(numbers: Sequence[int]) -> str:
    """Numbers with runs drawn together: ``3, 29-32``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def labels(record: CaseRecord) -> list[tuple[str, str]]:
    """Allure labels: epic is the ledger, feature the family, story the rule."""
    return [
        ("epic", EPIC),
        ("feature", record.family),
        ("story", record.rule),
        ("suite", SUITE),
        ("severity", _SEVERITY.get(record.verdict, "trivial")),
        ("verdict", record.verdict),
        ("kind", record.kind),
        *(("table", str(number)) for number in record.tables),
    ]


def counts_text(record: CaseRecord) -> str:
    """How many rows have which verdict: ``18 consistent, 2 inconsistent``."""
    return ", ".join(f"{n} {verdict}" for verdict, n in record.counts.items() if n) or "none"


def parameters(record: CaseRecord) -> list[tuple[str, str]]:
    """What was looked at, and the first of the worst rows."""
    pairs = [("tables", tables_text(record.tables)), ("rows", counts_text(record))]
    worst = next((one for one in record.findings if one.verdict == record.verdict), None)
    if worst is not None:
        pairs += [("row", worst.row), ("expected", worst.expected), ("printed", worst.found)]
    return pairs


def finding_cells(one: FindingRecord, shown: int = 4) -> str:
    """The printed cells that a finding rests on; of many the first few, and without the keys that its row tells."""
    more = len(one.cells) - shown
    named = (str(cell) if " ".join(cell.keys.values()) != one.row else cell.brief for cell in one.cells[:shown])
    return "; ".join(named) + (f"; {more} more" if more > 0 else "")


def description(record: CaseRecord) -> str:
    """What the rule demands, and the rows that do not hold, worst first (Markdown)."""
    worst_first = sorted(record.findings, key=lambda one: one.verdict != record.verdict)
    cells = [
        (one.verdict, text(one.row), text(one.expected), code(one.found), text(one.sentence), text(finding_cells(one)))
        for one in worst_first[:SHOWN]
    ]
    more = len(worst_first) - SHOWN
    parts = [
        f"## {record.verdict.upper()} · {text(title(record))}",
        text(record.summary) if record.verdict == "broken" else f"Rows: {counts_text(record)}.",
        f"If it is broken: {text(record.why)}" if record.why else "",
        f"Source: {text(record.source)}" if record.source else "",
        table(("verdict", "row", "expected", "printed", "", "cells"), cells),
        f"{more} more rows are in rule.json." if more > 0 else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(record: CaseRecord) -> str:
    """The whole record."""
    return record.model_dump_json(indent=2) + "\n"
