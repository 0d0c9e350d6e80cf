"""Bounds: on a column as words state them, and between mean, extremes and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from editverdict.ledger.findings import Finding, Verdict, compared
from editverdict.ledger.joins import partner, rows, with_partner
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.sharp import sharp
from editverdict.ledger.tables import Cell


class MagnitudeSettings(Settings):
    """A power of ten that a caption gives for a column."""

    column: str
    about: float
    decades: float = 0.5
    """How far from it, in powers of ten, still rounds to it."""


@kind("order-of-magnitude", MagnitudeSettings)
def order_of_magnitude(scope: Scope) -> Iterator[Finding]:
    """A column described as "about 10^-5": every row should round to that power of ten."""
    own: MagnitudeSettings = scope.settings
    factor = 10.0**own.decades
    for line, cells in rows(scope, own.column):
        allowed = Range(own.about / factor, own.about * factor)
        verdict: Verdict = "consistent" if cells[0].range.meets(allowed) else scope.rule.broken
        yield scope.finding(
            verdict, cells, expected=f"about {own.about:g}: {allowed}", found=cells[0].text, row=line.label
        )


class SmallerSettings(Settings):
    """A column that is said to be much smaller than another, without a threshold."""

    column: str
    than: str
    clearly: float
    """At or below this ratio nobody would object to the word."""
    at_all: float = 1.0
    """At or above this ratio the word is wrong."""


@kind("much-smaller", SmallerSettings)
def much_smaller(scope: Scope) -> Iterator[Finding]:
    """A comparison in words: right, wrong, or open because no threshold and no baseline is given."""
    own: SmallerSettings = scope.settings
    for line, cells in rows(scope, own.column, own.than):
        ratio = cells[0].value / cells[1].value
        verdict: Verdict = "undefined"
        if ratio <= own.clearly:
            verdict = "consistent"
        elif ratio >= own.at_all:
            verdict = scope.rule.broken
        expected = f"clearly at {own.clearly:g} times {own.than} or less"
        yield scope.finding(verdict, cells, expected=expected, found=f"{ratio:.3f} times", row=line.label)


class SpreadSettings(Settings):
    """Columns of mean, extremes and standard deviation, and of how many numbers they are."""

    mean: str
    std: str
    low: str
    high: str
    count: float = 0.0
    """How many numbers, if the paper says so; 0: not known, or ``size``."""
    size: str = ""
    """Column of a table beside this one that holds how many numbers there are."""
    on: tuple[str, ...] = ()


def spread_of(mean: Range, low: Range, high: Range, count: float) -> Range | None:
    """Standard deviations that ``count`` numbers with this mean and these extremes can have.

    At most ``sqrt((high - mean)(mean - low))`` (Bhatia and Davis 2000); at least what one number at ``high`` (or at
    ``low``) and all others alike give, ``|high - mean| / sqrt(count - 1)``. None: no such numbers exist.
    """
    above, below = high.high - mean.low, mean.high - low.low
    if above < 0 or below < 0:
        return None
    most = math.sqrt(above * below)
    away = max(high.low - mean.high, mean.low - low.high, 0.0)
    least = away / math.sqrt(count - 1) if count > 1 else 0.0
    return Range(least, most) if least <= most else None


@kind("spread", SpreadSettings)
def spread(scope: Scope) -> Iterator[Finding]:
    """A standard deviation must be possible beside the mean and the extremes that are printed with it."""
    own: SpreadSettings = scope.settings
    columns = (own.std, own.mean, own.low, own.high)

    def expected(cells: Sequence[Cell]) -> Range | None:
        count = cells[4].value if len(cells) > 4 else own.count
        return spread_of(cells[1].range, cells[2].range, cells[3].range, count)

    def judge(cells: Sequence[Cell]) -> Verdict:
        allowed = expected(cells)
        return scope.rule.broken if allowed is None else compared(cells[0], allowed, scope.rule.broken)

    found = with_partner(scope, columns, own.on, (own.size,)) if own.size else rows(scope, *columns)
    for line, cells in found:
        allowed = expected(cells)
        said = "a mean between the extremes" if allowed is None else str(allowed)
        bound = sharp(cells, judge)
        yield scope.finding(judge(cells), cells, expected=said, found=cells[0].text, row=line.label, binding=bound)


class CountedSettings(Settings):
    """How many of the numbers lie above a level, beside their mean and extremes."""

    mean: str
    low: str
    high: str
    above: str
    level: float = 1.0
    size: str
    on: tuple[str, ...]


@kind("mean-with-count", CountedSettings)
def mean_with_count(scope: Scope) -> Iterator[Finding]:
    """A mean must be possible with the extremes and with how many numbers lie above a level."""
    own: CountedSettings = scope.settings
    for line, cells in rows(scope, own.mean, own.low, own.high, own.above):
        size = partner(scope, line, own.on, own.size)
        if size is None:
            continue
        low, high, above = (cell.range for cell in cells[1:])
        d, n = size[0].value, above.low
        if not 0 < n < d:
            continue
        least = (high.low + (n - 1) * own.level + (d - n) * low.low) / d
        most = (n * high.high + (d - n) * own.level) / d
        fine = low.low <= own.level <= high.high and least <= most
        allowed = Range(least, most) if least <= most else Range.exactly(least)
        verdict = compared(cells[0], allowed, scope.rule.broken) if fine else scope.rule.broken
        yield scope.finding(verdict, [*cells, *size], expected=allowed, found=cells[0].text, row=line.label)
