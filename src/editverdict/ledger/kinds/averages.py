"""Averages: a column that is to be the plain mean of others."""

from __future__ import annotations

from collections.abc import Iterator

from editverdict.ledger import ranges
from editverdict.ledger.findings import Finding
from editverdict.ledger.rules import Scope, Settings, kind


class MeanSettings(Settings):
    """A column and those that it averages."""

    of: tuple[str, ...]
    equals: str


@kind("mean", MeanSettings)
def mean(scope: Scope) -> Iterator[Finding]:
    """The mean of the parts *as printed*: authors average the printed numbers or the unrounded ones, so both may be."""
    own: MeanSettings = scope.settings
    for line in scope.lines():
        cells = line.numbers(*own.of, own.equals)
        if cells is not None:
            *parts, average = cells
            yield scope.compare(average, ranges.mean([part.range for part in parts]), parts)
