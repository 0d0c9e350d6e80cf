"""Scores over the number of edits, for Figures 3, 7 and 8: what a run's rows and the paper's tables have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from editverdict.inference.rows import Row
from editverdict.reporting.paper_answers import METRICS
from editverdict.reporting.paper_nearest import ALL_EDITS
from editverdict.reporting.paper_places import event_data, named, place_of, told_apart
from editverdict.reporting.paper_rows import mapping_at
from editverdict.reporting.paper_tables import PaperTable
from editverdict.reporting.run import Run

COURSE_CLAIMS = ("rq1-drop-single-to-seq", "rq1-collapse-sequential", "scr-dominates-avg")


def course(rows: Sequence[Row], method: str) -> dict[str, dict[int, float]]:
    """Metric -> number of edits -> score of a method: single edits, chains on their way, and their ends.

    The rows are of one model and dataset: scores of several make no curve.
    """
    found: dict[str, dict[int, float]] = {metric: {} for metric in METRICS}
    for row in (row for row in rows if row.method == method):
        edits = row.descriptive.get("edits")
        table = mapping_at(row.descriptive, "scores")
        if row.claim.startswith("corr-") and isinstance(row.descriptive.get("schedule"), list):
            for place, t in enumerate(row.descriptive["schedule"]):
                for metric in METRICS:
                    column = [line[place] for line in table.get(metric) or []]
                    if column and None not in column:
                        found[metric].setdefault(int(t), sum(column) / len(column))
        elif row.claim in COURSE_CLAIMS[:2] and isinstance(edits, int):
            for state, t in (("single", 1), ("sequential", edits)):
                _take(found, mapping_at(table, state), t, first=row.claim == COURSE_CLAIMS[0])
    return found


def _take(found: dict[str, dict[int, float]], numbers: Mapping[str, Any], t: int, *, first: bool = True) -> None:
    """Take scores at one T; where a case with all dimensions of all chains (``first``) has one, that one counts."""
    for metric in METRICS:
        value = numbers.get(metric)
        if isinstance(value, int | float) and (first or t not in found[metric]):
            found[metric][t] = float(value)


def _courses_at(rows: Sequence[Row]) -> dict[str, dict[str, dict[int, float]]]:
    """Method -> metric -> edits -> score in one model on one dataset, SCR after the chain among them."""
    methods = dict.fromkeys(row.method for row in rows if row.method and row.claim in COURSE_CLAIMS)
    made = {method: course(rows, method) for method in methods}
    for row in (row for row in rows if row.claim == "scr-dominates-avg"):
        edits = row.descriptive.get("edits")
        if isinstance(edits, int) and (numbers := mapping_at(row.descriptive, "scores", "SCR")):
            _take(made.setdefault("SCR", {metric: {} for metric in METRICS}), numbers, edits)
    return {name: own for name, own in made.items() if any(own.values())}


def own_courses(rows: Sequence[Row]) -> dict[str, dict[str, dict[int, float]]]:
    """The same of every model and dataset, under names that tell them apart."""
    places = dict.fromkeys(place_of(row) for row in rows)
    found = {place: _courses_at([row for row in rows if place_of(row) == place]) for place in places}
    apart = told_apart(place for place, own in found.items() if own)
    return {named(name, apart[place]): one for place, own in found.items() for name, one in own.items()}


def about_facts(run: Run) -> Run:
    """The run without its cases on events, which have neither Rel nor Gen."""
    events = event_data([row for row in run.rows if row.claim in COURSE_CLAIMS or row.claim.startswith("corr-")])
    return replace(run, rows=tuple(row for row in run.rows if row.dataset not in events))


def printed_course(paper: PaperTable, model: str, metric: str) -> dict[str, dict[int, float]]:
    """Method -> edits -> printed share, of a table of one model."""
    made: dict[str, dict[int, float]] = {}
    for record in paper.records:
        if record.get("model") != model or record.get("dataset", "ZsRE") != "ZsRE":
            continue
        all_edits = ALL_EDITS["ZsRE"]
        if "value" in record and record["metric"] == metric:
            n = all_edits if str(record["n_edits"]).lower() == "all" else int(record["n_edits"])
            made.setdefault(str(record["method"]), {})[n] = float(record["value"])
        elif record.get("setting") == "sequential" and record[metric] not in (None, ""):
            made.setdefault(str(record["method"]), {})[all_edits] = float(record[metric]) / 100.0
    return made
