"""Printed rank correlations: rho, its p as a number or a bound, and how many observations explain them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from pydantic import Field

from editverdict.ledger.findings import Finding
from editverdict.ledger.ranges import Range
from editverdict.ledger.ranks import Arrangements, Structure, lattice, p_of
from editverdict.ledger.rules import Scope, Settings
from editverdict.ledger.tables import Cell, Line


class CorrelationSettings(Settings):
    """Where rho and p stand."""

    rho: str = "rho"
    p: str = "p"
    op: str | None = "p_op"
    """Column that says whether p is printed as a number (=) or as a bound (<)."""
    n: int | None = Field(default=None, ge=3)
    """Number of observations; left out: the one that explains the most of the printed p."""
    search: tuple[int, int] = (4, 60)
    """First and last number of observations to look at."""


@dataclass(frozen=True)
class Printed:
    """A row with its rho and its p."""

    line: Line
    rho: Cell
    p: Cell
    bound: bool
    """Whether p is printed as a bound."""

    @property
    def p_range(self) -> Range:
        """What p may be."""
        return Range(0.0, max(self.p.value, 0.0)) if self.bound else self.p.range

    @property
    def shown(self) -> str:
        """The p as printed."""
        return f"< {self.p.text}" if self.bound else self.p.text

    @property
    def numbers(self) -> tuple[Cell, ...]:
        """Cells that determine each other: a bound determines nothing."""
        return (self.rho,) if self.bound else (self.rho, self.p)


def printed_rows(scope: Scope, own: CorrelationSettings) -> list[Printed]:
    """Rows of all tables in question that print both."""
    found = []
    for table in scope.tables:
        for line in scope.lines(table):
            cells = line.numbers(own.rho, own.p)
            if cells is not None:
                found.append(Printed(line, cells[0], cells[1], is_bound(line, own.op)))
    return found


def is_bound(line: Line, op: str | None) -> bool:
    """Whether a row prints its p as a bound."""
    return op is not None and op in line.cells and line.cells[op].text.startswith(("<", "≤"))


def explained(rows: Iterable[Printed], n: int) -> list[Printed]:
    """Rows with p as a number that follows from rho by the t approximation with n observations."""
    return [row for row in rows if not row.bound and p_of(row.rho.range, n).meets(row.p.range)]


def best_numbers(rows: Sequence[Printed], search: tuple[int, int]) -> list[tuple[int, int]]:
    """(rows explained, n), most rows first."""
    counts = [(len(explained(rows, n)), n) for n in range(search[0], search[1] + 1)]
    return sorted(counts, key=lambda one: (-one[0], one[1]))


def observations(rows: Sequence[Printed], own: CorrelationSettings) -> int | None:
    """The n that settings name, or the one that explains the most of p; None if it explains less than half of them."""
    if own.n is not None:
        return own.n
    most, n = best_numbers(rows, own.search)[0]
    return n if most and 2 * most >= sum(not row.bound for row in rows) else None


def undecided(scope: Scope, rows: Sequence[Printed], why: str) -> Finding:
    """One finding on all rows: the rule cannot be held against them."""
    cells = [cell for row in rows for cell in (row.rho, row.p)]
    return scope.finding(
        "undefined", cells, expected="what the rule needs", found="not there", sentence=f"{why}.", row="all rows"
    )


UNKNOWN_N = "No number of observations explains the printed p by the t approximation"


def countable(n: int | None, largest: int) -> str:
    """Why the orders of n observations cannot be gone through; nothing if they can."""
    if n is None:
        return UNKNOWN_N
    return (
        f"The printed p belong to n = {n}, and orders are counted for 3 to {largest}" if not 3 <= n <= largest else ""
    )


def by_keys(rows: Iterable[Printed], keys: Sequence[str]) -> dict[tuple[str, ...], list[Printed]]:
    """Rows by the values of keys, in printed order."""
    found: dict[tuple[str, ...], list[Printed]] = {}
    for row in rows:
        found.setdefault(tuple(row.line.keys.get(key, "") for key in keys), []).append(row)
    return found


def clause(sentence: str) -> str:
    """A sentence as the end of another one: without its stop, and small at the beginning unless a name stands there."""
    text = sentence.strip().rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


Match = tuple[Arrangements, float]


@dataclass(frozen=True)
class Explanation:
    """Ties that explain printed correlations of one ranked series with several series of values."""

    tied: tuple[int, ...]
    """Sizes of groups of equal values in the ranked series."""
    structures: dict[tuple[str, ...], frozenset[Structure]]
    """Series of values -> its structures that explain all of its rows; none: no structure does."""
    matches: dict[int, tuple[Match, ...]]
    """Index of a row -> what may have been printed so, structures as above."""

    @property
    def left(self) -> int:
        """How many series are not explained."""
        return sum(not found for found in self.structures.values())


def explain(
    rows: Sequence[Printed], values: Sequence[str], n: int, ranked_ties: Sequence[tuple[int, ...]]
) -> Explanation:
    """The first of several kinds of ties in the ranked series with which every series of values has a structure.

    Parameters
    ----------
    rows
        Rows about one ranked series, or several with ties of the same sizes.
    values
        Keys that tell the series of values apart: rows with equal keys have the same values.
    n
        Number of observations.
    ranked_ties
        Sizes of groups of equal values to try, simplest first. If none explains all, the one that leaves the fewest.
    """
    best: Explanation | None = None
    for tied in ranked_ties:
        found = _explain(rows, values, n, tuple(tied))
        if best is None or found.left < best.left:
            best = found
        if not best.left:
            break
    if best is None:
        raise ValueError("there is no kind of ties to try")
    return best


def _explain(rows: Sequence[Printed], values: Sequence[str], n: int, tied: tuple[int, ...]) -> Explanation:
    here = [_matching(n, tied, row.rho.range, row.p_range) for row in rows]
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(tuple(row.line.keys.get(key, "") for key in values), []).append(i)
    structures, matches = {}, {}
    for group, members in groups.items():
        common = frozenset.intersection(*(frozenset(one.valued for one, _ in here[i]) for i in members))
        structures[group] = common
        for i in members:
            matches[i] = tuple(match for match in here[i] if match[0].valued in common)
    return Explanation(tied, structures, matches)


@cache
def _matching(n: int, tied: tuple[int, ...], rho: Range, p: Range) -> tuple[Match, ...]:
    return tuple(lattice(n, tied).matching(rho, p))
