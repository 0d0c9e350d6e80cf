"""All rules over all tables: cases, their findings, and which columns no rule reaches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from editverdict.ledger.findings import Finding, Verdict, counted, worst
from editverdict.ledger.rules import Rule, Scope
from editverdict.ledger.tables import Cell, Ledger


@dataclass(frozen=True)
class Case:
    """A rule and the table that it is held against with those beside it (all of its tables, if it is joint)."""

    rule: Rule
    tables: tuple[int, ...]

    @property
    def id(self) -> str:
        """Readable and stable: ``averages[table-03]``."""
        return f"{self.rule.spec.id}[{self.subject}]"

    @property
    def subject(self) -> str:
        """The tables in words."""
        return f"table{'s' if len(self.tables) > 1 else ''}-" + "+".join(f"{number:02d}" for number in self.tables)


@dataclass(frozen=True)
class Audited:
    """A case with what was found."""

    case: Case
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """That of the worst row."""
        return worst(one.verdict for one in self.findings)

    @property
    def summary(self) -> str:
        """How many rows have which verdict, and the first of the worst."""
        counts = ", ".join(f"{n} {verdict}" for verdict, n in counted(self.findings).items() if n)
        spec = self.case.rule.spec
        if self.verdict == "consistent":
            return f"{spec.statement} {counts} of {len(self.findings)}"
        first = next(one for one in self.findings if one.verdict == self.verdict)
        return f"{counts}. {first.row}: expected {first.expected}, printed {first.found}. {first.sentence}"


def cases_of(rules: Sequence[Rule], ledger: Ledger) -> list[Case]:
    """Every rule with each table of its own that is here, and those beside it; a joint rule needs all of them."""
    found = []
    for rule in rules:
        here = tuple(number for number in rule.spec.tables if number in ledger)
        if not rule.spec.joint:
            sets = [(number, *rule.spec.beside.get(str(number), ())) for number in here]
            found += [Case(rule, numbers) for numbers in sets if all(number in ledger for number in numbers)]
        elif len(here) == len(rule.spec.tables):
            found.append(Case(rule, here))
    return found


class NoRow(ValueError):
    """A rule finds no row that it is about: it would hold of nothing."""


def run_case(case: Case, ledger: Ledger) -> Audited:
    """Hold the rule against the tables.

    Raises
    ------
    NoRow
        The rule finds no row that it is about: it would hold of nothing.
    """
    scope = Scope(ledger, case.rule.spec, case.rule.settings, case.tables)
    findings = tuple(case.rule.run(scope))
    if not findings:
        raise NoRow(f"{case.rule.place}: rule '{case.rule.spec.id}' finds no row in {case.subject} that it is about")
    return Audited(case, findings)


def audit(rules: Sequence[Rule], ledger: Ledger) -> list[Audited]:
    """Hold all rules against all tables."""
    return [run_case(case, ledger) for case in cases_of(rules, ledger)]


@dataclass(frozen=True)
class Idle:
    """A case that cannot be held: the tables lack what it is about, or have numbers that it cannot compute with."""

    case: Case
    why: str


def audit_foreign(rules: Sequence[Rule], ledger: Ledger) -> tuple[list[Audited], list[Idle]]:
    """Hold all rules against tables that need not have every row, key or column that the rules are about."""
    held: list[Audited] = []
    idle: list[Idle] = []
    for case in cases_of(rules, ledger):
        try:
            held.append(run_case(case, ledger))
        except KeyError as error:
            idle.append(Idle(case, f"the tables have no {error.args[0]!r}"))
        except ArithmeticError as error:
            idle.append(Idle(case, f"cannot be computed: {error}"))
        except NoRow:
            idle.append(Idle(case, f"no row in {case.subject} that it is about"))
        except ValueError as error:
            idle.append(Idle(case, str(error)))
    return held, idle


def place(cell: Cell) -> tuple[int, int, str]:
    """Table, line of the file, column."""
    return cell.table, cell.line, cell.column


def bound_cells(audited: Sequence[Audited]) -> dict[tuple[int, int, str], Cell]:
    """Cells in which a wrong digit shows, by (table, line of the file, column)."""
    cells = [cell for one in audited for finding in one.findings for cell in finding.binding]
    return {place(cell): cell for cell in cells}


@dataclass(frozen=True)
class Reach:
    """How far the rules reach into a column."""

    table: int
    column: str
    numbers: int
    """Printed numbers."""
    seen: int
    """Those that some rule looks at."""
    bound: int
    """Those that some rule determines from others up to rounding."""


def coverage(ledger: Ledger, audited: Sequence[Audited]) -> list[Reach]:
    """Reach of the rules, column by column."""
    return reach_of(ledger, seen_cells(audited), bound_cells(audited))


def seen_cells(audited: Sequence[Audited]) -> set[tuple[int, int, str]]:
    """Places of the cells that some rule looks at."""
    return {place(cell) for one in audited for finding in one.findings for cell in finding.cells}


def reach_of(
    ledger: Ledger, seen: Collection[tuple[int, int, str]], bound: Collection[tuple[int, int, str]]
) -> list[Reach]:
    """Reach, column by column, of rules that look at some places and determine some of them."""
    found = []
    for number, table in ledger.tables.items():
        for column in table.spec.columns:
            cells = [line.cells[column] for line in table.lines if line.cells[column].number]
            if cells:
                places = [place(cell) for cell in cells]
                found.append(
                    Reach(number, column, len(cells), sum(p in seen for p in places), sum(p in bound for p in places))
                )
    return found
