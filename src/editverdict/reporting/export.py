"""The claims and cases of a run as CSV, as a LaTeX table, and as findings in Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from editverdict.inference.replication import closest
from editverdict.inference.rows import ClaimVerdict, Row
from editverdict.reporting.beside import NO_NUMBER
from editverdict.reporting.contests import contests_csv
from editverdict.reporting.files import write_text
from editverdict.reporting.findings import findings_markdown
from editverdict.reporting.formatting import LOOKS, MISSING, control_tally, interval, number, origin
from editverdict.reporting.run import load_run

_CLAIM_COLUMNS = ("claim", "kind", "hypothesis", "statement", "verdict", "reason", "cases", "missing", "specific",
                  "depends_on_definition", "generality", "stands_on")  # fmt: skip
_CASE_COLUMNS = ("case", "claim", "kind", "model", "method", "dataset", "profile", "verdict", "quantity", "estimate",
                 "interval_low", "interval_high", "level", "unit", "n_units", "op", "threshold", "low", "high",
                 "origin", "margin_to_flip", "controls", "specific", "depends_on_definition", "scope", "stands_on",
                 "paper_table", "paper_row", "paper_value", "comparable", "difference", "replication_distance",
                 "why_not_comparable", "reason", "spec_hash")  # fmt: skip


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return buffer.getvalue()


def claims_csv(claims: Sequence[ClaimVerdict]) -> str:
    """One line per claim."""
    lines = []
    for claim in claims:
        values: dict[str, Any] = claim.model_dump()
        values |= {"cases": len(claim.cases), "missing": len(claim.missing)}
        lines.append([values[name] for name in _CLAIM_COLUMNS])
    return _csv(_CLAIM_COLUMNS, lines)


def cases_csv(rows: Sequence[Row]) -> str:
    """One line per case; numbers in full precision, absent ones empty."""
    lines = []
    for row in rows:
        values: dict[str, Any] = row.model_dump() | row.expected.model_dump()
        values["interval_low"], values["interval_high"] = row.interval or (None, None)
        values |= {"origin": origin(row.expected), "controls": control_tally([row])}
        values["spec_hash"] = row.hashes.get("spec")
        values |= _beside(row)
        lines.append([values[name] for name in _CASE_COLUMNS])
    return _csv(_CASE_COLUMNS, lines)


def _beside(row: Row) -> dict[str, Any]:
    """The printed number that is nearest in setting and definition, and how far the measured one is from it."""
    one = closest(row)
    if one is None:
        return {"paper_table": None, "paper_row": None, "paper_value": None, "comparable": False, "difference": None,
                "replication_distance": None, "why_not_comparable": row.not_comparable or NO_NUMBER}  # fmt: skip
    return {
        "paper_table": one.printed.table,
        "paper_row": one.printed.row,
        "paper_value": one.printed.value,
        "comparable": one.comparable,
        "difference": one.difference,
        "replication_distance": one.distance,
        "why_not_comparable": one.why or None,
    }


# ------------------------------------------------------------------------------- LaTeX
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "—": "---",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def latex(value: str) -> str:
    """Text that LaTeX prints as it stands."""
    return re.sub(r"\s+", " ", "".join(_SPECIAL.get(character, character) for character in value))


def _expected(row: Row) -> str:
    if row.expected.op == "within":
        return f"$[{number(row.expected.low)}, {number(row.expected.high)}]$"
    sign = {"<=": r"\le", ">=": r"\ge"}.get(row.expected.op, row.expected.op)
    return f"${sign} {number(row.expected.threshold)}$"


def _paper(row: Row) -> str:
    one = closest(row)
    if one is None:
        return MISSING
    far = "not comparable" if not one.comparable else f"distance {number(one.distance)}"
    return f"{number(one.printed.value)} (Table {one.printed.table}; {far})"


def _line(claim: ClaimVerdict, row: Row | None) -> str:
    cells = [rf"\texttt{{{latex(claim.claim)}}}", LOOKS[claim.verdict].words]
    if row is None:
        cells += [latex(MISSING)] * 5
    else:
        bounds = "" if row.interval is None else f" {interval(row.interval)}"
        cells += [latex(f"{number(row.estimate)}{bounds}"), latex(_paper(row)), _expected(row)]
        cells += [latex(control_tally([row])), latex(row.stands_on or MISSING)]
    return " & ".join(cells) + r" \\"


def claims_latex(claims: Sequence[ClaimVerdict], rows: Sequence[Row]) -> str:
    """A ``booktabs`` table: one line per case, the claim's verdict on each; claims without a case have dashes."""
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{tabular}{lllllll}",
        r"\toprule",
        r"claim & verdict & measured & paper & expected & controls & stands on \\",
        r"\midrule",
    ]
    for claim in claims:
        cases: list[Row | None] = [row for row in rows if row.claim == claim.claim]
        lines += [_line(claim, row) for row in cases or [None]]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def write_exports(run_dir: Path) -> list[Path]:
    """Write ``claims.csv``, ``cases.csv``, ``claims.tex``, ``findings.md`` and, if there are any, ``comparisons.csv``.

    Raises
    ------
    RunFolderError
        If the run folder cannot be read.
    """
    run = load_run(run_dir)
    contents = {
        "claims.csv": claims_csv(run.claims),
        "cases.csv": cases_csv(run.rows),
        "claims.tex": claims_latex(run.claims, run.rows),
        "findings.md": findings_markdown(
            run.claims, run.rows, run.manifest, run.ledger, (*run.contests, *run.contests_by)
        ),
    }
    if run.contests:
        contents["comparisons.csv"] = contests_csv(run.contests)
    for name, content in contents.items():
        write_text(run_dir / name, content)
    return [run_dir / name for name in contents]
