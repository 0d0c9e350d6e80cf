"""Percentages that must be counts over a number of questions (the GRIM test), and which number explains them.

Source: Brown and Heathers, Social Psychological and Personality Science 8 (2017) 363-369. A rate over N questions is
one of k/N; where the last printed digit is finer than 1/N, most printed numbers are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import binom

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell

TOUCH = 1e-6
"""What an end of a rounding interval may be missed by, in its half widths: floating point only."""


class GrimSettings(Settings):
    """Columns of rates, and how many questions they are rates of."""

    columns: tuple[str, ...]
    items: int = Field(ge=1)
    """Items."""
    parts: int = Field(default=1, ge=1)
    """Questions of an item that count separately."""
    samples: int = Field(default=1, ge=1)
    """Answers to a question."""


class SizeSettings(Settings):
    """Columns of rates, the number that should explain them, and how far to look for another."""

    columns: tuple[str, ...]
    size: int | None = None
    """The number that was meant; None: any will do."""
    bound: int = Field(default=5000, ge=2)
    """Largest number tried."""
    level: float = 1e-3
    """How unlikely chance must be; all numbers tried are taken into account, unless ``size`` is what was named."""


@kind("grim", GrimSettings)
def grim(scope: Scope) -> Iterator[Finding]:
    """Every rate is a count over the number of questions; cut digits and one digit too few are rounding."""
    own: GrimSettings = scope.settings
    size = own.items * own.parts * own.samples
    for cell in rates(scope, own.columns):
        yield _of_count(scope, cell, size)


def rates(scope: Scope, columns: Sequence[str]) -> list[Cell]:
    """Cells with numbers of all tables in question."""
    return [
        line.cells[column]
        for table in scope.tables
        for line in scope.lines(table)
        for column in columns
        if column in line.cells and line.cells[column].number
    ]


def whole(cell: Cell) -> float:
    """What all questions right is printed as: 1 in fractions, else 100."""
    return 1.0 if cell.spec.unit == "fraction" else 100.0


def _of_count(scope: Scope, cell: Cell, size: int) -> Finding:
    full = whole(cell)
    nearest = round(cell.value / full * size)
    counts = [k for k in (nearest - 1, nearest, nearest + 1) if 0 <= k <= size]
    verdict, way = _explained(cell, [k / size * full for k in counts], scope.rule.broken)
    low = math.floor(cell.value / full * size + 1e-9)
    expected = f"k/{size}: {low}/{size} = {low / size * full:.4f} or {(low + 1) / size * full:.4f}"
    if verdict == "consistent":
        return scope.finding(verdict, [cell], expected=f"{nearest}/{size}", found=cell.text, row=_row(cell))
    sentence = f"{cell} is {way} of a count over {size}." if way else ""
    return scope.finding(verdict, [cell], expected=expected, found=cell.text, sentence=sentence, row=_row(cell))


def _row(cell: Cell) -> str:
    return f"{' '.join(cell.keys.values())} {cell.column}"


def _explained(cell: Cell, attainable: Sequence[float], broken: Verdict) -> tuple[Verdict, str]:
    """How the printed number comes from one of the attainable ones."""
    half = cell.unit / 2 * (1 + TOUCH)
    if any(abs(cell.value - one) <= half for one in attainable):
        return "consistent", ""
    if any(0 <= one - cell.value < cell.unit for one in attainable):
        return "rounding", "cut, not rounded, to its last digit, a rate"
    if cell.text.endswith("0") and "." in cell.text and any(abs(cell.value - o) <= 10 * half for o in attainable):
        return "rounding", "rounded to one digit less than it prints, a rate"
    return broken, ""


@dataclass(frozen=True)
class Fit:
    """How well a number of questions explains distinct printed rates."""

    size: int
    hits: int
    of: int
    log_chance: float
    """Natural logarithm of the probability that so many of the rates fit by chance."""


def sizes_that_fit(cells: Sequence[Cell], bound: int) -> list[Fit]:
    """All numbers of questions up to a bound, best first: that which chance explains least.

    A larger number fits more, by chance, too: the probability that n distinct printed rates are so often k/N is a
    binomial tail with the share of printable rates that are k/N. Rates of none and all are left out: they always fit.
    """
    shares, units = _distinct(cells)
    sizes = np.arange(2, bound + 1, dtype=np.float64)
    counts = np.rint(shares[:, None] * sizes) / sizes
    hits = (np.abs(shares[:, None] - counts) <= units[:, None] / 2 * (1 + TOUCH)).sum(axis=0)
    by_chance = np.minimum(1.0, (sizes + 1) / (1 / units[:, None] + 1)).mean(axis=0)
    tails = np.minimum(0.0, binom.logsf(hits - 1, shares.size, by_chance))
    fits = [Fit(int(n), int(h), int(shares.size), float(t)) for n, h, t in zip(sizes, hits, tails, strict=True)]
    return sorted(fits, key=lambda fit: (fit.log_chance, fit.size))


def _distinct(cells: Sequence[Cell]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct rates between none and all, as shares of one, and their last digits."""
    seen = {(cell.value / whole(cell), cell.unit / whole(cell)) for cell in cells}
    kept = sorted(pair for pair in seen if 0 < pair[0] < 1)
    return np.array([share for share, _ in kept]), np.array([unit for _, unit in kept])


@kind("grim-size", SizeSettings)
def grim_size(scope: Scope) -> Iterator[Finding]:
    """Which number of questions explains the rates; one finding. Too few rates to tell: undefined."""
    own: SizeSettings = scope.settings
    cells = [cell for cell in rates(scope, own.columns) if 0 < cell.value < whole(cell)]
    if not cells:
        return
    best = sizes_that_fit(cells, own.bound)[0]
    # A number that was named before is not the best of many.
    tried = 1 if best.size == own.size else own.bound
    chance = min(0.0, best.log_chance + math.log(tried)) / math.log(10)
    found = f"{best.hits} of {best.of} distinct rates are k/{best.size} (chance 1e{chance:.0f})"
    wanted = f"k/{own.size}" if own.size is not None else "some k/N"
    row = f"{', '.join(own.columns)} {' '.join(v for values in scope.rule.where.values() for v in values)}".strip()
    if chance > math.log10(own.level):
        said = f"No number of questions up to {own.bound} explains these rates clearly better than chance."
        yield scope.finding("undefined", cells, expected=wanted, found=found, sentence=said, row=row)
        return
    same = own.size is None or own.size == best.size
    verdict: Verdict = "consistent" if same else scope.rule.broken
    yield scope.finding(verdict, cells, expected=wanted, found=found, row=row)
