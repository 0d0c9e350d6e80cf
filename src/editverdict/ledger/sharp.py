"""How sharply a rule determines a cell: would another digit there show?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from editverdict.ledger.findings import VERDICTS, Verdict
from editverdict.ledger.tables import Cell

Judge = Callable[[Sequence[Cell]], Verdict]
"""Verdict on the cells of one row, in a fixed order."""

CAUGHT = 0.95
"""Share of all changes of one digit that must show before a cell counts as determined."""


def with_another_digit(cell: Cell) -> Iterator[Cell]:
    """The cell with one of its digits replaced, in every way that makes it another number; the last digit first."""
    for at, sign in reversed(list(enumerate(cell.text))):
        for digit in "0123456789" if sign.isdigit() else "":
            text = cell.text[:at] + digit + cell.text[at + 1 :]
            if digit != sign and float(text) != cell.value:
                yield replace(cell, text=text)


def sharp(cells: Sequence[Cell], judge: Judge, caught: float = CAUGHT) -> tuple[Cell, ...]:
    """Those of the cells in which another digit makes the verdict worse, whatever digit it is (up to a few)."""
    now = VERDICTS.index(judge(cells))

    def shows(place: int, cell: Cell) -> bool:
        others = list(with_another_digit(cell))
        spare = (1.0 - caught) * len(others)
        for other in others:
            spare -= VERDICTS.index(judge([*cells[:place], other, *cells[place + 1 :]])) <= now
            if spare < 0:
                return False
        return bool(others)

    return tuple(cell for place, cell in enumerate(cells) if shows(place, cell))
