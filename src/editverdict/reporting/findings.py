"""A run's findings as Markdown: which claims hold, which fail, which cannot be decided and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from editverdict.inference.contests import Contest
from editverdict.inference.forms import apart, apart_in, methods_apart
from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.ledger.records import CaseRecord
from editverdict.reporting.beside import paper_text, replication_text
from editverdict.reporting.contests import contests_markdown
from editverdict.reporting.formatting import headline, number
from editverdict.reporting.ledger_claims import ClaimTables, by_claim
from editverdict.reporting.ledger_section import ledger_markdown
from editverdict.reporting.run import survey_tables, surveys_of

_GROUPS = (
    (
        "supported",
        "Hold",
        "In every planned case, the interval lies inside the expected region and the controls are in order.",
    ),
    ("refuted", "Fail", "The interval lies outside the expected region, and the controls are in order."),
    (
        "inconclusive",
        "Cannot be decided",
        "The interval straddles, there are too few units, or a control is undecided.",
    ),
    ("invalid", "Say nothing", "A validity check or a control failed: the number is none about the claim."),
    ("broken", "Broke", "Infrastructure."),
    ("incomplete", "Incomplete", "Planned cases are missing."),
    ("not_run", "Not run", "Needs what this run does not have."),
)
_MANIFEST = ("profile", "models", "methods", "datasets", "corpus", "judge", "protocol", "protocols", "seed", "sizes",
             "commit", "dirty", "created", "python", "packages", "hardware", "system", "seconds", "hashes")  # fmt: skip


def _line(text: str) -> str:
    """A text on one line that Markdown (and the HTML that it becomes) shows as it stands."""
    plain = re.sub(r"\s+", " ", text).strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|#])", r"\\\1", plain)


def _bare(reason: str) -> str:
    """A reason without the verdict that it begins with."""
    head, colon, rest = reason.partition(": ")
    return rest if colon and head.isupper() else reason


def _case(row: Row) -> str:
    subject = "-".join(part for part in (row.model, row.method, row.dataset) if part)
    beside = f"Paper: {paper_text(row)}; {replication_text(row)}." if row.paper_values or row.not_comparable else ""
    notes = [f"specific: {row.specific}"] if row.specific else []
    notes += ["depends on the definition"] if row.depends_on_definition else []
    notes += [text] if (text := apart(row.descriptive)) else []
    if row.margin_to_flip is not None:
        notes.append(f"margin to flip {number(row.margin_to_flip)}")
    more = f" ({'; '.join(notes)})" if notes else ""
    said = f"  - {_line(subject)}: **{row.verdict.replace('_', ' ')}**: {_line(_bare(row.reason) + more)}"
    return f"{said}\n    - {_line(beside)}" if beside else said


def _claim(claim: ClaimVerdict, rows: Sequence[Row], tables: ClaimTables | None) -> list[str]:
    # As planned: rows come in the order in which workers were done, which differs from run to run.
    place = {case: number for number, case in enumerate(claim.cases)}
    own = sorted((row for row in rows if row.claim == claim.claim), key=lambda row: place.get(row.case, len(place)))
    kind = "" if claim.kind == "claim" else f" ({claim.kind})"
    general = f" *{_line(claim.generality)}.*" if claim.generality else ""
    lines = [f"- `{claim.claim}`{kind}: {_line(claim.statement)}{general}"]
    lines += [_case(row) for row in own] or [f"  - {_line(_bare(claim.reason))}"]
    return [*lines, f"  - {_line(str(tables))}"] if tables else lines


def _stands_on(manifest: Mapping[str, Any]) -> list[str]:
    kept = {name: manifest[name] for name in _MANIFEST if name in manifest}
    if not kept.get("protocols"):  # no model answers by one of its own
        kept.pop("protocols", None)
    lines = ["| | |", "|---|---|"]
    for name, value in kept.items():
        shown = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        shown = ", ".join(map(str, shown)) if isinstance(shown, list) else shown
        lines.append(f"| {name} | {_line(str(shown))} |")
    return lines


def _surveys(manifest: Mapping[str, Any]) -> list[str]:
    found = surveys_of(manifest)
    lines = [f"- `{o['claim']}`: {_line(o['statement'])} {_line(survey_tables(o))} ({_line(o['why'])})." for o in found]
    return [f"## Data that no run can test ({len(found)})", "", *lines, ""] if found else []


def _unplanned(manifest: Mapping[str, Any]) -> list[str]:
    """Claims that the profile leaves out, with what each of them needs; those with one reason stand together."""
    found = manifest.get("unplanned") or {}
    by_reason: dict[str, list[str]] = {}
    for claim, reason in found.items():
        by_reason.setdefault(str(reason), []).append(f"`{claim}`")
    lines = [f"- {', '.join(claims)}: {_line(reason)}." for reason, claims in by_reason.items()]
    return [f"## Not on trial in this profile ({len(found)})", "", *lines, ""] if found else []


def _forms(rows: Sequence[Row]) -> list[str]:
    """What must be known before any number of a method is read, where edits and questions differ in form."""
    own = [row for row in rows if apart(row.descriptive)]
    if not own:
        return []
    methods = ", ".join(methods_apart(own)) or "several methods"
    said = (
        f"In {len(own)} of {len(rows)} cases ({methods}) models were "
        f"{apart_in(own)}. What such a method has lost or does not know may be the form's; what is kept as text stands "
        "in the very prompt that is asked. Numbers are not those of a run that asks as it edits."
    )
    return [f"**Form of edits and of questions.** {_line(said)}", ""]


def findings_markdown(
    claims: Sequence[ClaimVerdict],
    rows: Sequence[Row],
    manifest: Mapping[str, Any],
    ledger: Sequence[CaseRecord] = (),
    contests: Sequence[Contest] = (),
) -> str:
    """The findings of a run.

    Parameters
    ----------
    claims, rows
        As judged; a claim stands under its own verdict, with all its cases below it.
    manifest
        What the run stands on; printed at the end.
    ledger
        What the rules over the paper's tables found.
    contests
        The run's methods against each other, by its own judge and by others.

    Returns
    -------
    str
        Markdown.
    """
    text = [f"# Findings of a run of profile `{manifest.get('profile', 'unknown')}`", "", _line(headline(claims)), ""]
    text += _forms(rows)
    states = by_claim(ledger)
    for verdict, title, meaning in _GROUPS:
        own = [claim for claim in claims if claim.verdict == verdict]
        if own:
            text += [f"## {title} ({len(own)})", "", meaning, ""]
            text += [line for claim in own for line in _claim(claim, rows, states.get(claim.claim))] + [""]
    text += _unplanned(manifest)
    text += _surveys(manifest)
    text += contests_markdown(contests, _line)
    text += ledger_markdown(ledger, _line)
    return "\n".join([*text, "## What this stands on", "", *_stands_on(manifest)]) + "\n"
