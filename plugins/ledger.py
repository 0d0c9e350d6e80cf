"""The ledger plugin: every rule of specs/consistency with every table that it is about is one test.

A test that takes ``audited`` is parametrized over them. consistent, rounding -> passed; inconsistent, implausible ->
failed; undefined -> skipped. No model, no network. Where the session has a run folder (``--run-dir``, or claims are on
trial, too), what each rule found is a line of ``consistency.jsonl`` there; the terminal always gets the counts.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plugins.claims import TRIAL, run_dir_of

if TYPE_CHECKING:
    from editverdict.ledger.audit import Audited, Case
    from editverdict.ledger.records import CaseRecord
    from editverdict.ledger.tables import Ledger

ROOT = Path(__file__).resolve().parents[1]
LEDGER: pytest.StashKey[tuple[Ledger, list[Case]]] = pytest.StashKey()
AUDITED: pytest.StashKey[Audited] = pytest.StashKey()
RECORD: pytest.StashKey[CaseRecord] = pytest.StashKey()
PROPERTY = "editverdict-rule"
"""User property of a test's reports: verdict of the case and its rows per verdict, as JSON."""


REACH = "editverdict-reach"
"""User property of a test's reports: ``[table, line, column, whether it is determined]`` of each cell, as JSON."""


class TableInconsistent(AssertionError):
    """Two printed statements cannot both hold."""


class TableImplausible(AssertionError):
    """Possible by arithmetic, and a simple artefact explains it better."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the consistency suite."""
    group = parser.getgroup("editverdict ledger", "printed tables on trial")
    group.addoption(
        "--tables", default=None, type=Path, help="folder of tables of the same shapes; default: the paper's own"
    )


def _ledger(config: pytest.Config) -> tuple[Ledger, list[Case]]:
    """Tables and cases, read once; a user's mistake ends the session with exit code 2."""
    if LEDGER not in config.stash:
        from editverdict.ledger.audit import cases_of
        from editverdict.ledger.rules import read_rules
        from editverdict.ledger.tables import read_tables_of
        from editverdict.schema.errors import SpecError

        try:
            ledger = read_tables_of(config.getoption("--tables"), ROOT / "specs" / "paper")
            config.stash[LEDGER] = ledger, cases_of(read_rules(ROOT / "specs" / "consistency"), ledger)
        except SpecError as error:
            pytest.exit(f"\n{error}", returncode=2)
    return config.stash[LEDGER]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item per rule and table."""
    if "audited" in metafunc.fixturenames:
        _, cases = _ledger(metafunc.config)
        # Names in place of the cases themselves: a report writes a parameter out.
        names = [case.id for case in cases]
        ids = [f"{case.rule.spec.id}-{case.subject}" for case in cases]
        metafunc.parametrize("audited", names, ids=ids, indirect=True)


class Holding:
    """What a test body holds in its hand: a rule held against its tables."""

    def __init__(self, audited: Audited) -> None:
        self.audited = audited

    def must_hold(self) -> None:
        """Pass if the printed numbers can hold together; fail if they cannot, or an artefact explains them better."""
        verdict = self.audited.verdict
        said = f"{verdict.upper()}: {self.audited.summary}"
        if verdict == "inconsistent":
            raise TableInconsistent(said)
        if verdict == "implausible":
            raise TableImplausible(said)
        if verdict == "undefined":
            pytest.skip(said)


@pytest.fixture
def audited(request: pytest.FixtureRequest) -> Holding:
    """Hold the rule of this test against its tables, and keep what came of it."""
    from editverdict.ledger.audit import bound_cells, run_case, seen_cells
    from editverdict.ledger.records import broken_record, record_of

    ledger, cases = _ledger(request.config)
    case = next(one for one in cases if one.id == request.param)
    try:
        found = run_case(case, ledger)
    except Exception as error:
        _keep(request.node, broken_record(case, ledger, f"{type(error).__name__}: {error}"))
        raise
    request.node.stash[AUDITED] = found
    bound = bound_cells([found])
    request.node.user_properties.append((REACH, json.dumps([[*at, at in bound] for at in sorted(seen_cells([found]))])))
    _keep(request.node, record_of(found, ledger))
    return Holding(found)


def _run_dir(config: pytest.Config) -> Path | None:
    """The session's run folder: named, or made for the claims on trial; None where there is none."""
    return run_dir_of(config) if config.getoption("--run-dir") or TRIAL in config.stash else None


def _keep(item: pytest.Item, record: CaseRecord) -> None:
    """Write the record where there is a run folder, and tell the session and other plugins."""
    from editverdict.inference.results import append_line
    from editverdict.ledger.records import FILE

    run_dir = _run_dir(item.config)
    if run_dir is not None:
        append_line(run_dir / FILE, record.model_dump_json())
    item.stash[RECORD] = record
    item.user_properties.append((PROPERTY, json.dumps([record.verdict, record.counts])))
    item.config.hook.pytest_editverdict_audited(item=item, record=record)


class Hooks:
    """Hooks that this plugin offers to others."""

    def pytest_editverdict_audited(self, item: pytest.Item, record: CaseRecord) -> None:
        """A rule was held against its tables; called before the verdict becomes an outcome."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks."""
    pluginmanager.add_hookspecs(Hooks)


class Counts:
    """Adds up verdicts in the controller, or in the only process."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.seen: dict[tuple[int, int, str], bool] = {}
        """Place of each number that some rule looked at, and whether one determines it."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a case once: its property is there from the set-up on."""
        properties = dict(report.user_properties) if report.when == "setup" else {}
        if PROPERTY in properties:
            verdict, rows = json.loads(str(properties[PROPERTY]))
            self.cases[verdict] += 1
            self.rows.update(rows)
        for table, line, column, bound in json.loads(str(properties.get(REACH, "[]"))):
            at = table, line, column
            self.seen[at] = bound or self.seen.get(at, False)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many rules hold, and how many printed rows they looked at."""
        if not self.cases:
            return
        from editverdict.ledger.audit import reach_of
        from editverdict.ledger.records import ORDER
        from editverdict.ledger.report import reach_sentence

        def said(counts: Counter[str]) -> str:
            return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict])

        write = terminalreporter.write_line
        write(f"the paper's ledger: {self.cases.total()} rules with their tables: {said(self.cases)}")
        write(f"the paper's ledger: {self.rows.total()} checks of printed numbers: {said(self.rows)}")
        ledger, _ = _ledger(terminalreporter.config)
        columns = reach_of(ledger, self.seen, {at for at, bound in self.seen.items() if bound})
        write(f"the paper's ledger: {reach_sentence(columns)}")


def pytest_configure(config: pytest.Config) -> None:
    """Count in the process that sees all reports."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Counts(), "editverdict-ledger-counts")
