"""What the paper prints beside what was measured, in words: one place, so that every renderer says the same."""

from __future__ import annotations

import math
import re

from editverdict.inference.replication import Beside, beside, closest
from editverdict.inference.rows import PaperNumber, Row
from editverdict.reporting.formatting import MISSING, number

NO_NUMBER = "the paper prints no number for it"


def printed_text(printed: PaperNumber) -> str:
    """E.g. ``0.274 (Table 16, Llama-3.1-8B-Instruct ROME layer 30 T=20 k=10)``."""
    return f"{number(printed.value)} (Table {printed.table}, {printed.row})"


def distance_text(one: Beside) -> str:
    """The replication distance and the difference, or why there is none."""
    if not one.comparable:
        return f"not comparable: {one.why}"
    if one.difference is None:
        return "nothing measured"
    difference = f"difference {signed(one.difference)}"
    return (
        f"distance {number(one.distance)}, {difference}" if one.distance is not None else f"{difference}, no interval"
    )


def signed(value: float) -> str:
    """A number with its sign."""
    return f"+{number(value)}" if value > 0 and math.isfinite(value) else number(value)


def paper_text(row: Row) -> str:
    """The printed number that is nearest in setting and definition, and how many more there are."""
    one = closest(row)
    if one is None:
        return "no number"
    more = len(row.paper_values) - 1
    return printed_text(one.printed) + (f"; {more} more" if more else "")


def replication_text(row: Row) -> str:
    """How far the measurement is from that number, or why the two cannot be compared."""
    one = closest(row)
    return distance_text(one) if one is not None else f"not comparable: {row.not_comparable or NO_NUMBER}"


def replication_brief(row: Row) -> str:
    """The same with the first reason only, for tables."""
    one = closest(row)
    if one is None or one.comparable:
        return replication_text(row)
    first, *more = (*one.setting, *one.definition)
    return f"not comparable: {first}" + (f"; and {len(more)} more, see the case" if more else "")


def short_text(row: Row) -> str:
    """For narrow places: ``paper 0.793 (T5), distance 1.3``, or ``paper 0.274 (T16), not comparable: model (+2)``.

    The first reason up to its first colon or bracket, and how many more there are.
    """
    one = closest(row)
    if one is None:
        return "paper: no number"
    head = f"paper {number(one.printed.value)} (T{one.printed.table})"
    if not one.comparable:
        return f"{head}, not comparable: {_why_briefly(one)}"
    far = one.distance
    return head if far is None else f"{head}, distance {number(far, 2)}"


def _why_briefly(one: Beside) -> str:
    first, *more = (*one.setting, *one.definition) or (one.why,)
    brief = re.split(r"[:;(]", first, maxsplit=1)[0].strip()
    return brief + (f" (+{len(more)})" if more else "")


def beside_rows(row: Row) -> list[tuple[str, str, str, str, str]]:
    """Per printed number: table and row, printed, measured, how far or why not, note."""
    return [
        (
            f"Table {one.printed.table}, {one.printed.row}",
            number(one.printed.value),
            number(one.measured),
            distance_text(one),
            one.printed.note or MISSING,
        )
        for one in beside(row)
    ]


COLUMNS = ("the paper, table and row", "paper", "measured", "replication distance", "note")
MEANING = (
    "|measured - printed| over the interval's half-width plus the printed rounding: 1 where the two ranges just touch, "
    "below 1 where they overlap. Only where model, method, data, T and definition are the paper's."
)
