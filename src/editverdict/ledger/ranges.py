"""Ranges of numbers: what a printed number may stand for, and what arithmetic makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache

SLACK = 1e-9
"""Relative size of what floating-point arithmetic may add to an end."""


@dataclass(frozen=True)
class Range:
    """All numbers between two ends, ends included; an end may be infinite."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"a range begins below its end, found {self.low} to {self.high}")

    @classmethod
    def exactly(cls, value: float) -> Range:
        """One number alone."""
        return cls(value, value)

    def __add__(self, other: Range | float) -> Range:
        other = as_range(other)
        return Range(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Range | float) -> Range:
        other = as_range(other)
        return Range(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Range | float) -> Range:
        other = as_range(other)
        ends = [_times(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(ends), max(ends))

    def __truediv__(self, other: Range | float) -> Range:
        """The quotient.

        Raises
        ------
        ZeroDivisionError
            The divisor may be zero.
        """
        other = as_range(other)
        if other.low <= 0.0 <= other.high:
            raise ZeroDivisionError(f"division by a number between {other.low} and {other.high}")
        return self * Range(1.0 / other.high, 1.0 / other.low)

    def root(self) -> Range:
        """Square root of what is not negative."""
        return Range(math.sqrt(max(self.low, 0.0)), math.sqrt(max(self.high, 0.0)))

    def meets(self, other: Range | float) -> bool:
        """Whether some number lies in both, up to :data:`SLACK`."""
        other = as_range(other)
        slack = SLACK * max(
            (abs(e) for e in (self.low, self.high, other.low, other.high) if math.isfinite(e)), default=0.0
        )
        return self.low <= other.high + slack and other.low <= self.high + slack

    def wider(self, by: float) -> Range:
        """The same, longer by ``by`` at both ends."""
        return Range(self.low - by, self.high + by)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:.6g}"
        if self.high == math.inf:
            return f"at least {self.low:.6g}"
        return f"at most {self.high:.6g}" if self.low == -math.inf else f"{self.low:.6g} to {self.high:.6g}"


def as_range(value: Range | float) -> Range:
    """A number as the range that holds it alone."""
    return value if isinstance(value, Range) else Range.exactly(float(value))


def _times(a: float, b: float) -> float:
    """Product in which nothing times anything is nothing, infinity included."""
    return 0.0 if a == 0.0 or b == 0.0 else a * b


def mean(parts: list[Range]) -> Range:
    """Arithmetic mean."""
    return Range(sum(p.low for p in parts) / len(parts), sum(p.high for p in parts) / len(parts))


@lru_cache(maxsize=65536)
def last_digit(text: str) -> float | None:
    """One unit of the last digit of a printed number (``3.38e-6``: 1e-8); None for what is no number."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    exponent = number.as_tuple().exponent
    return float(Decimal(1).scaleb(exponent)) if isinstance(exponent, int) else None


@lru_cache(maxsize=65536)
def printed(text: str, *, exact: bool = False) -> Range | None:
    """What a printed number may stand for: half a unit of its last digit to both sides; None for what is no number."""
    unit = last_digit(text)
    if unit is None:
        return None
    value = float(text)
    return Range.exactly(value) if exact else Range(value - unit / 2, value + unit / 2)
