"""Possible values: shares, cosines and correlations between their ends, counts of no more than there are, order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from pydantic import Field

from editverdict.ledger.findings import Finding, Verdict, compared, worst
from editverdict.ledger.joins import partner
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell, Line
from editverdict.schema.base import Spec


class Ends(Spec):
    """Between which numbers a value lies; an end that is not named is open."""

    low: float | None = None
    high: float | None = None

    @property
    def range(self) -> Range:
        """The same as a range."""
        return Range(-math.inf if self.low is None else self.low, math.inf if self.high is None else self.high)


class PossibleSettings(Settings):
    """Which values are possible at all, by what a column is."""

    units: dict[str, Ends] = Field(default_factory=dict)
    """Unit of a column (``percent``) -> its ends."""
    columns: dict[str, Ends] = Field(default_factory=dict)
    """Column -> its ends; it goes before the unit."""
    others: Ends | None = None
    """Ends of all other columns of numbers."""
    ascending: tuple[tuple[str, ...], ...] = ()
    """Columns that do not fall from left to right in a row: (min, mean, max)."""
    at_most: dict[str, str] = Field(default_factory=dict)
    """Column -> column of a table beside this one that holds the most it can be (the dimension)."""
    on: tuple[str, ...] = ()
    """Keys of its row."""


@kind("possible-values", PossibleSettings)
def possible_values(scope: Scope) -> Iterator[Finding]:
    """No number is one that its quantity cannot have; one finding per row. Bounds bind no cell."""
    for line in scope.lines():
        held = [*_within(line, scope.settings, scope), *_rising(line, scope.settings, scope)]
        if not held:
            continue
        verdict = worst(one for one, _, _, _ in held)
        broken = [(expected, cell) for one, expected, cell, _ in held if one != "consistent"]
        shown = [one for one in held if one[0] != "consistent"] or held
        cells = {id(cell): cell for _, _, *both in shown for cell in both if cell is not None}
        yield scope.finding(
            verdict,
            list(cells.values()),
            expected="; ".join(expected for expected, _ in broken) or f"{len(held)} bounds kept",
            found="; ".join(f"{cell.column} {cell.text}" for _, cell in broken) or "all of them",
            row=line.label,
        )


_Held = tuple[Verdict, str, Cell, Cell | None]
"""Verdict, what is possible, the number, and another that it is held against."""


def _within(line: Line, own: PossibleSettings, scope: Scope) -> Iterator[_Held]:
    for column, cell in line.cells.items():
        if not cell.number:
            continue
        ends = own.columns.get(column) or own.units.get(cell.spec.unit) or own.others
        if ends is not None:
            yield compared(cell, ends.range, scope.rule.broken), f"{column} {_words(ends)}", cell, None
        if column in own.at_most and (most := partner(scope, line, own.on, own.at_most[column])):
            allowed = Range(-math.inf, most[0].range.high)
            yield compared(cell, allowed, scope.rule.broken), f"{column} at most {most[0].text}", cell, most[0]


def _rising(line: Line, own: PossibleSettings, scope: Scope) -> Iterator[_Held]:
    for columns in own.ascending:
        here = [line.cells[column] for column in columns if column in line.cells and line.cells[column].number]
        for small, large in pairwise(here):
            allowed = Range(small.range.low, math.inf)
            yield compared(large, allowed, scope.rule.broken), f"{large.column} at least {small.text}", large, small


def _words(ends: Ends) -> str:
    """The ends in words."""
    words = [f"{name} {end:g}" for name, end in (("at least", ends.low), ("at most", ends.high)) if end is not None]
    return " and ".join(words) or "any number"
