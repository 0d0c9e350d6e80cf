"""What a session keeps of the rules that it held against the tables: one line of ``consistency.jsonl`` per case.

Rows that hold are counted, not listed: the tables and the rules are in the repository, so that any of them can be had
again within seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from editverdict.ledger.audit import Audited, Case
from editverdict.ledger.findings import VERDICTS, Verdict, counted
from editverdict.ledger.tables import Ledger

FILE = "consistency.jsonl"
"""Name of the file in a run folder."""
Held = Literal["consistent", "rounding", "undefined", "implausible", "inconsistent", "broken"]
"""A verdict, or ``broken``: the rule could not be held against its tables."""
ORDER: tuple[Held, ...] = (*VERDICTS, "broken")


class _Part(BaseModel):
    """Base of everything that reaches disk: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CellRecord(_Part):
    """A printed cell."""

    table: int
    keys: dict[str, str]
    column: str
    printed: str

    @property
    def brief(self) -> str:
        """The cell where its row is known."""
        return f"Table {self.table}, {self.column}: {self.printed}"

    def __str__(self) -> str:
        return f"Table {self.table}, {' '.join(self.keys.values())}, {self.column}: {self.printed}"


class FindingRecord(_Part):
    """One row or group that does not hold; fields as in :class:`editverdict.ledger.findings.Finding`."""

    rule: str
    table: int
    row: str
    verdict: Verdict
    expected: str
    found: str
    sentence: str
    cells: tuple[CellRecord, ...]


class CaseRecord(_Part):
    """A rule with its tables, and what came of it."""

    case: str
    rule: str
    kind: str
    family: str
    statement: str
    why: str = ""
    source: str = ""
    tables: tuple[int, ...]
    evidences: dict[int, tuple[str, ...]] = {}
    """Table -> claims that the paper rests on it, for those of its tables on which any rests."""
    verdict: Held
    summary: str
    """One sentence: counts, and the first of the worst rows; of a broken case what broke."""
    counts: dict[Verdict, int] = {}
    """Rows per verdict, consistent ones included."""
    findings: tuple[FindingRecord, ...] = ()
    """The rows that are not consistent, in the rule's order."""


def _head(case: Case, ledger: Ledger) -> dict[str, object]:
    spec = case.rule.spec
    claims = {number: ledger[number].spec.evidences for number in case.tables if number in ledger}
    named = {name: getattr(spec, name) for name in ("kind", "family", "statement", "why", "source")}
    evidences = {number: names for number, names in claims.items() if names}
    return {"case": case.id, "rule": spec.id, **named, "tables": case.tables, "evidences": evidences}


def record_of(audited: Audited, ledger: Ledger) -> CaseRecord:
    """The record of a case over these tables."""
    findings = [FindingRecord(**one.record()) for one in audited.findings if one.verdict != "consistent"]
    return CaseRecord.model_validate(
        {
            **_head(audited.case, ledger),
            "verdict": audited.verdict,
            "summary": audited.summary,
            "counts": counted(audited.findings),
            "findings": findings,
        }
    )


def broken_record(case: Case, ledger: Ledger, reason: str) -> CaseRecord:
    """The record of a case that could not be held against its tables."""
    return CaseRecord.model_validate({**_head(case, ledger), "verdict": "broken", "summary": reason})


def read_records(path: Path) -> tuple[CaseRecord, ...]:
    """The records of a file, the last of several for one case; none if there is no file.

    Raises
    ------
    ValueError
        A line is no record; the message names file and line.
    """
    found: dict[str, CaseRecord] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for position, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = CaseRecord.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise ValueError(
                f"{path}, line {position}: expected what a rule found, found {where}: {first['msg']}"
            ) from error
        found[record.case] = record
    return tuple(found.values())


def rows_by_verdict(records: Iterable[CaseRecord]) -> dict[Verdict, int]:
    """Checked rows per verdict, over cases; verdicts without any are left out."""
    records = list(records)
    sums: dict[Verdict, int] = {v: sum(one.counts.get(v, 0) for one in records) for v in VERDICTS}
    return {verdict: n for verdict, n in sums.items() if n}


def cases_by_verdict(records: Iterable[CaseRecord]) -> dict[Held, int]:
    """Cases per verdict; verdicts without any are left out."""
    found = [one.verdict for one in records]
    return {verdict: found.count(verdict) for verdict in ORDER if verdict in found}


def worst_first(records: Iterable[CaseRecord]) -> list[CaseRecord]:
    """Cases that do not hold, the worst first, then by how many of their rows do not."""
    broken = [one for one in records if one.verdict != "consistent"]
    return sorted(broken, key=lambda one: (-ORDER.index(one.verdict), -len(one.findings), one.case))


def families(records: Sequence[CaseRecord]) -> dict[str, list[CaseRecord]]:
    """Family -> its cases, in order of first appearance."""
    return {name: [r for r in records if r.family == name] for name in dict.fromkeys(r.family for r in records)}
