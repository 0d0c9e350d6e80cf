"""Differences of rates: are they more than chance, or too small, or out of line?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from pydantic import Field
from scipy.stats import binomtest, mannwhitneyu, norm

from editverdict.inference.corrections import holm
from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.kinds.grim import rates, whole
from editverdict.ledger.points import Pick, Point, grouped, label, others, points
from editverdict.ledger.rules import Scope, Settings, kind


def two_proportions(one: float, two: float, n: int) -> float:
    """Two-sided p value that two rates over n questions each are equal (normal approximation, pooled).

    The same questions were asked twice, so a paired test would be sharper; the tables do not print the pairs.
    """
    pooled = (one + two) / 2
    error = math.sqrt(2 * pooled * (1 - pooled) / n)
    return 1.0 if error == 0.0 else float(2 * norm.sf(abs(one - two) / error))


class DropSettings(Settings):
    """Rates against those of a reference row."""

    reference: Pick
    pick: Pick
    sizes: dict[str, int]
    """Column -> number of independent questions."""
    level: float = 0.05
    """Family-wise, after Holm."""


@kind("drop", DropSettings)
def drop(scope: Scope) -> Iterator[Finding]:
    """No rate falls below the reference by more than chance, all comparisons taken together."""
    own: DropSettings = scope.settings
    base: dict[str, Point] = {}
    tested: list[tuple[Point, Point]] = []
    for table in scope.tables:
        base |= {p.keys["column"]: p for p in points(scope, own.reference.model_copy(update={"table": table}))}
        found = points(scope, own.pick.model_copy(update={"table": table}))
        tested += [(p, base[p.keys["column"]]) for p in found if p.keys["column"] in own.sizes.keys() & base.keys()]
    raw = [two_proportions(_share(p), _share(b), own.sizes[p.keys["column"]]) for p, b in tested]
    for (point, reference), p, adjusted in zip(tested, raw, holm(raw), strict=True):
        below = point.value < reference.value
        n = own.sizes[point.keys["column"]]
        missed = (_share(reference) - _share(point)) * n
        yield scope.finding(
            scope.rule.broken if below and adjusted < own.level else "consistent",
            [point.cell, reference.cell],
            expected=f"not below {reference.cell.text} by more than chance",
            found=f"{point.cell.text}: {missed:+.1f} of {n} questions lost, p = {p:.2g}, {adjusted:.2g} after Holm",
            row=label(point),
        )


def _share(point: Point) -> float:
    return point.cell.value / whole(point.cell)


class SettingGapSettings(Settings):
    """Two settings whose rates are over as many questions."""

    pick: Pick
    key: str
    easier: tuple[str, ...] = Field(min_length=1)
    """Values of the key of the easier setting, ..."""
    harder: tuple[str, ...] = Field(min_length=1)
    """... and of the harder one."""
    size: int = Field(ge=1)
    level: float = 0.05
    """Family-wise over all pairs of a table, after Holm; shared by the tables of the rule, if it is about each."""


@kind("easier", SettingGapSettings)
def easier(scope: Scope) -> Iterator[Finding]:
    """The easier setting has no lower rate; a deficit that chance explains, all pairs considered, is undecided."""
    own: SettingGapSettings = scope.settings
    pairs = [
        (one, two)
        for group in grouped(points(scope, own.pick), lambda p: others(p, own.key)).values()
        for one in group
        for two in group
        if one.keys[own.key] in own.easier and two.keys[own.key] in own.harder
    ]
    tables = 1 if scope.rule.joint else len(scope.rule.tables)
    adjusted = holm([two_proportions(_share(one), _share(two), own.size) for one, two in pairs]) if pairs else []
    for (one, two), p in zip(pairs, adjusted, strict=True):
        verdict: Verdict = "consistent"
        if one.value < two.value:
            verdict = scope.rule.broken if p * tables < own.level else "undefined"
        found = f"{one.cell.text} ({one.keys[own.key]}); p = {min(p * tables, 1.0):.2g} over {own.size} questions each"
        yield scope.finding(
            verdict,
            [one.cell, two.cell],
            expected=f"at least {two.cell.text} ({two.keys[own.key]})",
            found=f"{found}, after Holm",
            row=label(one),
        )


class IntervalSettings(Settings):
    """An agreement that the text states, and the rates that were judged so."""

    share: float = Field(gt=0, le=1)
    of: int = Field(ge=1)
    columns: tuple[str, ...]


@kind("judge-error", IntervalSettings)
def judge_error(scope: Scope) -> Iterator[Finding]:
    """A stated agreement is a count; its error (Wilson, 95 %) against the rates that rest on the judge."""
    own: IntervalSettings = scope.settings
    count = round(own.share * own.of)
    ci = binomtest(count, own.of).proportion_ci(0.95, method="wilson")
    whole_count = math.isclose(count, own.share * own.of, abs_tol=1e-9)
    cells = rates(scope, own.columns)
    small = sum(cell.value / whole(cell) <= 1 - ci.low for cell in cells)
    yield scope.finding(
        "consistent" if whole_count else scope.rule.broken,
        cells,
        expected=f"{count} of {own.of}: {ci.low:.1%} to {ci.high:.1%}",
        found=f"{own.share:.0%} of {own.of}; {small} of {len(cells)} rates are no larger than {1 - ci.low:.1%}",
        row="agreement of the judge",
        sentence=f"The judge may err in up to {1 - ci.low:.1%} of cases; {small} of {len(cells)} rates are no larger.",
    )


class ColumnGapSettings(Settings):
    """Two columns of some rows, and the rows that they are compared with."""

    columns: tuple[str, str]
    pick: Pick
    reference: tuple[Pick, ...] = Field(min_length=1)
    level: float = 0.01


@kind("alike-columns", ColumnGapSettings)
def alike_columns(scope: Scope) -> Iterator[Finding]:
    """Two columns are no closer to each other here than elsewhere (one-sided Mann-Whitney test of relative gaps)."""
    own: ColumnGapSettings = scope.settings
    here = _gaps(scope, own.pick, own.columns)
    there = [pair for pick in own.reference for pair in _gaps(scope, pick, own.columns)]
    if not here or not there:
        return
    gaps, usual = ([gap for gap, _, _ in side] for side in (here, there))
    p = float(mannwhitneyu(gaps, usual, alternative="less").pvalue)
    yield scope.finding(
        scope.rule.broken if p < own.level else "consistent",
        [point.cell for _, one, two in [*here, *there] for point in (one, two)],
        expected=f"gaps like those elsewhere, {min(usual):.1%} to {max(usual):.1%}",
        found=f"{min(gaps):.1%} to {max(gaps):.1%} in {len(gaps)} rows, p = {p:.2g}",
        row=f"{' and '.join(own.columns)} in {len(here)} rows",
    )


def _gaps(scope: Scope, pick: Pick, columns: tuple[str, str]) -> list[tuple[float, Point, Point]]:
    """Gap between the two columns as a share of the larger, row by row; rows of zeros are left out."""
    one, two = (points(scope, pick.model_copy(update={"columns": (column,)})) for column in columns)
    at = {(p.cell.table, p.cell.line): p for p in two}
    pairs = [(p, at[p.cell.table, p.cell.line]) for p in one if (p.cell.table, p.cell.line) in at]
    return [(abs(a.value - b.value) / max(a.value, b.value), a, b) for a, b in pairs if max(a.value, b.value) > 0]


class OutOfLineSettings(Settings):
    """Rows against a reference row, column by column."""

    pick: Pick
    reference: Pick
    deviations: float = 5.0
    """Robust standard deviations (1.4826 times the median deviation) that are too many."""
    at_least: float = 0.2
    """A smaller distance from the row's median is in line, however little the others vary."""


@kind("out-of-line", OutOfLineSettings)
def out_of_line(scope: Scope) -> Iterator[Finding]:
    """What a row keeps of the reference in one column is like what it keeps in the others."""
    own: OutOfLineSettings = scope.settings
    base = {p.keys["column"]: p for p in points(scope, own.reference) if p.value > 0}
    rows: dict[int, list[Point]] = {}
    for point in points(scope, own.pick):
        if point.keys["column"] in base:
            rows.setdefault(point.cell.line, []).append(point)
    for row in rows.values():
        kept = np.array([p.value / base[p.keys["column"]].value for p in row])
        middle = float(np.median(kept))
        limit = max(own.at_least, own.deviations * 1.4826 * float(np.median(np.abs(kept - middle))))
        for point, share in zip(row, kept.tolist(), strict=True):
            yield scope.finding(
                "consistent" if abs(share - middle) <= limit else scope.rule.broken,
                [point.cell, base[point.keys["column"]].cell],
                expected=f"{middle - limit:.0%} to {middle + limit:.0%} of the reference, as in the other columns",
                found=f"{point.cell.text} is {share:.0%} of {base[point.keys['column']].cell.text}",
                row=label(point),
            )
