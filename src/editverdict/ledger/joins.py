"""Rows that belong together: within a table, and between the tables that a rule reads side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from editverdict.ledger.rules import Scope
from editverdict.ledger.tables import Cell, Line


def rows(scope: Scope, *columns: str) -> list[tuple[Line, list[Cell]]]:
    """Rows that the rule is about and whose ``columns`` all hold numbers, with these cells.

    Rows of all tables of a joint rule (those that only help lack the columns), else of the table in question.
    """
    tables = scope.tables if scope.rule.joint else scope.tables[:1]
    lines = [line for table in tables for line in scope.lines(table)]
    found = [(line, line.numbers(*columns)) for line in lines]
    return [(line, cells) for line, cells in found if cells is not None]


def partner(scope: Scope, line: Line, on: Iterable[str], *columns: str) -> list[Cell] | None:
    """Cells of the first row of another table that agrees on keys and whose ``columns`` hold numbers.

    A key that neither row has does not part them: modules of one model and layers of another can be joined at once.
    """
    wanted = {key: line.keys.get(key) for key in on}
    for number in scope.tables:
        if number == line.table:
            continue
        for other in scope.ledger[number].lines:
            if all(other.keys.get(key) == value for key, value in wanted.items()):
                cells = other.numbers(*columns)
                if cells is not None:
                    return cells
    return None


def with_partner(
    scope: Scope, columns: Sequence[str], on: Iterable[str], others: Sequence[str]
) -> list[tuple[Line, list[Cell]]]:
    """:func:`rows` that have a partner, with the cells of both."""
    keys = tuple(on)
    pairs = [(line, cells, partner(scope, line, keys, *others)) for line, cells in rows(scope, *columns)]
    return [(line, [*cells, *found]) for line, cells, found in pairs if found is not None]


def groups(lines: Iterable[Line], *, apart: str) -> list[list[Line]]:
    """Rows of one table that differ in one key alone, in printed order."""
    found: dict[tuple[int, tuple[tuple[str, str], ...]], list[Line]] = {}
    for line in lines:
        if apart in line.keys:
            rest = tuple((key, value) for key, value in line.keys.items() if key != apart)
            found.setdefault((line.table, rest), []).append(line)
    return list(found.values())


def common_label(lines: Sequence[Line]) -> str:
    """What rows have in common, in words."""
    keys = lines[0].keys
    return " ".join(value for key, value in keys.items() if all(line.keys.get(key) == value for line in lines))


def number_of(text: str) -> float | None:
    """A key as a number, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None
