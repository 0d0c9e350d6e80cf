"""Tables 3, 29-38 and 40-46: counts of right answers first, then percentages, averages, and what repeats them."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.ledger.synthetic.draft import Draft
from editverdict.ledger.synthetic.runs import METRICS, STEPS, Runs
from editverdict.ledger.tables import Line

QUALITY = (3, 29, 30, 31, 32)
EVENTS = {35: "single", 36: "sequential"}
DOWNSTREAM = {
    33: {"aime_2024": 960, "aime_2025": 960, "amc": 2656, "math_500": 500, "olympiad": 675},
    34: {"gpqa_diamond": 198, "arc_c": 1172, "mmlu_pro": 12032},
}
"""Graded answers per column: the number of questions times the number of runs."""
BEFORE = {
    **{"aime_2024": 0.36, "aime_2025": 0.26, "amc": 0.69, "math_500": 0.83, "olympiad": 0.53},
    **{"gpqa_diamond": 0.29, "arc_c": 0.88, "mmlu_pro": 0.46},
}
LOCALITY_QUESTIONS = 2602
KEPT = {"ROME": (0.96, 0.0), "RECT": (0.94, 0.0), "AlphaEdit": (1.0, 0.998), "MEND": (0.9, 0.0)}
"""Share of the ability that is left after 10 and after 100 edits."""


def write(draft: Draft) -> None:
    """All tables of scores, from one set of runs."""
    runs = Runs(draft.chance)
    for table in QUALITY:
        for line in draft.lines(table):
            _write_row(draft, line, runs.quality(table, line), METRICS)
    for table, setting in EVENTS.items():
        for line in draft.lines(table):
            _write_row(draft, line, runs.events(line, setting), ("port", "loc"))
    _write_downstream(draft)
    _write_chains(draft, runs)
    _write_combinations(draft, runs)
    _write_alphaedit(draft, runs)
    _write_locality(draft, runs)
    _write_cost(draft, runs)


def _write_row(draft: Draft, line: Line, values: dict[str, float], columns: Sequence[str]) -> None:
    """Percentages, and the average of what is printed."""
    for column in columns:
        draft.put_fixed(line, column, 100.0 * values[column])
    printed = [draft.number(line, column) for column in columns if line.cells[column].text]
    if printed and "avg" in line.cells:
        draft.put_fixed(line, "avg", sum(printed) / len(printed))


def _write_downstream(draft: Draft) -> None:
    for table, graded in DOWNSTREAM.items():
        for line in draft.lines(table):
            method, edits = line.keys["method"], line.keys["n_edits"]
            kept = 1.0 if method == "Pre-edit" else KEPT[method][edits == "100"]
            values = {
                column: round(BEFORE[column] * kept * _near_one(draft, method) * n) / n for column, n in graded.items()
            }
            _write_row(draft, line, values, tuple(graded))


def _near_one(draft: Draft, method: str) -> float:
    return 1.0 if method == "Pre-edit" else float(draft.chance.uniform(0.998 if method == "AlphaEdit" else 0.985, 1.0))


def _write_chains(draft: Draft, runs: Runs) -> None:
    """Scores along a chain of edits, all of them and in halves."""
    for line in draft.lines(37):
        value = runs.chain(line.keys["method"], line.keys["metric"])[STEPS.index(line.keys["n_edits"])]
        draft.put_fixed(line, "value", value)
    for line in draft.lines(38):
        keys = line.keys
        value = runs.chain(keys["method"], keys["metric"])[STEPS.index(keys["n_edits"])]
        half = {"high_logp": 0.03, "low_logp": -0.03}[keys["logp_group"]]
        draft.put_fixed(line, "value", max(value * (1.0 + half), 0.0) + (0.01 if half > 0.0 and value > 0.0 else 0.0))


def _write_combinations(draft: Draft, runs: Runs) -> None:
    for line in draft.lines(43):
        method, edits = line.keys["method"], line.keys["n_edits"]
        values = runs.retrieval(edits) if method == "SCR" else runs.combined(method.removesuffix("+SCR"), edits)
        _write_row(draft, line, values, METRICS)
    for line in draft.lines(46):
        values = runs.retrieval(line.keys["memory_size"])
        more = {"1": -0.01, "3": 0.0, "5": 0.0, "10": 0.01}[line.keys["top_k"]]
        draft.put_fixed(line, "value", min(values[line.keys["metric"]] + more, 1.0))


def _write_alphaedit(draft: Draft, runs: Runs) -> None:
    """Table 41: our stated L2 coefficient (10) gives the values of Tables 29 and 30, the other lower ones."""
    for line in draft.lines(41):
        table = {"ZsRE": 29, "WikiData_counterfact": 30}[line.keys["dataset"]]
        values = runs.alphaedit(table, line.keys["model"], line.keys["setting"], line.keys["l2"])
        _write_row(draft, line, values, METRICS)


def _write_locality(draft: Draft, runs: Runs) -> None:
    """Table 40: agreement with the unedited model, token by token and as a whole."""
    for line in draft.lines(40):
        kept = runs.agreement(line.keys["method"], line.keys["setting"])
        draft.put_fixed(line, "match_ratio", 100.0 * kept)
        draft.put_fixed(line, "exact_match", 100.0 * round(kept**2 * LOCALITY_QUESTIONS) / LOCALITY_QUESTIONS)


def _write_cost(draft: Draft, runs: Runs) -> None:
    """Memory and time grow a little with the size of the memory and with what is put before the question."""
    latency = {}
    for table, column, base in ((44, "vram_mb", 31000.0), (45, "latency_s", 1.6)):
        for line in draft.lines(table):
            size, k = int(line.keys["memory_size"]), int(line.keys["top_k"])
            value = base * (1.0 + 0.0001 * k + (0.00001 if table == 44 else 0.0001) * size)
            draft.put_fixed(line, column, value)
            latency[table, str(size), str(k)] = value
    for line in draft.lines(42):
        edits, retrieves = line.keys["n_edits"], line.keys["method"] == "SCR"
        values = runs.retrieval(edits) if retrieves else runs.at(line.keys["method"], edits)
        time = latency.get((45, edits, "3"), 1.7) if retrieves else 0.83
        draft.put_fixed(line, "inference_time", time)
        draft.put_fixed(line, "edit_time", 0.0 if retrieves else 14.07)
        for column in ("rel", "loc"):
            draft.put_fixed(line, column, 100.0 * values[column])
