"""The paper's tables and Figures 2 and 6 beside what a run measured.

The paper's numbers are data (``specs/paper``); ours are the descriptive numbers of the rows. Nothing is judged here:
which claim a table belongs to, and how layers, k and T of the paper answer to ours, is stated beside each table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editverdict.inference.rows import Row
from editverdict.ledger.tables import Line, TableSpec, read_ledger
from editverdict.reporting.formatting import LOOKS
from editverdict.reporting.paper_nearest import NearLine, nearest_lines
from editverdict.reporting.paper_parts import FIGURES, PARTS, Part
from editverdict.reporting.paper_places import place_of
from editverdict.reporting.paper_rows import NAMES, Record, notes
from editverdict.reporting.run import Run


# ------------------------------------------------------------------------------- the paper's side
@dataclass(frozen=True)
class PaperTable:
    """A table as the paper prints it."""

    number: int
    summary: str
    unit: str
    records: tuple[Record, ...]

    @property
    def models(self) -> set[str]:
        """Ids of the models it is about, as our specs have them."""
        return {str(record["model"]).lower() for record in self.records if "model" in record}

    @property
    def methods(self) -> list[str]:
        """Methods it is about, in its order."""
        return list(dict.fromkeys(str(record["method"]) for record in self.records if record.get("method")))


def _units(spec: TableSpec) -> str:
    """What the columns hold, in one line: a column of the same thing as the one before it is not told again."""
    said = dict.fromkeys(f"{c.what} ({c.unit})" if c.unit else c.what for c in spec.columns.values() if not c.text)
    return "; ".join(said)


def _record(line: Line) -> Record:
    """One printed row: its keys and its cells as printed."""
    return {**line.keys, **{name: cell.text for name, cell in line.cells.items()}}


def read_paper(folder: Path) -> dict[int, PaperTable]:
    """The paper's tables by number, out of ``specs/paper``.

    Raises
    ------
    SpecError
        The index, or a table that it names, is not there or cannot be read.
    """
    return {
        number: PaperTable(number, table.spec.caption, _units(table.spec), tuple(_record(line) for line in table.lines))
        for number, table in read_ledger(folder).tables.items()
    }


_SEVERAL = 6
"""Rows of more claims than this are a whole run's."""


# ------------------------------------------------------------------------------- our side
@dataclass(frozen=True)
class Block:
    """Numbers of one case (or of one model's cases side by side), ready to stand beside the paper's."""

    subject: str
    name: str
    """What the numbers are, where a table has several blocks per subject."""
    rows: tuple[Row, ...]
    records: tuple[Record, ...]

    @property
    def placed(self) -> list[Record]:
        """The records with the model and dataset that all rows of the block share."""
        model, dataset = place_of(self.rows[0])
        return [{"model": model or None, "dataset": dataset or None} | record for record in self.records]

    @property
    def stands_on(self) -> list[str]:
        """One line per row: what was measured, T, scope, and what the row's claim came to."""
        return [f"{stands_on(row)} · {row.claim} {LOOKS[row.verdict].words}" for row in self.rows]


@dataclass(frozen=True)
class Beside:
    """One table of the paper and what this run has to put beside it."""

    table: PaperTable
    part: Part
    blocks: tuple[Block, ...]
    missing: tuple[str, ...]
    """What was not measured, each with its reason."""
    not_comparable: tuple[str, ...]
    near: tuple[NearLine, ...] = ()
    """Every cell beside the paper's at its nearest setting, where the part is laid out so."""


def stands_on(row: Row) -> str:
    """What a row's numbers stand on, in one line: subject, units, T, definition, scope."""
    edits = row.descriptive.get("edits")
    primary = next((d.name for d in row.definitions if d.role == "primary"), None)
    parts = [
        row.stands_on or row.case,
        f"T = {edits}" if row.method and isinstance(edits, int) else "",
        f"primary definition {primary}" if primary else "",
        *notes(row),
        f"{row.scope}: {row.scope_reason}" if row.scope_reason else row.scope,
    ]
    return " · ".join(part for part in parts if part)


def _of_claims(run: Run, part: Part) -> list[Row]:
    return [
        row
        for row in run.rows
        if any(row.claim == c or (c[-1] == "-" and row.claim.startswith(c)) for c in part.claims)
    ]


def is_method(row: Row, method: str) -> bool:
    """Whether a row is about a method of the paper, or a variant of it (``AlphaEdit-L2-1``)."""
    return row.method == method or (row.method or "").startswith(f"{method}-")


def _beside_whom(table: PaperTable, rows: Sequence[Row], paper_models: set[str]) -> list[Row]:
    """Rows of the table's own model; where the run has none, those of models that the paper does not have."""
    own = [row for row in rows if (row.model or "").lower() in table.models]
    return own or [row for row in rows if not table.models or (row.model or "").lower() not in paper_models]


def _ordered(rows: Sequence[Row], methods: Sequence[str]) -> list[Row]:
    """The paper's methods first, in its order, with their variants; then ours."""
    place = {id(row): next((i for i, m in enumerate(methods) if is_method(row, m)), len(methods)) for row in rows}
    return sorted(rows, key=lambda row: place[id(row)])


def _subject(row: Row, *, with_method: bool = True) -> str:
    return " · ".join(name for name in (row.model, row.method if with_method else None, row.dataset) if name)


def _wanted(table: PaperTable, records: Sequence[Record]) -> tuple[Record, ...]:
    """Of the correlations only those summaries and aggregations that the table prints."""
    printed = {(record.get("summary"), record.get("aggregation")) for record in table.records}
    return tuple(r for r in records if "summary" not in r or (r["summary"], r["aggregation"]) in printed)


def _blocks(table: PaperTable, part: Part, rows: Sequence[Row]) -> list[Block]:
    found: dict[tuple[str, str], tuple[list[Row], list[Record]]] = {}
    for name, read in part.readers:
        seen: set[str] = set()  # several claims of a family hold the same cells of one subject
        for row in rows:
            records = _wanted(table, read(row))
            if records and _subject(row) not in seen:
                seen.add(_subject(row))
                key = (_subject(row, with_method=not part.together), name)
                own_rows, own_records = found.setdefault(key, ([], []))
                own_rows.append(row)
                # What claims have in common (the unedited model, SCR beside several methods) stands there once.
                own_records += [record for record in records if record not in own_records]
    return [Block(subject, name, tuple(own), tuple(records)) for (subject, name), (own, records) in found.items()]


def why_missing(run: Run, part: Part, method: str | None, rows: Sequence[Row]) -> str:
    """Why a run has no numbers of a method (None: of a claim that is about no method) for some tables."""
    about = [row for row in rows if method is None or is_method(row, method)]
    who = f"{method}: " if method else ""
    if about:
        measured = about[0].estimate is not None
        reason = "its row holds no such numbers; measure the case again" if measured else about[0].reason
        return f"{who}{about[0].case}: {reason}"
    others = {row.model or "" for row in _of_claims(run, part) if method is None or is_method(row, method)}
    claim = " or ".join(f"{name}*" if name.endswith("-") else name for name in part.claims)
    if others:
        return f"{who}this run's cases of {claim} are about {', '.join(sorted(others))}, beside whose table they stand"
    elsewhere = [
        profile for profile, names in (run.manifest.get("methods_elsewhere") or {}).items() if method in (names or ())
    ]
    has = f"; profile {' and '.join(map(str, elsewhere))} has the method" if method and elsewhere else ""
    left = [name for name in run.manifest.get("claims_left_out") or () if name in part.claims]
    out = f"; profile {run.manifest.get('profile')} leaves {', '.join(left)} out, for want of time" if left else ""
    needs = f"; {part.needs}" if part.needs else ""
    return f"{who}this run has no case of {claim}{' about it' if method else ''}{has}{out}{needs}"


def _missing(run: Run, part: Part, table: PaperTable, rows: Sequence[Row], blocks: Sequence[Block]) -> list[str]:
    measured = [row for block in blocks for row in block.rows]
    empty = dict.fromkeys(
        f"{row.case}: {row.reason}" for block in blocks for row in block.rows if _is_empty(block, row)
    )
    if table.methods:
        shown = {record.get("method") for block in blocks for record in block.records}
        absent = [m for m in table.methods if m not in shown and not any(is_method(row, m) for row in measured)]
        return [*empty, *(why_missing(run, part, method, rows) for method in absent)]
    return [*empty] if measured else [why_missing(run, part, None, rows)]


def _is_empty(block: Block, row: Row) -> bool:
    """Whether a row has a place in a block and not one number there."""
    own = [record for record in block.records if record.get("method") in (None, row.method)]
    return bool(own) and all(value is None for record in own for name, value in record.items() if name not in NAMES)


def _beside(run: Run, table: PaperTable, part: Part, paper_models: set[str]) -> Beside:
    rows = _beside_whom(table, _of_claims(run, part), paper_models)
    if part.own_method:
        rows = [row for row in rows if any(is_method(row, method) for method in table.methods)]
    blocks = _blocks(table, part, _ordered(rows, table.methods))
    used = [row for block in blocks for row in block.rows]
    # Claims on correlation only lend their scores along chains; what hinders their own comparison is no matter here.
    own = [row for row in used or rows if "corr-" in part.claims or not row.claim.startswith("corr-")]
    reasons = dict.fromkeys(row.not_comparable for row in own if row.not_comparable)
    missing = tuple(_missing(run, part, table, rows, blocks))
    near = _near(run, table, part, rows, blocks) if part.cell_by_cell else ()
    if near:
        reasons |= dict.fromkeys(scope_reasons(own or run.rows))
    return Beside(table, part, tuple(blocks), missing, tuple(reasons), near)


def scope_reasons(rows: Sequence[Row]) -> list[str]:
    """Why rows extend the paper's setting; of rows that only stand for their run, the fullest reason alone."""
    said = [row.scope_reason for row in rows if row.scope == "extension" and row.scope_reason]
    claims = {row.claim for row in rows}
    return [max(said, key=len)] if said and len(claims) > _SEVERAL else list(dict.fromkeys(said))


def _near(
    run: Run, table: PaperTable, part: Part, rows: Sequence[Row], blocks: Sequence[Block]
) -> tuple[NearLine, ...]:
    """Every cell of a table beside the paper's at its nearest setting."""
    ours = [record for block in blocks for record in block.placed]

    def why(method: str | None, absent: bool) -> str:
        if absent:
            return why_missing(run, part, method, rows)
        not_run = [row for row in rows if row.verdict == "not_run" and (method is None or is_method(row, method))]
        length = (run.manifest.get("sizes") or {}).get("chain_length")
        chains = f"; its chains have {length} edits" if length else ""
        said = f"{not_run[0].case}: {not_run[0].reason}" if not_run else "no case of this run measures this setting"
        return said if not_run else f"{method or 'this table'}: {said}{chains}"

    return tuple(nearest_lines(table.records, ours, why, part.no_column))


def beside_paper(run: Run, paper: dict[int, PaperTable]) -> list[Beside]:
    """Every table of the paper that is at hand, in its order, with what the run has for it."""
    models = {model for table in paper.values() for model in table.models}
    part_of = {number: part for part in PARTS for number in part.tables}
    return [_beside(run, paper[n], part_of[n], models) for n in sorted(paper) if n in part_of]


@dataclass(frozen=True)
class Figures:
    """What the run has for Figures 2 and 6."""

    blocks: tuple[Block, ...]
    missing: tuple[str, ...]
    not_comparable: tuple[str, ...]


def figures(run: Run) -> Figures:
    """One block per case that holds curves."""
    rows = _of_claims(run, FIGURES)
    nothing = PaperTable(0, "", "", ())
    blocks = _blocks(nothing, FIGURES, rows)
    silent = [row for row in rows if not any(row in block.rows for block in blocks)]
    missing = [why_missing(run, FIGURES, None, [row]) for row in silent] or (
        [] if blocks else [why_missing(run, FIGURES, None, rows)]
    )
    used = [row for block in blocks for row in block.rows] or rows
    reasons = dict.fromkeys(row.not_comparable for row in used if row.not_comparable)
    return Figures(tuple(blocks), tuple(missing), tuple(reasons))


def largest_t(records: Sequence[Record]) -> list[Record]:
    """Of the records along chains those at the largest T (Figure 2); the placebo, which comes last, has it."""
    ends = [str(record["curve"]).rpartition("T = ")[2] for record in records]
    return [record for record, end in zip(records, ends, strict=True) if end == ends[-1]] if records else []


# ------------------------------------------------------------------------------- CSV
def records_csv(paper: Sequence[Record], blocks: Sequence[Block]) -> tuple[list[str], list[list[Any]]]:
    """Columns and lines of one table: the paper's as printed, ours in full precision, an absent number left empty."""
    ours = [{"what": block.name, **record} for block in blocks for record in block.placed]
    lines = [{"source": "paper", **record} for record in paper] + [{"source": "this run", **record} for record in ours]
    filled = {name for line in lines for name, value in line.items() if value not in (None, "")}
    names = dict.fromkeys(["source", "what", "model", "dataset", *(name for line in lines for name in line)])
    columns = [name for name in names if name in filled]
    return columns, [[line.get(name) for name in columns] for line in lines]
