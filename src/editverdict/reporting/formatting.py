"""How numbers, intervals and verdicts are written: one place, so that every renderer says the same.

Missing is not zero: an absent number is written as a dash, never as ``0``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from editverdict.inference.rows import ClaimVerdict, ControlResult, Region, Row

MISSING = "—"
SEVERITIES = ("blocker", "critical", "normal", "minor", "trivial")


@dataclass(frozen=True)
class Look:
    """How a verdict is shown: never by colour alone."""

    symbol: str
    words: str
    terminal: str
    """A rich style."""
    meaning: str


LOOKS: dict[str, Look] = {
    "supported": Look("✓", "supported", "bold green", "the interval is inside the expected region; controls in order"),
    "refuted": Look("✗", "refuted", "bold red", "the interval is outside the expected region; controls in order"),
    "inconclusive": Look(
        "≈", "inconclusive", "bold yellow", "the interval straddles the threshold, or a control is undecided"
    ),
    "invalid": Look("⊘", "invalid", "bold magenta", "a validity check or a control failed: the number proves nothing"),
    "broken": Look("!", "broken", "bold white on red", "the measurement did not finish: memory, a missing file, a bug"),
    "not_run": Look("○", "not run", "dim", "needs something that was not here; says nothing about the claim"),
    "incomplete": Look("…", "incomplete", "cyan", "planned cases are missing, so the claim is not judged"),
}
"""Verdict -> its look, in the order in which verdicts are counted."""


def number(value: Any, digits: int = 4) -> str:
    """A number with ``digits`` significant digits; a dash for None, anything that is no number as text."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return re.sub(r"e([+-])0?(\d)", lambda m: f"e{'-' if m[1] == '-' else ''}{m[2]}", f"{value:.{digits - 2}e}")
    return f"{value:.{digits}g}"


def interval(bounds: tuple[float, float] | None) -> str:
    """``[low, high]``, or a dash."""
    return MISSING if bounds is None else f"[{number(bounds[0])}, {number(bounds[1])}]"


def region(expected: Region) -> str:
    """The expected region; survives a region whose bounds are absent."""
    try:
        return expected.describe()
    except TypeError:
        return f"{expected.op} {MISSING}"


def origin(expected: Region) -> str:
    """Where the threshold comes from, with its reference."""
    return f"{expected.origin}: {expected.ref}" if expected.ref else expected.origin


def percent(level: float) -> str:
    """A confidence level, e.g. ``99%``."""
    return f"{100 * level:g}%"


def measured(row: Row) -> str:
    """Estimate and interval in one phrase."""
    if row.estimate is None:
        return MISSING
    return number(row.estimate) if row.interval is None else f"{number(row.estimate)} {interval(row.interval)}"


def units(row: Row) -> str:
    """Number of resampling units, and the number needed where it is not reached."""
    if not row.unit:
        return MISSING
    name = row.unit.replace("_", " ")
    count = f"{row.n_units} {name}{'' if row.n_units == 1 else 's'}"
    return f"{count} (needs {row.min_units})" if row.n_units < row.min_units else count


def seconds(value: Any) -> str:
    """A duration, e.g. ``3.2 s`` or ``12 min 05 s``."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return MISSING
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def slug(case: str) -> str:
    """A file name for a case id: letters, digits, ``.``, ``_``, ``+`` and ``-`` only."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", case).strip("-.") or "case"


def deciding(controls: Iterable[ControlResult]) -> list[ControlResult]:
    """The controls that decide validity: negative and positive ones."""
    return [c for c in controls if c.role in ("negative", "positive")]


def control_tally(rows: Sequence[Row]) -> str:
    """How the deciding controls of some cases came out, e.g. ``5/6 ok, 1 failed``."""
    controls = [c for row in rows for c in deciding(row.controls)]
    if not controls:
        return MISSING
    tally = f"{sum(c.outcome == 'ok' for c in controls)}/{len(controls)} ok"
    for outcome in ("failed", "undecided"):
        count = sum(c.outcome == outcome for c in controls)
        tally += f", {count} {outcome}" if count else ""
    return tally


def verdict_counts(verdicts: Iterable[str]) -> dict[str, int]:
    """Verdict -> number, in the order of ``LOOKS``, verdicts that do not occur left out."""
    found = list(verdicts)
    return {name: found.count(name) for name in LOOKS if name in found}


def headline(claims: Sequence[ClaimVerdict]) -> str:
    """The one sentence at the top of a report: how many claims, and how they came out."""
    judged = [c for c in claims if c.kind == "claim"]
    if not judged:
        return "No claim was put on trial in this run."
    parts = [f"{count} {LOOKS[name].words}" for name, count in verdict_counts(c.verdict for c in judged).items()]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{len(judged)} claim{'' if len(judged) == 1 else 's'} on trial: {listed}."
