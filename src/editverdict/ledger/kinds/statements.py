"""Sentences and captions as statements that a table holds to: better than, falling, flat, between, within a bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import Field

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.points import Pick, Point, forgiving, grouped, label, may_be_above, others, points
from editverdict.ledger.ranges import SLACK, Range
from editverdict.ledger.rules import Scope, Settings, kind


class DominatesSettings(Settings):
    """Who is to be at least as good as whom."""

    pick: Pick = Pick()
    key: str = "method"
    best: tuple[str, ...]
    over: tuple[str, ...] = ()
    """None named: over all others."""
    strict: bool = False
    """Equal prints may be different numbers, so that they break no order; a lower print does."""
    margin: float = 0.0
    """How far below still counts as equal."""
    handful: float = 0.0
    """Share of exceptions that are called rounding."""


@kind("dominates", DominatesSettings)
def dominates(scope: Scope) -> Iterator[Finding]:
    """The best is at least as good as each of the others, number by number; a tendency, so it binds no cell."""
    own: DominatesSettings = scope.settings
    found = []
    for group in grouped(points(scope, own.pick), lambda p: others(p, own.key)).values():
        for best in (p for p in group if p.keys[own.key] in own.best):
            for other in group:
                name = other.keys[own.key]
                if name not in own.best and (not own.over or name in own.over):
                    found.append(_over(scope, best, other, own))
    yield from forgiving(found, own.handful)


def _over(scope: Scope, best: Point, other: Point, own: DominatesSettings) -> Finding:
    holds = may_be_above(best.range + own.margin, other.range)
    sign = "above" if own.strict else "at least"
    return scope.finding(
        "consistent" if holds else scope.rule.broken,
        [best.cell, other.cell],
        expected=f"{sign} {other.cell.text} ({other.keys[own.key]})",
        found=f"{best.cell.text} ({best.keys[own.key]})",
        row=label(other),
    )


class OrderedSettings(Settings):
    """Along which key numbers are to rise or fall."""

    pick: Pick = Pick()
    key: str
    order: tuple[str, ...] = Field(min_length=2)
    """Values of the key, in the order in which the numbers are to rise or fall."""
    direction: Literal["up", "down"]
    strict: bool = False
    """Equal prints may be different numbers, so that they break no order; only the words differ."""
    noise: float = Field(default=0.0, ge=0)
    """Steps the wrong way up to this share of the number are called rounding."""
    margin: float = Field(default=0.0, ge=0)
    """Steps the wrong way up to this distance are none."""
    handful: float = 0.0
    """Share of exceptions that are called rounding."""
    some: tuple[str, ...] = ()
    """Keys by which steps are counted together: it is enough that one of them goes the way; none: each must."""


@kind("ordered", OrderedSettings)
def ordered(scope: Scope) -> Iterator[Finding]:
    """Each step of the order goes the way that it should; one finding per step, or per group of which some must."""
    own: OrderedSettings = scope.settings
    steps: list[tuple[Point, Point]] = []
    for group in grouped(points(scope, own.pick), lambda p: others(p, own.key)).values():
        at = {point.keys[own.key]: point for point in group}
        steps += pairwise(at[value] for value in own.order if value in at)
    if not own.some:
        yield from forgiving([_step(scope, one, two, own) for one, two in steps], own.handful)
        return
    for members in grouped(steps, lambda pair: pair[0].key(own.some)).values():
        yield _some_step(scope, members, own)


def _goes(one: Point, two: Point, own: OrderedSettings) -> bool:
    """Whether some numbers that are printed so go the way."""
    small, large = (one, two) if own.direction == "up" else (two, one)
    return may_be_above(large.range + own.margin, small.range)


def _some_step(scope: Scope, steps: Sequence[tuple[Point, Point]], own: OrderedSettings) -> Finding:
    going = sum(_goes(one, two, own) for one, two in steps)
    return scope.finding(
        "consistent" if going else scope.rule.broken,
        [point.cell for pair in steps for point in pair],
        expected=f"{own.direction} along {own.key} somewhere",
        found=f"{going} of {len(steps)} may go {own.direction}",
        row=" ".join(steps[0][0].key(own.some)),
    )


def _step(scope: Scope, one: Point, two: Point, own: OrderedSettings) -> Finding:
    verdict: Verdict = "consistent"
    if not _goes(one, two, own):
        near = abs(two.value - one.value) < own.noise * abs(one.value) - SLACK
        verdict = "rounding" if near else scope.rule.broken
    word = {"up": "above" if own.strict else "not below", "down": "below" if own.strict else "not above"}[own.direction]
    return scope.finding(
        verdict,
        [one.cell, two.cell],
        expected=f"{word} {one.cell.text} ({own.key} {one.keys[own.key]})",
        found=f"{two.cell.text} ({own.key} {two.keys[own.key]})",
        row=label(one, own.key),
    )


class BetweenSettings(Settings):
    """A whole and its parts."""

    whole: Pick
    parts: Pick
    on: tuple[str, ...]


@kind("between", BetweenSettings)
def between(scope: Scope) -> Iterator[Finding]:
    """A rate over all lies between the rates over the parts that make it up, whatever their sizes."""
    own: BetweenSettings = scope.settings
    parts = grouped(points(scope, own.parts), lambda p: p.key(own.on))
    for whole in points(scope, own.whole):
        members = parts.get(whole.key(own.on), [])
        if len(members) < 2:
            continue
        expected = Range(min(p.range.low for p in members), max(p.range.high for p in members))
        fits = whole.range.meets(expected)
        near = whole.range.wider(whole.unit).meets(expected)
        yield scope.finding(
            "consistent" if fits else "rounding" if near else scope.rule.broken,
            [whole.cell, *(p.cell for p in members)],
            expected=expected,
            found=whole.cell.text,
            row=label(whole),
        )


class FlatSettings(Settings):
    """Along which keys numbers stay where they are."""

    pick: Pick = Pick()
    along: tuple[str, ...]
    within: float = Field(gt=0)
    """Largest allowed distance between the largest and the smallest."""
    relative: bool = False
    """Whether the distance is a share of the largest."""


@kind("flat", FlatSettings)
def flat(scope: Scope) -> Iterator[Finding]:
    """The numbers of a group stay together: 'stable', 'robust', 'regardless of'. One finding per group."""
    own: FlatSettings = scope.settings
    for group in grouped(points(scope, own.pick), lambda p: others(p, *own.along)).values():
        values = [point.value for point in group]
        apart = max(values) - min(values)
        if own.relative:
            apart /= max(abs(value) for value in values) or 1.0
        yield scope.finding(
            "consistent" if apart <= own.within + SLACK else scope.rule.broken,
            [point.cell for point in group],
            expected=f"at most {own.within:g} apart" + (" of the largest" if own.relative else ""),
            found=f"{min(values):g} to {max(values):g}",
            row=label(group[0], *own.along),
        )


class BoundedSettings(Settings):
    """Where numbers must lie."""

    pick: Pick = Pick()
    low: float = float("-inf")
    high: float = float("inf")
    """In the unit of the pick; a printed number is outside if all that it may stand for is."""
    most: bool = False
    """Whether it is enough that most rows of a group do."""
    group: tuple[str, ...] = ()
    """Keys by which rows are counted together, if ``most``."""


@kind("bounded", BoundedSettings)
def bounded(scope: Scope) -> Iterator[Finding]:
    """Every number (or most of a group) lies between two bounds; binds the cells if the bounds are one number."""
    own: BoundedSettings = scope.settings
    allowed = Range(own.low, own.high)
    found = points(scope, own.pick)
    if not own.most:
        for point in found:
            inside = allowed.meets(point.range)
            yield scope.finding(
                "consistent" if inside else scope.rule.broken,
                [point.cell],
                expected=allowed,
                found=point.cell.text,
                row=label(point),
                # Outside already, another digit would not show.
                binding=[point.cell] if inside and own.low == own.high else [],
            )
        return
    for key, group in grouped(found, lambda p: p.key(own.group)).items():
        yield _majority(scope, " ".join(map(str, key if isinstance(key, tuple) else (key,))), group, allowed)


def _majority(scope: Scope, row: str, group: Sequence[Point], allowed: Range) -> Finding:
    inside = sum(allowed.meets(point.range) for point in group)
    return scope.finding(
        "consistent" if 2 * inside > len(group) else scope.rule.broken,
        [point.cell for point in group],
        expected=f"most of {len(group)}: {allowed}",
        found=f"{inside} of {len(group)}",
        row=row or "all rows",
    )


class ImprovesSettings(Settings):
    """Two picks whose numbers belong together; the left is to be better."""

    left: Pick
    right: Pick
    on: tuple[str, ...]
    strict: bool = True
    """Equal prints may be different numbers, so that they break no order; only the words differ."""
    share: float = 1.0
    """Of the right number, that the left must reach."""
    alive: float = 0.0
    """Only pairs whose right number is at least this."""


@kind("improves-on", ImprovesSettings)
def improves_on(scope: Scope) -> Iterator[Finding]:
    """What is added makes it better: each left number is above its right one."""
    own: ImprovesSettings = scope.settings
    right = grouped(points(scope, own.right), lambda p: p.key(own.on))
    for left in points(scope, own.left):
        for other in right.get(left.key(own.on), []):
            if other.value < own.alive - SLACK:
                continue
            needed = other.value * own.share
            holds = may_be_above(left.range, other.range * own.share)
            yield scope.finding(
                "consistent" if holds else scope.rule.broken,
                [left.cell, other.cell],
                expected=f"{'above' if own.strict else 'at least'} {needed:g} (Table {other.cell.table})",
                found=f"{left.value:g} (Table {left.cell.table})",
                row=label(left),
            )
