"""Points: numbers of wide and of long tables under the same keys, so that one can be held against another."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import Field

from editverdict.ledger.findings import Finding
from editverdict.ledger.ranges import SLACK, Range
from editverdict.ledger.rules import Scope
from editverdict.ledger.tables import Cell
from editverdict.schema.base import Spec

T = TypeVar("T")


class Pick(Spec):
    """Which numbers of which table, and under which names."""

    table: int | None = None
    """None: the table in question."""
    columns: tuple[str, ...] = ()
    """None named: all columns of numbers."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Key -> values: only rows that have one of them."""
    without: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Key -> values: no row that has one of them."""
    spread: str = "column"
    """Key that holds the column's name; in a long table a key of the table that does so already."""
    names: dict[str, str] = Field(default_factory=dict)
    """Key of this table -> what it is called elsewhere."""
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Key (its name elsewhere) -> value in this table -> value elsewhere."""
    scale: float = 1.0
    """What the numbers are multiplied by: 100 makes percent of fractions."""


@dataclass(frozen=True)
class Point:
    """A printed number with its keys, in the unit in which it is compared."""

    keys: Mapping[str, str]
    cell: Cell
    scale: float = 1.0

    @property
    def value(self) -> float:
        """The number as printed, scaled."""
        return self.cell.value * self.scale

    @property
    def unit(self) -> float:
        """One unit of the last printed digit, scaled."""
        return self.cell.unit * self.scale

    @property
    def range(self) -> Range:
        """What the printed number may stand for, scaled."""
        return self.cell.range * self.scale

    def key(self, names: Iterable[str]) -> tuple[str, ...]:
        """Values of keys; KeyError names one that is missing."""
        return tuple(self.keys[name] for name in names)


def points(scope: Scope, pick: Pick) -> list[Point]:
    """The numbers of a pick in printed order; cells that hold none are left out."""
    found = []
    for line in scope.lines(pick.table):
        if not _wanted(line.keys, pick):
            continue
        keys = {pick.names.get(name, name): value for name, value in line.keys.items()}
        for column in pick.columns or tuple(line.cells):
            cell = line.cells[column]
            if cell.number:
                named = {**keys, "table": str(cell.table)}
                named.setdefault(pick.spread, column)
                named = {name: pick.values.get(name, {}).get(value, value) for name, value in named.items()}
                found.append(Point(named, cell, pick.scale))
    return found


def _wanted(keys: Mapping[str, str], pick: Pick) -> bool:
    wanted = all(keys.get(name) in values for name, values in pick.where.items())
    return wanted and not any(keys.get(name) in values for name, values in pick.without.items())


def grouped(items: Iterable[T], by: Callable[[T], Hashable]) -> dict[Hashable, list[T]]:
    """Items by what they have in common, in order of appearance."""
    found: dict[Hashable, list[T]] = {}
    for item in items:
        found.setdefault(by(item), []).append(item)
    return found


def others(point: Point, *names: str) -> tuple[tuple[str, str], ...]:
    """All keys of a point but the named ones."""
    return tuple(sorted((name, value) for name, value in point.keys.items() if name not in names))


def label(point: Point, *without: str) -> str:
    """The keys of a point in words; a column is named by its name."""
    return " ".join(value for name, value in point.keys.items() if name not in ("table", *without))


def may_be_above(one: Range, other: Range) -> bool:
    """Whether some number of the one range is no less than some of the other.

    Equal prints may be different numbers, in either order. Ranges that only touch (0.10 and 0.11 at 0.105) do not help:
    one number is not printed in two ways.
    """
    if math.isclose(one.high, other.low, rel_tol=SLACK, abs_tol=SLACK):
        return one.low == one.high and other.low == other.high
    return one.high > other.low


def forgiving(findings: Sequence[Finding], handful: float) -> Iterator[Finding]:
    """The same findings; if the broken ones are at most a share of all, they are a handful of exceptions: rounding."""
    broken = [one for one in findings if one.verdict in ("implausible", "inconsistent")]
    few = len(broken) <= handful * len(findings)
    for one in findings:
        yield replace(one, verdict="rounding") if few and one in broken else one
