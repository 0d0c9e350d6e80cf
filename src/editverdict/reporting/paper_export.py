"""Writing the paper's tables beside a run's: the page, one Markdown file, one CSV per table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editverdict.reporting.cards import code, table, text
from editverdict.reporting.files import write_text
from editverdict.reporting.formatting import MISSING
from editverdict.reporting.html import PAPER_TABLES
from editverdict.reporting.paper_drawings import figure_svg
from editverdict.reporting.paper_figures import Figure, figure_rows, paper_figures
from editverdict.reporting.paper_layout import HEADS, Grid, grid, written
from editverdict.reporting.paper_nearest import NearCell, NearLine, near_reasons, near_rows
from editverdict.reporting.paper_page import MORE_FIGURES, tables_html
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
    return [*parts, *(_near(number, found.near) if found.near and found.blocks else [missing])]


def _near(number: int, lines: Sequence[NearLine]) -> list[str]:
    """Every cell with the paper's in brackets; an empty one with the number of its reason."""
    reasons = near_reasons(lines)

    def cell(name: str, one: NearCell) -> str:
        own = written(number, name, one.ours) if not one.why else f"{MISSING} [{reasons[one.why]}]"
        return f"{own} ({written(number, name, one.paper) if one.paper else 'not in the paper'})"

    heads = [HEADS.get(name, name) for name in (*lines[0].names, *lines[0].cells)] + ["the paper's setting"]
    rows = [
        [*line.names.values(), *(cell(name, one) for name, one in line.cells.items()), line.setting] for line in lines
    ]
    made = table([text(head) for head in heads], [[text(cell) for cell in row] for row in rows])
    title = "**Cell by cell**: this run (the paper at its nearest setting)"
    return [title, made, "\n".join(f"{place}. {text(reason)}" for reason, place in reasons.items())]


def _figure(found: Figures, number: int) -> list[str]:
    incomparable, missing = _reasons(found.missing, found.not_comparable)
    parts = [f"### Figure {number}", text(FIGURE_TEXTS[number]), incomparable]
    for block in found.blocks:
        records = largest_t(block.records) if number == 2 else block.records
        parts += _block(block, grid(0, records))
    return [*parts, missing]


def _drawn(found: Figure) -> list[str]:
    """The numbers behind one of Figures 3 to 5 and 7 to 10."""
    incomparable, missing = _reasons(found.missing, found.not_comparable)
    parts = [f"### Figure {found.number}", text(found.text), incomparable]
    rows = [[str(row[name]) for name in ("panel", "source", "curve", "x")] + [f"{row['y']:.4g}"]
            for row in figure_rows([found])]  # fmt: skip
    if rows:
        parts.append(table(["panel", "source", "curve", "x", "y"], [[text(cell) for cell in row] for row in rows]))
    return [*parts, missing]


def tables_markdown(run: Run, tables: Sequence[Beside], drawn: Figures, more: Sequence[Figure] = ()) -> str:
    """All tables and the numbers behind the figures as Markdown."""
    by_number = {found.table.number: found for found in tables}
    parts = ["# The paper's tables and figures beside this run", f"Run {code(run.path.name)}."]
    for part in PARTS:
        shown = [line for number in part.tables if number in by_number for line in _table(by_number[number])]
        parts += [f"## {text(part.title)}", text(part.mapping), *shown] if shown else []
    parts += [f"## {text(FIGURES.title)}", text(FIGURES.mapping)]
    parts += [line for number in (2, 6) for line in _figure(drawn, number)]
    if more:
        parts += [f"## {text(MORE_FIGURES)}", *(line for one in more for line in _drawn(one))]
    return "\n\n".join(part for part in parts if part) + "\n"


# ------------------------------------------------------------------------------- CSV
def _csv(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if cell is None else cell for cell in line] for line in lines)
    return buffer.getvalue()


def _csvs(tables: Sequence[Beside], drawn: Figures, more: Sequence[Figure]) -> dict[str, str]:
    made = {
        f"table_{found.table.number:02d}.csv": _csv(*records_csv(found.table.records, found.blocks)) for found in tables
    }
    for found in tables:
        if rows := near_rows(found.near):
            lines = [list(row.values()) for row in rows]
            made[f"table_{found.table.number:02d}_cells.csv"] = _csv(list(rows[0]), lines)
    if drawn.blocks:
        made["figures.csv"] = _csv(*records_csv((), drawn.blocks))
    if points := figure_rows(more):
        made["figures_points.csv"] = _csv(list(points[0]), [list(row.values()) for row in points])
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
    run, paper = load_run(run_dir), read_paper(paper_dir)
    tables, drawn = beside_paper(run, paper), figures(run)
    more = paper_figures(run, paper, tables)
    for name, content in _csvs(tables, drawn, more).items():
        write_text(run_dir / FOLDER / name, content)
    drawings = {one.number: figure_svg(one) for one in more}
    for number, drawing in drawings.items():
        write_text(run_dir / FOLDER / f"figure_{number:02d}.svg", drawing)
    write_text(run_dir / f"{FOLDER}.md", tables_markdown(run, tables, drawn, more))
    write_text(run_dir / PAPER_TABLES, tables_html(run, tables, drawn, more, drawings))
    return run_dir / PAPER_TABLES
