"""Claims of kind ``survey``: data of the paper that no run can test, named with the tables that hold them."""

from __future__ import annotations

from typing import Any

from editverdict.ledger.tables import Ledger, Table
from editverdict.schema.library import SpecLibrary

TICK = "true"


def surveys(library: SpecLibrary, ledger: Ledger | None) -> list[dict[str, Any]]:
    """Every survey with its tables.

    Returns
    -------
    list of dict
        ``claim``, ``statement``, ``where``, ``why`` (why nothing can be tested) and ``tables``: of each ``table``
        (its number), ``file``, ``caption``, ``rows`` (how many) and ``ticked`` (column -> rows with a tick). Without
        the paper's tables the last is empty.
    """
    held = ledger.tables if ledger is not None else {}
    return [
        {
            "claim": claim.id,
            "statement": claim.statement,
            "where": claim.source.where,
            "why": claim.not_comparable or "",
            "tables": [_counted(table) for table in held.values() if claim.id in table.spec.evidences],
        }
        for claim in library.claims.values()
        if claim.kind == "survey"
    ]


def _counted(table: Table) -> dict[str, Any]:
    ticks = {
        name: sum(line.cells[name].text == TICK for line in table.lines)
        for name, column in table.spec.columns.items()
        if column.text
    }
    return {
        "table": table.spec.table,
        "file": f"specs/paper/{table.spec.file}",
        "caption": table.spec.caption,
        "rows": len(table.lines),
        "ticked": ticks,
    }
