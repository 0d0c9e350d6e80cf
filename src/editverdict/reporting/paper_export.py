"""Writing the paper's tables beside a run's: the page, one Markdown file, one CSV per table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editverdict.reporting.cards import code, table, text
from editverdict.reporting.files import write_text
from editverdict.reporting.html import PAPER_TABLES
from editverdict.reporting.paper_layout import Grid, grid
from editverdict.reporting.paper_page import tables_html
from editverdict.reporting.paper_parts import FIGURE_TEXTS, FIGURES, PARTS
from editverdict.reporting.paper_tables import (
    Beside,
    Block,
    Figures,
    beside_paper,
    figures,
    largest_t,
    read_paper,
    records_csv,
)
from editverdict.reporting.run import Run, load_run

FOLDER = "paper-tables"


# ------------------------------------------------------------------------------- Markdown
def _grid(made: Grid) -> str:
    return table([text(name) for name in made.columns], [[text(cell) for cell in row] for row in made.rows])


def _block(block: Block, made: Grid) -> list[str]:
    name = f" {text(block.name)}" if block.name else ""
    return [f"**This run**: {code(block.subject)}{name}", *(f"- {text(line)}" for line in block.stands_on), _grid(made)]


def _reasons(missing: Sequence[str], not_comparable: Sequence[str]) -> tuple[str, str]:
    incomparable = "\n".join(f"Not comparable because: {text(reason)}" for reason in not_comparable)
    return incomparable, "\n".join(f"- not measured in this run: {text(reason)}" for reason in missing)


def _table(found: Beside) -> list[str]:
    number = found.table.number
    incomparable, missing = _reasons(found.missing, found.not_comparable)
    parts = [f"### Table {number}", f"{text(found.table.summary)} ({text(found.table.unit)}).", incomparable]
    parts += ["**The paper**", _grid(grid(number, found.table.records))]
    for block in found.blocks:
        parts += _block(block, grid(number, block.records))
    return [*parts, missing]


def _figure(found: Figures, number: int) -> list[str]:
    incomparable, missing = _reasons(found.missing, found.not_comparable)
    parts = [f"### Figure {number}", text(FIGURE_TEXTS[number]), incomparable]
    for block in found.blocks:
        records = largest_t(block.records) if number == 2 else block.records
        parts += _block(block, grid(0, records))
    return [*parts, missing]


def tables_markdown(run: Run, tables: Sequence[Beside], drawn: Figures) -> str:
    """All tables and the numbers behind the figures as Markdown."""
    by_number = {found.table.number: found for found in tables}
    parts = ["# The paper's tables and figures beside this run", f"Run {code(run.path.name)}."]
    for part in PARTS:
        shown = [line for number in part.tables if number in by_number for line in _table(by_number[number])]
        parts += [f"## {text(part.title)}", text(part.mapping), *shown] if shown else []
    parts += [f"## {text(FIGURES.title)}", text(FIGURES.mapping)]
    parts += [line for number in (2, 6) for line in _figure(drawn, number)]
    return "\n\n".join(part for part in parts if part) + "\n"


# ------------------------------------------------------------------------------- CSV
def _csv(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if cell is None else cell for cell in line] for line in lines)
    return buffer.getvalue()


def _csvs(tables: Sequence[Beside], drawn: Figures) -> dict[str, str]:
    made = {
        f"table_{found.table.number:02d}.csv": _csv(*records_csv(found.table.records, found.blocks)) for found in tables
    }
    if drawn.blocks:
        made["figures.csv"] = _csv(*records_csv((), drawn.blocks))
    return made


def write_paper_tables(run_dir: Path, paper_dir: Path) -> Path:
    """Write ``paper-tables.html``, ``paper-tables.md`` and ``paper-tables/*.csv`` into the run folder.

    Parameters
    ----------
    run_dir
        Run folder with ``results.jsonl``; the curves of the figures are in its ``evidence/``.
    paper_dir
        Folder with the paper's numbers (``specs/paper``).

    Returns
    -------
    Path
        The page: one file, no scripts, nothing loaded from elsewhere.

    Raises
    ------
    RunFolderError
        If the run folder cannot be read.
    SpecError
        If numbers of the paper are not there.
    """
    run = load_run(run_dir)
    tables, drawn = beside_paper(run, read_paper(paper_dir)), figures(run)
    for name, content in _csvs(tables, drawn).items():
        write_text(run_dir / FOLDER / name, content)
    write_text(run_dir / f"{FOLDER}.md", tables_markdown(run, tables, drawn))
    write_text(run_dir / PAPER_TABLES, tables_html(run, tables, drawn))
    return run_dir / PAPER_TABLES
