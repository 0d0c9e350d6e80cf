"""Figures 3 to 5 and 7 to 10: what a run has for each panel, what the paper prints nearest to it, and why panels lack.

Everything is read off rows, evidence and printed tables; what a figure of the paper shows and no table prints is not
guessed from its picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from editverdict.inference.rows import Row
from editverdict.reporting.evidence import ParetoPicture
from editverdict.reporting.paper_answers import METRICS
from editverdict.reporting.paper_courses import COURSE_CLAIMS, about_facts, own_courses, printed_course
from editverdict.reporting.paper_efficiency import latency, scores
from editverdict.reporting.paper_nearest import NearLine, nearest_lines
from editverdict.reporting.paper_parts import PARTS, Part
from editverdict.reporting.paper_places import Place, is_named, named, place_of, told_apart
from editverdict.reporting.paper_rows import Record
from editverdict.reporting.paper_tables import Beside, PaperTable, is_method, scope_reasons, why_missing
from editverdict.reporting.run import Run, RunFolderError, load_evidence

OURS, PAPER = "this run", "paper"
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """Points of one method or configuration, of this run (in one model, on one dataset) or of the paper."""

    name: str
    """With the model, the dataset or both behind it where the figure has several of this run's."""
    source: str
    points: tuple[tuple[float, float], ...]
    texts: tuple[str, ...] = ()
    """Names of places on the axis across, where it has no scale (bars): one per point."""


@dataclass(frozen=True)
class Panel:
    """One panel of a figure."""

    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    kind: str = "series"
    """``series``, ``bars`` or ``points``."""
    log_x: bool = False
    log_y: bool = False
    why: str = ""
    """Why there is nothing of this run in it; empty if there is."""


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, drawn of this run."""

    number: int
    text: str
    """What the paper draws."""
    panels: tuple[Panel, ...]
    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    not_comparable: tuple[str, ...]
    table: int = 0
    """The table whose numbers stand beside it."""
    near: tuple[NearLine, ...] = field(default=())


# ------------------------------------------------------------------------------- Figures 3, 7, 8: along a sequence
_COURSES = {
    3: ("Llama-3.1-8B-Instruct", 37),
    7: ("Llama-2-7B-Chat", 29),
    8: ("Mistral-7B-Instruct-v0.1", 29),
}


def _curve(name: str, points: Mapping[int, float], source: str = OURS) -> Curve:
    return Curve(name, source, tuple((float(t), points[t]) for t in sorted(points)))


def _courses(run: Run, paper: Mapping[int, PaperTable], tables: Mapping[int, Beside], number: int) -> Figure:
    model, table = _COURSES[number]
    run = about_facts(run)
    own = own_courses(run.rows)
    panels = []
    for metric in METRICS:
        printed = printed_course(paper[table], model, metric)
        curves = [_curve(name, found[metric]) for name, found in own.items() if found[metric]]
        curves += [_curve(name, points, PAPER) for name, points in printed.items() if _among(own, name)]
        why = "" if own else "no case of this run asked edited models about their edits"
        panels.append(Panel(metric.capitalize(), "edits N", "share of answers", tuple(curves), log_x=True, why=why))
    beside = tables.get(table)
    records = [r for r in paper[table].records if r.get("model") == model and r.get("dataset", "ZsRE") == "ZsRE"]
    blocks = [block for block in beside.blocks if block.rows[0] in run.rows] if beside else []
    ours = [record for block in blocks for record in block.placed]
    part = _part(table)
    near = nearest_lines(records, ours, _why(run, part)) if beside else []
    return Figure(
        number,
        f"The paper draws Rel, Gen, Loc and Port of its methods in {model} on ZsRE at N = 1, 10, 100 and all. It "
        f"prints numbers near to it in Table {table}, drawn hollow; this run's are of its own model, data and N.",
        tuple(panels),
        tuple(row for row in run.rows if row.claim in COURSE_CLAIMS and row.estimate is not None),
        _absent(run, part, _methods(records), own),
        _reasons(run, COURSE_CLAIMS),
        table,
        tuple(near),
    )


# ------------------------------------------------------------------------------- Figure 4: events
def _events(run: Run, paper: Mapping[int, PaperTable], tables: Mapping[int, Beside]) -> Figure:
    part, shown = _part(36), ("AlphaEdit", "SCR")
    records = [r for r in paper[36].records if r["method"] in shown]
    beside = tables.get(36)
    ours = [r for block in beside.blocks for r in block.placed] if beside else []
    own = [r for r in ours if any(_of(r, method) for method in shown) and r.get("setting") == "sequential"]
    bars = _event_bars(own, shown)
    why = "" if own else why_missing(run, part, "AlphaEdit", _rows_of(run, part))
    panels = []
    for column, title in (("port", "Port."), ("loc", "Loc."), ("avg", "Avg.")):
        curves = [_bars(name, OURS, [(at, r.get(column)) for at, r in held]) for name, held in bars.items()]
        curves += [_bars(m, PAPER, [(str(r["model"]), r[column]) for r in records if r["method"] == m]) for m in shown]
        filled = tuple(curve for curve in curves if curve.points)
        panels.append(Panel(title, "", "percent", filled, kind="bars", why=why))
    return Figure(
        4,
        "The paper draws AlphaEdit beside SCR after sequential edits on ELKEN, in three models; the numbers are those "
        "of its Table 36.",
        tuple(panels),
        tuple(row for row in _rows_of(run, part) if row.estimate is not None),
        _absent(run, part, shown, {str(r["method"]): r for r in own}),
        _reasons(run, part.claims),
        36,
        tuple(nearest_lines(records, own, _why(run, part))),
    )


def _event_bars(own: Sequence[Record], shown: Sequence[str]) -> dict[str, list[tuple[str, Record]]]:
    """Method or variant of it -> its records, each with the text below its bar: the dataset, of several models both."""
    several = len({r["model"] for r in own}) > 1
    found: dict[str, list[tuple[str, Record]]] = {}
    for record in sorted(own, key=lambda r: [not _of(r, method) for method in shown]):
        at = ", ".join(str(record[key]) for key in ("model", "dataset") if key == "dataset" or several)
        found.setdefault(str(record["method"]), []).append((at, record))
    return found


def _of(record: Record, method: str) -> bool:
    name = str(record.get("method"))
    return name == method or name.startswith(f"{method}-")


def _bars(name: str, source: str, values: Iterable[tuple[str, Any]]) -> Curve:
    known: dict[str, float] = {}
    for text, value in values:
        if value not in (None, ""):
            known.setdefault(text, float(value))  # SCR beside several methods: one bar
    return Curve(name, source, tuple((float(i), v) for i, v in enumerate(known.values())), tuple(known))


# ------------------------------------------------------------------------------- Figures 5, 9: two costs
_PARETO = "rq4-no-method-wins-both"


def _costs(run: Run) -> tuple[list[Row], dict[str, tuple[float, float]]]:
    """Method -> (seconds per edit, latency over the unedited model's), out of the evidence of the cases.

    Names say the model and the dataset where there are several.
    """
    rows = [row for row in run.rows if row.claim == _PARETO]
    found: dict[tuple[Place, str], tuple[float, float]] = {}
    for row in rows:
        try:
            evidence = load_evidence(run.path, row)
        except RunFolderError:
            continue
        for picture in evidence.pictures if evidence else ():
            for point in picture.points if isinstance(picture, ParetoPicture) else ():
                if point.x is not None and point.y is not None:
                    found.setdefault((place_of(row), point.name), (point.x, point.y))
    apart = told_apart(place for place, _ in found)
    return rows, {named(name, apart[place]): at for (place, name), at in found.items()}


def _two_costs(run: Run, paper: Mapping[int, PaperTable], tables: Mapping[int, Beside], number: int) -> Figure:
    part = Part((), "", (_PARETO,), (), "")
    rows, found = _costs(run)
    why = "" if found else why_missing(run, part, None, rows)
    if number == 5:
        curves = tuple(Curve(name, OURS, (at,)) for name, at in found.items())
        panels = [
            Panel("Trade-off", "seconds per edit", "latency over the unedited model's", curves, "points", True, why=why)
        ]
    else:
        panels = [
            Panel("Editing time", "", "seconds per edit", _all_bars(found, 0, why), "bars", log_y=True, why=why),
            Panel("Inference", "", "latency over the unedited model's", _all_bars(found, 1, why), "bars", why=why),
        ]
    beside = tables.get(42)
    text = (
        "The paper draws editing time and latency relative to the unedited model"
        f"{', by kind of method' if number == 5 else ' of all methods'}. The only numbers that it prints are the "
        "seconds of SCR and AlphaEdit in Table 42, on another machine: they stand below and are not drawn, for it "
        "prints no latency of the unedited model that they could be relative to."
    )
    measured = tuple(row for row in rows if row.estimate is not None)
    missing = (why,) if why else _absent(run, part, _methods(paper[42].records), found)
    near = beside.near if beside else ()
    return Figure(number, text, tuple(panels), measured, missing, _reasons(run, part.claims), 42, near)


def _all_bars(found: Mapping[str, tuple[float, float]], axis: int, why: str) -> tuple[Curve, ...]:
    return () if why else (_bars("methods", OURS, [(name, at[axis]) for name, at in found.items()]),)


# ------------------------------------------------------------------------------- Figure 10: SCR by memory and top-k
_SENSITIVITY = ("sens-latency-moderate", "sens-performance-robust")


def _by_memory(records: Iterable[Record], column: str, source: str, apart: str = "") -> list[Curve]:
    """One curve over top-k per size of memory, of one model and dataset."""
    found: dict[int, dict[int, float]] = {}
    for record in records:
        if record.get(column) not in (None, ""):
            found.setdefault(int(record["memory_size"]), {})[int(record["top_k"])] = float(record[column])
    return [_curve(named(f"{size} texts", apart), points, source) for size, points in found.items()]


def _relative(curves: Sequence[Curve]) -> list[Curve]:
    """Latencies over that of the smallest memory at the smallest top-k, of which each machine has its own."""
    if not curves or not curves[0].points:
        return []
    least = curves[0].points[0][1]
    return [Curve(c.name, c.source, tuple((x, y / least) for x, y in c.points)) for c in curves]


def _own_by_memory(rows: Sequence[Row], table: int, column: str) -> list[Curve]:
    """Curves of the run; each model and dataset has its own, and its own least latency."""
    read = latency if table == 45 else scores
    found: dict[Place, list[Record]] = {}
    for row in rows:
        if records := [r for r in read(row) if r.get("metric", "rel") == "rel"]:
            found.setdefault(place_of(row), []).extend(records)
    apart = told_apart(found)
    made = [_by_memory(records, column, OURS, apart[place]) for place, records in found.items()]
    return [curve for curves in made for curve in (_relative(curves) if table == 45 else curves)]


def _sensitivity(run: Run, paper: Mapping[int, PaperTable], tables: Mapping[int, Beside]) -> Figure:
    panels, missing = [], []
    for claim, table, column in ((_SENSITIVITY[0], 45, "latency_s"), (_SENSITIVITY[1], 46, "value")):
        rows, part = [row for row in run.rows if row.claim == claim], _part(table)
        printed = [r for r in paper[table].records if r.get("metric", "rel") == "rel"]
        own, theirs = _own_by_memory(rows, table, column), _by_memory(printed, column, PAPER)
        theirs = _relative(theirs) if table == 45 else theirs
        why = "" if own else why_missing(run, part, None, rows)
        missing += [why] if why else []
        title, unit = ("Inference time", "over that of 100 texts, top-1") if table == 45 else ("Reliability", "share")
        panels.append(Panel(title, "top-k", unit, (*own, *theirs), why=why))
    near = tables[46].near if 46 in tables else ()
    return Figure(
        10,
        "The paper draws SCR's inference time and reliability over top-k for two sizes of memory; the numbers are "
        "those of its Tables 45 and 46, drawn hollow. Times are relative on either side: seconds are of two machines.",
        tuple(panels),
        tuple(row for row in run.rows if row.claim in _SENSITIVITY and row.estimate is not None),
        tuple(missing),
        _reasons(run, _SENSITIVITY),
        46,
        near,
    )


# ------------------------------------------------------------------------------- all of them
def _part(table: int) -> Part:
    return next(part for part in PARTS if table in part.tables)


def _rows_of(run: Run, part: Part) -> list[Row]:
    return [r for r in run.rows if any(r.claim == c or (c[-1] == "-" and r.claim.startswith(c)) for c in part.claims)]


def _methods(records: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(str(r["method"]) for r in records if r.get("method") not in (None, "", "Pre-edit")))


def _among(names: Iterable[str], method: str, *, variants: bool = False) -> bool:
    return any(is_named(name, method, variants=variants) for name in names)


def _absent(run: Run, part: Part, methods: Iterable[str], there: Mapping[str, Any]) -> tuple[str, ...]:
    """Why each method of the paper's figure is not in ours."""
    rows = _rows_of(run, part)
    lacking = [m for m in methods if not _among(there, m, variants=True)]
    return tuple(dict.fromkeys(why_missing(run, part, method, rows) for method in lacking))


def _why(run: Run, part: Part) -> Callable[[str | None, bool], str]:
    rows = _rows_of(run, part)

    def why(method: str | None, absent: bool) -> str:
        if absent or not [row for row in rows if method is None or is_method(row, method)]:
            return why_missing(run, part, method, rows)
        return f"{method or 'this table'}: no case of this run measures this setting"

    return why


def _reasons(run: Run, claims: Sequence[str]) -> tuple[str, ...]:
    rows = [
        row for row in run.rows if any(row.claim == c or (c[-1] == "-" and row.claim.startswith(c)) for c in claims)
    ]
    said = [row.not_comparable for row in rows if row.not_comparable]
    return tuple(dict.fromkeys([*said, *scope_reasons(rows or run.rows)]))


def paper_figures(run: Run, paper: Mapping[int, PaperTable], beside: Sequence[Beside]) -> list[Figure]:
    """Figures 3 to 5 and 7 to 10, each with panels, reasons and the paper's numbers nearest to it.

    Parameters
    ----------
    run
        The run.
    paper
        The paper's tables by number.
    beside
        The same tables with what the run has for them.
    """
    tables = {one.table.number: one for one in beside}
    made = [_courses(run, paper, tables, number) for number in _COURSES]
    made += [_events(run, paper, tables), *(_two_costs(run, paper, tables, number) for number in (5, 9))]
    return sorted([*made, _sensitivity(run, paper, tables)], key=lambda figure: figure.number)


def figure_rows(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Every drawn point, for CSV."""
    return [
        {"figure": figure.number, "panel": panel.title, "source": curve.source, "curve": curve.name,
         "x": curve.texts[place] if curve.texts else x, "y": y}
        for figure in figures
        for panel in figure.panels
        for curve in panel.curves
        for place, (x, y) in enumerate(curve.points)
    ]  # fmt: skip
