"""Printed rows of change rates with the spectra that they stand on, in the quantities of null models."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from editverdict.ledger.kinds.nulls import (
    EPS32,
    ChangeSettings,
    SpectrumSettings,
    band,
    dimension_of,
    printed_change,
)
from editverdict.ledger.ranges import Range
from editverdict.ledger.rules import Rule, Scope
from editverdict.ledger.tables import Ledger, Line

BANDS = {"all": "all directions above 1 but a few", "none": "a few directions above 1 at most", None: "between"}


@dataclass(frozen=True)
class PrintedRate:
    """One printed row."""

    table: int
    row: str
    d: int
    band: str | None
    """Whether all but a few directions are above 1, or a few at most, or neither."""
    above: int
    r_min: float
    rest: Range
    """Mean without the largest, as the printed digits allow."""
    r_max: float
    cond: float | None
    """Of the table of spectra, where one prints the layer."""
    floor: float | None
    """sigma_min over sigma_1 eps32, likewise."""
    rank: float | None
    """Effective rank over d, likewise."""
    norm: float | None
    """Mean norm of the change over sigma_1 / sqrt(n), where a table of norms prints it."""
    share: float | None
    """Mean |c| of the last direction, R_max sigma_min / sqrt(n), over its isotropic share of that norm."""


def printed_rates(ledger: Ledger, rules: Sequence[Rule]) -> Iterator[PrintedRate]:
    """All rows that rules of null models are about."""
    changes = [rule for rule in rules if isinstance(rule.settings, ChangeSettings)]
    spectra = [rule for rule in rules if isinstance(rule.settings, SpectrumSettings)]
    for rule in changes:
        for number in rule.spec.tables:
            if number in ledger:
                for line in Scope(ledger, rule.spec, rule.settings, (number,)).lines():
                    found = _rate(ledger, rule, spectra, line)
                    if found is not None:
                        yield found


def _rate(ledger: Ledger, rule: Rule, spectra: Sequence[Rule], line: Line) -> PrintedRate | None:
    own = rule.settings
    assert isinstance(own, ChangeSettings)
    cells, d = line.numbers(own.above, own.mean, own.smallest, own.largest), dimension_of(ledger, own.dimension, line)
    if cells is None or d is None:
        return None
    printed = printed_change(cells, d)
    top, low, rank = _spectrum(ledger, spectra, line)
    r_max, norm = cells[3].value, _norm(ledger, own, line)
    return PrintedRate(
        table=line.table,
        row=line.label,
        d=d,
        band=band(printed["short"], d, own.few),
        above=int(cells[0].value),
        r_min=cells[2].value,
        rest=printed["rest"],
        r_max=r_max,
        cond=top / low if top and low else None,
        floor=low / (top * EPS32) if top and low else None,
        rank=rank / d if rank else None,
        norm=norm * math.sqrt(own.samples) / top if norm and top else None,
        share=r_max * low / math.sqrt(own.samples) / (norm / math.sqrt(d)) if norm and low else None,
    )


def _spectrum(ledger: Ledger, spectra: Sequence[Rule], line: Line) -> tuple[float | None, float | None, float | None]:
    """Largest and smallest singular value and effective rank, of the row of a table of spectra with keys of this."""
    for rule in spectra:
        own = rule.settings
        assert isinstance(own, SpectrumSettings)
        for number in rule.spec.tables:
            for other in ledger[number].lines if number in ledger else ():
                cells = other.numbers(own.largest, own.smallest)
                if cells is not None and all(line.keys.get(key) == value for key, value in other.keys.items()):
                    rank = other.numbers(own.rank) if own.rank else None
                    return cells[0].value, cells[1].value, rank[0].value if rank else None
    return None, None, None


def _norm(ledger: Ledger, own: ChangeSettings, line: Line) -> float | None:
    for number in own.norms.tables if own.norms else ():
        for other in ledger[number].select(**line.keys) if number in ledger else ():
            cells = other.numbers(own.norms.column) if own.norms else None
            return cells[0].value if cells else None
    return None


def grouped(rates: Sequence[PrintedRate]) -> Iterator[tuple[str, list[PrintedRate]]]:
    """Rows of one kind together: all directions above 1 but a few; a few at most; neither."""
    for name, words in BANDS.items():
        own = [rate for rate in rates if rate.band == name]
        if own:
            yield words, own


def middle_of_rest(rates: Sequence[PrintedRate]) -> tuple[float, float]:
    """Mean over rows of the mean without the largest, weighted by how well the printed digits determine it.

    Rows that repeat each other count once. Returns the weighted mean and the standard error that rounding leaves of it
    (uniform within the range of each row).
    """
    distinct = {(rate.d, rate.rest.low, rate.rest.high): rate.rest for rate in rates}.values()
    weights = [12.0 / max(rest.high - rest.low, 1e-12) ** 2 for rest in distinct]
    middles = [(rest.high + rest.low) / 2.0 for rest in distinct]
    return sum(w * m for w, m in zip(weights, middles, strict=True)) / sum(weights), 1.0 / math.sqrt(sum(weights))


def leading_direction(rates: Sequence[PrintedRate]) -> tuple[float, float, float]:
    """Median of the smallest R_k, and what mis-paired leading directions have it.

    Returns the median, the share of the samples that carries such a direction alone, and the common offset in standard
    deviations that gives the same.
    """
    from editverdict.numerics.artefacts import ratio_of_offset, share_of_rare

    r_min = statistics.median(rate.r_min for rate in rates)
    return r_min, share_of_rare(r_min), ratio_of_offset(r_min)


def printed_angles(ledger: Ledger, step: str = "edit_step", k: str = "top_k") -> dict[str, dict[str, str]]:
    """Cosines that tables of leading subspaces print after the first edit of a layer: row -> k -> text."""
    found: dict[str, dict[str, str]] = {}
    for number, table in ledger.tables.items():
        for line in table.lines if {step, k, "layer"} <= set(table.spec.keys) else ():
            if line.keys[step] == "1":
                rest = " ".join(value for name, value in line.keys.items() if name not in (step, k))
                found.setdefault(f"Table {number}, {rest}", {})[line.keys[k]] = next(iter(line.cells.values())).text
    return found
