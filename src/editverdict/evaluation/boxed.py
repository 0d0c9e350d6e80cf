"""Grading generated solutions of mathematical problems by their last boxed answer.

Deliberately plain: numbers are compared as numbers, everything else as text after notation that cannot change a value
has been taken out. Two notations of one value that this does not see as equal count as different, in the unedited model
as in the edited ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_NOISE = re.compile(r"\\(?:left|right|displaystyle|!|,|;|:|quad|qquad)(?![A-Za-z])|\\\s|[\s$]")
_UNITS = re.compile(r"\\(?:text|mathrm|textbf)\{[^{}]*\}$|\^\{?\\circ\}?$|\\%$|%$")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\{?(-?\d+)\}?\{?(-?\d+)\}?")


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete ``\boxed{...}`` of a text, or None."""
    for found in reversed(list(_BOX.finditer(text))):
        depth, start = 1, found.end()
        for at in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[start:at]
    return None


def normalised(answer: str) -> str:
    """An answer without spaces, sizes of brackets, dollar signs and units."""
    bare = _NOISE.sub("", answer).rstrip(".")
    return _UNITS.sub("", bare.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))


def value_of(answer: str) -> Fraction | None:
    """The number that an answer is, if it is one: an integer, a decimal or a fraction."""
    bare = (
        normalised(answer).replace(",", "")
        if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", normalised(answer))
        else normalised(answer)
    )
    if (found := _FRACTION.fullmatch(bare)) is not None and int(found[3]) != 0:
        return Fraction(int(found[2]), int(found[3])) * (-1 if found[1] else 1)
    try:
        return Fraction(bare)
    except (ValueError, ZeroDivisionError):
        return None


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same number, or the same text."""
    first, second = value_of(one), value_of(other)
    if first is not None and second is not None:
        return first == second
    return normalised(one) == normalised(other)


def graded(solution: str, answers: Sequence[str]) -> float:
    """1 if the last boxed answer of a solution is among the right ones, else 0; 0 where none is boxed."""
    found = last_boxed(solution)
    return float(found is not None and any(same_answer(found, answer) for answer in answers))
