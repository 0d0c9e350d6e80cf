"""Rules over tables: specs name a registered kind and its settings; a kind is a function from a scope to findings."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from editverdict.ledger.findings import Finding, Verdict, compared
from editverdict.ledger.ranges import Range
from editverdict.ledger.tables import Cell, Ledger, Line, Table, items_of
from editverdict.schema.base import Spec
from editverdict.schema.errors import SpecError, SpecProblem, did_you_mean, options
from editverdict.schema.translate import validate
from editverdict.schema.yaml_loader import Document, read_yaml


class Settings(Spec):
    """Base of the closed settings of rule kinds."""


class RuleSpec(Spec):
    """A rule: what must hold in which tables, and what it means if it does not."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    kind: str
    """Name of a registered kind."""
    statement: str
    """What must hold, in one sentence."""
    family: str
    """Rules that belong together: averages, ratios, p-values, ..."""
    tables: tuple[int, ...] = Field(min_length=1)
    joint: bool = False
    """Whether the rule is about all its tables together, not about each."""
    beside: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Table (in quotes) -> further tables that its rows are read with, if the rule is about each table."""
    where: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Key -> values: only rows that have one of them (rows without the key are left out)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    about_paper: bool = False
    """Whether it holds tables against what this paper says, or how many items it used: no rule for tables of others."""
    broken: Verdict = "inconsistent"
    """What a row that breaks the rule is, unless the kind decides by itself."""
    why: str = ""
    """What a row that breaks the rule means, in one sentence; careful in tone."""
    source: str = ""
    """Where the paper says so, or where the arithmetic comes from."""
    note: str = ""


@dataclass(frozen=True)
class Scope:
    """What a kind is given: the tables, the rule, its settings, and the table in question."""

    ledger: Ledger
    rule: RuleSpec
    settings: Any
    tables: tuple[int, ...]
    """The table in question and those read beside it; all of the rule's if it is joint."""

    @property
    def table(self) -> Table:
        """The (first) table in question."""
        return self.ledger[self.tables[0]]

    def lines(self, table: int | None = None) -> list[Line]:
        """Rows that the rule is about, of the first table or of a named one."""
        chosen = self.ledger[self.tables[0] if table is None else table]
        return [line for line in chosen.lines if self._wanted(line)]

    def _wanted(self, line: Line) -> bool:
        return all(line.keys.get(key) in values for key, values in self.rule.where.items())

    def finding(
        self,
        verdict: Verdict,
        cells: Sequence[Cell],
        *,
        expected: Range | str,
        found: str,
        sentence: str = "",
        row: str = "",
        binding: Sequence[Cell] = (),
    ) -> Finding:
        """A finding; the sentence defaults to the rule's ``why`` where it is broken, else to its statement."""
        fine = verdict in ("consistent", "rounding")
        said = sentence or (self.rule.statement if fine or not self.rule.why else self.rule.why)
        label = row or (" ".join(cells[0].keys.values()) if cells else "")
        return Finding(
            self.rule.id, self.tables[0], label, verdict, str(expected), found, said, tuple(cells), tuple(binding)
        )

    def compare(self, cell: Cell, expected: Range, others: Sequence[Cell], *, binds_others: bool = True) -> Finding:
        """Finding on a printed number that others determine: all of them are bound unless said otherwise."""
        cells = (cell, *others)
        bound = cells if binds_others else (cell,)
        verdict = compared(cell, expected, self.rule.broken)
        return self.finding(verdict, cells, expected=expected, found=cell.text, binding=bound)


Kind = Callable[[Scope], Iterator[Finding]]
_K = TypeVar("_K", bound=Kind)
_KINDS: dict[str, tuple[type[Settings], Kind]] = {}


def kind(name: str, settings: type[Settings] = Settings) -> Callable[[_K], _K]:
    """Register a kind of rule under a name, with the class of its settings."""

    def register(function: _K) -> _K:
        if name in _KINDS:
            raise ValueError(f"two kinds of rule are called '{name}'")
        _KINDS[name] = (settings, function)
        return function

    return register


def kinds() -> dict[str, tuple[type[Settings], Kind]]:
    """All registered kinds: every module of ``editverdict.ledger.kinds`` is read."""
    from editverdict.ledger import kinds as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(_KINDS)


@dataclass(frozen=True)
class Rule:
    """A rule that can be run."""

    spec: RuleSpec
    settings: Settings
    run: Kind
    place: str
    """``file:line``."""


def read_rules(folder: Path) -> list[Rule]:
    """All rules below a folder, by id.

    Raises
    ------
    SpecError
        All problems of all files.
    """
    problems: list[SpecProblem] = []
    rules: dict[str, Rule] = {}
    for path in sorted(folder.rglob("*.yaml")):
        document = read_yaml(path, path.as_posix())
        problems += document.problems
        for number in range(items_of(document, "rules", problems)):
            rule = _read(document, number, problems)
            if rule is None:
                continue
            first = rules.setdefault(rule.spec.id, rule)
            if first is not rule:
                where = ("rules", number, "id")
                found = f"rule '{rule.spec.id}' is defined twice: here and at {first.place}"
                problems.append(document.problem(where, expected="every id once", found=found, hint="rename one"))
    if not rules and not problems:
        problems.append(SpecProblem(folder.as_posix(), None, "", "YAML files with 'rules:'", "none found"))
    if problems:
        raise SpecError(problems)
    return [rules[name] for name in sorted(rules)]


def _read(document: Document, number: int, problems: list[SpecProblem]) -> Rule | None:
    where = ("rules", number)
    spec, faults = validate(RuleSpec, document, where)
    problems += faults
    if not isinstance(spec, RuleSpec):
        return None
    known = kinds()
    if spec.kind not in known:
        problems.append(
            document.problem(
                (*where, "kind"),
                expected=options(spec.kind, known),
                found=f"unknown kind of rule '{spec.kind}'",
                hint=did_you_mean(spec.kind, known),
            )
        )
        return None
    cls, run = known[spec.kind]
    data = document.at(where)
    if "settings" not in data:
        document.data["rules"][number]["settings"] = {}
    settings, faults = validate(cls, document, (*where, "settings"))
    problems += faults
    if not isinstance(settings, Settings):
        return None
    return Rule(spec, settings, run, f"{document.file}:{document.line(where)}")
