"""Numbers printed twice: do two rows agree more than chance allows?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
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

    Two independent numbers of standard deviation s, printed in steps u, are equal with probability u / (2 sqrt(pi) s),
    the height of the difference's normal density times a step. Steps are the greatest common divisor of what is
    printed (or those of the questions), s the standard deviation of all numbers of a sort. Chance of m equal numbers of
    n, over all pairs: pairs * binomial(n, m) * product of the probabilities, where s is what the numbers that are equal
    already leave of it (by regression over all rows). So rows are taken as independent and their numbers as no more
    than linearly dependent. Numbers up to the floor (0 at least), and 100, count as no agreement.
    """
    own: CopiedSettings = scope.settings
    found = [point for pick in own.picks for point in points(scope, pick)]
    kept = [point for point in found if own.floor < point.value != 100.0]
    # Whether numbers are of one sort must not hang on which of them the two rows differ by.
    alike = own.like or own.along
    odds = {sort: _odds(members, own, sort) for sort, members in grouped(kept, lambda p: _sort(p, alike)).items()}
    profiles = _profiles(kept, own)
    pairs = list(_pairs(profiles, own))
    for one, two in pairs:
        yield _pair(scope, (one, two), len(pairs), {at: odds[_sort(p, alike)] for at, p in one.at.items()}, profiles)


def _sort(point: Point, like: Sequence[str]) -> tuple[str, ...]:
    return (str(point.cell.table), *point.key(like))


def _odds(members: Sequence[Point], own: CopiedSettings, sort: Sequence[str]) -> float:
    """Probability that two independent numbers of a sort are printed alike."""
    values = np.array([point.value for point in members])
    unit = min(point.unit for point in members)
    step = math.gcd(*(round(value / unit) for value in values.tolist())) * unit
    questions = own.questions.get(sort[0], {}).get(" ".join(sort[1:]))
    step = max(step, 100.0 / questions) if questions else step
    spread = float(values.std())
    return 1.0 if spread == 0.0 else min(1.0, step / (2 * math.sqrt(math.pi) * spread))


def _profiles(found: Sequence[Point], own: CopiedSettings) -> list[Profile]:
    rows = grouped(found, lambda p: others(p, "table", *own.along))
    return [Profile(row[0], {p.key(own.along): p for p in row}) for row in rows.values()]


def _left(profiles: Sequence[Profile], at: tuple[str, ...], known: Sequence[tuple[str, ...]]) -> float:
    """What part of the standard deviation of a number others leave that are known; 0 where too few rows tell."""
    rows = [[p.at[one].value for one in (*known, at)] for p in profiles if all(one in p.at for one in (*known, at))]
    free = len(rows) - len(known) - 1
    if free < 2:
        return 0.0
    values = np.array(rows)
    total = float(values[:, -1].std(ddof=1))
    design = np.column_stack([np.ones(len(rows)), values[:, :-1]])
    rest = values[:, -1] - design @ np.linalg.lstsq(design, values[:, -1])[0]
    return min(math.sqrt(float(rest @ rest) / free) / total, 1.0) if total > 0.0 else 0.0


def _together(
    equal: Sequence[tuple[str, ...]], odds: Mapping[tuple[str, ...], float], among: Sequence[Profile]
) -> float:
    """Probability that two rows agree in all of these numbers."""
    chance = 1.0
    for i, at in enumerate(equal):
        left = _left(among, at, equal[:i]) if i else 1.0
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
    pairs: int,
    odds: Mapping[tuple[str, ...], float],
    among: Sequence[Profile],
) -> Finding:
    one, two = rows
    own: CopiedSettings = scope.settings
    shared = [at for at in one.at if at in two.at]
    equal = [at for at in shared if math.isclose(one.at[at].value, two.at[at].value, rel_tol=1e-9)]
    by_chance = pairs * math.comb(len(shared), len(equal)) * _together(equal, odds, among)
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
