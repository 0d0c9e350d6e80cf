"""How tables are set: which cells are marked, which rows they have, what they are called."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from editverdict.ledger.findings import Finding
from editverdict.ledger.points import Pick, Point, grouped, label, points
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Ledger


class SecondBestSettings(Settings):
    """Where the marked cells are listed, and which rows compete."""

    marks: str
    """CSV file beside the tables: table, keys of the row, column."""
    pick: Pick = Pick()
    rows: tuple[str, ...] = ("method",)
    """Keys by which the competing rows differ."""


@kind("second-best", SecondBestSettings)
def second_best(scope: Scope) -> Iterator[Finding]:
    """The marked cells of a column are those of the second-best number; equal numbers share their place."""
    own: SecondBestSettings = scope.settings
    path = _marks_file(scope.ledger, own.marks)
    if path is None:
        said = "Which cells are marked is not among the tables."
        yield scope.finding("undefined", [], expected=own.marks, found="no such file", sentence=said, row="marks")
        return
    marked = _marked(path, scope.table.spec.keys)
    blocks = grouped(points(scope, own.pick), lambda p: tuple((k, v) for k, v in p.keys.items() if k not in own.rows))
    for block in blocks.values():
        yield _block(scope, block, [p for p in block if _name(p) in marked], own)


def _block(scope: Scope, block: list[Point], chosen: list[Point], own: SecondBestSettings) -> Finding:
    ranked = sorted((point.value for point in block), reverse=True)
    second = ranked[min(1, len(ranked) - 1)]
    right = bool(chosen) and all(point.value == second for point in chosen)
    printed = next(point.cell.text for point in block if point.value == second)
    found = ", ".join(f"{point.cell.text} ({' '.join(point.key(own.rows))})" for point in chosen)
    return scope.finding(
        "consistent" if right else scope.rule.broken,
        [point.cell for point in block],
        expected=f"{printed} marked",
        found=f"{found} marked" if found else "none marked",
        row=label(block[0], *own.rows),
    )


def _marks_file(ledger: Ledger, name: str) -> Path | None:
    """The list of marks, at its place or in the folder itself."""
    return next((path for path in (ledger.folder / name, ledger.folder / Path(name).name) if path.is_file()), None)


def _marked(path: Path, keys: tuple[str, ...]) -> set[tuple[str, ...]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {(row["table"], *(row.get(k) or "" for k in keys), row["column"]) for row in csv.DictReader(stream)}


def _name(point: Point) -> tuple[str, ...]:
    return (str(point.cell.table), *point.cell.keys.values(), point.cell.column)


class SameRowsSettings(Settings):
    """Which rows every table and block is to have."""

    key: str = "method"
    without: tuple[str, ...] = ()
    """Rows that are not among those meant."""
    by: tuple[str, ...] = ()
    """Keys that tell blocks of a table apart."""
    values: dict[str, str] = Field(default_factory=dict)
    """Name in a table -> name elsewhere."""


@kind("same-rows", SameRowsSettings)
def same_rows(scope: Scope) -> Iterator[Finding]:
    """'All methods' are the same methods in every table and block; rows without a number do not count."""
    own: SameRowsSettings = scope.settings
    here: dict[tuple[int, str], list[Point]] = {}
    names: dict[str, None] = {}
    for table in scope.tables:
        for point in points(scope, Pick(table=table)):
            name = own.values.get(point.keys[own.key], point.keys[own.key])
            if name not in own.without:
                names[name] = None
                block = " ".join(point.key(k for k in own.by if k in point.keys))
                here.setdefault((table, block), []).append(point)
    for (table, block), members in here.items():
        found = {own.values.get(p.keys[own.key], p.keys[own.key]) for p in members}
        missing = [name for name in names if name not in found]
        yield scope.finding(
            scope.rule.broken if missing else "consistent",
            [point.cell for point in members],
            expected=", ".join(names),
            found=f"without {', '.join(missing)}" if missing else "all of them",
            row=f"Table {table} {block}".strip(),
        )


class OneNameSettings(Settings):
    """Names that a key may have."""

    key: str = "method"
    names: tuple[str, ...]


@kind("one-name", OneNameSettings)
def one_name(scope: Scope) -> Iterator[Finding]:
    """A thing has one name in all tables; one finding per table."""
    own: OneNameSettings = scope.settings
    cells = [cell for line in scope.lines() for cell in line.cells.values() if line.keys[own.key] not in own.names]
    strange = list(dict.fromkeys(cell.keys[own.key] for cell in cells))
    yield scope.finding(
        scope.rule.broken if strange else "consistent",
        cells,
        expected="one of the names of the other tables",
        found=", ".join(strange) or "only known names",
        row=own.key,
    )


class UnverifiableSettings(Settings):
    """What stands in the way."""

    lost: str


@kind("unverifiable", UnverifiableSettings)
def unverifiable(scope: Scope) -> Iterator[Finding]:
    """A statement that the tables as they are here cannot decide: it is named, so that nobody thinks it was checked."""
    own: UnverifiableSettings = scope.settings
    yield scope.finding("undefined", [], expected="cannot be checked", found=own.lost, row=f"Table {scope.tables[0]}")
