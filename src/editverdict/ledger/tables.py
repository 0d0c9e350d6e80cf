"""Printed tables: every cell with the keys of its row, its digits, and the range that they stand for."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from editverdict.ledger.ranges import Range, last_digit, printed
from editverdict.schema.errors import SpecError, SpecProblem, did_you_mean
from editverdict.schema.specs import Spec
from editverdict.schema.translate import validate
from editverdict.schema.yaml_loader import read_yaml

INDEX = "index.yaml"


class ColumnSpec(Spec):
    """A column of a table that holds what was measured."""

    what: str
    """What the numbers are."""
    unit: str = ""
    exact: bool = False
    """Whether the digits are the number itself (a count), not a rounding of it."""
    text: bool = False
    """Whether the column holds words or signs."""


class TableSpec(Spec):
    """A table: where it is, what it holds, and which claims it is evidence for."""

    table: Annotated[int, Field(ge=1)]
    file: str
    caption: str
    """In our words."""
    keys: tuple[str, ...]
    """Columns that tell its rows apart."""
    columns: dict[str, ColumnSpec]
    """Its other columns."""
    evidences: tuple[str, ...] = ()
    """Claims that the paper rests on it."""
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One printed entry."""

    table: int
    keys: Mapping[str, str]
    column: str
    text: str
    spec: ColumnSpec = field(repr=False)
    line: int = field(default=0, repr=False)
    """Line of the file."""

    @property
    def number(self) -> bool:
        """Whether a number is printed."""
        return not self.spec.text and last_digit(self.text) is not None

    @property
    def value(self) -> float:
        """The number as printed."""
        return float(self.text)

    @property
    def range(self) -> Range:
        """What the printed number may stand for.

        Raises
        ------
        ValueError
            No number is printed.
        """
        found = printed(self.text, exact=self.spec.exact)
        if found is None:
            raise ValueError(f"{self}: '{self.text}' is no number")
        return found

    @property
    def unit(self) -> float:
        """One unit of the last printed digit."""
        return last_digit(self.text) or 0.0

    def __str__(self) -> str:
        return f"Table {self.table}, {' '.join(self.keys.values())}, {self.column}"


@dataclass(frozen=True)
class Line:
    """One row: its keys and its cells by column."""

    table: int
    keys: Mapping[str, str]
    cells: Mapping[str, Cell]

    @property
    def label(self) -> str:
        """The row in words."""
        return " ".join(self.keys.values())

    def numbers(self, *columns: str) -> list[Cell] | None:
        """The cells of columns if all of them hold numbers, else None."""
        found = [self.cells[column] for column in columns if column in self.cells]
        return found if len(found) == len(columns) and all(cell.number for cell in found) else None


@dataclass(frozen=True)
class Table:
    """A table with its rows in printed order."""

    spec: TableSpec
    lines: tuple[Line, ...]

    def select(self, **keys: str | int) -> list[Line]:
        """Rows with these keys."""
        wanted = {name: str(value) for name, value in keys.items()}
        return [line for line in self.lines if all(line.keys.get(name) == value for name, value in wanted.items())]

    def line(self, **keys: str | int) -> Line:
        """The one row with these keys.

        Raises
        ------
        KeyError
            There is none, or more than one.
        """
        found = self.select(**keys)
        if len(found) != 1:
            raise KeyError(f"Table {self.spec.table} has {len(found)} rows with {keys}; its keys are {self.spec.keys}")
        return found[0]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, row after row."""
        return tuple(cell for line in self.lines for cell in line.cells.values())

    def values_of(self, key: str) -> list[str]:
        """Values of a key in printed order."""
        return list(dict.fromkeys(line.keys[key] for line in self.lines))


@dataclass(frozen=True)
class Ledger:
    """Tables by number."""

    tables: Mapping[int, Table]
    folder: Path

    def __contains__(self, number: int) -> bool:
        return number in self.tables

    def __getitem__(self, number: int) -> Table:
        return self.tables[number]

    def cell(self, table: int, column: str, **keys: str | int) -> Cell:
        """The cell of a table by the keys of its row, and its column; KeyError if there is none."""
        return self.tables[table].line(**keys).cells[column]

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells of all tables."""
        return (cell for table in self.tables.values() for cell in table.cells)

    def with_texts(self, changes: Mapping[tuple[int, int, str], str]) -> Ledger:
        """The same with other digits at (table, line of the file, column)."""
        tables = {
            number: Table(table.spec, tuple(_changed(line, changes) for line in table.lines))
            for number, table in self.tables.items()
        }
        return Ledger(tables, self.folder)


def _changed(line: Line, changes: Mapping[tuple[int, int, str], str]) -> Line:
    cells = {
        name: Cell(c.table, c.keys, c.column, changes.get((c.table, c.line, c.column), c.text), c.spec, c.line)
        for name, c in line.cells.items()
    }
    return Line(line.table, line.keys, cells)


def read_ledger(folder: Path, shapes: Path | None = None) -> Ledger:
    """Read the tables of a folder.

    Parameters
    ----------
    folder
        Holds the tables' CSV files, and :data:`INDEX` unless ``shapes`` is given.
    shapes
        Folder whose index says what the tables look like; tables whose file ``folder`` lacks are left out.

    Raises
    ------
    SpecError
        The index or a table cannot be used; all problems of all files.
    """
    index = (shapes or folder) / INDEX
    document = read_yaml(index, index.as_posix())
    problems = list(document.problems)
    entries = document.data.get("tables", []) if isinstance(document.data, dict) else []
    if not problems and not entries:
        problems.append(SpecProblem(index.as_posix(), 1, "tables", "a list of tables", "none found"))
    tables: dict[int, Table] = {}
    for number in range(len(entries)):
        spec, faults = validate(TableSpec, document, ("tables", number))
        problems += faults
        if isinstance(spec, TableSpec):
            path = _file_of(folder, spec)
            if path is None and shapes is not None:
                continue
            tables[spec.table] = _read_table(path or folder / spec.file, spec, problems)
    if not tables and not problems:
        problems.append(
            SpecProblem(folder.as_posix(), None, "", "tables as CSV files, e.g. table_03.csv", "none of them found")
        )
    if problems:
        raise SpecError(problems)
    return Ledger(dict(sorted(tables.items())), folder)


def _file_of(folder: Path, spec: TableSpec) -> Path | None:
    """The file of a table, at its place or in the folder itself."""
    return next((path for path in (folder / spec.file, folder / Path(spec.file).name) if path.is_file()), None)


def _read_table(path: Path, spec: TableSpec, problems: list[SpecProblem]) -> Table:
    shown = path.as_posix()
    if not path.is_file():
        problems.append(SpecProblem(shown, None, "", "the table's CSV file", "no such file", "check the path"))
        return Table(spec, ())
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        header = list(reader.fieldnames or ())
        wanted = [*spec.keys, *spec.columns]
        for name in wanted:
            if name not in header:
                problems.append(
                    SpecProblem(
                        shown, 1, name, f"columns {', '.join(wanted)}", "no such column", did_you_mean(name, header)
                    )
                )
        if any(name not in header for name in wanted):
            return Table(spec, ())
        lines = [_line(record, spec, shown, reader.line_num, problems) for record in reader]
    seen: dict[tuple[str, ...], int] = {}
    for line in lines:
        place = next(iter(line.cells.values())).line if line.cells else 0
        key = tuple(line.keys.values())
        if key in seen:
            problems.append(
                SpecProblem(shown, place, line.label, "every row once", f"the row stands on line {seen[key]}, too")
            )
        seen[key] = place
    return Table(spec, tuple(lines))


def _line(
    record: Mapping[str, str | None], spec: TableSpec, shown: str, number: int, problems: list[SpecProblem]
) -> Line:
    keys = {name: (record[name] or "").strip() for name in spec.keys}
    cells = {}
    for name, column in spec.columns.items():
        text = (record[name] or "").strip()
        cells[name] = Cell(spec.table, keys, name, text, column, number)
        if text not in MISSING and not column.text and last_digit(text) is None:
            problems.append(SpecProblem(shown, number, name, "a number, or nothing where none is printed", f"'{text}'"))
    return Line(spec.table, keys, cells)


MISSING = ("", "-", "–", "nan")
"""What stands where no number is printed."""


def read_tables_of(folder: Path | None, paper: Path) -> Ledger:
    """The tables of a folder, which may bring its own index, or are shaped like the paper's; None: the paper's.

    Raises
    ------
    SpecError
        As :func:`read_ledger`.
    """
    if folder is None:
        return read_ledger(paper)
    if not folder.is_dir():
        raise SpecError(
            [SpecProblem(folder.as_posix(), None, "", "a folder of tables", "no such folder", "check the path")]
        )
    return read_ledger(folder, None if (folder / INDEX).is_file() else paper)
