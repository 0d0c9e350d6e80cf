"""A rule held against tables that a test writes down as CSV text."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editverdict.ledger.findings import Finding
from editverdict.ledger.rules import RuleSpec, Scope, kinds
from editverdict.ledger.tables import Cell, ColumnSpec, Ledger, Line, Table, TableSpec


def table(number: int, keys: Sequence[str], text: str, unit: str = "percent") -> Table:
    """A table out of CSV text: the named columns are keys, the others numbers."""
    rows = list(csv.DictReader(io.StringIO(text.replace(" ", ""))))
    columns = {name: ColumnSpec(what=name, unit=unit) for name in rows[0] if name not in keys}
    spec = TableSpec(table=number, file="made_up.csv", caption="made up", keys=tuple(keys), columns=columns)
    lines = []
    for place, row in enumerate(rows, start=2):
        at = {key: row[key] for key in keys}
        cells = {name: Cell(number, at, name, row[name], column, place) for name, column in columns.items()}
        lines.append(Line(number, at, cells))
    return Table(spec, tuple(lines))


def hold(kind: str, settings: Mapping[str, Any], *tables: Table, folder: Path = Path(), **rule: Any) -> list[Finding]:
    """Findings of a kind of rule, jointly about the tables."""
    cls, function = kinds()[kind]
    numbers = tuple(one.spec.table for one in tables)
    spec = RuleSpec.model_validate_json(
        json.dumps(
            {"id": "made-up", "kind": kind, "statement": "So it is.", "family": "test", "tables": numbers, "why": "No."}
            | rule
        )
    )
    ledger = Ledger({one.spec.table: one for one in tables}, folder)
    return list(function(Scope(ledger, spec, cls.model_validate_json(json.dumps(settings)), numbers)))


def verdicts(findings: Sequence[Finding]) -> dict[str, int]:
    return dict(Counter(one.verdict for one in findings))
