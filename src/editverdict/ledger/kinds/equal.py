"""Equality: cells that print the same number twice, rows that should differ and do not, rows that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

from pydantic import Field

from editverdict.ledger.findings import Finding, Verdict, compared
from editverdict.ledger.joins import common_label, groups, partner, rows
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.sharp import sharp
from editverdict.ledger.tables import Cell, Line
from editverdict.schema.base import Spec


class Column(Spec):
    """A column of the first table and the one of the second that prints the same; a long table may need more keys."""

    first: str
    second: str
    first_keys: dict[str, str] = Field(default_factory=dict)
    """Rows of the first table that are meant (e.g. ``metric: rel``)."""
    second_keys: dict[str, str] = Field(default_factory=dict)


class Joined(Settings):
    """Two tables (the rule's first two) and how their rows and columns correspond."""

    on: dict[str, str]
    """Key of the first table -> key of the second."""
    columns: tuple[Column, ...]
    first: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Key -> values: only these rows of the first table."""
    second: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    names: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Key of the first table -> {its value there: the value in the second table}, where the spelling differs."""


def _wanted(line: Line, keys: Mapping[str, str], among: Mapping[str, Sequence[str]]) -> bool:
    return all(line.keys.get(k) == v for k, v in keys.items()) and all(line.keys.get(k) in v for k, v in among.items())


def _pairs(scope: Scope, own: Joined) -> Iterator[tuple[Line, Line, Cell, Cell]]:
    """Cells of the first and the second table that correspond and hold numbers."""
    here, there = (scope.ledger[number].lines for number in scope.tables[:2])
    for column in own.columns:
        known: dict[tuple[str, ...], list[Line]] = {}
        for line in there:
            if _wanted(line, column.second_keys, own.second):
                known.setdefault(tuple(line.keys[key] for key in own.on.values()), []).append(line)
        for line in here:
            if not _wanted(line, column.first_keys, own.first):
                continue
            key = tuple(own.names.get(k, {}).get(line.keys[k], line.keys[k]) for k in own.on)
            for other in known.get(key, ()):
                one, two = line.numbers(column.first), other.numbers(column.second)
                if one and two:
                    yield line, other, one[0], two[0]


class SameSettings(Joined):
    """``first = scale * second + offset``, up to the digits that both print."""

    scale: float = 1.0
    offset: float = 0.0


@kind("same", SameSettings)
def same(scope: Scope) -> Iterator[Finding]:
    """A number that two tables print must be the same number, up to the digits of the one that prints fewer."""
    own: SameSettings = scope.settings

    def judge(cells: Sequence[Cell]) -> Verdict:
        one, two = cells
        scaled = two.range * own.scale + own.offset
        if one.unit >= two.unit * abs(own.scale):
            return compared(one, scaled, scope.rule.broken)
        return compared(two, (one.range - own.offset) / own.scale, scope.rule.broken)

    for line, other, one, two in _pairs(scope, own):
        cells = (one, two)
        row = f"{line.label}, {one.column} against Table {other.table}, {other.label}, {two.column}"
        expected = two.range * own.scale + own.offset
        yield scope.finding(
            judge(cells), cells, expected=expected, found=one.text, row=row, binding=sharp(cells, judge)
        )


class OrderSettings(Joined):
    """``first >= second`` (or ``<=``), up to rounding."""

    relation: Literal["at least", "at most"]


@kind("order-between-tables", OrderSettings)
def order_between_tables(scope: Scope) -> Iterator[Finding]:
    """One of two corresponding numbers must not be the smaller one."""
    own: OrderSettings = scope.settings
    for line, other, one, two in _pairs(scope, own):
        small, large = (two, one) if own.relation == "at least" else (one, two)
        fine = small.range.low <= large.range.high
        row = f"{line.label}, {one.column} against Table {other.table}, {other.label}, {two.column}"
        expected = f"{own.relation} {two.text}"
        verdict: Verdict = "consistent" if fine else scope.rule.broken
        yield scope.finding(verdict, (one, two), expected=expected, found=one.text, row=row)


class NearSettings(Joined):
    """All corresponding cells of rows within a distance."""

    per: tuple[str, ...]
    """Keys whose values stay together: one finding for all their rows."""
    within: float


@kind("near-between-tables", NearSettings)
def near_between_tables(scope: Scope) -> Iterator[Finding]:
    """Two tables that should differ and print nearly the same: one finding for all rows of the keys ``per``."""
    own: NearSettings = scope.settings
    found: dict[tuple[str, ...], list[tuple[Cell, Cell]]] = {}
    for line, _, one, two in _pairs(scope, own):
        found.setdefault(tuple(line.keys[key] for key in own.per), []).append((one, two))
    for shared, pairs in found.items():
        apart = max(abs(one.value - two.value) for one, two in pairs)
        near = apart <= own.within * (1 + 1e-9)
        texts = ["/".join(pair[side].text for pair in pairs) for side in (0, 1)]
        cells = [cell for pair in pairs for cell in pair]
        verdict: Verdict = scope.rule.broken if near else "consistent"
        yield scope.finding(
            verdict,
            cells,
            expected=f"apart by more than {own.within:g} somewhere",
            found=" and ".join(texts),
            row=" ".join(shared),
        )


class OneValueSettings(Settings):
    """Columns that hold one number in all rows that share keys."""

    columns: tuple[str, ...]
    per: tuple[str, ...]


@kind("one-value", OneValueSettings)
def one_value(scope: Scope) -> Iterator[Finding]:
    """A property of a model (its width, say) is the same number wherever it is printed: that of most rows."""
    own: OneValueSettings = scope.settings
    for column in own.columns:
        found: dict[tuple[str, ...], list[tuple[Line, Cell]]] = {}
        for line, cells in rows(scope, column):
            found.setdefault(tuple(line.keys.get(key, "") for key in own.per), []).append((line, cells[0]))
        for members in found.values():
            usual = Counter(cell.value for _, cell in members).most_common(1)[0][0]
            for line, cell in members:
                expected = Range.exactly(usual)
                verdict: Verdict = "consistent" if cell.range.meets(expected) else scope.rule.broken
                bound = (cell,) if len(members) > 2 and verdict == "consistent" else ()
                yield scope.finding(verdict, (cell,), expected=expected, found=cell.text, row=line.label, binding=bound)


class AlikeSettings(Settings):
    """Rows that differ in one key and agree in columns, each within a relative tolerance."""

    across: str
    """Key in which the rows differ (``method``)."""
    columns: dict[str, float]
    """Column -> relative tolerance."""
    least: int = 2
    """So many rows must agree."""
    unlike: str = ""
    """A column that must differ all the same, by ``factor``, before the agreement counts."""
    factor: float = 1.0


def _near(one: Line, two: Line, columns: Mapping[str, float]) -> bool:
    pairs = [(one.cells[c].value, two.cells[c].value, tolerance) for c, tolerance in columns.items()]
    return all(abs(a - b) <= tolerance * max(abs(a), abs(b)) * (1 + 1e-9) for a, b, tolerance in pairs)


def _largest_agreement(lines: Sequence[Line], columns: Mapping[str, float]) -> list[Line]:
    """The largest set of rows that all agree with one of them."""
    sets = [[other for other in lines if _near(line, other, columns)] for line in lines]
    return max(sets, key=len)


@kind("alike", AlikeSettings)
def alike(scope: Scope) -> Iterator[Finding]:
    """Rows whose numbers should depend on a key (the method) and do not."""
    own: AlikeSettings = scope.settings
    needed = [*own.columns, *([own.unlike] if own.unlike else [])]
    for group in groups([line for line, _ in rows(scope, *needed)], apart=own.across):
        if len(group) < own.least:
            continue
        agreed = _largest_agreement(group, own.columns)
        broken = len(agreed) >= own.least
        shown = agreed if broken else group
        if own.unlike:
            values = [line.cells[own.unlike].range for line in agreed]
            broken &= max(v.low for v in values) >= own.factor * max(min(v.high for v in values), 0.0)
        names = "=".join(line.keys[own.across] for line in agreed) if len(agreed) >= own.least else "no two alike"
        texts = "; ".join(f"{c} {'/'.join(line.cells[c].text for line in shown)}" for c in needed)
        cells = [line.cells[column] for line in shown for column in needed]
        expected = f"dependent on {own.across}"
        if own.unlike:
            expected = f"{own.unlike} alike too, or the others unlike"
        verdict: Verdict = scope.rule.broken if broken else "consistent"
        yield scope.finding(verdict, cells, expected=expected, found=f"{names}: {texts}", row=common_label(group))


class RowsSettings(Settings):
    """Keys whose combinations in the first table the second must have, too."""

    on: tuple[str, ...]


@kind("rows-also-in", RowsSettings)
def rows_also_in(scope: Scope) -> Iterator[Finding]:
    """A second table about the same experiment has a row for each row of the first."""
    own: RowsSettings = scope.settings
    there = {tuple(line.keys.get(key, "") for key in own.on) for line in scope.ledger[scope.tables[1]].lines}
    for line in scope.lines():
        if any(key not in line.keys for key in own.on):
            continue
        present = tuple(line.keys[key] for key in own.on) in there
        cells = [cell for cell in line.cells.values() if cell.number]
        verdict: Verdict = "consistent" if present else scope.rule.broken
        expected = f"a row in Table {scope.tables[1]}"
        yield scope.finding(verdict, cells, expected=expected, found="there" if present else "missing", row=line.label)


class SharedFactorSettings(Settings):
    """A column that must be alike in rows that agree in others: the same scale belongs to all of them."""

    across: str
    column: str
    columns: dict[str, float]
    """Column of this table -> relative tolerance within which the rows must agree first."""
    beside: dict[str, float] = Field(default_factory=dict)
    """The same for columns of the table beside this one."""
    on: tuple[str, ...] = ()
    scale: str = ""
    """Column of a table beside this one that the ratio is the reciprocal ratio of (a divisor)."""
    scale_on: tuple[str, ...] = ()
    limit: float


@kind("shared-divisor", SharedFactorSettings)
def shared_divisor(scope: Scope) -> Iterator[Finding]:
    """Equal changes over one common divisor must be equal: where they are not, the divisor was not the same number."""
    own: SharedFactorSettings = scope.settings
    for group in groups([line for line, _ in rows(scope, own.column, *own.columns)], apart=own.across):
        for one, two in combinations(group, 2):
            beside = [partner(scope, line, own.on, *own.beside) if own.beside else [] for line in (one, two)]
            if beside[0] is None or beside[1] is None or not _near(one, two, own.columns):
                continue
            pairs = zip(beside[0], beside[1], own.beside.values(), strict=True)
            if any(abs(a.value - b.value) > t * max(a.value, b.value) * (1 + 1e-9) for a, b, t in pairs):
                continue
            cells = [one.cells[own.column], two.cells[own.column]]
            ratio = max(cells[0].value / cells[1].value, cells[1].value / cells[0].value)
            names = " and ".join(line.keys[own.across] for line in (one, two))
            found = f"{cells[0].text} and {cells[1].text} (x{ratio:.3g})"
            divisor = partner(scope, one, own.scale_on, own.scale) if own.scale else None
            if divisor:
                other = divisor[0].value * ratio
                less = divisor[0].value / ratio
                found += f"; with {own.scale} {divisor[0].text} in one, {less:.3g} or {other:.3g} in the other"
            verdict: Verdict = scope.rule.broken if ratio > own.limit else "consistent"
            yield scope.finding(
                verdict,
                [*cells, *beside[0], *beside[1]],
                expected=f"a ratio of 1, at most {own.limit:g}",
                found=found,
                row=f"{common_label(group)}, {names}",
            )
