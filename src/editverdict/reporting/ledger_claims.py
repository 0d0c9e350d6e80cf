"""The paper's ledger claim by claim: how the tables that a claim rests on stand against the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from editverdict.ledger.findings import VERDICTS, Verdict
from editverdict.ledger.records import CaseRecord, FindingRecord
from editverdict.reporting.allure_ledger import runs_text

NAMED = 4
"""Rules that one line names."""
_OFF: tuple[Verdict, ...] = ("inconsistent", "implausible")


@dataclass
class ClaimTables:
    """What was found in the tables that a claim rests on."""

    claim: str
    tables: set[int] = field(default_factory=set)
    counts: Counter[Verdict] = field(default_factory=Counter)
    """Findings that are not consistent, per verdict; each rests on a number of one of these tables."""
    rules: Counter[str] = field(default_factory=Counter)
    """Rules with findings that are inconsistent or implausible, with how many."""

    @property
    def off(self) -> int:
        """How many findings are inconsistent or implausible."""
        return sum(self.counts[verdict] for verdict in _OFF)

    @property
    def counted(self) -> str:
        """``2 inconsistent, 1 implausible findings``."""
        said = [f"{self.counts[verdict]} {verdict}" for verdict in VERDICTS[::-1] if self.counts[verdict]]
        return f"{', '.join(said)} finding{'' if self.counts.total() == 1 else 's'}" if said else "all in order"

    @property
    def ruled(self) -> str:
        """The rules with most findings."""
        first = [f"{rule} ({n})" if n > 1 else rule for rule, n in self.rules.most_common(NAMED)]
        more = len(self.rules) - len(first)
        return ", ".join(first) + (f" and {more} more" if more > 0 else "")

    @property
    def where(self) -> str:
        """``2, 25-28``."""
        return runs_text(sorted(self.tables))

    def __str__(self) -> str:
        """``The paper's tables for this claim (2, 25-28): 2 inconsistent findings; rules: …``."""
        rules = f"; rules: {self.ruled}" if self.rules else ""
        return f"The paper's tables for this claim ({self.where}): {self.counted}{rules}."


def _touched(one: FindingRecord) -> set[int]:
    """Tables whose numbers a finding rests on."""
    return {cell.table for cell in one.cells} or {one.table}


def by_claim(records: Sequence[CaseRecord]) -> dict[str, ClaimTables]:
    """Claim -> state of its tables, for every claim that rests on a table of these records; in order of id."""
    found: dict[str, ClaimTables] = {}
    for record in records:
        for table, claims in record.evidences.items():
            for claim in claims:
                found.setdefault(claim, ClaimTables(claim)).tables.add(table)
        for one in record.findings:
            touched = {claim for table in _touched(one) for claim in record.evidences.get(table, ())}
            for claim in touched:
                found[claim].counts[one.verdict] += 1
                if one.verdict in _OFF:
                    found[claim].rules[one.rule] += 1
    return dict(sorted(found.items()))
