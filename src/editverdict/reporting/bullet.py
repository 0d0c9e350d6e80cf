"""A tiny drawing for tables: the expected region, the interval and the estimate on one line."""

from __future__ import annotations

import math

from editverdict.inference.rows import Row
from editverdict.reporting.axes import finite
from editverdict.reporting.formatting import measured, region

_WIDTH, _HEIGHT, _PAD = 150, 22, 6


def _bounds(row: Row) -> tuple[float | None, float | None]:
    """Lower and upper end of the expected region; None where it is unbounded."""
    expected = row.expected
    if expected.op == "within":
        return expected.low, expected.high
    return (None, expected.threshold) if expected.op in ("<", "<=") else (expected.threshold, None)


def bullet(row: Row) -> str:
    """Inline SVG (colours by CSS class) of a row's interval against its expected region; empty if not measured.

    The scale is logarithmic where everything is positive and spans more than two decades.
    """
    low, high = _bounds(row)
    values = finite((row.estimate, low, high), row.interval or ())
    if row.estimate is None or not math.isfinite(row.estimate) or len(values) < 2:
        return ""
    log = min(values) > 0 and max(values) / min(values) > 100
    scaled = [math.log10(v) if log else v for v in values]
    left, right = min(scaled), max(scaled)
    pad = 0.3 * (right - left) or abs(right) * 0.1 or 1.0
    left, right = left - pad, right + pad

    def x(value: float) -> float:
        place = ((math.log10(value) if log else value) - left) / (right - left)
        return round(_PAD + place * (_WIDTH - 2 * _PAD), 1)

    start, end = _PAD if low is None else x(low), _WIDTH - _PAD if high is None else x(high)
    label = f"{measured(row)}, expected {region(row.expected)}{' (log scale)' if log else ''}"
    parts = [
        f'<svg class="bullet" role="img" aria-label="{_safe(label)}" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        f"<title>{_safe(label)}</title>",
        f'<line class="axis" x1="{_PAD}" x2="{_WIDTH - _PAD}" y1="11" y2="11"/>',
        f'<rect class="region" x="{start}" width="{round(max(end - start, 0), 1)}" y="3" height="16"/>',
    ]
    parts += [f'<line class="bound" x1="{p}" x2="{p}" y1="2" y2="20"/>' for p in _inner(start, end)]
    if row.interval is not None and all(math.isfinite(v) and (v > 0 or not log) for v in row.interval):
        ends = [x(v) for v in row.interval]
        parts.append(f'<line class="interval" x1="{ends[0]}" x2="{ends[1]}" y1="11" y2="11"/>')
    parts.append(f'<circle class="estimate" cx="{x(row.estimate)}" cy="11" r="4"/></svg>')
    return "".join(parts)


def _inner(start: float, end: float) -> list[float]:
    return [place for place in (start, end) if _PAD < place < _WIDTH - _PAD]


def _safe(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
