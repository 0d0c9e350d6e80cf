"""Tables in the making: which numbers go where, and how they are printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from editverdict.ledger.ranges import last_digit
from editverdict.ledger.tables import Ledger, Line, Table

SAMPLES = 100_000
"""Prompts behind the statistics of hidden states."""


def fixed(value: float, decimals: int) -> str:
    """``f"{value:.2f}"``, without a minus sign before zero."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def scientific(value: float, digits: int) -> str:
    """``3.38e-6``: as the paper prints it, without zeros in the exponent."""
    significand, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{significand}e{int(exponent)}"


def decimals_of(text: str) -> int:
    """Digits after the point of a printed number."""
    return max(-round(math.log10(last_digit(text) or 1.0)), 0)


class Draft:
    """The entries of tables to be, on the rows and columns of given ones."""

    def __init__(self, shapes: Ledger, seed: int) -> None:
        self.shapes = shapes
        self.chance = np.random.default_rng(seed)
        self._texts: dict[tuple[int, int, str], str] = {}

    def lines(self, table: int, **keys: str | int) -> list[Line]:
        """Rows of a table with these keys; none if the table is not there."""
        return self.shapes[table].select(**keys) if table in self.shapes else []

    def put(self, line: Line, column: str, text: str) -> None:
        """Print a text in a row, unless nothing stands there in the given tables."""
        cell = line.cells[column]
        if cell.text:
            self._texts[cell.table, cell.line, column] = text

    def put_fixed(self, line: Line, column: str, value: float, decimals: int | None = None) -> None:
        """Print a number with as many decimals as the given table has there."""
        text = line.cells[column].text
        if text:
            self.put(line, column, fixed(value, decimals_of(text) if decimals is None else decimals))

    def text(self, line: Line, column: str) -> str:
        """What is printed in a row so far."""
        cell = line.cells[column]
        return self._texts.get((cell.table, cell.line, column), cell.text)

    def number(self, line: Line, column: str) -> float:
        """The same as a number."""
        return float(self.text(line, column))

    def ledger(self) -> Ledger:
        """The tables as they are drafted."""
        return self.shapes.with_texts(self._texts)


def consistent(shapes: Ledger, seed: int = 0) -> Ledger:
    """Tables of the same shapes that obey the rules: everything printed is computed from simulated raw quantities.

    Parameters
    ----------
    shapes
        The paper's tables; their rows, columns and numbers of decimals are kept, their numbers are not.
    """
    draft = Draft(_complete(shapes), seed)
    for part in _parts():
        part(draft)
    return draft.ledger()


def _complete(shapes: Ledger) -> Ledger:
    """Without rows of norms (Tables 9-12) that have no row of ratios R_k (Tables 21-24)."""
    tables = dict(shapes.tables)
    for norms, ratios in zip(range(9, 13), range(21, 25), strict=True):
        if norms in tables and ratios in tables:
            there = {tuple(line.keys.values()) for line in tables[ratios].lines}
            kept = tuple(line for line in tables[norms].lines if tuple(line.keys.values()) in there)
            tables[norms] = Table(tables[norms].spec, kept)
    return Ledger(tables, shapes.folder)


def _parts() -> Iterator[Callable[[Draft], None]]:
    from editverdict.ledger.synthetic import angles, correlations, scores, spectra

    yield spectra.write
    yield angles.write
    yield scores.write
    yield correlations.write
