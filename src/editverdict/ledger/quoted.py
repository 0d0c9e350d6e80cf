"""The numbers that claims quote from the paper: looked up in the printed tables, with the range they stand for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import mean, median
from typing import NamedTuple

from scipy import stats

from editverdict.ledger import ranges
from editverdict.ledger.ranges import Range
from editverdict.ledger.tables import Cell, Ledger
from editverdict.schema.claims import ClaimSpec, Key, OtherCells, PaperValue
from editverdict.schema.errors import SpecProblem, did_you_mean, options

Keys = Mapping[str, Key | tuple[Key, ...]]
STEP_KEYS = ("edit_step", "n_edits")
"""Key columns that hold T."""


class QuoteError(ValueError):
    """A quoted value names no printed cell; the message says which part of its name leads nowhere."""


@dataclass(frozen=True)
class Quoted:
    """A value as the printed cells give it."""

    value: float
    range: Range | None
    """All that the printed digits allow; None for a rank correlation, which is no function of ranges."""
    cells: tuple[Cell, ...]

    @property
    def plain(self) -> bool:
        """Whether it is one printed number as it stands."""
        return len(self.cells) == 1 and self.value == self.cells[0].value


# ------------------------------------------------------------------------------- which cells
def _listed(value: Key | tuple[Key, ...]) -> tuple[Key, ...]:
    return value if isinstance(value, tuple) else (value,)


def cells_at(ledger: Ledger, table: int, keys: Keys, column: str) -> list[Cell]:
    """The cells of a column in the rows that have these keys; of keys with several values every combination, in order.

    Raises
    ------
    QuoteError
        A part of the name leads nowhere, a row is not told apart by the keys, or no number is printed there.
    """
    if table not in ledger:
        raise QuoteError(f"no Table {table}; expected {options(str(table), [str(n) for n in ledger.tables])}")
    spec = ledger[table].spec
    for name in keys:
        if name not in spec.keys:
            raise QuoteError(f"Table {table} has no key '{name}'; expected {options(name, spec.keys)}")
    if column not in spec.columns:
        raise QuoteError(f"Table {table} has no column '{column}'; expected {options(column, spec.columns)}")
    found = []
    for combination in itertools.product(*(_listed(value) for value in keys.values())):
        chosen = dict(zip(keys, combination, strict=True))
        lines = ledger[table].select(**chosen)
        if len(lines) != 1:
            raise QuoteError(f"Table {table} has {len(lines)} rows with {_named(chosen)}{_hint(ledger, table, chosen)}")
        cell = lines[0].cells[column]
        if not cell.number:
            raise QuoteError(f"{cell}: '{cell.text}' is no number")
        found.append(cell)
    return found


def _named(keys: Mapping[str, Key]) -> str:
    return ", ".join(f"{name} {value}" for name, value in keys.items()) or "no key"


def _hint(ledger: Ledger, table: int, keys: Mapping[str, Key]) -> str:
    """The first key whose value the table does not have, and the nearest that it has."""
    for name, value in keys.items():
        known = ledger[table].values_of(name)
        if str(value) not in known:
            near = did_you_mean(str(value), known)
            return f"; its {name} is one of {', '.join(known[:8])}" + (f" ({near})" if near else "")
    return f"; its keys are {', '.join(ledger[table].spec.keys)}"


def _others(ledger: Ledger, own: PaperValue, other: OtherCells) -> list[Cell]:
    column = other.column or own.column or ""
    return cells_at(ledger, other.table or own.table, {**own.keys, **other.keys}, column)


# ------------------------------------------------------------------------------- what they come to
def _median(parts: Sequence[Range]) -> Range:
    """Median of numbers of which only ranges are known: it grows with each of them."""
    return Range(median(p.low for p in parts), median(p.high for p in parts))


_REDUCED: dict[str, tuple[Callable[[Iterable[float]], float], Callable[[list[Range]], Range]]] = {
    "median": (median, _median),
    "mean": (mean, ranges.mean),
    "min": (min, lambda parts: Range(min(p.low for p in parts), min(p.high for p in parts))),
    "max": (max, lambda parts: Range(max(p.low for p in parts), max(p.high for p in parts))),
}
Pair = tuple[float, Range]


def _reduced(how: str, pairs: Sequence[Pair]) -> Pair:
    number, of_ranges = _REDUCED[how]
    return number(v for v, _ in pairs), of_ranges([r for _, r in pairs])


def _pairs(cells: Iterable[Cell]) -> list[Pair]:
    return [(cell.value, cell.range) for cell in cells]


def _compared(value: PaperValue, own: list[Pair], ledger: Ledger, used: list[Cell]) -> list[Pair]:
    """The pairs after ``minus`` or ``over``; cells are added to ``used``."""
    other = value.minus or value.over
    if other is None:
        return own
    cells = _others(ledger, value, other)
    used += cells
    theirs = [_reduced(other.reduce, _pairs(cells))] if other.reduce else _pairs(cells)
    theirs = theirs * len(own) if len(theirs) == 1 else theirs
    if len(theirs) != len(own):
        raise QuoteError(f"{len(own)} cells are compared with {len(theirs)} others; name as many, or one")
    if value.minus:
        return [(a - b, r - s) for (a, r), (b, s) in zip(own, theirs, strict=True)]
    try:
        return [(a / b, r / s) for (a, r), (b, s) in zip(own, theirs, strict=True)]
    except ZeroDivisionError as error:
        raise QuoteError(f"{used[-1]}: division by what may be 0") from error


def resolve(value: PaperValue, ledger: Ledger) -> Quoted | None:
    """What the printed cells of a value come to; None if it names none.

    Raises
    ------
    QuoteError
        It names cells that are not there, or that do not fit together.
    """
    if value.column is None:
        return None
    used = cells_at(ledger, value.table, value.keys, value.column)
    pairs = _compared(value, _pairs(used), ledger, used)
    pairs = [(v / value.per, r / value.per) for v, r in pairs] if value.per != 1.0 else pairs
    if value.reduce == "spearman":
        rho = stats.spearmanr(range(len(pairs)), [v for v, _ in pairs]).statistic
        return Quoted(float(rho), None, tuple(used))
    number, span = _one(value, pairs)
    if value.log10:
        if span.low <= 0.0:
            raise QuoteError(f"{used[0]}: the logarithm of what may be {span.low:g}")
        number, span = math.log10(number), Range(math.log10(span.low), math.log10(span.high))
    return Quoted(number, span, tuple(used))


def _one(value: PaperValue, pairs: Sequence[Pair]) -> Pair:
    if value.reduce:
        return _reduced(value.reduce, pairs)
    if len(pairs) != 1:
        raise QuoteError(f"{len(pairs)} cells and no 'reduce' that makes one number of them")
    return pairs[0]


def agrees(stated: float, quoted: Quoted) -> bool:
    """Whether a stated value is the printed one: to the digit, or, where it is computed, to the stated digits."""
    if quoted.plain:
        return stated == quoted.value
    # A float keeps no zeros at its end, so that 0.97 stands for 0.970, too: the stated digits are a lower bound.
    unit = ranges.last_digit(str(Decimal(repr(stated)).normalize())) or 0.0
    rounded = abs(stated - quoted.value) <= unit / 2 * (1 + 1e-6) + 1e-12
    return rounded and (quoted.range is None or quoted.range.meets(stated))


# ------------------------------------------------------------------------------- specs
class Setting(NamedTuple):
    """What the keys of a quoted value name; None for what they do not, or name several of."""

    model: str | None
    method: str | None
    dataset: str | None
    edits: int | None


def setting(value: PaperValue) -> Setting:
    """Model, method, dataset and T of the printed rows that a value names."""

    def said(name: str) -> str | None:
        found = value.keys.get(name)
        return None if found is None or isinstance(found, tuple) else str(found)

    steps = [text for name in STEP_KEYS if (text := said(name)) is not None and text.isdigit()]
    edits = value.edits if value.edits is not None or not steps else int(steps[0])
    return Setting(said("model"), said("method"), said("dataset"), edits)


def check_claims(
    claims: Iterable[ClaimSpec], ledger: Ledger, places: Mapping[tuple[str, str], str] | None = None
) -> list[SpecProblem]:
    """A problem for every quoted value that leads to no printed cell, or is not what is printed there."""
    problems = []
    for claim in claims:
        file, _, line = (places or {}).get(("claims", claim.id), "").rpartition(":")
        for position, value in enumerate(claim.paper_values):
            field = f"claims[{claim.id}].paper_values[{position}]"
            try:
                quoted = resolve(value, ledger)
            except QuoteError as error:
                problems.append(SpecProblem(file, int(line or 0) or None, field, "printed cells", str(error)))
                continue
            if quoted is not None and not agrees(value.value, quoted):
                cells = "; ".join(str(cell) for cell in quoted.cells[:3])
                problems.append(
                    SpecProblem(file, int(line or 0) or None, f"{field}.value", f"{quoted.value:.6g}, which is printed "
                                f"({cells})", f"{value.value:g}")
                )  # fmt: skip
    return problems
