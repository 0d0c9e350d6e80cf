"""Reading a run folder: rows, claim verdicts, manifest and evidence.

``results.jsonl`` is the truth; everything else in the folder is read to say more about it, and may be absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from editverdict.inference.contests import Contest
from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.ledger.records import FILE, CaseRecord, read_records
from editverdict.reporting.contests import read_contests
from editverdict.reporting.evidence import Evidence


class RunFolderError(ValueError):
    """A file of a run folder cannot be read; the message names file, line and remedy."""


@dataclass(frozen=True)
class Run:
    """A run folder as read."""

    path: Path
    rows: tuple[Row, ...]
    claims: tuple[ClaimVerdict, ...]
    manifest: dict[str, Any]
    notes: tuple[str, ...] = field(default=())
    """What the reader should know about the folder itself, e.g. a line that was cut off."""
    ledger: tuple[CaseRecord, ...] = field(default=())
    """What the rules over the paper's tables found; none if the session held none."""
    contests: tuple[Contest, ...] = field(default=())
    """The run's methods against each other; none if its cases kept no facts."""
    contests_by: tuple[Contest, ...] = field(default=())
    """The same by other judges than the run's own, where its answers were judged again."""

    def cases_of(self, claim: str) -> list[Row]:
        """The rows of one claim, in the order in which they were written."""
        return [row for row in self.rows if row.claim == claim]


def methods_elsewhere(manifest: Mapping[str, Any]) -> str:
    """Sentences on methods and claims that other profiles put on trial and this run's does not; empty if none."""
    said = [
        f"Not on trial here: {', '.join(methods)}. Profile {profile} has the time that they take."
        for profile, methods in (manifest.get("methods_elsewhere") or {}).items()
    ]
    if claims := manifest.get("claims_left_out"):
        said.append(f"Claims left to profiles with more time: {', '.join(claims)}.")
    said += [
        f"{claim} is on trial here for {', '.join(methods)} alone."
        for claim, methods in (manifest.get("claims_in_part") or {}).items()
    ]
    return " ".join(said)


def surveys_of(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The surveys that the run's specs hold: data that no run can test; none in runs before there were any."""
    found = manifest.get("surveys")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def survey_tables(survey: Mapping[str, Any]) -> str:
    """``Table 4 (specs/paper/tables/table_04.csv): 14 rows; data fact 14, …``, or where it stands in the paper."""
    said = [
        f"Table {one['table']} ({one['file']}), {one['rows']} rows, ticked: "
        + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in one["ticked"].items())
        for one in survey.get("tables", [])
    ]
    return "; ".join(said) or str(survey.get("where", ""))


def survey_line(survey: Mapping[str, Any]) -> str:
    """A survey in a line for the terminal."""
    return f"{survey['claim']}: data that no run can test. {survey_tables(survey)}"


def _problem(error: ValidationError | ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'line'}: {first['msg']}"
    return str(error)


def read_rows(path: Path) -> tuple[list[Row], list[str]]:
    """Read ``results.jsonl``; of several rows for one case the last counts.

    Returns
    -------
    rows
        One row per case, ordered by first appearance.
    notes
        One sentence if the last line was cut off (the process was killed while writing it).

    Raises
    ------
    RunFolderError
        If the file is absent or any other line is not a row.
    """
    if not path.is_file():
        raise RunFolderError(f"{path}: no such file; expected one row per case. Was the run folder named correctly?")
    rows: dict[str, Row] = {}
    notes: list[str] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for position, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            if position == len(lines):  # no newline behind it: the writer was killed within the line
                notes.append(f"The last line of {path.name} was cut off and is left out.")
                continue
            raise RunFolderError(
                f"{path}, line {position}: expected a row (docs/results-schema.md), found {_problem(error)}. "
                "Run the suite again into a new folder, or remove the line."
            ) from error
        rows[row.case] = row
    return list(rows.values()), notes


def _read_json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunFolderError(f"{path}: expected JSON, found {error}. Run `editverdict judge` again.") from error


def _read_claims(path: Path, rows: list[Row]) -> list[ClaimVerdict]:
    """The claim verdicts; a claim that has rows but was never judged is listed as incomplete."""
    try:
        claims = [ClaimVerdict.model_validate(item) for item in _read_json(path, [])]
    except (ValidationError, TypeError) as error:
        detail = _problem(error) if isinstance(error, ValidationError) else str(error)
        raise RunFolderError(
            f"{path}: expected a list of claim verdicts, found {detail}. Run `editverdict judge` to write it anew."
        ) from error
    known = {claim.claim for claim in claims}
    for row in rows:
        if row.claim not in known:
            known.add(row.claim)
            claims.append(_unjudged(row, rows))
    return claims


def _unjudged(row: Row, rows: list[Row]) -> ClaimVerdict:
    return ClaimVerdict(
        claim=row.claim,
        kind=row.kind,
        statement=row.statement,
        hypothesis=row.hypothesis,
        verdict="incomplete",
        reason="INCOMPLETE: the run ended before this claim was judged over its cases",
        stands_on=row.stands_on,
        cases=tuple(r.case for r in rows if r.claim == row.claim),
    )


def load_run(run_dir: Path) -> Run:
    """Read a run folder.

    Raises
    ------
    RunFolderError
        If ``results.jsonl`` is absent, or a file in the folder is damaged.
    """
    rows, notes = read_rows(run_dir / "results.jsonl")
    manifest = _read_json(run_dir / "manifest.json", {})
    if not isinstance(manifest, dict):
        raise RunFolderError(f"{run_dir / 'manifest.json'}: expected an object, found {type(manifest).__name__}.")
    claims = _read_claims(run_dir / "claims.json", rows)
    ledger, torn = _read_ledger(run_dir / FILE)
    contests, others, unread = read_contests(run_dir)
    return Run(run_dir, tuple(rows), tuple(claims), manifest, (*notes, *torn, *unread), ledger, contests, others)


def _read_ledger(path: Path) -> tuple[tuple[CaseRecord, ...], list[str]]:
    """What the rules found, and a note instead where the file cannot be read: a claim never fails for want of it."""
    try:
        return read_records(path), []
    except ValueError as error:
        return (), [f"The paper's ledger is left out: {error}"]


def load_evidence(run_dir: Path, row: Row) -> Evidence | None:
    """The pictures of a case, or None if the row names no evidence.

    Raises
    ------
    RunFolderError
        If the file is absent, outside the run folder, or not of the documented shape.
    """
    if row.evidence is None:
        return None
    path = (run_dir / row.evidence).resolve()
    if not path.is_relative_to(run_dir.resolve()):
        raise RunFolderError(f"{row.case}: evidence {row.evidence!r} lies outside the run folder; it is not read.")
    if not path.is_file():
        raise RunFolderError(f"{path}: no such file, though the row of {row.case} names it.")
    try:
        return Evidence.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise RunFolderError(f"{path}: expected evidence (reporting/evidence.py), found {_problem(error)}.") from error
