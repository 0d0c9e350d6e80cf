"""Null models: does a mistake alone, without any edit that matters, give what is printed?

The worlds are made up (:mod:`editverdict.numerics.null_worlds`) and far smaller than the models of the tables, so that
only what does not depend on size is compared. A row that a null model gives is no row that it explains: it is
sufficient, not proof.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell, Ledger, Line
from editverdict.schema.base import Spec

if TYPE_CHECKING:
    from editverdict.numerics.artefacts import Signature

Centring = Literal["samples", "features", "none"]
Quantity = Literal["short", "smallest", "rest", "runaway"]
WORDS = {
    "short": "directions at or below 1",
    "smallest": "smallest R_k",
    "rest": "mean without the largest",
    "runaway": "largest over that mean",
    "floor": "sigma_min / (sigma_1 eps)",
}
EPS32 = 2.0**-23
"""Machine epsilon of float32."""


class WorldSettings(Spec):
    """A made-up world; fields as those of ``editverdict.numerics.null_worlds.World``."""

    decay: float = 0.3
    heavy: float = 8.0
    rare: float | None = 0.004
    offset: float = 0.0
    edit: float = 0.02
    seed: int = 0


class NullSettings(Settings):
    """The worlds of a null model, and what is close."""

    d: Annotated[int, Field(ge=16)] = 256
    """Dimension of the worlds."""
    per_d: float = 24.4
    """Samples per dimension."""
    worlds: Annotated[tuple[WorldSettings, ...], Field(min_length=1)]
    decades: float = 0.5
    """How far what is rounding, or depends on sizes, may lie outside of what the worlds give."""
    reproduced: Verdict = "consistent"
    """What a row is that a null model gives; otherwise it is what the rule says of broken rows."""


class Null(Spec):
    """A null model of change rates, and which quantities it says something about."""

    pairing: Literal["paired", "mispaired"]
    centring: Centring
    compare: Annotated[tuple[Quantity, ...], Field(min_length=1)]

    def __str__(self) -> str:
        return f"{self.pairing}, {_centred(self.centring)}"


class Dimension(Spec):
    """Where the dimension of a row stands: a column of other tables, by a key that they share."""

    tables: tuple[int, ...]
    key: str
    column: str


class Norms(Spec):
    """Where the mean norms of the changes stand: rows with the same keys as those of the change rates."""

    tables: tuple[int, ...]
    column: str


class ChangeSettings(NullSettings):
    """Columns of a table of change rates R_k."""

    above: str
    """Directions with R_k > 1."""
    mean: str
    smallest: str
    largest: str
    dimension: Dimension
    norms: Norms | None = None
    """Shown beside null models, not judged."""
    samples: int = 100_000
    """Samples behind the tables; likewise."""
    few: int = 3
    """So many directions are a few."""
    nulls: Annotated[tuple[Null, ...], Field(min_length=1)]


class SpectrumSettings(NullSettings):
    """Columns of a table of spectra."""

    largest: str
    smallest: str
    rank: str = ""
    """Effective rank, if there is such a column; shown beside null models, not judged."""
    centrings: Annotated[tuple[Centring, ...], Field(min_length=1)]


@kind("null-change-rates", ChangeSettings)
def null_change_rates(scope: Scope) -> Iterator[Finding]:
    """Rows of R_k over directions against null models of pairing and centring."""
    own: ChangeSettings = scope.settings
    worlds = _signatures(own.d, own.per_d, own.worlds)
    hulls = {str(null): (null.compare, _change_hull(null, worlds)) for null in own.nulls}
    for line in scope.lines():
        cells, d = (
            line.numbers(own.above, own.mean, own.smallest, own.largest),
            dimension_of(scope.ledger, own.dimension, line),
        )
        if cells is not None and d is not None:
            printed = printed_change(cells, d)
            missed: dict[str, list[str]] = {
                name: [q for q in compare if not _close(q, printed[q], hull[q], d, own)]
                for name, (compare, hull) in hulls.items()
            }
            expected = {name: _said({q: hull[q] for q in compare}, own.d) for name, (compare, hull) in hulls.items()}
            found = {name: _said({q: printed[q] for q in compare}, d) for name, (compare, _) in hulls.items()}
            yield _judged(scope, line.label, cells, missed, expected, found)


@kind("null-spectrum", SpectrumSettings)
def null_spectrum(scope: Scope) -> Iterator[Finding]:
    """Largest and smallest singular values against null models of centring in float32."""
    own: SpectrumSettings = scope.settings
    found = _signatures(own.d, own.per_d, own.worlds)
    hulls = {_centred(c): _hull(one.floor for one in found if one.centring == c) for c in own.centrings}
    for line in scope.lines():
        cells = line.numbers(own.smallest, own.largest)
        if cells is not None and cells[1].range.low > 0.0:
            floor = cells[0].range / (cells[1].range * EPS32)
            missed = {name: [] if floor.meets(_wider(hull, own.decades)) else ["floor"] for name, hull in hulls.items()}
            expected = {name: _said({"floor": hull}) for name, hull in hulls.items()}
            yield _judged(scope, line.label, cells, missed, expected, dict.fromkeys(hulls, _said({"floor": floor})))


# --------------------------------------------------------------------------- the worlds
@lru_cache(maxsize=16)
def _signatures(d: int, per_d: float, worlds: tuple[WorldSettings, ...]) -> tuple[Signature, ...]:
    """Signatures in float32 of all worlds, pooled as the tables are; kept, since several tables ask for them."""
    # Only whoever asks for a null model waits for torch.
    from editverdict.numerics.artefacts import signatures
    from editverdict.numerics.null_worlds import World, draw

    found: list[Signature] = []
    for world in worlds:
        samples = draw(World(d=d, per_d=per_d, **world.model_dump()))
        found += signatures(samples.before, samples.after, samples.other_after)
    return tuple(one for one in found if one.pooling == "mean_abs")


def _hull(values: Iterable[float]) -> Range:
    kept = list(values)
    return Range(min(kept), max(kept))


def _change_hull(null: Null, found: Sequence[Signature]) -> dict[str, Range]:
    """What a null model gives over all worlds; of directions above 1 those that are not."""
    mine = [one for one in found if (one.pairing, one.centring) == (null.pairing, null.centring)]
    return {
        "short": _hull(float(one.short) for one in mine),
        "smallest": _hull(one.r_min for one in mine),
        "rest": _hull(one.rest for one in mine),
        "runaway": _hull(one.runaway for one in mine),
    }


# --------------------------------------------------------------------------- printed rows
def dimension_of(ledger: Ledger, where: Dimension, line: Line) -> int | None:
    """The dimension of a row, out of the tables that print it; None where none does."""
    for number in where.tables:
        for other in ledger[number].lines if number in ledger else ():
            cell = other.cells.get(where.column)
            if cell is not None and cell.number and other.keys.get(where.key) == line.keys.get(where.key):
                return int(cell.value)
    return None


def printed_change(cells: Sequence[Cell], d: int) -> dict[str, Range]:
    """The printed row in the quantities of a null model: d numbers have the printed mean and the printed largest."""
    above, mean, smallest, largest = (cell.range for cell in cells)
    rest = (mean * float(d) - largest) / float(d - 1)
    rest = Range(max(rest.low, smallest.low, 0.0), max(rest.high, smallest.low, 0.0))
    low, high = (top / x if x > 0.0 else math.inf for top, x in ((largest.low, rest.high), (largest.high, rest.low)))
    runaway = Range(low, max(low, high))
    return {"short": Range.exactly(d) - above, "smallest": smallest, "rest": rest, "runaway": runaway}


def _close(quantity: str, printed: Range, null: Range, d: int, own: ChangeSettings) -> bool:
    if quantity == "short":
        bands = band(printed, d, own.few), band(null, own.d, own.few)
        return bands[0] is not None and bands[0] == bands[1]
    return printed.meets(_wider(null, own.decades) if quantity == "runaway" else null)


def band(short: Range, d: int, few: int) -> str | None:
    """All but a few directions, at most a few of them, or neither."""
    if short.low < 0.0:
        return None
    if short.high <= few:
        return "all"
    return "none" if d - short.low <= few else None


def _wider(hull: Range, decades: float) -> Range:
    return Range(hull.low / 10.0**decades, hull.high * 10.0**decades)


def _judged(
    scope: Scope,
    row: str,
    cells: Sequence[Cell],
    missed: Mapping[str, Sequence[str]],
    expected: Mapping[str, str],
    found: Mapping[str, str],
) -> Finding:
    """A finding: the first null model that gives all of it, or else the one that misses least."""
    best = min(missed, key=lambda name: len(missed[name]))
    if not missed[best]:
        verdict: Verdict = scope.settings.reproduced
        sentence = f"The null model '{best}' gives the like: sufficient, not proof."
    else:
        verdict = scope.rule.broken
        lacking = ", ".join(WORDS[name] for name in missed[best])
        sentence = f"No null model gives it: the nearest, '{best}', differs in {lacking}."
    return scope.finding(
        verdict, cells, expected=f"{expected[best]} ({best})", found=found[best], sentence=sentence, row=row
    )


def _said(values: Mapping[str, Range], d: int = 0) -> str:
    """Quantities in words; ``d`` is what directions are counted of."""
    return ", ".join(
        f"{WORDS[name]} {_short(value)}{f' of {d}' if name == 'short' else ''}" for name, value in values.items()
    )


def _short(value: Range) -> str:
    if value.high == math.inf:
        return f"at least {_digits(value.low)}"
    low, high = _digits(value.low), _digits(value.high)
    return low if low == high else f"{low} to {high}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if 1.0 <= value < 1e5 and value == round(value) else f"{value:.3g}"


def _centred(centring: str) -> str:
    return "not centred" if centring == "none" else f"centred over {centring}"
