"""Names of columns and keys in rules, checked against the index: a misspelt one would only find no row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from editverdict.ledger.rules import Rule
from editverdict.ledger.tables import TableSpec
from editverdict.schema.errors import SpecProblem, did_you_mean, options

# fmt: off
COLUMN_FIELDS = frozenset({
    "above", "bottom", "column", "columns", "denominator", "dimension", "equals", "first", "high", "largest", "low",
    "maximum", "mean", "norm", "numerator", "of", "op", "p", "rank", "ratio", "rho", "scale", "second", "size",
    "smallest", "stars", "std", "top",
})
# fmt: on
"""Settings that name columns, of whatever kind; settings under other names are not checked."""
_PARTS = (BaseModel, list, tuple)


def _named(settings: BaseModel) -> Iterator[tuple[str, str]]:
    """Field and name of every column that settings name, those of parts of the settings, too."""
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        values = value if isinstance(value, tuple | list) else (value,)
        for one in values:
            if isinstance(one, BaseModel):
                yield from _named(one)
            elif name in COLUMN_FIELDS and isinstance(one, str) and one and info.annotation in (str, tuple[str, ...]):
                yield name, one


def _tables(value: Any) -> Iterator[int]:
    """Tables that settings name, those of parts of the settings, too."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            own = getattr(value, name)
            if name in ("table", "tables") and own is not None:
                yield from own if isinstance(own, tuple) else (own,)
            elif isinstance(own, _PARTS):
                yield from _tables(own)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tables(one)


def misnamed(rules: Sequence[Rule], shapes: Mapping[int, TableSpec]) -> list[SpecProblem]:
    """Tables, columns and keys that rules name and no table of theirs has.

    Parameters
    ----------
    rules
        As read.
    shapes
        What the index says of the tables, those included whose file is not there.
    """
    return [problem for rule in rules for problem in _of_rule(rule, shapes)]


def _of_rule(rule: Rule, shapes: Mapping[int, TableSpec]) -> Iterator[SpecProblem]:
    file, _, line = rule.place.rpartition(":")
    spec = rule.spec
    beside = [number for numbers in spec.beside.values() for number in numbers]
    tables = dict.fromkeys([*spec.tables, *beside, *_tables(rule.settings)])

    def problem(field: str, what: str, name: str, known: Sequence[str]) -> SpecProblem:
        where = f"rules[{spec.id}].{field}"
        found = f"'{name}', which is no {what}"
        return SpecProblem(file, int(line), where, options(name, known), found, did_you_mean(name, known))

    absent = [number for number in tables if number not in shapes]
    for number in absent:
        yield problem("tables", "table of the index", str(number), [str(known) for known in shapes])
    if absent:
        return
    here = [shapes[number] for number in tables]
    columns = list(dict.fromkeys(name for table in here for name in table.columns))
    keys = list(dict.fromkeys(name for table in here for name in table.keys))
    for field, name in _named(rule.settings):
        if name not in columns:
            yield problem(f"settings.{field}", "column of its tables", name, columns)
    for name in spec.where:
        if name not in keys:
            yield problem("where", "key of its tables", name, keys)
