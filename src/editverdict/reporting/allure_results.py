"""Finishing the raw Allure files after a run, from the rows alone.

What the adapter cannot write (``statusDetails.expected`` and ``actual``) is added, quotes that it puts around strings
are taken off, and every row without a result (its worker was killed, or the row was reused) gets one.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from editverdict.inference.rows import Row
from editverdict.reporting import allure_row as allure
from editverdict.reporting.cards import flatten
from editverdict.reporting.files import write_text

_NAMESPACE = uuid.UUID("6f1f1c0e-6d0e-5c55-9b53-2b7f6f2f7b11")
_MAX_PROPERTY = 300


@dataclass(frozen=True)
class Finished:
    """What ``finish_results`` did."""

    updated: int
    """Results that belong to a row and were completed."""
    synthetic: tuple[str, ...]
    """Cases that had a row but no result."""
    orphans: tuple[str, ...]
    """Cases that have a result but no row."""
    disagreements: tuple[str, ...]
    """Cases whose pytest outcome is not the one that their verdict asks for."""
    damaged: tuple[str, ...]
    """Result files that could not be read; they were renamed to ``*.damaged``."""


def _load(path: Path) -> dict[str, Any] | None:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _case_of(result: Mapping[str, Any]) -> str | None:
    found = (item.get("value") for item in result.get("labels") or [] if item.get("name") == "case")
    return next(found, None)


def _unquoted(value: Any) -> Any:
    """``'text'`` without the quotes that ``repr`` put around it."""
    if isinstance(value, str) and len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].replace("\\'", "'")
    return value


def _merged_labels(result: Mapping[str, Any], row: Row) -> list[dict[str, str]]:
    ours = allure.labels(row)
    names = {name for name, _ in ours}
    kept = [item for item in result.get("labels") or [] if item.get("name") not in names]
    return [*kept, *({"name": name, "value": value} for name, value in ours)]


def _merged_parameters(result: Mapping[str, Any], row: Row) -> list[dict[str, Any]]:
    ours = allure.parameters(row)
    names = {item.name for item in ours}
    kept = [
        dict(item) | {"value": _unquoted(item.get("value"))}
        for item in result.get("parameters") or []
        if item.get("name") not in names
    ]
    return [*kept, *({"name": p.name, "value": p.value, "excluded": p.excluded} for p in ours)]


def _complete(result: dict[str, Any], row: Row, run_dir: Path) -> dict[str, Any]:
    """The result with title, labels, parameters and details taken from the row; the status stays the process's own."""
    details = dict(result.get("statusDetails") or {}) | allure.status_details(row)
    details["message"] = allure.message(row)
    changes: dict[str, Any] = {
        "name": allure.title(row),
        "labels": _merged_labels(result, row),
        "parameters": _merged_parameters(result, row),
        "statusDetails": details,
    }
    if not result.get("descriptionHtml"):  # the plugin may have written its own
        changes["descriptionHtml"] = allure.description_html(row, run_dir)
    return result | changes


def _milliseconds(row: Row) -> dict[str, int]:
    try:
        start = int(datetime.fromisoformat(row.started).timestamp() * 1000)
    except ValueError:
        return {}
    return {"start": start, "stop": start + int(row.seconds * 1000)}


def _synthetic(folder: Path, row: Row, run_dir: Path) -> dict[str, Any]:
    """A result for a row that the test process left none for; its attachments are written beside it."""
    attached = []
    for position, item in enumerate(allure.attachments(row, run_dir)):
        source = f"{uuid.uuid5(_NAMESPACE, f'{row.case}/{position}')}-attachment.{item.extension}"
        (folder / source).write_bytes(item.content)
        attached.append({"name": item.name, "source": source, "type": item.mime})
    key = hashlib.md5(row.case.encode(), usedforsecurity=False).hexdigest()
    note = "Drawn from results.jsonl: the test process left no Allure result for this case (it was killed, or reused)."
    details: dict[str, Any] = {"trace": row.traceback} if row.traceback else {}
    result = {
        "uuid": str(uuid.uuid5(_NAMESPACE, row.case)),
        "historyId": key,
        "testCaseId": key,
        "fullName": f"editverdict#{row.case}",
        "status": allure.status(row),
        "statusDetails": details,
        "stage": "finished",
        "descriptionHtml": f"<p><em>{note}</em></p>{allure.description_html(row, run_dir)}",
        "attachments": attached,
        "steps": [],
    }
    return _complete(result | _milliseconds(row), row, run_dir)


def properties(manifest: Mapping[str, Any]) -> str:
    """The manifest as ``environment.properties``: one ``key=value`` per line, values cut at 300 characters."""
    lines = []
    for name, value in flatten({key: item for key, item in manifest.items() if key != "stages"}):
        key = re.sub(r"[^\w.+-]+", "_", name.replace(" · ", "."))
        written = re.sub(r"\s+", " ", value).replace("\\", "\\\\")
        lines.append(f"{key}={written[:_MAX_PROPERTY]}")
    return "\n".join(lines) + "\n"


def _executor(manifest: Mapping[str, Any], run: str) -> str:
    named = {"name": "editverdict", "type": "local", "buildName": str(manifest.get("run", run)), "reportName": run}
    return json.dumps(named, ensure_ascii=False) + "\n"


def categories() -> list[dict[str, Any]]:
    """Categories in the form that every Allure version reads; ``reports/allurerc.mjs`` has richer ones."""
    rules = [
        ("Refuted", "failed", "REFUTED"),
        ("Inconclusive", "skipped", "INCONCLUSIVE"),
        ("Not run", "skipped", "NOT[ _]RUN"),
        ("Invalid measurement", "broken", "INVALID"),
        ("Broken (infrastructure)", "broken", "BROKEN"),
        ("Printed numbers that cannot both hold", "failed", "INCONSISTENT"),
        ("Printed numbers that an artefact explains better", "failed", "IMPLAUSIBLE"),
        ("The paper does not say enough", "skipped", "UNDEFINED"),
    ]
    return [{"name": name, "matchedStatuses": [state], "messageRegex": f".*{word}.*"} for name, state, word in rules]


def finish_results(
    allure_dir: Path, rows: Sequence[Row], manifest: Mapping[str, Any], run_dir: Path | None = None
) -> Finished:
    """Complete the raw results of a run; may be called again on the same folder.

    Parameters
    ----------
    allure_dir
        Folder of the raw results (``--alluredir``); made if it is absent.
    rows
        All rows of the run: the truth that the results render.
    manifest
        For ``environment.properties`` and ``executor.json``.
    run_dir
        Run folder with the evidence; by default the parent of ``allure_dir``.
    """
    allure_dir.mkdir(parents=True, exist_ok=True)
    run_dir = run_dir or allure_dir.parent
    by_case = {row.case: row for row in rows}
    seen: set[str] = set()
    orphans, disagreements, damaged = set(), set(), []
    updated = 0
    for path in sorted(allure_dir.glob("*-result.json")):
        result = _load(path)
        if result is None:
            path.replace(path.with_name(f"{path.name}.damaged"))
            damaged.append(path.name)
            continue
        case = _case_of(result)
        if case is None:
            continue  # a test that puts no claim on trial
        row = by_case.get(case)
        if row is None:
            orphans.add(case)
            continue
        seen.add(case)
        updated += 1
        if result.get("status") != allure.status(row):
            disagreements.add(case)
        write_text(path, json.dumps(_complete(result, row, run_dir), ensure_ascii=False))
    synthetic = [row for row in rows if row.case not in seen]
    for row in synthetic:
        made = _synthetic(allure_dir, row, run_dir)
        write_text(allure_dir / f"{made['uuid']}-result.json", json.dumps(made, ensure_ascii=False))
    write_text(allure_dir / "environment.properties", properties(manifest))
    write_text(allure_dir / "executor.json", _executor(manifest, run_dir.name))
    write_text(allure_dir / "categories.json", json.dumps(categories(), indent=2) + "\n")
    return Finished(
        updated, tuple(r.case for r in synthetic), tuple(sorted(orphans)), tuple(sorted(disagreements)), tuple(damaged)
    )
