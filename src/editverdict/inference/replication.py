"""How far a measurement is from what the paper prints, and whether the two can be compared at all.

Two numbers can be compared where setting and definition match:

- *setting*: model, method and dataset are those of the printed row, as far as the table names them, T is its T, and
  the row as a whole repeats a setting of the paper (``scope`` is ``replication``: texts and sizes, too);
- *definition*: neither the claim nor the printed number says why the quantities differ (``not_comparable``).

Then with m the measured number, [a, b] its interval, p the printed one and [c, d] what its digits may stand for,

    difference = m - p
    distance   = |m - p| / (half-width + rounding)

where half-width is the part of [a, b] on the side of p (from m to the end that faces p), and rounding the part of
[c, d] on the side of m. Both are bounds, not standard deviations, so they are added: the distance is 1 where the two
ranges just touch, below 1 where they overlap, and it has no unit. Without an interval there is a difference only.

Everything comes from the stored fields of a row, so that rows of older runs are rendered alike. Rows written before
printed numbers carried their setting are judged by their scope alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from editverdict.inference.rows import Interval, PaperNumber, Row
from editverdict.inference.verdicts import EDITS_KEY

UNUSABLE = {"invalid": "this measurement is invalid", "broken": "this measurement broke"}


@dataclass(frozen=True)
class Beside:
    """A printed number beside a measured one."""

    printed: PaperNumber
    measured: float | None
    setting: tuple[str, ...]
    """Where the settings differ; empty: they match."""
    definition: tuple[str, ...]
    """Where the definitions differ."""
    difference: float | None = None
    """Measured minus printed, in units of the quantity; None unless the two can be compared."""
    distance: float | None = None
    """See the module; None without an interval, infinite where neither side has any width and they differ."""

    @property
    def comparable(self) -> bool:
        """Whether setting and definition match."""
        return not self.setting and not self.definition

    @property
    def why(self) -> str:
        """Why the two cannot be compared; empty if they can."""
        return "; ".join((*self.setting, *self.definition))


def _plain(name: str) -> str:
    """A name as ids spell it: the paper's WikiData_counterfact is our ``wikidata-counterfact``."""
    return name.lower().replace("_", "-")


def setting_differs(row: Row, printed: PaperNumber) -> tuple[str, ...]:
    """Where the setting of a row is not that of a printed number, each in a few words."""
    found = []
    pairs = (("model", row.model, printed.model), ("method", row.method, printed.method),
             ("dataset", row.dataset, printed.dataset))  # fmt: skip
    for what, ours, theirs in pairs:
        if ours and theirs and _plain(ours) != _plain(theirs):
            found.append(f"another {what} ({ours} for {theirs})")
    edits = row.descriptive.get(EDITS_KEY)
    if printed.edits is not None and isinstance(edits, int) and edits != printed.edits:
        found.append(f"another T ({edits} for {printed.edits:,})")
    if not found and row.scope != "replication":
        found.append(row.scope_reason or f"the row is {row.scope}")
    return tuple(found)


def distance(measured: float, interval: Interval | None, printed: float, rounding: Interval | None) -> float | None:
    """The replication distance; None without an interval of the measurement.

    Parameters
    ----------
    measured, interval
        The estimate and its interval.
    printed, rounding
        The printed number and what its digits may stand for; None: the number itself.
    """
    if interval is None or not math.isfinite(measured):
        return None
    gap = abs(measured - printed)
    if gap == 0.0:
        return 0.0
    low, high = rounding or (printed, printed)
    below = printed < measured
    half = measured - interval[0] if below else interval[1] - measured
    digits = high - printed if below else printed - low
    width = max(half, 0.0) + max(digits, 0.0)
    return gap / width if width > 0.0 else math.inf


def beside(row: Row) -> tuple[Beside, ...]:
    """Every printed number of a row beside what was measured, in the row's order."""
    return tuple(_beside(row, printed) for printed in row.paper_values)


def _beside(row: Row, printed: PaperNumber) -> Beside:
    setting = setting_differs(row, printed)
    definition = tuple(dict.fromkeys(why for why in (printed.not_comparable, row.not_comparable) if why))
    if row.verdict in UNUSABLE:
        definition += (UNUSABLE[row.verdict],)
    if setting or definition or row.estimate is None:
        return Beside(printed, row.estimate, setting, definition)
    rounding = None if printed.low is None or printed.high is None else (printed.low, printed.high)
    far = distance(row.estimate, row.interval, printed.value, rounding)
    return Beside(printed, row.estimate, setting, definition, row.estimate - printed.value, far)


def closest(row: Row) -> Beside | None:
    """The printed number whose setting and definition are nearest to the row's; the first of equals; None without."""
    return min(beside(row), key=lambda one: (not one.comparable, len(one.setting), len(one.definition)), default=None)
