"""results.jsonl: writing, reading, merging, comparing and replaying rows.

One row per line, UTF-8, schema version in each (docs/results-schema.md). Rows are appended as cases finish, each with
one write and an fsync, so that a killed run leaves at most one torn line, the last; it is reported, and set aside by
the next writer.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from editverdict.inference.controls import control_outcome, specificity
from editverdict.inference.intervals import ESTIMATION_KEY, Estimate
from editverdict.inference.replay import replayed
from editverdict.inference.rows import MEASURED_FIELDS, SCHEMA_VERSION, VOLATILE_FIELDS, ControlResult, Row
from editverdict.inference.verdicts import EDITS_KEY, PART_KEY, Late, decide_case

try:
    import fcntl
except ImportError:  # pragma: no cover - no POSIX locks on this system: O_APPEND alone keeps lines apart
    fcntl = None  # type: ignore[assignment]


class ResultsError(ValueError):
    """A results file cannot be read as it stands; the message names file and line."""


class TornLineWarning(UserWarning):
    """The last line of a results file was cut off by a crash and is ignored."""


@dataclass(frozen=True)
class Difference:
    """One column of one case that differs; ``field`` is ``row`` where the case exists on one side only."""

    case: str
    field: str
    a: Any
    b: Any

    def __str__(self) -> str:
        """One line for the terminal."""
        return f"{self.case}: {self.field}: {self.a!r} != {self.b!r}"


# --------------------------------------------------------------------------- file
def append_row(path: Path, row: Row) -> None:
    """Append one row and wait until it is on disk, as :func:`append_line`."""
    append_line(path, row.model_dump_json())


def append_line(path: Path, text: str) -> None:
    """Append one line and wait until it is on disk.

    Processes may append at the same time (O_APPEND, one write, an advisory lock where the system has one). If the file
    ends in a torn line, that line is first moved to ``<name>.torn``.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        with _locked(descriptor):
            data = _mend_tail(descriptor, path) + data
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, in order.

    A last line without its newline that does not parse was torn by a crash: it is ignored with a
    :class:`TornLineWarning`.

    Raises
    ------
    ResultsError
        The file is missing, or another line is damaged or of another schema version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror}); expected the results.jsonl of a run") from error
    *lines, tail = data.split(b"\n")
    rows = [_parsed(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if tail.strip():
        try:
            rows.append(_parsed(path, len(lines) + 1, tail))
        except ResultsError:
            message = f"{path}:{len(lines) + 1}: the last line is cut off and ignored; its case must be run again"
            warnings.warn(message, TornLineWarning, stacklevel=2)
    return rows


def merge_rows(paths: Sequence[Path], on_conflict: Literal["error", "last"] = "error") -> list[Row]:
    """The rows of several files, one per case, in order of first appearance.

    Repeated rows that agree in all columns but the volatile ones count once. A case that ran replaces its own broken or
    not_run row. Any other disagreement is an error, or settled by the later row if ``on_conflict`` is ``last``.

    Raises
    ------
    ResultsError
        A file cannot be read, or two rows of a case disagree.
    """
    merged: dict[str, Row] = {}
    origin: dict[str, Path] = {}
    for path in paths:
        for row in read_rows(path):
            old = merged.get(row.case)
            if old is not None and not _replaces(row, old, on_conflict):
                continue
            if old is not None and on_conflict == "error" and old.verdict not in ("broken", "not_run"):
                fields = ", ".join(difference.field for difference in same_rows([old], [row]))
                raise ResultsError(
                    f"{path}: case {row.case} is also in {origin[row.case]} with other values of {fields}; "
                    "keep runs of different specs or versions in different folders"
                )
            merged[row.case], origin[row.case] = row, path
    return list(merged.values())


def same_rows(a: Sequence[Row], b: Sequence[Row], *, two_stores: bool = False) -> list[Difference]:
    """Differences between two sets of rows, in all columns but :data:`VOLATILE_FIELDS`.

    Values are compared as they are written to disk, so equal means bit-equal, and NaN equals NaN. The order of the rows
    does not matter.

    Parameters
    ----------
    a, b
        The rows.
    two_stores
        Rows of ``timed`` cases may differ in :data:`MEASURED_FIELDS`, too: what they stand on was timed twice.

    Raises
    ------
    ValueError
        A side holds a case twice.
    """
    left, right = _by_case(a), _by_case(b)
    differences: list[Difference] = []
    for case in dict.fromkeys([*left, *right]):
        if case not in left or case not in right:
            differences.append(Difference(case, "row", case in left, case in right))
            continue
        one, two = left[case], right[case]
        free = VOLATILE_FIELDS | (MEASURED_FIELDS if two_stores and one["timed"] else frozenset())
        differences += [
            Difference(case, field, one[field], two[field])
            for field in Row.model_fields
            if field not in free and json.dumps(one[field]) != json.dumps(two[field])
        ]
    return differences


# --------------------------------------------------------------------------- replay
def rejudge(row: Row) -> Row:
    """The row judged again from what it stores; equal to the row itself unless the rule or the row was changed.

    The interval is computed from the units where ``descriptive["estimation"]`` tells how (:meth:`Estimate.record`);
    otherwise the stored one is taken. Outcomes of controls, verdicts of definitions, the verdict, its reason, margin,
    ``depends_on_definition`` and ``specific`` are computed anew. Rows that were never judged (``broken``, ``not_run``)
    come back as they are.
    """
    if row.verdict in ("broken", "not_run"):
        return row
    primary = stored_estimate(row)
    controls = tuple(_rejudged(control, row) for control in row.controls)
    decision = decide_case(
        describes=row.describes or row.quantity,
        unit=row.unit,
        region=row.expected,
        primary=primary,
        min_units=row.min_units,
        definitions=row.definitions,
        controls=controls,
        checks=row.checks,
        late=stored_late(row),
        part=row.descriptive.get(PART_KEY),
    )
    return row.model_copy(
        update={
            "estimate": primary.value,
            "interval": primary.interval,
            "verdict": decision.verdict,
            "reason": decision.reason,
            "margin_to_flip": decision.margin_to_flip,
            "depends_on_definition": decision.depends_on_definition,
            "specific": decision.specific,
            "definitions": decision.definitions,
            "controls": controls,
        }
    )


def stored_late(row: Row) -> Late | None:
    """What the row says of effects that may come late; None where its claim is about none (or is of an older run)."""
    if row.late is None or row.horizon is None:
        return None
    edits = row.descriptive.get(EDITS_KEY)
    return Late(row.late, row.horizon, edits if isinstance(edits, int) else None)


def stored_estimate(row: Row) -> Estimate:
    """The primary estimate of a row, from its units if it says how, else as stored."""
    record = row.descriptive.get(ESTIMATION_KEY)
    found = replayed(row.units, row.estimate, row.level, record if isinstance(record, Mapping) else None)
    why = record.get("open") if isinstance(record, Mapping) else None
    return found or Estimate(row.estimate, row.interval, row.level, row.n_units, row.units, "none", open=why)


def _rejudged(control: ControlResult, row: Row) -> ControlResult:
    if control.role == "comparator":
        return control.model_copy(update={"specific": specificity(control.contrast_interval)})
    if control.must is None:
        return control
    return control.model_copy(update={"outcome": control_outcome(control.must, row.expected, control.interval)})


# --------------------------------------------------------------------------- helpers
@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    if fcntl is None:  # pragma: no cover
        yield
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _mend_tail(descriptor: int, path: Path) -> bytes:
    """Bring the file to the start of a line; returns the bytes still to be written for that."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return b""
    tail = path.read_bytes().rpartition(b"\n")[2]
    try:
        _parsed(path, 0, tail)
    except ResultsError:
        with path.with_name(path.name + ".torn").open("ab") as aside:
            aside.write(tail + b"\n")
        os.ftruncate(descriptor, size - len(tail))
        return b""
    return b"\n"  # a whole row that only lacks its newline


def _parsed(path: Path, number: int, line: bytes) -> Row:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ResultsError(_damaged(path, number, f"not JSON ({error})")) from error
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(found, dict) and version != SCHEMA_VERSION:
        raise ResultsError(
            f"{path}:{number}: field schema_version: expected {SCHEMA_VERSION}, found {version!r}; "
            "read the file with the version of editverdict that wrote it"
        )
    try:
        return Row.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the line"
        what = f"field {where}: {first['msg']}, found {str(first['input'])[:80]!r}"
        raise ResultsError(_damaged(path, number, what)) from error


def _damaged(path: Path, number: int, what: str) -> str:
    return f"{path}:{number}: expected a row of schema version {SCHEMA_VERSION}; {what}; delete the line and rerun"


def _replaces(new: Row, old: Row, on_conflict: str) -> bool:
    """Whether the new row takes the old one's place (or clashes with it)."""
    if not same_rows([old], [new]):
        return False
    settled = new.verdict not in ("broken", "not_run")
    return settled or old.verdict in ("broken", "not_run") or on_conflict == "last"


def _by_case(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.case in found:
            raise ValueError(f"case {row.case} occurs twice; merge the rows first")
        found[row.case] = json.loads(row.model_dump_json())
    return found
