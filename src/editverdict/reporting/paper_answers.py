"""What a row's scores of answers say in the columns of the paper's tables 3, 29 to 38, 40, 41 and 43.

As in :mod:`editverdict.reporting.paper_rows`: a row that was not measured gives no records, an absent score is None.
Scores of rows are shares; the paper prints percent, but for Tables 37 and 38.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editverdict.inference.rows import Row
from editverdict.reporting.paper_rows import Record, mapping_at

METRICS = ("rel", "gen", "loc", "port")
PRE_EDIT = "Pre-edit"


def _scores(row: Row, state: str, metrics: tuple[str, ...] = (*METRICS, "avg")) -> Record | None:
    """The scores of one kind of state in percent; None if the row has none."""
    found = mapping_at(row.descriptive, "scores", state)
    return {name: _percent(found.get(name)) for name in metrics} if found else None


def _percent(value: Any) -> float | None:
    return 100.0 * value if isinstance(value, int | float) else None


def _records(row: Row, states: Mapping[str, Record], metrics: tuple[str, ...] = (*METRICS, "avg")) -> list[Record]:
    found = {state: _scores(row, state, metrics) for state in states}
    return [{**names, **scores} for state, names in states.items() if (scores := found[state]) is not None]


def _setting(row: Row, method: str | None, setting: str) -> Record:
    return {"dataset": row.dataset, "setting": setting, "method": method}


# ------------------------------------------------------------------------------- Tables 3, 29-32
def both_settings(row: Row) -> list[Record]:
    """Tables 3, 31 and 32: the drop from single to sequential editing, beside the unedited model."""
    if row.claim != "rq1-drop-single-to-seq":
        return []
    settings = ("single", "sequential")
    states = {"unedited": _setting(row, PRE_EDIT, "either")}
    return _records(row, states | {name: _setting(row, row.method, name) for name in settings})


def sequential(row: Row) -> list[Record]:
    """Tables 29 and 30: the sequential half of the same."""
    return [record for record in both_settings(row) if record["setting"] != "single"]


def retrieval(row: Row) -> list[Record]:
    """The line of SCR in the same tables, out of its comparison with a method."""
    if row.claim != "scr-dominates-avg":
        return []
    return _records(row, {"SCR": _setting(row, "SCR", "sequential")})


# ------------------------------------------------------------------------------- Tables 33, 34
def capability(row: Row) -> list[Record]:
    """Tables 33 and 34: accuracy of each task and their average, of the unedited model and after the chain."""
    tasks = {name: t for name, t in mapping_at(row.descriptive, "tasks").items() if mapping_at(t).get("chance")}
    states = {"unedited": (PRE_EDIT, "0"), str(row.method): (row.method, str(row.descriptive.get("edits")))}
    made = []
    for state, (method, n_edits) in states.items():
        values = {name: _percent(mapping_at(task).get(state)) for name, task in tasks.items()}
        known = [value for value in values.values() if value is not None]
        if known:
            average = sum(known) / len(known) if len(known) == len(values) else None
            made.append({"method": method, "n_edits": n_edits, **values, "avg": average})
    return made


# ------------------------------------------------------------------------------- Tables 35, 36
def _events(row: Row, settings: Mapping[str, str]) -> list[Record]:
    """Portability, locality and their mean in each state; the unedited model belongs to either setting."""
    made = []
    for state, setting in settings.items():
        found = _scores(row, state, ("port", "loc"))
        if found is None:
            continue
        method = {"unedited": PRE_EDIT, "SCR": "SCR"}.get(state, row.method)
        known = [value for value in found.values() if value is not None]
        average = sum(known) / 2 if len(known) == 2 else None
        made.append({"dataset": row.dataset, "setting": setting, "method": method, **found, "avg": average})
    return made


def events_single(row: Row) -> list[Record]:
    """Table 35."""
    return _events(row, {"unedited": "either", "single": "single"})


def events_sequential(row: Row) -> list[Record]:
    """Table 36; a comparison with SCR calls the state after the chain the method's."""
    return _events(row, {"unedited": "either", "sequential": "sequential", "method": "sequential"})


def events_retrieval(row: Row) -> list[Record]:
    """The line of SCR in the same table, out of its comparison with a method."""
    return _events(row, {"SCR": "sequential"})


# ------------------------------------------------------------------------------- Table 37
def ends_of_chains(row: Row) -> list[Record]:
    """Table 37: single edits (N = 1) and the end of the chains."""
    length = row.descriptive.get("edits")
    if row.claim != "rq1-drop-single-to-seq" or not isinstance(length, int):
        return []
    states = {"single": "1", "sequential": str(length)}
    return [
        {"method": row.method, "metric": metric, "n_edits": n, "value": found.get(metric)}
        for metric in METRICS
        for state, n in states.items()
        if (found := mapping_at(row.descriptive, "scores", state))
    ]


def at_the_horizon(row: Row) -> list[Record]:
    """Table 37: the end of the long chains that a method's horizon asks for, reliability alone."""
    length = row.descriptive.get("edits")
    if row.claim != "rq1-collapse-sequential" or not isinstance(length, int):
        return []
    found = mapping_at(row.descriptive, "scores", "sequential")
    return [{"method": row.method, "metric": "rel", "n_edits": str(length), "value": found.get("rel")}] if found else []


def on_the_way(row: Row) -> list[Record]:
    """Table 37: the T of the schedule, where the chains are asked on their way; mean over chains."""
    at = row.descriptive.get("schedule")
    tables = mapping_at(row.descriptive, "scores")
    if not row.claim.startswith("corr-") or not isinstance(at, list):
        return []
    return [
        {"method": row.method, "metric": metric, "n_edits": str(t), "value": _mean_at(tables.get(metric), i)}
        for metric in METRICS
        for i, t in enumerate(at)
    ]


def _mean_at(table: Any, column: int) -> float | None:
    """Mean over chains at one T; None where a chain has no such score."""
    values = [line[column] for line in table] if isinstance(table, list) else []
    return None if not values or None in values else sum(values) / len(values)


# ------------------------------------------------------------------------------- Table 38
def by_confidence(row: Row) -> list[Record]:
    """Table 38: single edits (N = 1) and the end of the chains, in both halves of the facts."""
    length = row.descriptive.get("edits")
    return [
        {"method": row.method, "n_edits": n, "metric": metric, "logp_group": group, "value": scores.get(metric)}
        for group, states in mapping_at(row.descriptive, "split_scores").items()
        for metric in METRICS
        for state, n in (("single", "1"), ("sequential", str(length)))
        if (scores := mapping_at(states, state))
    ]


# ------------------------------------------------------------------------------- Table 40
def _token_records(found: Mapping[str, Any], method: str | None) -> list[Record]:
    """Both settings of one method in percent."""
    settings = (("single", "single"), ("sequence", "sequential"))
    return [
        {
            "method": method,
            "setting": printed,
            "match_ratio": _percent(shares.get("ratio")),
            "exact_match": _percent(shares.get("exact")),
        }
        for ours, printed in settings
        if (shares := mapping_at(found, "tokens", ours))
    ]


def tokens_kept(row: Row) -> list[Record]:
    """Table 40: the tokens of locality answers that a method keeps; without a method, the unedited model itself."""
    return _token_records(row.descriptive, row.method or PRE_EDIT)


def tokens_kept_by_retrieval(row: Row) -> list[Record]:
    """The line of SCR in the same table, out of its comparison with a method."""
    return _token_records(mapping_at(row.descriptive, "SCR"), "SCR")


# ------------------------------------------------------------------------------- Table 41
def by_l2(row: Row) -> list[Record]:
    """Table 41: two weights of AlphaEdit's L2 term, single and sequential."""
    states = {
        "single_L2_1": ("1", "single"),
        "L2_1": ("1", "sequential"),
        "single_L2_10": ("10", "single"),
        "L2_10": ("10", "sequential"),
    }
    named = {state: {"l2": l2, "dataset": row.dataset, "setting": way} for state, (l2, way) in states.items()}
    return _records(row, named, METRICS)


# ------------------------------------------------------------------------------- Table 43
def with_memory(row: Row) -> list[Record]:
    """Table 43: SCR, and an edited model that answers from the same memory."""
    names = {"dataset": row.dataset, "n_edits": str(row.descriptive.get("edits"))}
    return _records(row, {"SCR": {**names, "method": "SCR"}, "combination": {**names, "method": row.method}})
