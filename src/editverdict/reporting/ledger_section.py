"""The paper's ledger in a report: how many printed numbers hold, and those that do not, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from editverdict.ledger.findings import VERDICTS
from editverdict.ledger.records import (
    FILE,
    CaseRecord,
    FindingRecord,
    Held,
    cases_by_verdict,
    families,
    rows_by_verdict,
    worst_first,
)
from editverdict.reporting.allure_ledger import counts_text, finding_cells, runs_text, tables_text
from editverdict.reporting.formatting import Look
from editverdict.reporting.ledger_claims import by_claim
from editverdict.reporting.markup import Html, anchor, code, fold, join, small, table, tag

SHOWN = 12
"""Rows of one case that a page lists; all are in the file."""
OPENED = 5
"""Cases that are unfolded from the start."""
TITLE = "The paper's ledger"
LEAD = (
    "The paper's printed tables, held against their own arithmetic and their own statements; no model is needed for "
    "that. A printed pattern that an artefact explains is no proof of the artefact."
)
LOOKS: dict[Held, Look] = {
    "consistent": Look("✓", "consistent", "green", "the printed numbers can hold together"),
    "rounding": Look("≈", "rounding", "yellow", "they cannot to the last digit, and one unit of it explains why"),
    "undefined": Look("?", "undefined", "dim", "the paper does not say enough to decide"),
    "implausible": Look(
        "⊘", "implausible", "magenta", "possible by arithmetic, and a simple artefact explains it better"
    ),
    "inconsistent": Look("✗", "inconsistent", "bold red", "two printed statements cannot both hold"),
    "broken": Look("!", "broken", "bold white on red", "the rule could not be held against its tables"),
}
_COLOURS: dict[Held, str] = {
    "consistent": "supported",
    "rounding": "inconclusive",
    "undefined": "not_run",
    "implausible": "invalid",
    "inconsistent": "refuted",
    "broken": "broken",
}


def counts_sentence(records: Sequence[CaseRecord]) -> str:
    """E.g. ``52 rules with their tables: 40 consistent, 12 inconsistent; 900 checks: …``."""
    rows, cases = rows_by_verdict(records), cases_by_verdict(records)
    held = ", ".join(f"{n} {verdict}" for verdict, n in cases.items())
    checks = ", ".join(f"{n} {verdict}" for verdict, n in rows.items())
    return f"{len(records)} rules with their tables: {held}; {sum(rows.values())} checks of printed numbers: {checks}."


# ------------------------------------------------------------------------------- HTML
def _badge(verdict: Held) -> Html:
    look = LOOKS[verdict]
    return tag("span", f"{look.symbol} {look.words}", css=f"v v-{_COLOURS[verdict]}", title=look.meaning)


def _families(records: Sequence[CaseRecord]) -> Html:
    cells: list[list[Any]] = []
    for name, own in sorted(families(records).items(), key=lambda item: -_off(item[1])):
        counts = rows_by_verdict(own)
        tables = sorted({number for one in own for number in one.tables})
        cells.append([name, len(own), runs_text(tables), *(counts.get(verdict, 0) or "" for verdict in VERDICTS)])
    total = rows_by_verdict(records)
    cells.append(
        [tag("b", "all"), tag("b", len(records)), "", *(tag("b", total.get(verdict, 0)) for verdict in VERDICTS)]
    )
    columns = ("family", "rules × tables", "tables", *(_badge(verdict) for verdict in VERDICTS))
    return table(columns, cells, numeric=(1, *range(3, 3 + len(VERDICTS))))


def _off(records: Sequence[CaseRecord]) -> int:
    """Rows that cannot hold, or that an artefact explains better."""
    counts = rows_by_verdict(records)
    return counts.get("inconsistent", 0) + counts.get("implausible", 0)


def _finding(one: FindingRecord) -> tuple[Any, ...]:
    where = join([f"Table {one.table}, {one.row}", Html("<br>"), small(finding_cells(one))])
    return _badge(one.verdict), where, one.expected, code(one.found), one.sentence


def _case(record: CaseRecord, opened: bool) -> Html:
    """A rule that is broken somewhere, with its rows, the worst first."""
    order = sorted(record.findings, key=lambda one: -VERDICTS.index(one.verdict))
    more = len(order) - SHOWN
    title = join([_badge(record.verdict), f" {tables_text(record.tables)}: {record.statement} ",
                  small(counts_text(record))])  # fmt: skip
    made = table(("verdict", "row and cells", "expected", "printed", "what it means"), map(_finding, order[:SHOWN]),
                 numeric=(3,))  # fmt: skip
    notes: list[Any] = [
        tag("p", record.summary, css="bad") if record.verdict == "broken" else "",
        tag("p", f"{more} more rows are in {FILE}.", css="small") if more > 0 else "",
        tag("p", f"Rule {record.rule}. {record.source}", css="small"),
    ]
    return fold(title, join([made, *notes]), opened)


def _claims(records: Sequence[CaseRecord]) -> Html:
    """The claims whose tables have findings, those with most that cannot hold first."""
    states = by_claim(records)
    if not states:
        return Html("")
    order = sorted(states.values(), key=lambda one: (-one.counts["inconsistent"], -one.off, one.claim))
    lines = [(code(one.claim), one.where, one.counted, one.ruled) for one in order]
    off = sum(one.off > 0 for one in order)
    title = f"Claim by claim: of {len(order)} claims that rest on these tables, {off} rest on one with such a finding"
    made = table(("claim", "its tables", "findings in them", "rules with something inconsistent or implausible"), lines)
    note = "A finding in a table of a claim need not be about the number that the claim rests on: see the finding."
    return fold(title, join([made, tag("p", note, css="small")]), opened=False)


def ledger_html(records: Sequence[CaseRecord]) -> Html:
    """The section; empty if the run did not hold any rule against the tables."""
    if not records:
        return Html("")
    fine = sum(one.verdict == "consistent" for one in records)
    body = [
        tag("p", LEAD),
        tag("p", counts_sentence(records)),
        _families(records),
        _claims(records),
        tag("h4", f"What does not hold, worst first ({len(records) - fine} of {len(records)})"),
        *(_case(record, position < OPENED) for position, record in enumerate(worst_first(records))),
    ]
    return join([tag("h2", TITLE, id=anchor("part", "ledger")), tag("div", join(body), css="panel ledger")])


# ------------------------------------------------------------------------------- Markdown
def ledger_markdown(records: Sequence[CaseRecord], line: Any) -> list[str]:
    """The section for findings.md; ``line`` makes a text safe on one line of Markdown."""
    if not records:
        return []
    text = [f"## {TITLE}", "", LEAD, "", counts_sentence(records), ""]
    for record in worst_first(records):
        text.append(f"- **{record.verdict}**: {line(f'{tables_text(record.tables)}: {record.statement}')}")
        text.append(f"  - {line(record.summary)}")
    return [*text, ""]
