"""Numbers printed twice: do two rows agree more than chance allows?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.points import Pick, Point, grouped, label, others, points
from editverdict.ledger.rules import Scope, Settings, kind


class CopiedSettings(Settings):
    """Which rows are held against each other, and how unlikely their agreement must be."""

    picks: tuple[Pick, ...] = (Pick(),)
    differ: tuple[str, ...]
    """Keys by which the two differ; they agree in all others."""
    along: tuple[str, ...] = ()
    """Keys that tell the numbers of a row apart; none: a row has one number."""
    like: tuple[str, ...] = ()
    """Keys by which numbers are of one sort (spread alike): those of ``along``, unless said otherwise."""
    chance: float = Field(default=0.01, gt=0, lt=1)
    """How many agreements by chance, over all ``cases`` together, are too few to believe in."""
    cases: int = Field(default=1, ge=1)
    """How many tables (or sets of tables) such rules look at: each may use its part of ``chance``."""
    questions: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Table -> sort of numbers -> of how many questions they are percentages: they come in steps of 100 over it."""
    floor: float = 0.0
    """Numbers up to it count as no agreement: those of collapsed models are all small."""
    at_least: int = Field(default=1, ge=1)
    """Fewer equal numbers than these are no copy of a row."""


@dataclass(frozen=True)
class Profile:
    """The numbers of a row by what tells them apart."""

    first: Point
    at: Mapping[tuple[str, ...], Point]


@kind("copied", CopiedSettings)
def copied(scope: Scope) -> Iterator[Finding]:
    """Two rows have no more numbers in common than chance would give them.

    Two numbers whose difference has the standard deviation s over all pairs, printed in steps u, are equal with
    probability u / (sqrt(2 pi) s), the height of the difference's normal density times a step. Steps are the greatest
    common divisor of what is printed, or those of the questions. Chance of m equal numbers of n, over all pairs:
    pairs * binomial(n, m) * product of the probabilities, where s is what the equal numbers before leave of it (by
    regression over all pairs): numbers may be linearly dependent. Numbers up to the floor (0 at least), and 100, count
    as no agreement.
    """
    own: CopiedSettings = scope.settings
    found = [point for pick in own.picks for point in points(scope, pick)]
    kept = [point for point in found if own.floor < point.value != 100.0]
    # Whether numbers are of one sort must not hang on which of them the two rows differ by.
    alike = own.like or own.along
    sorts: dict[tuple[str, ...], list[Point]] = {}
    for point in kept:
        sorts.setdefault(_sort(point, alike), []).append(point)
    steps = {sort: _step(members, own, sort) for sort, members in sorts.items()}
    pairs = list(_pairs(_profiles(kept, own), own))
    apart: dict[tuple[str, ...], list[float]] = {}
    for one, two in pairs:
        for at in one.at.keys() & two.at.keys():
            apart.setdefault(_sort(one.at[at], alike), []).append(one.at[at].value - two.at[at].value)
    odds = {sort: _odds(differences, steps[sort]) for sort, differences in apart.items()}
    for pair in pairs:
        yield _pair(scope, pair, {at: odds.get(_sort(p, alike), 1.0) for at, p in pair[0].at.items()}, pairs)


def _sort(point: Point, like: Sequence[str]) -> tuple[str, ...]:
    return (str(point.cell.table), *point.key(like))


def _step(members: Sequence[Point], own: CopiedSettings, sort: Sequence[str]) -> float:
    """Step in which the numbers of a sort come."""
    unit = min(point.unit for point in members)
    step = math.gcd(*(round(point.value / unit) for point in members)) * unit
    questions = own.questions.get(sort[0], {}).get(" ".join(sort[1:]))
    return max(step, 100.0 / questions) if questions else step


def _apart(pairs: Sequence[tuple[Profile, Profile]], ats: Sequence[tuple[str, ...]]) -> NDArray[np.float64]:
    """Differences [pairs, numbers] between the rows of the pairs that have all of these numbers."""
    both = [pair for pair in pairs if all(at in row.at for at in ats for row in pair)]
    return np.array([[one.at[at].value - two.at[at].value for at in ats] for one, two in both]).reshape(-1, len(ats))


def _odds(differences: Sequence[float], step: float) -> float:
    """Probability that two numbers are printed alike: step times the density of their difference at zero.

    That of a normal density whose spread is the smaller of the usual and the robust one (1.4826 median deviations).
    """
    away = np.abs(differences)
    spread = min(float(np.sqrt(np.mean(away**2))), 1.4826 * float(np.median(away)))
    return min(1.0, step / (math.sqrt(2 * math.pi) * spread)) if spread > 0.0 else 1.0


def _profiles(found: Sequence[Point], own: CopiedSettings) -> list[Profile]:
    rows = grouped(found, lambda p: others(p, "table", *own.along))
    return [Profile(row[0], {p.key(own.along): p for p in row}) for row in rows.values()]


def _left(pairs: Sequence[tuple[Profile, Profile]], at: tuple[str, ...], known: Sequence[tuple[str, ...]]) -> float:
    """What part of the spread of a difference others leave that are known; 0 where too few pairs tell."""
    apart = _apart(pairs, [*known, at])
    free = len(apart) - len(known)
    total = float(np.sqrt(np.mean(apart[:, -1] ** 2))) if free >= 3 else 0.0
    if total == 0.0:
        return 0.0
    slopes = np.linalg.lstsq(apart[:, :-1], apart[:, -1])[0]
    rest = apart[:, -1] - apart[:, :-1] @ slopes
    return min(math.sqrt(float(rest @ rest) / free) / total, 1.0)


def _together(
    equal: Sequence[tuple[str, ...]], odds: Mapping[tuple[str, ...], float], pairs: Sequence[tuple[Profile, Profile]]
) -> float:
    """Probability that two rows agree in all of these numbers."""
    chance = 1.0
    for i, at in enumerate(equal):
        left = _left(pairs, at, equal[:i]) if i else 1.0
        chance *= min(odds[at] / left, 1.0) if left > 0.0 else 1.0
    return chance


def _pairs(profiles: Sequence[Profile], own: CopiedSettings) -> Iterator[tuple[Profile, Profile]]:
    """Rows that differ by all of the keys named and by nothing else."""
    hidden = ("table", *own.along)
    for blocks in grouped(profiles, lambda r: others(r.first, *hidden, *own.differ)).values():
        for one, two in combinations(blocks, 2):
            if all(a != b for a, b in zip(one.first.key(own.differ), two.first.key(own.differ), strict=True)):
                yield one, two


def _pair(
    scope: Scope,
    rows: tuple[Profile, Profile],
    odds: Mapping[tuple[str, ...], float],
    pairs: Sequence[tuple[Profile, Profile]],
) -> Finding:
    one, two = rows
    own: CopiedSettings = scope.settings
    shared = [at for at in one.at if at in two.at]
    equal = [at for at in shared if math.isclose(one.at[at].value, two.at[at].value, rel_tol=1e-9)]
    by_chance = len(pairs) * math.comb(len(shared), len(equal)) * _together(equal, odds, pairs)
    limit = own.chance / own.cases
    copy = len(equal) >= own.at_least and by_chance < limit
    verdict: Verdict = scope.rule.broken if copy else "consistent"
    cells = [profile.at[at].cell for at in (equal or shared) for profile in (one, two)]
    names = " and ".join(_name(profile.first, own) for profile in (one, two))
    common = ", ".join(" ".join((*at, one.at[at].cell.text)).strip() for at in equal) or "none"
    return scope.finding(
        verdict,
        cells,
        expected=f"at least {limit:.2g} such agreements by chance, if rows are independent"
        if equal
        else "no agreement needed",
        found=f"{len(equal)} of {len(shared)} equal ({common}); {by_chance:.2g} by chance" if equal else "none equal",
        row=f"{names}, {label(one.first, *own.along, *own.differ)}".strip(", "),
    )


def _name(point: Point, own: CopiedSettings) -> str:
    return " ".join(point.key(own.differ))
