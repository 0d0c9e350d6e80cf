"""What a user is told about a wrong spec: where it is, what was expected, what was found, what to try."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

Where = tuple[str | int, ...]
"""Path of a value inside a document: keys of mappings and indices of lists."""

_ONE_LINE = 140
_LISTED = 12


@dataclass(frozen=True)
class SpecProblem:
    """One thing that is wrong in one place.

    Attributes
    ----------
    file : str
        File as the user named it; empty where no file is concerned.
    line : int or None
        Line, counted from 1; None where the file as a whole is concerned.
    field : str
        Dotted path in which the index of a list is replaced by the item's id, e.g.
        ``claims[collapse-cond].expect.threshold``; empty for the file as a whole.
    expected : str
        What would be right there.
    found : str
        What is there.
    hint : str
        What to try.
    """

    file: str
    line: int | None
    field: str
    expected: str
    found: str
    hint: str = ""

    def render(self) -> str:
        """Return the message: one line, or three where one would be too long to read."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        head = ": ".join(part for part in (place, self.field) if part)
        parts = [self.found, f"expected {self.expected}" if self.expected else "", self.hint]
        parts = [part for part in parts if part]
        text = "; ".join(parts)
        if len(self.field) + len(text) > _ONE_LINE:
            text = "\n    ".join(parts)
        return f"{head}: {text}" if head else text


class SpecError(Exception):
    """The specs cannot be used; carries every problem of every file.

    Deliberately no ``AssertionError``: in the report that word is reserved for a refuted claim.

    Attributes
    ----------
    problems : tuple of SpecProblem
        Sorted by file and line, without repetition.
    """

    def __init__(self, problems: Iterable[SpecProblem]) -> None:
        self.problems = tuple(sorted(set(problems), key=_order))
        super().__init__(self.problems)

    def __str__(self) -> str:
        """Return all problems, one below the other."""
        return "\n".join(problem.render() for problem in self.problems)


def _order(problem: SpecProblem) -> tuple[str, int, str, str]:
    return problem.file, problem.line or 0, problem.field, problem.found


def nearest(name: str, valid: Iterable[str], likeness: float = 0.5) -> str | None:
    """Return the valid name that looks most like `name`, or None if none is near; letter case does not count.

    Parameters
    ----------
    likeness : float
        Least similarity, 0 to 1 (Ratcliff and Obershelp's, as difflib computes it).
    """
    by_folded = {candidate.casefold(): candidate for candidate in valid}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=likeness)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``did you mean '...'?`` with the nearest valid name, or an empty text."""
    near = nearest(name, valid)
    return f"did you mean '{near}'?" if near else ""


def options(name: str, valid: Collection[str]) -> str:
    """Return ``one of a, b, c``: all valid names, or where they are many the ones that look most like `name`."""
    if not valid:
        return "one that is defined (there is none)"
    if len(valid) == 1:
        return f"'{next(iter(valid))}'"
    if len(valid) <= _LISTED:
        return "one of " + ", ".join(sorted(valid))
    close = difflib.get_close_matches(name, valid, n=_LISTED, cutoff=0.0)
    return f"one of {len(valid)} names, such as " + ", ".join(sorted(close))
