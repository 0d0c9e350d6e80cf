"""Cell by cell: what a run measured, what the paper prints in the nearest setting, and why a cell is empty.

*Nearest* is the printed row of the same method and setting: of our own model and dataset where the table prints them,
then of exactly our setting, then with the closest numbers of edits, texts and top-k on a log scale, then the first in
the table. Nothing is judged, and no two numbers are subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editverdict.reporting.paper_places import same_place
from editverdict.reporting.paper_rows import Record

_WORDS = ("method", "setting", "l2", "logp_group")
"""Keys that must be the same on both sides."""
_SIZES = ("n_edits", "memory_size", "top_k")
"""Keys of which the closest number is taken."""
KEYS = (*_WORDS, *_SIZES)
_PLACES = ("model", "dataset")
ALL_EDITS = {"ZsRE": 1301, "WikiData_counterfact": 839}
"""Edits behind "all": not stated in the paper, found from its percentages."""
_EITHER = "either"


@dataclass(frozen=True)
class NearCell:
    """One number of a line."""

    ours: Any
    """None: there is none."""
    paper: str
    """As printed; empty where the paper has no such row or column."""
    why: str
    """Why ours is absent; empty where it is not."""


@dataclass(frozen=True)
class NearLine:
    """One line: what it is of, its cells, and where the paper's numbers stand."""

    names: dict[str, str]
    cells: dict[str, NearCell]
    setting: str
    """Of the paper's numbers, where it is not in the names; says so where the paper has none."""


Line = dict[tuple[str, ...], dict[str, Any]]


def nearest_lines(
    paper: Sequence[Record],
    ours: Sequence[Record],
    why: Callable[[str | None, bool], str],
    no_column: str = "its row has no such number",
) -> list[NearLine]:
    """Lay a run's records and the paper's side by side.

    Parameters
    ----------
    paper
        The printed rows of one table.
    ours
        Records of the run in the table's columns, with ``model`` and ``dataset``; absent numbers are None.
    why
        (method, or None where the table is about none; whether the run has no number at all of it) -> why a line is
        empty.
    no_column
        Why a line that has numbers has none in some column.

    Returns
    -------
    list of NearLine
        Method by method, the run's first: its own lines, and those of the paper that none of them is near to, of the
        run's own model and dataset where the table has them, else of its first; by number of edits or texts. Names say
        the model or the dataset where the run has several.
    """
    own = _lines(ours)
    # A method that the paper did not run on some model has a row of dashes there: nothing is near to that.
    printed = {
        key: numbers for key, numbers in _lines(paper).items() if any(v not in (None, "") for v in numbers.values())
    }
    keys = [name for name in KEYS if any(name in record for record in paper)]
    keys += [name for name in _PLACES if len({_value(key, name) for key in own}) > 1]
    columns = _columns(printed)
    there = {_value(key, "method") for key in own}
    made = []
    for key in _ordered([*own, *_uncovered(own, printed)]):
        beside = _nearest(key, printed)
        method = _value(key, "method")
        reason = "" if key in own else why(method or None, not any(_is(name, method) for name in there))
        numbers = own.get(key, {})
        cells = {
            name: NearCell(
                numbers.get(name),
                str(beside[1].get(name) or "") if beside else "",
                "" if numbers.get(name) is not None else reason or no_column,
            )
            for name in columns
        }
        made.append(NearLine({n: _value(key, n) for n in keys}, cells, _setting(key, beside)))
    return made


def _ordered(keys: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Methods as they come; within one by sizes, then as they come."""
    methods = {name: place for place, name in enumerate(dict.fromkeys(_value(key, "method") for key in keys))}

    def place(key: tuple[str, ...]) -> tuple[float, ...]:
        return (methods[_value(key, "method")], *(_number(_value(key, name), "") or 0.0 for name in _SIZES))

    return sorted(keys, key=place)


def _uncovered(own: Line, printed: Line) -> list[tuple[str, ...]]:
    """Printed rows that no line of the run is nearest to, as keys with those of the run's places that they match."""
    best = {key: min((_rank(key, row) for row in printed if _same(key, row)), default=None) for key in own}
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row, match in _rows_to_cover(own, printed):
        covered = any(_same(key, row) and _rank(key, row) == least for key, least in best.items())
        if not covered and sum(map(bool, match)) >= sum(map(bool, found.get(row, ()))):
            found[row] = match
    return list(dict.fromkeys((*row[: -len(_PLACES)], *match) for row, match in found.items()))


def _rows_to_cover(own: Line, printed: Line) -> Iterable[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Of each method, for each model and dataset of the run, the rows of the printed ones that are nearest to them."""
    for method in dict.fromkeys(_value(row, "method") for row in printed):
        rows = [row for row in printed if _value(row, "method") == method]
        for ours in dict.fromkeys(key[-len(_PLACES) :] for key in own) or [("",) * len(_PLACES)]:
            _, nearest = min((_elsewhere(ours, row), place) for place, row in enumerate(rows))
            there = rows[nearest][-len(_PLACES) :]
            yield from ((row, _matching(ours, row)) for row in rows if row[-len(_PLACES) :] == there)


def _matching(ours: tuple[str, ...], row: tuple[str, ...]) -> tuple[str, ...]:
    """Our model and our dataset, each as far as a printed row is of it."""
    return tuple("" if other else name for name, other in zip(ours, _elsewhere(ours, row), strict=True))


def _elsewhere(ours: tuple[str, ...], row: tuple[str, ...]) -> tuple[bool, ...]:
    """Whether a printed row is of another model, and of another dataset; a table without them is of none of ours."""
    return tuple(not same_place(one, other) for one, other in zip(ours, row[-len(_PLACES) :], strict=True))


def _is(name: str, method: str) -> bool:
    return name == method or name.startswith(f"{method}-L2-")


def _columns(printed: Line) -> list[str]:
    """Columns with numbers, in the table's order."""
    names = (name for numbers in printed.values() for name in numbers)
    return [name for name in dict.fromkeys(names) if any(v.get(name) not in (None, "") for v in printed.values())]


def _lines(records: Iterable[Record]) -> Line:
    """Key -> column -> number; metrics that stand in rows become columns."""
    made: Line = {}
    for record in records:
        key = tuple(str(record.get(name) or "") for name in (*KEYS, *_PLACES))
        numbers = made.setdefault(key, {})
        if "metric" in record and "value" in record:
            _put(numbers, str(record["metric"]), record["value"])
        else:
            for name, value in record.items():
                if name not in (*KEYS, *_PLACES):
                    _put(numbers, name, value)
    return made


def _put(numbers: dict[str, Any], name: str, value: Any) -> None:
    """The first number of a cell counts."""
    if numbers.get(name) is None:
        numbers[name] = value


def _value(key: tuple[str, ...], name: str) -> str:
    return key[(*KEYS, *_PLACES).index(name)]


def _same(key: tuple[str, ...], row: tuple[str, ...]) -> bool:
    for name in _WORDS:
        ours, theirs = _value(key, name), _value(row, name)
        if name == "method" and theirs and _is(ours, theirs):
            continue  # the paper's own method, or another weight of its L2 term
        if ours != theirs and _EITHER not in (ours, theirs):
            return False
    return True


def _number(text: str, dataset: str) -> float | None:
    if text in ("all", "All"):
        return float(ALL_EDITS.get(dataset, 1301))
    try:
        return float(text)
    except ValueError:
        return None


def _distance(key: tuple[str, ...], row: tuple[str, ...]) -> float:
    total = 0.0
    for name in _SIZES:
        one, other = (_number(_value(k, name), _value(row, "dataset")) for k in (key, row))
        if one is not None and other is not None:
            total += abs(math.log(one + 1) - math.log(other + 1))
    return total


def _rank(key: tuple[str, ...], row: tuple[str, ...]) -> tuple[float, ...]:
    """How near a printed row is: model, dataset, words that differ (``either`` for a setting), then sizes."""
    words = sum(_value(key, name) != _value(row, name) for name in _WORDS)
    return (*_elsewhere(key[-len(_PLACES) :], row), words, round(_distance(key, row), 9))


def _nearest(key: tuple[str, ...], printed: Line) -> tuple[tuple[str, ...], Mapping[str, Any]] | None:
    rows = [row for row in printed if _same(key, row)]
    if not rows:
        return None
    best = min(rows, key=lambda row: _rank(key, row))  # of equals the first in the table
    return best, printed[best]


def _setting(key: tuple[str, ...], beside: tuple[tuple[str, ...], Mapping[str, Any]] | None) -> str:
    if beside is None:
        return "the paper prints none"
    row = beside[0]
    parts = [_value(row, name) for name in _PLACES if _value(row, name)]
    words = {"n_edits": "edits", "memory_size": "texts", "top_k": "top-k"}
    parts += [f"{_value(row, n)} {w}" for n, w in words.items() if _value(row, n) and _value(row, n) != _value(key, n)]
    if _value(row, "setting") == "sequential" and not _value(row, "n_edits"):
        parts.append("all edits")
    method = _value(row, "method")
    return ", ".join([*([method] if method != _value(key, "method") else []), *parts])


def near_reasons(lines: Sequence[NearLine]) -> dict[str, int]:
    """Why cells are empty, numbered from 1 in the order of the lines."""
    said = dict.fromkeys(cell.why for line in lines for cell in line.cells.values() if cell.why)
    return {reason: place for place, reason in enumerate(said, start=1)}


def near_rows(lines: Sequence[NearLine]) -> list[dict[str, Any]]:
    """One row per cell, for CSV."""
    return [
        {**line.names, "column": name, "this_run": cell.ours, "paper": cell.paper, "paper_setting": line.setting,
         "why_empty": cell.why}
        for line in lines
        for name, cell in line.cells.items()
    ]  # fmt: skip
