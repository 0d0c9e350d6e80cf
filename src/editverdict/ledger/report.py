"""Findings as lines of text, for a terminal, and as a record, for a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from editverdict.ledger.audit import Audited, Idle, Reach, coverage
from editverdict.ledger.findings import VERDICTS, counted
from editverdict.ledger.tables import Ledger


def report_lines(
    ledger: Ledger, audited: Sequence[Audited], *, reach: bool = False, idle: Sequence[Idle] = ()
) -> Iterator[str]:
    """What is broken, worst first; then how much holds, and how far the rules reach."""
    order = sorted(audited, key=lambda one: -VERDICTS.index(one.verdict))
    for one in order:
        if one.verdict != "consistent":
            yield f"{one.verdict}: {one.case.id}: {one.summary}"
    counts = counted([finding for one in audited for finding in one.findings])
    said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n) or "no findings"
    rules = {one.case.rule.spec.id for one in audited}
    yield f"{len(ledger.tables)} tables, {len(audited)} cases of {len(rules)} rules: {said}"
    if idle:
        yield f"{len(idle)} cases are not held:"
        yield from (f"not held: {one.case.id}: {one.why}" for one in idle)
    columns = coverage(ledger, audited)
    yield reach_sentence(columns)
    if reach:
        yield from reach_lines(columns)


def reach_sentence(columns: Sequence[Reach]) -> str:
    """How far the rules reach: columns without any, numbers looked at, numbers determined."""
    numbers, seen, bound = (sum(getattr(one, what) for one in columns) for what in ("numbers", "seen", "bound"))
    bare, partly = sum(one.seen == 0 for one in columns), sum(one.bound > 0 for one in columns)
    return (
        f"{len(columns)} columns of numbers, {bare} that no rule reaches; of {numbers} numbers rules look at {seen} "
        f"and determine {bound} (in {partly} columns) up to rounding"
    )


def reach_lines(columns: Sequence[Reach]) -> Iterator[str]:
    """Columns that no rule reaches, then those in which a wrong digit need not show."""
    yield from (f"not reached: Table {one.table} {one.column}" for one in columns if one.seen == 0)
    for one in columns:
        if one.seen and not one.bound:
            yield f"looked at, not determined: Table {one.table} {one.column} ({one.seen} of {one.numbers} numbers)"
    for one in columns:
        if 0 < one.bound < one.numbers:
            yield f"determined in part: Table {one.table} {one.column} ({one.bound} of {one.numbers} numbers)"


def report_record(ledger: Ledger, audited: Sequence[Audited], idle: Sequence[Idle] = ()) -> dict[str, Any]:
    """Everything that was found, as plain values."""
    return {
        "tables": list(ledger.tables),
        "verdicts": counted([finding for one in audited for finding in one.findings]),
        "cases": [
            {
                "rule": one.case.rule.spec.id,
                "family": one.case.rule.spec.family,
                "statement": one.case.rule.spec.statement,
                "tables": list(one.case.tables),
                "verdict": one.verdict,
                "findings": [finding.record() for finding in one.findings],
            }
            for one in audited
        ],
        "not_held": [{"rule": one.case.rule.spec.id, "tables": list(one.case.tables), "why": one.why} for one in idle],
        "reach": [
            {"table": c.table, "column": c.column, "numbers": c.numbers, "seen": c.seen, "bound": c.bound}
            for c in coverage(ledger, audited)
        ],
    }
