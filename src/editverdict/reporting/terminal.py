"""Tables for the terminal, as rich renderables; sensible from about 100 columns on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.ledger.records import CaseRecord, worst_first
from editverdict.reporting.allure_ledger import tables_text
from editverdict.reporting.beside import short_text
from editverdict.reporting.formatting import (
    LOOKS,
    MISSING,
    control_tally,
    headline,
    interval,
    measured,
    number,
    percent,
    region,
    seconds,
    verdict_counts,
)
from editverdict.reporting.ledger_section import LOOKS as LEDGER_LOOKS
from editverdict.reporting.ledger_section import TITLE, counts_sentence
from editverdict.reporting.run import methods_elsewhere, survey_line, surveys_of


def verdict_text(verdict: str) -> Text:
    """A verdict with its symbol, coloured."""
    look = LOOKS[verdict]
    return Text(f"{look.symbol} {look.words}", style=look.terminal)


def _measured(rows: Sequence[Row]) -> Text:
    """Estimate and interval of a single case; of several cases the first three, one line each; below, the paper's."""
    if len(rows) == 1 and rows[0].interval is not None:
        made = Text(f"{number(rows[0].estimate)}\n{interval(rows[0].interval)}")
    else:
        lines = [measured(row) for row in rows[:3]] + ([f"… {len(rows) - 3} more cases"] if len(rows) > 3 else [])
        made = Text("\n".join(lines) or MISSING)
    for said in dict.fromkeys(short_text(row) for row in rows[:3] if row.paper_values):
        made.append(f"\n{said}", style="dim")
    return made


def _name(claim: ClaimVerdict) -> Text:
    """Id of the claim and, below it, what the verdict stands on."""
    made = Text(claim.claim + (" †" if claim.depends_on_definition else ""), style="bold")
    made.append(f"\n{claim.stands_on or 'stands on nothing yet'}", style="not bold dim")
    if claim.missing:
        made.append(f"\n{len(claim.missing)} planned cases missing", style="not bold cyan")
    return made


def _controls_text(rows: Sequence[Row]) -> Text:
    tally = control_tally(rows)
    return Text(tally, style="red" if "failed" in tally else "yellow" if "undecided" in tally else "")


def claims_table(claims: Sequence[ClaimVerdict], rows: Sequence[Row]) -> Table:
    """One line per claim: verdict, measured with interval, expected, controls, specific, what it stands on."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("claim\nstands on", overflow="fold", ratio=5)
    made.add_column("verdict", no_wrap=True)
    made.add_column(Text(f"measured\n[{_level(rows)}interval]"), overflow="fold", min_width=16)
    made.add_column("expected", overflow="fold", min_width=9)
    made.add_column("controls", overflow="fold", min_width=8)
    made.add_column("specific", no_wrap=True)
    for claim in claims:
        cases = [row for row in rows if row.claim == claim.claim]
        expected = dict.fromkeys(region(row.expected) for row in cases)
        made.add_row(
            _name(claim), verdict_text(claim.verdict), _measured(cases), Text("\n".join(expected) or MISSING),
            _controls_text(cases), Text(claim.specific or MISSING),
        )  # fmt: skip
    if any(claim.depends_on_definition for claim in claims):
        made.caption = "† the verdict depends on which definition is taken"
        made.caption_justify = "left"
    return made


def _level(rows: Sequence[Row]) -> str:
    levels = {row.level for row in rows}
    return f"{percent(levels.pop())} " if len(levels) == 1 else ""


def stages_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    """What the run did: seconds, artifacts built and reused, per stage, with the sums."""
    made = Table(box=box.SIMPLE_HEAD, show_footer=bool(stages), pad_edge=False)
    total = {key: sum(stage.get(key) or 0 for stage in stages) for key in ("seconds", "built", "reused")}
    made.add_column("stage", footer="all")
    made.add_column("time", justify="right", footer=seconds(total["seconds"]))
    made.add_column("built", justify="right", footer=str(total["built"]))
    made.add_column("reused", justify="right", footer=str(total["reused"]))
    for stage in stages:
        counts = [MISSING if stage.get(key) is None else str(stage[key]) for key in ("built", "reused")]
        made.add_row(Text(str(stage.get("name", MISSING))), seconds(stage.get("seconds")), *counts)
    return made


def totals(claims: Sequence[ClaimVerdict], rows: Sequence[Row]) -> Text:
    """The headline sentence and the count of cases per verdict."""
    made = Text(headline(claims), style="bold")
    made.append(f"\n{len(rows)} cases: ", style="not bold")
    for position, (verdict, count) in enumerate(verdict_counts(row.verdict for row in rows).items()):
        made.append(", " if position else "", style="not bold")
        made.append(f"{count} {LOOKS[verdict].words}", style=LOOKS[verdict].terminal)
    return made


def ledger_text(records: Sequence[CaseRecord], shown: int = 5) -> Text:
    """How the paper's printed tables stand against their arithmetic, and the worst rules."""
    made = Text(f"{TITLE}: {counts_sentence(records)}")
    for record in worst_first(records)[:shown]:
        made.append(f"\n  {record.verdict}", style=LEDGER_LOOKS[record.verdict].terminal)
        made.append(f" {tables_text(record.tables)}: {record.statement}")
    return made


def run_report(
    claims: Sequence[ClaimVerdict],
    rows: Sequence[Row],
    manifest: Mapping[str, Any],
    ledger: Sequence[CaseRecord] = (),
) -> RenderableType:
    """Claims, stages, totals, the paper's ledger and what other profiles put on trial, one below the other."""
    parts: list[RenderableType] = [claims_table(claims, rows)]
    stages = manifest.get("stages")
    if isinstance(stages, list) and stages:
        parts.append(stages_table(stages))
    parts.append(totals(claims, rows))
    if ledger:
        parts.append(ledger_text(ledger))
    for survey in surveys_of(manifest):
        parts.append(Text(survey_line(survey), style="dim"))
    if left_out := methods_elsewhere(manifest):
        parts.append(Text(left_out, style="dim"))
    return Group(*parts)
