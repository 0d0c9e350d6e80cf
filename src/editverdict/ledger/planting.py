"""Planted errors: one entry of a table is changed on purpose, and the rules are asked whether they notice."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from editverdict.ledger.audit import Audited, Case, NoRow, bound_cells, cases_of, coverage, place, run_case
from editverdict.ledger.findings import VERDICTS, Finding, Verdict
from editverdict.ledger.rules import Rule
from editverdict.ledger.tables import Cell, Ledger, Line, Table

Place = tuple[int, int, str]
"""Table, line of the file, column."""
BROKEN: tuple[Verdict, ...] = ("implausible", "inconsistent")
_SIGNIFICAND = re.compile(r"^([+-]?)([0-9.]+)(?:[eE]([+-]?)([0-9]+))?$")
_MOST_STARS = 3


@dataclass(frozen=True)
class Planted:
    """An error, and the tables that have it."""

    what: str
    """In words: ``Table 3, ..., avg: 24.75 -> 24.15``."""
    ledger: Ledger
    places: tuple[Place, ...]
    """Entries that differ."""

    @property
    def tables(self) -> frozenset[int]:
        """Tables that differ."""
        return frozenset(table for table, _, _ in self.places)


@dataclass(frozen=True)
class Notice:
    """How the rules noticed a planted error."""

    rule: str
    verdict: Verdict
    """Verdict of the finding that got worse."""
    sentence: str


# --------------------------------------------------------------------------- changes of a printed text
def digit_changes(text: str) -> list[str]:
    """All texts that differ from a printed number in one digit, or in its sign; none is the same number.

    The digits of an exponent count, and so does a leading zero; where only ``0`` would be read otherwise (``-0.00``),
    the text is left out.
    """
    found = [
        text[:at] + other + text[at + 1 :]
        for at, sign in enumerate(text)
        if sign.isdigit()
        for other in "0123456789"
        if other != sign
    ]
    if text.startswith("-"):
        found.append(text[1:])
    return [one for one in found if float(one) != float(text)]


def shifted(text: str, powers: int) -> str:
    """The same digits times a power of ten: ``1.72e3`` and -1 give ``1.72e2``, ``50.73`` and 1 give ``507.3``."""
    match = _SIGNIFICAND.match(text)
    if match is None:
        raise ValueError(f"'{text}' is no number")
    sign, digits, exponent_sign, exponent = match.groups()
    if exponent is not None:
        return f"{sign}{digits}e{int(f'{exponent_sign}{exponent}') + powers}"
    decimals = len(digits.partition(".")[2])
    return f"{float(text) * 10.0**powers:.{max(decimals - powers, 0)}f}"


def _is_stars(cell: Cell) -> bool:
    return cell.column == "stars"


def changes_of(cell: Cell) -> list[str]:
    """All errors of one entry: another digit, another sign, another number of stars."""
    if _is_stars(cell):
        return [str(n) for n in range(_MOST_STARS + 1) if str(n) != cell.text]
    return digit_changes(cell.text)


# --------------------------------------------------------------------------- planting
def planted_at(ledger: Ledger, cell: Cell, text: str) -> Planted:
    """The tables with another text in one entry."""
    at = place(cell)
    return Planted(f"{cell}: {cell.text} -> {text}", ledger.with_texts({at: text}), (at,))


def corrupt(ledger: Ledger, cells: Sequence[Cell], seed: int) -> Planted:
    """A random error in a random one of the given entries (see :func:`editverdict.ledger.audit.bound_cells`)."""
    chance = random.Random(seed)
    cell = chance.choice(cells)
    if _is_stars(cell):
        return planted_at(ledger, cell, chance.choice(changes_of(cell)))
    # First the digit, then what it becomes: a text of many digits is not favoured.
    signs = [at for at, sign in enumerate(cell.text) if sign.isdigit() or (at == 0 and sign == "-")]
    at = chance.choice(signs)
    if cell.text[at] == "-":
        return planted_at(ledger, cell, cell.text[1:])
    other = chance.choice([digit for digit in "0123456789" if digit != cell.text[at]])
    text = cell.text[:at] + other + cell.text[at + 1 :]
    # "-0.00" and "0e5" are zero whatever their sign or exponent is: try another one.
    return planted_at(ledger, cell, text) if float(text) != cell.value else corrupt(ledger, cells, seed + 1_000_003)


def swapped(ledger: Ledger, first: Line, second: Line) -> Planted:
    """The tables with the entries of two rows exchanged, as when two methods are mixed up."""
    changes: dict[Place, str] = {}
    for one, other in ((first, second), (second, first)):
        for column, cell in one.cells.items():
            if column in other.cells and other.cells[column].text != cell.text:
                changes[place(cell)] = other.cells[column].text
    what = f"Table {first.table}: rows '{first.label}' and '{second.label}' swapped"
    return Planted(what, ledger.with_texts(changes), tuple(changes))


def copied(ledger: Ledger, source: Line, target: Line) -> Planted:
    """The tables with the entries of one row printed in another, too."""
    changes = {
        place(target.cells[column]): cell.text
        for column, cell in source.cells.items()
        if column in target.cells and target.cells[column].text != cell.text
    }
    what = f"Table {source.table}: row '{source.label}' printed as '{target.label}', too"
    return Planted(what, ledger.with_texts(changes), tuple(changes))


# --------------------------------------------------------------------------- noticing
class _Read(dict[int, Table]):
    """Tables that remember which of them were looked at."""

    def __init__(self, tables: Mapping[int, Table]) -> None:
        super().__init__(tables)
        self.seen: set[int] = set()

    def __getitem__(self, number: int) -> Table:
        self.seen.add(number)
        return super().__getitem__(number)


@dataclass(frozen=True)
class _Baseline:
    """A case as it was before anything was planted."""

    audited: Audited
    reads: frozenset[int]
    """Tables that it looked at."""
    bound: frozenset[Place]


class Watch:
    """Rules over tables, run once; asked about a planted error they run again only where it can matter.

    Rules that find no row to be about are left out, as in an audit of tables of others; any other error of a rule gets
    out, so that a rule that breaks does not vanish from the rates.
    """

    def __init__(self, rules: Sequence[Rule], ledger: Ledger) -> None:
        self.ledger = ledger
        found = (_baseline(case, ledger) for case in cases_of(rules, ledger))
        self._cases = [one for one in found if one is not None]

    @property
    def audited(self) -> list[Audited]:
        """What was found before anything was planted."""
        return [one.audited for one in self._cases]

    @property
    def bound(self) -> list[Cell]:
        """Entries in which a wrong digit should show, in the order of the tables."""
        found = bound_cells(self.audited)
        return [found[at] for at in sorted(found)]

    def notices(self, planted: Planted) -> Iterator[Notice]:
        """Findings on the changed entries that are worse than before, the likeliest rules first; one rule at a time."""
        tables, places = planted.tables, frozenset(planted.places)
        cases = [one for one in self._cases if one.reads & tables]
        for one in sorted(cases, key=lambda c: (not c.bound & places, len(c.reads), c.audited.case.id)):
            yield from worse(one.audited, _again(one.audited.case, planted.ledger), places)

    def notice(self, planted: Planted) -> Notice | None:
        """The first notice of an error, or None if no rule noticed it."""
        return next(self.notices(planted), None)


def _baseline(case: Case, ledger: Ledger) -> _Baseline | None:
    tables = _Read(ledger.tables)
    try:
        audited = run_case(case, Ledger(tables, ledger.folder, ledger.shapes))
    except NoRow:
        return None
    bound = frozenset(bound_cells([audited]))
    return _Baseline(audited, frozenset(tables.seen | set(case.tables)), bound)


def _again(case: Case, ledger: Ledger) -> tuple[Finding, ...]:
    """Findings on changed tables; none if the rule no longer finds a row that it is about, or cannot compute.

    A rule that cannot compute with a wrong number counts as one that does not notice it.
    """
    try:
        return run_case(case, ledger).findings
    except (NoRow, ArithmeticError):
        return ()


def worse(before: Audited, after: Sequence[Finding], places: Collection[Place]) -> Iterator[Notice]:
    """Findings that touch one of the places and are worse than the same row's before, or broken and new."""
    old: dict[tuple[str, str], list[Finding]] = {}
    for finding in before.findings:
        old.setdefault((finding.rule, finding.row), []).append(finding)
    met: Counter[tuple[str, str]] = Counter()
    for finding in after:
        name = finding.rule, finding.row
        earlier = old.get(name, [])
        at, met[name] = met[name], met[name] + 1
        if not any(place(cell) in places for cell in finding.cells):
            continue
        if at < len(earlier):
            noticed = VERDICTS.index(finding.verdict) > VERDICTS.index(earlier[at].verdict)
        else:
            noticed = finding.verdict in BROKEN
        if noticed:
            yield Notice(finding.rule, finding.verdict, finding.sentence)


# --------------------------------------------------------------------------- rates
def covered(ledger: Ledger, audited: Sequence[Audited], at_least: float = 0.0) -> list[Cell]:
    """All numbers of the columns that rules determine in part, and of which at least this share is determined."""
    columns = {
        (one.table, one.column)
        for one in coverage(ledger, audited)
        if one.bound and one.bound >= at_least * one.numbers
    }
    return [cell for cell in ledger.cells if cell.number and (cell.table, cell.column) in columns]


@dataclass(frozen=True)
class Trial:
    """One planted error and whether it was noticed."""

    planted: Planted
    notice: Notice | None


def trials(watch: Watch, count: int, seed: int = 0, cells: Sequence[Cell] | None = None) -> list[Trial]:
    """Random errors, the same for the same seed: in the given entries, or in those that some rule binds."""
    chosen = watch.bound if cells is None else cells
    found = []
    for number in range(count):
        planted = corrupt(watch.ledger, chosen, seed * 1_000_000_007 + number)
        found.append(Trial(planted, watch.notice(planted)))
    return found
