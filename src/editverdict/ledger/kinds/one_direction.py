"""Statistics over directions that one of them carries: what is left without it, and what a placeholder does to them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from editverdict.ledger.findings import Finding, Verdict, compared
from editverdict.ledger.joins import partner, rows, with_partner
from editverdict.ledger.kinds.bounds import spread_of
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell


class OneSettings(Settings):
    """A statistic over d directions and the largest of them."""

    column: str
    high: str
    size: str
    on: tuple[str, ...]
    statistic: Literal["mean", "std"]
    tolerance: float
    """How near the ratio must be to 1."""


@kind("one-carries", OneSettings)
def one_carries(scope: Scope) -> Iterator[Finding]:
    """One number among d zeros has the mean ``max / d`` and the standard deviation ``max / sqrt(d)`` (nearly)."""
    own: OneSettings = scope.settings
    for line, cells in with_partner(scope, (own.column, own.high), own.on, (own.size,)):
        value, high, size = cells
        share = size.value if own.statistic == "mean" else math.sqrt(size.value)
        if value.value <= 0:
            continue
        ratio = high.value / (share * value.value)
        verdict: Verdict = scope.rule.broken if abs(ratio - 1) <= own.tolerance else "consistent"
        name = "max/(d mean)" if own.statistic == "mean" else "max/(sqrt(d) std)"
        expected = f"{name} away from 1 by more than {own.tolerance:g}"
        yield scope.finding(verdict, cells, expected=expected, found=f"{name} = {ratio:.4f}", row=line.label)


class RestSettings(Settings):
    """What the mean of the other directions is held against."""

    mean: str
    high: str
    above: str
    """Directions above 1."""
    size: str
    on: tuple[str, ...]
    of: Literal["most", "few"]
    """Rows in which all but ``slack`` directions are above 1, or one to ``slack`` of them are."""
    slack: int
    resolved: float
    """Rows whose digits leave the mean within +- this are judged one by one; the others only together."""
    test: Literal["equals", "below", "tail"]
    against: float
    """equals: this number; below: below it; tail: how many directions can be above it."""
    many: float = 0.0
    """tail: this share of the directions would be many."""


@dataclass(frozen=True)
class Rest:
    """Mean over all directions but the largest."""

    label: str
    cells: tuple[Cell, ...]
    """Mean, largest, count above 1, dimension."""
    range: Range

    @property
    def middle(self) -> float:
        """As the printed digits have it."""
        return (self.range.low + self.range.high) / 2

    @property
    def error(self) -> float:
        """Standard error of the middle: the errors of two roundings, each uniform."""
        mean, high, _, size = self.cells
        return math.hypot(size.value * mean.unit, high.unit) / math.sqrt(12.0) / (size.value - 1)


def rest_of(mean: Range, high: Range, size: float) -> Range:
    """``(d mean - max) / (d - 1)``."""
    return (mean * size - high) / (size - 1.0)


def _rests(scope: Scope, own: RestSettings) -> list[Rest]:
    """Rows the settings are about."""
    found = []
    for line, cells in with_partner(scope, (own.mean, own.high, own.above), own.on, (own.size,)):
        mean, high, above, size = cells
        odd = size.value - above.value if own.of == "most" else above.value
        if (0 if own.of == "most" else 1) <= odd <= own.slack:
            found.append(Rest(line.label, tuple(cells), rest_of(mean.range, high.range, size.value)))
    return found


def _pooled(rests: Sequence[Rest]) -> tuple[float, float, int]:
    """Mean over rows, its standard error, and how many rows they are.

    Rows of a table that print the same numbers count once. Unweighted: weights by the digits would hand the result to
    one row.
    """
    distinct = {(one.cells[0].table, one.cells[0].value, one.cells[1].value): one for one in rests}
    values = [one.middle for one in distinct.values()]
    return float(np.mean(values)), math.hypot(*(one.error for one in distinct.values())) / len(values), len(values)


def _judge(rest: Range, size: float, above: float, own: RestSettings, broken: Verdict) -> tuple[Verdict, str]:
    """Verdict, and what was found about the tail if that is the question."""
    if own.test == "equals":
        return (broken if rest.meets(own.against) else "consistent"), ""
    if own.test == "below":
        return (broken if rest.high < own.against else "consistent"), ""
    # All but a few are above 1, so each direction above the level takes (level - 1) of what the mean is above 1.
    spare = max(rest.high * (size - 1.0) - (above - 1.0), 0.0)
    share = min(spare / (own.against - 1.0) / size, 1.0)
    found = f"; at most {100 * share:.1f} % of the directions can be above {own.against:g}"
    return (broken if share < own.many else "consistent"), found


@kind("mean-of-the-rest", RestSettings)
def mean_of_the_rest(scope: Scope) -> Iterator[Finding]:
    """The mean without the largest, row by row where the digits suffice, and over all rows together."""
    own: RestSettings = scope.settings
    rests = _rests(scope, own)
    names = {"equals": "other than", "below": "at least", "tail": f"{100 * own.many:g} % of the directions above"}
    expected = f"{names[own.test]} {own.against:.4g}"
    for one in rests:
        if one.range.high - one.middle <= own.resolved:
            verdict, tail = _judge(one.range, one.cells[3].value, one.cells[2].value, own, scope.rule.broken)
            found = f"{one.middle:.3f} (+-{one.range.high - one.middle:.3f}){tail}"
            yield scope.finding(verdict, one.cells, expected=expected, found=found, row=one.label)
    if len(rests) > 1:
        middle, error, number = _pooled(rests)
        together = Range(middle - 2 * error, middle + 2 * error)
        size = min(one.cells[3].value for one in rests)
        verdict, tail = _judge(together, size, size - own.slack, own, scope.rule.broken)
        found = f"{middle:.2f} (standard error {error:.2f}){tail}"
        cells = [cell for one in rests for cell in one.cells]
        yield scope.finding(verdict, cells, expected=expected, found=found, row=f"{number} different rows together")


class NothingSettings(Settings):
    """When counts are all or nothing, and which key's values go with which."""

    above: str
    size: str
    on: tuple[str, ...]
    all_but: int
    at_most: int
    between: float
    """From this share of rows between the two on, the counts are graded."""
    key: str
    values: tuple[str, ...]
    """Values of the key that go with "all", as far as it seems."""
    agreement: float
    """From this share of rows on, the key decides."""


@kind("all-or-nothing", NothingSettings)
def all_or_nothing(scope: Scope) -> Iterator[Finding]:
    """Counts that are nearly all or nearly none, and whether a key alone tells which."""
    own: NothingSettings = scope.settings
    found = with_partner(scope, (own.above,), own.on, (own.size,))
    everything = [cells[1].value - cells[0].value <= own.all_but for _, cells in found]
    nothing = [cells[0].value <= own.at_most for _, cells in found]
    middle = [
        f"{line.label} {cells[0].text}"
        for (line, cells), a, b in zip(found, everything, nothing, strict=True)
        if not a and not b
    ]
    cells = [cell for _, pair in found for cell in pair]
    counts = f"{sum(everything)} rows with at least d-{own.all_but}, {sum(nothing)} with at most {own.at_most}"
    text = f"{counts}, {len(middle)} between" + (f" ({'; '.join(middle)})" if middle else "")
    # None anywhere, or all everywhere, is one kind of row: nothing tells two kinds apart.
    two_kinds = any(everything) and any(nothing)
    verdict: Verdict = scope.rule.broken if two_kinds and len(middle) < own.between * len(found) else "consistent"
    yield scope.finding(verdict, cells, expected="graded counts", found=text, row=f"{len(found)} rows")
    inside = [line.keys.get(own.key) in own.values for line, _ in found]
    agree = sum(a == b for a, b in zip(everything, inside, strict=True))
    verdict = scope.rule.broken if two_kinds and agree >= own.agreement * len(found) else "consistent"
    text = f"{agree} of {len(found)} rows: all at {own.key} {','.join(own.values)}, not all elsewhere"
    expected = f"counts that {own.key} alone does not tell"
    yield scope.finding(verdict, cells, expected=expected, found=text, row=f"{own.key} against count")


class SentinelSettings(Settings):
    """A number that stands for "not finite"."""

    sentinel: float
    mean: str
    std: str
    low: str
    high: str
    above: str
    size: str
    on: tuple[str, ...]


@kind("sentinel", SentinelSettings)
def sentinel(scope: Scope) -> Iterator[Finding]:
    """A placeholder among the numbers makes their mean a count: ``clipped = mean d / sentinel``."""
    own: SentinelSettings = scope.settings
    columns = (own.mean, own.std, own.low, own.high, own.above)
    for line, cells in with_partner(scope, columns, own.on, (own.size,)):
        mean, std, low, high, above, size = cells
        if high.value != own.sentinel:
            yield scope.finding("consistent", cells, expected="finite numbers", found=high.text, row=line.label)
            continue
        clipped = mean.range * size.value / own.sentinel
        share = mean.value / own.sentinel
        implied = own.sentinel * math.sqrt(share * (1.0 - share))
        possible = spread_of(mean.range, low.range, high.range, size.value)
        fits = possible is not None and compared(std, possible, "inconsistent") != "inconsistent"
        text = f"{mean.text}: {share * size.value:.1f} ({clipped}) placeholders of {above.text} above 1; std {std.text}"
        text += "" if fits else f" (possible is {implied:.3g})"
        yield scope.finding(
            scope.rule.broken, cells, expected="a mean without the placeholder", found=text, row=line.label
        )


class SharedSettings(Settings):
    """A count of zeros that one table implies and a column of another that says there are none."""

    sentinel: float
    mean: str
    size: str
    bottom: str
    on: tuple[str, ...]


@kind("zeros-against-smallest", SharedSettings)
def zeros_against_smallest(scope: Scope) -> Iterator[Finding]:
    """Directions without any scale, counted by the placeholder, beside a smallest scale that is not zero."""
    own: SharedSettings = scope.settings
    for line, (mean,) in rows(scope, own.mean):
        other = partner(scope, line, own.on, own.size, own.bottom)
        if other is None:
            continue
        zeros = mean.value * other[0].value / own.sentinel
        broken = zeros >= 0.5 and other[1].value > 0
        verdict: Verdict = scope.rule.broken if broken else "consistent"
        found = f"{zeros:.0f} directions at the placeholder, {own.bottom} {other[1].text}"
        yield scope.finding(
            verdict, [mean, *other], expected="none, or a smallest of zero", found=found, row=line.label
        )
