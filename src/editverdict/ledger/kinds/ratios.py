"""Ratios: a column that is to be one column over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from editverdict.ledger.findings import Finding, Verdict, compared
from editverdict.ledger.joins import rows, with_partner
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Scope, Settings, kind
from editverdict.ledger.sharp import sharp
from editverdict.ledger.tables import Cell


class RatioSettings(Settings):
    """``equals = factor * numerator / denominator``."""

    numerator: str
    denominator: str
    equals: str
    factor: float = 1.0
    """100 for percent."""
    on: tuple[str, ...] = ()
    """Keys by which the denominator is found in a table beside this one; none: it stands in the same row."""
    whole: bool = False
    """Whether the numerator is printed as a whole number: where only its unrounded value fits, that is rounding."""


def _expected(cells: Sequence[Cell], own: RatioSettings, *, unrounded: bool) -> Range:
    numerator, denominator = cells[1].range, cells[2].range
    if own.whole and not unrounded:
        numerator = Range.exactly(cells[1].value)
    return numerator / denominator * own.factor


def _judge(cells: Sequence[Cell], own: RatioSettings, broken: Verdict) -> Verdict:
    """Verdict on (quotient, numerator, denominator)."""
    try:
        plain = _expected(cells, own, unrounded=False)
        if cells[0].range.meets(plain):
            return "consistent"
        if own.whole and cells[0].range.meets(_expected(cells, own, unrounded=True)):
            return "rounding"
    except ZeroDivisionError:
        return broken
    return compared(cells[0], plain, broken)


@kind("ratio", RatioSettings)
def ratio(scope: Scope) -> Iterator[Finding]:
    """A printed quotient (a share, a percentage, a condition number) against what it is the quotient of."""
    own: RatioSettings = scope.settings
    if own.on:
        found = with_partner(scope, (own.equals, own.numerator), own.on, (own.denominator,))
    else:
        found = rows(scope, own.equals, own.numerator, own.denominator)
    for line, cells in found:
        verdict = _judge(cells, own, scope.rule.broken)
        sentence = ""
        try:
            expected = str(_expected(cells, own, unrounded=False))
            if own.whole and verdict == "rounding":
                wide = _expected(cells, own, unrounded=True)
                sentence = f"The quotient fits if {own.numerator} is a real number that was rounded ({wide})."
        except ZeroDivisionError:
            expected = "a denominator other than zero"
        bound = sharp(cells, lambda some: _judge(some, own, scope.rule.broken))
        yield scope.finding(
            verdict, cells, expected=expected, found=cells[0].text, row=line.label, sentence=sentence, binding=bound
        )
