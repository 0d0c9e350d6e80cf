"""Printed tables: every cell with the keys of its row, its digits, and the range that they stand for."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from editverdict.ledger.ranges import Range, last_digit, printed
from editverdict.schema.base import Spec
from editverdict.schema.errors import SpecError, SpecProblem, did_you_mean, nearest
from editverdict.schema.translate import validate
from editverdict.schema.yaml_loader import Document, read_yaml

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
    shapes: Mapping[int, TableSpec] = field(default_factory=dict, repr=False)
    """All tables that the index describes, those included whose file is not there."""

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
        """The same with other digits at (table, line of the file, column); tables without a change are shared."""
        touched = {number for number, _, _ in changes}
        tables = {
            number: Table(table.spec, tuple(_changed(line, changes) for line in table.lines))
            if number in touched
            else table
            for number, table in self.tables.items()
        }
        return Ledger(tables, self.folder, self.shapes)


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
    entries = items_of(document, "tables", problems)
    tables: dict[int, Table] = {}
    described: dict[int, TableSpec] = {}
    for number in range(entries):
        spec, faults = validate(TableSpec, document, ("tables", number))
        problems += faults
        if not isinstance(spec, TableSpec):
            continue
        path = _file_of(folder, spec)
        described.setdefault(spec.table, spec)
        if spec.table in tables:
            found = f"Table {spec.table} a second time"
            problems.append(document.problem(("tables", number, "table"), expected="every number once", found=found))
        elif path is not None or shapes is None:
            tables[spec.table] = _read_table(path or folder / spec.file, spec, problems)
    if not tables and not problems:
        problems.append(
            SpecProblem(folder.as_posix(), None, "", "tables as CSV files, e.g. table_03.csv", "none of them found")
        )
    if problems:
        raise SpecError(problems)
    return Ledger(dict(sorted(tables.items())), folder, described)


def items_of(document: Document, name: str, problems: list[SpecProblem]) -> int:
    """How many items the one list of a document has; none, and a problem, if there is no such list."""
    if document.problems:
        return 0
    items = document.data.get(name) if isinstance(document.data, dict) else None
    if isinstance(items, list) and items:
        return len(items)
    others = [str(key) for key in document.data] if isinstance(document.data, dict) else []
    found = "none" if items is None or items == [] else "no list"
    problems.append(
        SpecProblem(document.file, 1, name, f"'{name}:' and a list below it", found, _instead(name, others))
    )
    return 0


def _instead(name: str, others: list[str]) -> str:
    near = nearest(name, others)
    return f"'{near}' should be '{name}'" if near and near != name else ""


def unread(ledger: Ledger) -> list[str]:
    """CSV files of the folder that are none of the tables, with the name that may be meant."""
    read = {Path(table.spec.file).name for table in ledger.tables.values()}
    found = sorted(path.name for path in ledger.folder.glob("*.csv") if path.name not in read)
    return [f"{name}: not read, since the index names no such file" for name in found]


def _file_of(folder: Path, spec: TableSpec) -> Path | None:
    """The file of a table, at its place or in the folder itself."""
    return next((path for path in (folder / spec.file, folder / Path(spec.file).name) if path.is_file()), None)


def _read_table(path: Path, spec: TableSpec, problems: list[SpecProblem]) -> Table:
    shown = path.as_posix()
    if not path.is_file():
        problems.append(SpecProblem(shown, None, "", "the table's CSV file", "no such file", "check the path"))
        return Table(spec, ())
    rows = _rows(path, spec, problems)
    lines = [_line(number, record, spec, shown, problems) for number, record in rows]
    seen: dict[tuple[str, ...], int] = {}
    for (number, _), line in zip(rows, lines, strict=True):
        first = seen.setdefault(tuple(line.keys.values()), number)
        if first != number:
            found = f"the row stands on line {first}, too"
            problems.append(
                SpecProblem(
                    shown, number, line.label, f"every {', '.join(spec.keys)} once", found, "remove one of them"
                )
            )
    return Table(spec, tuple(lines))


def _rows(path: Path, spec: TableSpec, problems: list[SpecProblem]) -> list[tuple[int, dict[str, str]]]:
    """Rows by column with the lines on which they end; none, and a problem, if the file cannot be used."""
    shown, wanted = path.as_posix(), [*spec.keys, *spec.columns]
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x}"
        problems.append(SpecProblem(shown, line, "", "text in UTF-8", found, "save the file as UTF-8"))
        return []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if not _header_fits(header, wanted, shown, problems):
            return []
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                expected, found = f"{len(header)} fields, as in line 1", f"{len(fields)} fields"
                hint = "put quotes around a text that contains a comma" if len(fields) > len(header) else ""
                problems.append(SpecProblem(shown, reader.line_num, "", expected, found, hint))
                continue
            rows.append((reader.line_num, dict(zip(header, (field.strip() for field in fields), strict=True))))
    except csv.Error as error:
        problems.append(
            SpecProblem(shown, reader.line_num, "", "comma-separated values", str(error), "check the quotes")
        )
        return []
    if not rows and not any(problem.file == shown for problem in problems):
        problems.append(SpecProblem(shown, 1, "", "at least one row below the names of the columns", "none"))
    return rows


def _header_fits(header: list[str], wanted: list[str], shown: str, problems: list[SpecProblem]) -> bool:
    expected = f"columns {', '.join(wanted)}"
    if not any(header):
        problems.append(SpecProblem(shown, 1, "", expected, "an empty file"))
        return False
    before = len(problems)
    for name in wanted:
        if header.count(name) != 1:
            found = "two columns of this name" if name in header else "no such column"
            hint = (
                "remove one of them" if name in header else did_you_mean(name, [h for h in header if h not in wanted])
            )
            problems.append(SpecProblem(shown, 1, name, expected, found, hint))
    return len(problems) == before


def _line(number: int, record: Mapping[str, str], spec: TableSpec, shown: str, problems: list[SpecProblem]) -> Line:
    keys = {name: record[name] for name in spec.keys}
    problems += [
        SpecProblem(shown, number, name, "what tells the row from others", "nothing") for name in keys if not keys[name]
    ]
    cells = {}
    for name, column in spec.columns.items():
        text = record[name]
        cells[name] = Cell(spec.table, keys, name, text, column, number)
        if text not in MISSING and not column.text and not _is_number(text):
            expected = "a number, or nothing where none is printed"
            problems.append(SpecProblem(shown, number, name, expected, f"'{text}'", _number_hint(text)))
    return Line(spec.table, keys, cells)


def _is_number(text: str) -> bool:
    return last_digit(text) is not None and "_" not in text and math.isfinite(float(text))


def _number_hint(text: str) -> str:
    """What to try where a number is written in another way."""
    for written, plain in ((",", "."), ("%", ""), ("_", ""), ("*", ""), ("\u2212", "-")):
        if written in text and _is_number(text.replace(written, plain).strip()):
            return f"write {text.replace(written, plain).strip()}"
    return ""


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
