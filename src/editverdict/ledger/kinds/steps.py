"""Rank correlations along steps: do they follow from the printed values of the steps?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from editverdict.ledger.correlations import (
    Explanation,
    Printed,
    by_keys,
    clause,
    countable,
    explain,
    observations,
    printed_rows,
    undecided,
)
from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.kinds.tied import TiedSettings
from editverdict.ledger.orders import (
    LARGEST_ORDER,
    Shared,
    number_of_orders,
    reachable,
    shared_orders,
    structures_of,
)
from editverdict.ledger.ranges import Range
from editverdict.ledger.ranks import EQUAL, LARGEST, simplest
from editverdict.ledger.rules import Scope, kind
from editverdict.ledger.tables import Cell


class StepSettings(TiedSettings):
    """The last of the rule's tables prints the values of the steps, in their order; the others the correlations."""

    value: str = "value"
    """Its column."""
    match: tuple[str, ...] = Field(min_length=1)
    """Keys that both have in common."""
    most_free: int = Field(default=1, ge=0)
    """Most steps that may be missing from the printed ones."""


@dataclass(frozen=True)
class Steps:
    """Printed values of steps and how many more there are."""

    cells: tuple[Cell, ...]
    free: int

    @property
    def levels(self) -> tuple[int, ...]:
        """Place of each printed number among the different ones."""
        different = sorted({cell.value for cell in self.cells})
        return tuple(different.index(cell.value) for cell in self.cells)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many steps print the smallest number, the next, ..."""
        return tuple(np.bincount(self.levels).tolist())


def _correlations(scope: Scope) -> list[Printed]:
    """Rows of all tables but the last that print a rho."""
    return printed_rows(Scope(scope.ledger, scope.rule, scope.settings, scope.tables[:-1]), scope.settings)


def _held(scope: Scope, most: int, each: Callable[[list[Printed], int], Iterator[Finding]]) -> Iterator[Finding]:
    """What is found row by row; one undefined finding if nothing can be, for want of n, or of the steps."""
    rows = _correlations(scope)
    n = observations(rows, scope.settings)
    why = countable(n, most)
    found = [] if n is None or why else list(each(rows, n))
    if not found and rows:
        found = [undecided(scope, rows, why or "The printed steps are not as many as the printed p need")]
    yield from found


def _steps(scope: Scope, row: Printed, n: int) -> Steps | None:
    """Steps with the keys of a row; None if the table has none, or too few."""
    own: StepSettings = scope.settings
    keys: dict[str, str | int] = {key: row.line.keys[key] for key in own.match}
    lines = scope.ledger[scope.tables[-1]].select(**keys)
    cells = tuple(line.cells[own.value] for line in lines if line.cells[own.value].number)
    free = n - len(cells)
    return Steps(cells, free) if cells and 0 <= free <= own.most_free else None


@kind("rising-steps", StepSettings)
def rising_steps(scope: Scope) -> Iterator[Finding]:
    """The rho is one that a series rising with every step has with the printed values, equal prints in any order."""
    yield from _held(scope, LARGEST, lambda rows, n: _rising(scope, rows, n))


def _rising(scope: Scope, rows: list[Printed], n: int) -> Iterator[Finding]:
    for row in rows:
        steps = _steps(scope, row, n)
        if steps is None:
            continue
        every = reachable(steps.levels, steps.free)
        span = Range(float(every[0]), float(every[-1]))
        rho = row.rho.range
        hit = bool(((every >= rho.low - EQUAL) & (every <= rho.high + EQUAL)).any())
        why = f": {clause(scope.rule.why)}" if scope.rule.why else ""
        said = f"{row.line.label}: with a series that rises with every step rho lies in {span}, "
        said += f"and the printed {row.rho.text} "
        if hit:
            said += "is such a value: the order of the steps alone would give it."
        elif span.meets(rho):
            said += f"is none of the {every.size} possible values{why}."
        else:
            said += f"does not{why}."
        nearest = float(every[np.argmin(np.abs(every - row.rho.value))])
        yield scope.finding(
            "consistent" if hit else scope.rule.broken,
            (row.rho, *steps.cells),
            expected=f"one of {every.size} values from {span}, the nearest {nearest:.4f}",
            found=row.rho.text,
            sentence=said,
        )


@kind("ties-of-steps", StepSettings)
def ties_of_steps(scope: Scope) -> Iterator[Finding]:
    """The ties that explain all rho of a series of values can be ties of the printed values of its steps."""
    yield from _held(scope, LARGEST, lambda rows, n: _ties(scope, rows, n))


def _ties(scope: Scope, rows: list[Printed], n: int) -> Iterator[Finding]:
    own: StepSettings = scope.settings
    for members in by_keys(rows, own.ranked).values():
        found = explain(members, own.values, n, own.ranked_ties)
        for same in by_keys(members, own.values).values():
            steps = _steps(scope, same[0], n)
            if steps is None:
                continue
            name = tuple(same[0].line.keys.get(key, "") for key in own.values)
            explaining = found.structures[name]
            both = sorted(explaining & structures_of(steps.sizes, steps.free))
            label = " ".join(name)
            said = (
                f"{label}: rho needs {simplest(sorted(explaining))}; of these the printed steps allow {simplest(both)}."
            )
            yield scope.finding(
                "consistent" if both else scope.rule.broken,
                [*(row.rho for row in same), *steps.cells],
                expected=simplest(sorted(structures_of(steps.sizes, steps.free))),
                found=simplest(sorted(explaining)),
                sentence=said,
                row=label,
            )


class SharedSettings(StepSettings):
    """Rows whose rho have the same ranked series."""

    series: tuple[str, ...] = Field(min_length=1)
    """Keys that tell ranked series apart."""
    step: str
    """Key that names the steps."""
    most_orders: int = 20000
    """Most ways in which equal prints may be ordered; beyond, the row is left undecided."""


@kind("shared-order", SharedSettings)
def shared_order(scope: Scope) -> Iterator[Finding]:
    """Some order of the ranked series over the steps gives all its printed rho with the printed values at once."""
    yield from _held(scope, LARGEST_ORDER, lambda rows, n: _shared(scope, rows, n))


def _shared(scope: Scope, rows: list[Printed], n: int) -> Iterator[Finding]:
    own: SharedSettings = scope.settings
    for members in by_keys(rows, own.ranked).values():
        found = explain(members, own.values, n, own.ranked_ties)
        for same in by_keys(members, own.series).values():
            steps = [_steps(scope, row, n) for row in same]
            known = [one for one in steps if one is not None and one.free == 1]
            if len(known) == len(same):
                yield _shared_finding(scope, same, known, found, n)


def _shared_finding(
    scope: Scope, rows: Sequence[Printed], steps: Sequence[Steps], found: Explanation, n: int
) -> Finding:
    own: SharedSettings = scope.settings
    label = " ".join(rows[0].line.keys.get(key, "") for key in own.series)
    cells = [*(row.rho for row in rows), *(cell for one in steps for cell in one.cells)]
    expected = f"one order of {n} steps for {len(rows)} rho"
    many = max(number_of_orders(one.sizes) for one in steps)
    if found.tied or many > own.most_orders:
        why = "the ranked series seems to have ties" if found.tied else f"equal prints can be ordered in {many} ways"
        said = f"{label}: not decided, as {why}."
        return scope.finding("undefined", cells, expected=expected, found="open", sentence=said, row=label)
    demands = tuple(
        (one.levels, found.structures[tuple(row.line.keys.get(key, "") for key in own.values)], row.rho.range)
        for row, one in zip(rows, steps, strict=True)
    )
    shared = shared_orders(demands, n)
    count = len(shared.orders)
    verdict: Verdict = "consistent" if count else scope.rule.broken
    if count:
        falls, nearest = shared.nearest_to_rising()
        names = [cell.keys.get(own.step, "") for cell in steps[0].cells]
        rising = ", ".join(names[i] for i in np.argsort(nearest[:-1]))
        said = (
            f"{label}: {count} of the {n}! orders of the ranked series give all {len(rows)} printed rho; in each of "
            f"them it falls between at least {falls} of the {(n - 1) * (n - 2) // 2} pairs of printed steps (then from "
            f"small to large: {rising}){_further(shared, rows, steps, own)}."
        )
    else:
        said = f"{label}: no order of the ranked series gives all {len(rows)} printed rho: {clause(scope.rule.why)}."
    return scope.finding(verdict, cells, expected=expected, found=f"{count} orders", sentence=said, row=label)


def _further(shared: Shared, rows: Sequence[Printed], steps: Sequence[Steps], own: SharedSettings) -> str:
    """What the step that is not printed must be, as the end of a sentence; nothing if that is open."""
    names: dict[str, list[str]] = {}
    for places, row, one in zip(shared.further, rows, steps, strict=True):
        if len(places) == 1 and (place := next(iter(places))) is not None:
            text = one.cells[one.levels.index(place)].text
            names.setdefault(text, []).append(" ".join(row.line.keys[k] for k in own.match if k not in own.series))
    said = " and ".join(f"{text} in {', '.join(metrics)}" for text, metrics in names.items())
    n = shared.orders.shape[1]
    ranks = (shared.orders[:, -1] + n + 1) / 2
    return f"; the step that is not printed has {said}, and rank {ranks.min():g} to {ranks.max():g}" if said else ""
