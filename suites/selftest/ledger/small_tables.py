"""Tables of a few rows, and kinds of rules run on them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from editverdict.ledger.findings import Finding
from editverdict.ledger.rules import RuleSpec, Scope, kinds
from editverdict.ledger.tables import Cell, ColumnSpec, Ledger, Line, Table, TableSpec


def table(number: int, keys: str, columns: str, rows: Sequence[str]) -> Table:
    """A table from words: ``keys`` and ``columns`` by their names (``n!`` is exact), each row by its entries."""
    names = columns.split()
    specs = {name.rstrip("!"): ColumnSpec(what=name, exact=name.endswith("!")) for name in names}
    spec = TableSpec(table=number, file=f"t{number}.csv", caption="made up", keys=tuple(keys.split()), columns=specs)
    lines = []
    for place, row in enumerate(rows, start=2):
        entries = row.split()
        at = dict(zip(spec.keys, entries, strict=False))
        texts = zip(specs, entries[len(spec.keys) :], strict=True)
        cells = {name: Cell(number, at, name, text, specs[name], place) for name, text in texts}
        lines.append(Line(number, at, cells))
    return Table(spec, tuple(lines))


def run(kind: str, settings: Mapping[str, Any], *tables: Table, joint: bool = False, **rule: Any) -> list[Finding]:
    """Findings of a kind of rule on tables, the first of which it is about (all, if joint)."""
    cls, function = kinds()[kind]
    numbers = tuple(one.spec.table for one in tables)
    spec = RuleSpec(
        id="made-up", kind=kind, statement="It holds.", family="test", tables=numbers, joint=joint, why="No.", **rule
    )
    ledger = Ledger({one.spec.table: one for one in tables}, Path())
    read = cls.model_validate_json(json.dumps(settings))
    return list(function(Scope(ledger, spec, read, numbers)))


def verdicts(findings: Sequence[Finding]) -> list[str]:
    return [one.verdict for one in findings]


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    return dict(Counter(one.verdict for one in findings))


def bound(findings: Sequence[Finding]) -> set[str]:
    return {cell.column for one in findings for cell in one.binding}
