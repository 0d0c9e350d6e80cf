"""The ledger plugin: every rule of specs/consistency with every table that it is about is one test.

A test that takes ``audited`` is parametrized over them. consistent, rounding -> passed; inconsistent, implausible ->
failed; undefined -> skipped. No model, no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from editverdict.ledger.audit import Audited, Case
    from editverdict.ledger.tables import Ledger

ROOT = Path(__file__).resolve().parents[1]
LEDGER: pytest.StashKey[tuple[Ledger, list[Case]]] = pytest.StashKey()
AUDITED: pytest.StashKey[Audited] = pytest.StashKey()


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
        metafunc.parametrize("audited", cases, ids=[f"{c.rule.spec.id}-{c.subject}" for c in cases], indirect=True)


class Holding:
    """What a test body holds in its hand: a rule held against its tables."""

    def __init__(self, audited: Audited) -> None:
        self.audited = audited

    def must_hold(self) -> None:
        """Pass if the printed numbers can hold together; fail if they cannot, or an artefact explains them better."""
        verdict, summary = self.audited.verdict, self.audited.summary
        if verdict == "inconsistent":
            raise TableInconsistent(summary)
        if verdict == "implausible":
            raise TableImplausible(summary)
        if verdict == "undefined":
            pytest.skip(summary)


@pytest.fixture
def audited(request: pytest.FixtureRequest) -> Holding:
    """Hold the rule of this test against its tables."""
    from editverdict.ledger.audit import run_case

    ledger, _ = _ledger(request.config)
    found = run_case(request.param, ledger)
    request.node.stash[AUDITED] = found
    return Holding(found)
