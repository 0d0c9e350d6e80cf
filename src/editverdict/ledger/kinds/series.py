"""Series: what a column does along a key whose values have an order (k, edits, layers)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.joins import common_label, groups, number_of, partner, rows
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell, Line


class AlongSettings(Settings):
    """A column along a key."""

    column: str
    along: str
    """Numbers are put in their order; other values stay at the end, as printed."""


def _ordered(lines: Sequence[Line], key: str) -> list[Line]:
    return sorted(lines, key=lambda line: number if (number := number_of(line.keys[key])) is not None else float("inf"))


def _series(scope: Scope, own: AlongSettings) -> Iterator[tuple[str, list[Line], list[Cell]]]:
    """Label, rows and cells of every series of at least two numbers."""
    for group in groups([line for line, _ in rows(scope, own.column)], apart=own.along):
        lines = _ordered(group, own.along)
        if len(lines) > 1:
            yield common_label(lines), lines, [line.cells[own.column] for line in lines]


class MonotoneSettings(AlongSettings):
    """A direction in which the column may not turn back."""

    direction: Literal["up", "down"]
    slack: float = 0.0
    """A step back is one by more than this."""
    per: Literal["series", "step"] = "series"
    """One finding for a series, or for each step."""


@kind("monotone-along", MonotoneSettings)
def monotone_along(scope: Scope) -> Iterator[Finding]:
    """A column that a definition, or a sentence, allows to move in one direction only."""
    own: MonotoneSettings = scope.settings
    word = "no fall" if own.direction == "up" else "no rise"
    expected = f"{word} along {own.along}" + (f" by more than {own.slack:g}" if own.slack else "")

    def back(one: Cell, two: Cell) -> bool:
        """Whether the step goes the wrong way whatever the digits stand for."""
        high, low = (one, two) if own.direction == "up" else (two, one)
        if own.slack:
            return high.value - low.value > own.slack * (1 + 1e-9)
        return high.range.low > low.range.high

    for label, lines, cells in _series(scope, own):
        steps = list(pairwise(cells))
        wrong = [back(one, two) for one, two in steps]
        if own.per == "series":
            verdict: Verdict = scope.rule.broken if any(wrong) else "consistent"
            text = f"{'/'.join(cell.text for cell in cells)}: {sum(wrong)} of {len(steps)} steps turn back"
            yield scope.finding(verdict, cells, expected=expected, found=text, row=label)
            continue
        for (one, two), turned, (before, after) in zip(steps, wrong, pairwise(lines), strict=True):
            row = f"{label}, {own.along} {before.keys[own.along]} to {after.keys[own.along]}"
            verdict = scope.rule.broken if turned else "consistent"
            yield scope.finding(verdict, (one, two), expected=expected, found=f"{one.text} to {two.text}", row=row)


class JumpSettings(AlongSettings):
    """A factor by which neighbours may differ."""

    factor: float = 10.0
    scale: str = ""
    """Column of a table beside this one that the numbers are divided by where both neighbours have it."""
    on: tuple[str, ...] = ()
    """Keys of its row."""


def _scaled(scope: Scope, own: JumpSettings, lines: Sequence[Line], cells: Sequence[Cell]) -> tuple[list[Range], bool]:
    """What two numbers stand for, divided by their scales if both are known, and whether they were."""
    scales = [partner(scope, line, own.on, own.scale) if own.scale else None for line in lines]
    found = [cell.range for cell in cells]
    known = [scale[0].range for scale in scales if scale is not None and scale[0].range.low > 0]
    if len(known) < len(found):
        return found, False
    return [one / scale for one, scale in zip(found, known, strict=True)], True


@kind("jump", JumpSettings)
def jump(scope: Scope) -> Iterator[Finding]:
    """Neighbours in a series that should be of one order of magnitude, whatever the rounded digits stand for."""
    own: JumpSettings = scope.settings
    for label, lines, cells in _series(scope, own):
        for (one, two), (before, after) in zip(pairwise(cells), pairwise(lines), strict=True):
            pair, scaled = _scaled(scope, own, (before, after), (one, two))
            small, large = sorted(pair, key=lambda end: end.low + end.high)
            ratio = max(large.low, 0.0) / small.high if small.high > 0 else float("inf")
            verdict: Verdict = scope.rule.broken if ratio > own.factor else "consistent"
            by = f", divided by {own.scale}" if scaled else ""
            yield scope.finding(
                verdict,
                (one, two),
                expected=f"a factor of at most {own.factor:g}{by}",
                found=f"{one.text} to {two.text} (at least x{max(ratio, 1.0):.3g}{by})",
                row=f"{label}, {own.along} {before.keys[own.along]} to {after.keys[own.along]}",
            )


class TwoValuedSettings(AlongSettings):
    """When a series counts as jumping to and fro between two values."""

    gap: float
    """The two are at least so far apart."""
    times: float = 5.0
    """... and so many times as far as the numbers around each of them."""
    switches: int = 3
    """So often it changes from one to the other."""


@kind("two-valued", TwoValuedSettings)
def two_valued(scope: Scope) -> Iterator[Finding]:
    """A series that should drift, and changes to and fro between two levels."""
    own: TwoValuedSettings = scope.settings
    for label, lines, cells in _series(scope, own):
        values = sorted(cell.value for cell in cells)
        gap, cut = max((b - a, (a + b) / 2) for a, b in pairwise(values))
        low, high = [v for v in values if v < cut], [v for v in values if v > cut]
        spread = max(max(some) - min(some) if some else 0.0 for some in (low, high))
        above = [cell.value > cut for cell in cells]
        switches = sum(a != b for a, b in pairwise(above))
        two = gap >= own.gap and gap >= own.times * spread and switches >= own.switches
        steps = [line.keys[own.along] for line in lines]
        below, over = ([step for step, up in zip(steps, above, strict=True) if up == side] for side in (False, True))
        found = f"largest gap {gap:.3g}, {switches} changes over it"
        if two:
            found = (
                f"{min(low):g} to {max(low):g} at {own.along} {','.join(below)}; "
                f"{min(high):g} to {max(high):g} at {','.join(over)}"
            )
        verdict: Verdict = scope.rule.broken if two else "consistent"
        yield scope.finding(verdict, cells, expected=f"drift along {own.along}", found=found, row=label)


class MovesSettings(AlongSettings):
    """When a series counts as not moving at all."""

    within: float
    """Largest minus smallest."""
    low: float
    high: float
    """Only series between these ends count: others sit at a limit of the scale."""


@kind("moves", MovesSettings)
def moves(scope: Scope) -> Iterator[Finding]:
    """A series that should move, and has one value throughout."""
    own: MovesSettings = scope.settings
    for label, _, cells in _series(scope, own):
        values = [cell.value for cell in cells]
        still = max(values) - min(values) <= own.within * (1 + 1e-9)
        inside = own.low < max(values) < own.high
        verdict: Verdict = scope.rule.broken if still and inside else "consistent"
        found = f"{min(values):g} to {max(values):g}"
        yield scope.finding(verdict, cells, expected=f"a move by more than {own.within:g}", found=found, row=label)
