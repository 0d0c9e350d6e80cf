"""What a rule finds in a row: a verdict, the cells it rests on, what was expected, and one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from editverdict.ledger.ranges import Range
from editverdict.ledger.tables import Cell

Verdict = Literal["consistent", "rounding", "undefined", "implausible", "inconsistent"]
VERDICTS: tuple[Verdict, ...] = ("consistent", "rounding", "undefined", "implausible", "inconsistent")
"""From best to worst.

- consistent: the printed numbers can hold together;
- rounding: they cannot to the last digit, and one unit of it explains why;
- undefined: the paper does not say enough to decide;
- implausible: possible by arithmetic, and a simple artefact explains it better;
- inconsistent: two printed statements cannot both hold.
"""


@dataclass(frozen=True)
class Finding:
    """One application of a rule."""

    rule: str
    table: int
    """The table it is filed under."""
    row: str
    verdict: Verdict
    expected: str
    found: str
    sentence: str
    cells: tuple[Cell, ...]
    binding: tuple[Cell, ...] = ()
    """Those of the cells that the rule determines from others up to rounding: a wrong digit there shows. A bound or a
    tendency binds none."""

    def record(self) -> dict[str, Any]:
        """For a file: plain values, cells as table, keys, column and printed text."""
        plain = {k: v for k, v in asdict(self).items() if k not in ("cells", "binding")}
        named = [{"table": c.table, "keys": dict(c.keys), "column": c.column, "printed": c.text} for c in self.cells]
        return {**plain, "cells": named}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of several; consistent if there is none."""
    return max(verdicts, key=VERDICTS.index, default="consistent")


def compared(cell: Cell, expected: Range, broken: Verdict) -> Verdict:
    """Verdict on a printed number that should lie in a range: one more unit of the last digit is rounding."""
    if cell.range.meets(expected):
        return "consistent"
    return "rounding" if cell.range.wider(cell.unit).meets(expected) else broken


def counted(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """How many findings have each verdict."""
    return {verdict: sum(one.verdict == verdict for one in findings) for verdict in VERDICTS}
