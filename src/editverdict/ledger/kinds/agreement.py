"""Numbers that two tables print of one thing, and numbers that the text takes from a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field
from scipy.stats import spearmanr

from editverdict.ledger.findings import Finding, Verdict
from editverdict.ledger.points import Pick, Point, grouped, label, points
from editverdict.ledger.ranges import SLACK, Range, last_digit
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.tables import Cell
from editverdict.schema.base import Spec


class AgreeSettings(Settings):
    """Two picks and the keys by which their numbers belong together."""

    left: Pick
    right: Pick
    on: tuple[str, ...]
    within: float = Field(default=0.0, ge=0)
    """How far apart they may be beyond rounding, in the unit compared."""


@kind("agree", AgreeSettings)
def agree(scope: Scope) -> Iterator[Finding]:
    """Two printed numbers of one thing: the coarser is the finer one, rounded."""
    own: AgreeSettings = scope.settings
    right = grouped(points(scope, own.right), lambda p: p.key(own.on))
    for left in points(scope, own.left):
        for other in right.get(left.key(own.on), []):
            if other.cell is not left.cell:
                yield _together(scope, left, other, own.within)


def _together(scope: Scope, left: Point, right: Point, within: float) -> Finding:
    coarse, fine = (left, right) if left.unit > right.unit * 1.5 else (right, left)
    bound = _bound(coarse, fine) if within == 0 else []
    return scope.finding(
        _apart(coarse, fine, within, scope.rule.broken),
        [left.cell, right.cell],
        expected=f"{_shown(right)} ({_source(right, left)})" + (f" give or take {within:g}" if within else ""),
        found=f"{_shown(left)} (Table {left.cell.table})",
        row=label(left),
        binding=bound,
    )


def _source(point: Point, beside: Point) -> str:
    """The table of a point, and those of its keys that the other lacks."""
    more = [value for name, value in point.keys.items() if name not in beside.keys]
    return " ".join([f"Table {point.cell.table}", *more])


def _shown(point: Point) -> str:
    return point.cell.text if point.scale == 1.0 else f"{point.value:g}"


def _bound(coarse: Point, fine: Point) -> list[Cell]:
    """A digit beyond those of the coarser number is not held by it."""
    return [coarse.cell, fine.cell] if fine.unit > coarse.unit / 1.5 else [coarse.cell]


def _apart(coarse: Point, fine: Point, within: float, broken: Verdict) -> Verdict:
    gap = abs(coarse.value - fine.value) - within
    half = coarse.unit / 2 * (1 + 1e-6) + SLACK
    if gap <= half:
        return "consistent"
    return "rounding" if gap <= half + coarse.unit else broken


class SameOrderSettings(Settings):
    """Two measures of the same things, and how alike they must order them."""

    left: Pick
    right: Pick
    on: tuple[str, ...]
    by: tuple[str, ...] = ()
    """Keys by which the right numbers fall into groups, each ordered by itself."""
    at_least: float = Field(default=0.7, ge=-1, le=1)
    """Spearman's rho."""


@kind("same-order", SameOrderSettings)
def same_order(scope: Scope) -> Iterator[Finding]:
    """One measure confirms another: Spearman's rho over the things that both measure, group by group."""
    own: SameOrderSettings = scope.settings
    left = {point.key(own.on): point for point in points(scope, own.left)}
    for group in grouped(points(scope, own.right), lambda p: p.key(own.by)).values():
        pairs = [(left[p.key(own.on)], p) for p in group if p.key(own.on) in left]
        if len(pairs) < 3:
            continue
        rho = float(spearmanr([a.value for a, _ in pairs], [b.value for _, b in pairs]).statistic)
        yield scope.finding(
            "consistent" if rho >= own.at_least else scope.rule.broken,
            [point.cell for pair in pairs for point in pair],
            expected=f"rho of at least {own.at_least:g}",
            found=f"rho = {rho:.2f} over {len(pairs)}",
            row=" ".join(group[0].key(own.by)),
        )


class Place(Spec):
    """A cell: its table, the keys of its row, its column."""

    table: int
    column: str
    keys: dict[str, str]


class Quote(Spec):
    """A number in the text and the cell that it is taken from, or the difference of two."""

    words: str
    """A few words of the text around it."""
    value: str
    """Its digits as quoted."""
    of: Place
    minus: Place | None = None
    source: str = ""
    """Line of the text."""


class QuotedSettings(Settings):
    """Numbers that the text quotes."""

    quotes: tuple[Quote, ...] = Field(min_length=1)


@kind("quoted", QuotedSettings)
def quoted(scope: Scope) -> Iterator[Finding]:
    """A quoted number is the printed one, or the difference of two printed ones, rounded to the digits quoted."""
    own: QuotedSettings = scope.settings
    for quote in own.quotes:
        places = [quote.of] if quote.minus is None else [quote.of, quote.minus]
        cells = [cell for place in places for cell in _at(scope, place)]
        if len(cells) == len(places) and all(cell.number for cell in cells):
            yield _quotation(scope, quote, cells)


def _at(scope: Scope, place: Place) -> list[Cell]:
    """The cell of a place; none if another's table lacks its row."""
    rows = scope.ledger[place.table].select(**place.keys)
    return [rows[0].cells[place.column]] if len(rows) == 1 else []


def _quotation(scope: Scope, quote: Quote, cells: Sequence[Cell]) -> Finding:
    printed = cells[0].value - sum(cell.value for cell in cells[1:])
    loose = cells[0].range - cells[1].range if len(cells) > 1 else cells[0].range
    unit = last_digit(quote.value) or 0.0
    said = float(quote.value)
    half = unit / 2 * (1 + 1e-6) + SLACK
    verdict: Verdict = "consistent"
    if abs(said - printed) > half:
        verdict = "rounding" if Range(said - half, said + half).meets(loose) else scope.rule.broken
    finer = any(cell.unit < unit / 1.5 for cell in cells)
    return scope.finding(
        verdict,
        cells,
        expected=" - ".join(cell.text for cell in cells),
        found=f"{quote.value} in the text",
        row=f"“{quote.words}” ({quote.source})" if quote.source else f"“{quote.words}”",
        binding=[] if finer else cells,
    )
