"""Averages: a column that is to be the plain mean of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from editverdict.ledger import ranges
from editverdict.ledger.findings import Finding, Verdict, compared
from editverdict.ledger.ranges import SLACK, Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell


class MeanSettings(Settings):
    """A column and those that it averages."""

    of: tuple[str, ...]
    equals: str


@kind("mean", MeanSettings)
def mean(scope: Scope) -> Iterator[Finding]:
    """The mean of the parts *as printed*: authors average the printed numbers or the unrounded ones, so both may be.

    consistent: the mean of the printed numbers, rounded; rounding: only unrounded parts explain it, or one unit more.
    """
    own: MeanSettings = scope.settings
    for line in scope.lines():
        cells = line.numbers(*own.of, own.equals)
        if cells is not None:
            *parts, average = cells
            expected = Range.exactly(sum(part.value for part in parts) / len(parts))
            verdict = _verdict(average, parts, expected, scope.rule.broken)
            yield scope.finding(verdict, cells, expected=expected, found=average.text, binding=cells)


def _verdict(average: Cell, parts: Sequence[Cell], expected: Range, broken: Verdict) -> Verdict:
    # A mean that lies half-way between two printed numbers may be rounded to either.
    if abs(average.value - expected.low) <= average.unit / 2 * (1 + 1e-6) + SLACK:
        return "consistent"
    loose = compared(average, ranges.mean([part.range for part in parts]), broken)
    return "rounding" if loose == "consistent" else loose
