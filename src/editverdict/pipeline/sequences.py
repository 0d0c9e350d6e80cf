"""What methods keep of their edits as a sequence grows: scores over chains at each T, and method against method.

No claim is judged here. Claims say whether a loss is there at one T; this table shows it along the way (the paper's
Table 37, there for one sequence per method), over disjoint chains, with intervals whose unit is the chain.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.data.schedules import Scoring
from editverdict.evaluation.dimensions import Scores, scores_of
from editverdict.inference.corrections import holm
from editverdict.inference.intervals import Estimate, t_interval
from editverdict.inference.pvalues import mean_p
from editverdict.pipeline.methods_table import known_failures, worker_trial
from editverdict.pipeline.trajectories import RIGHT_AFTER_EACH, Trajectory, trajectory_of
from editverdict.pipeline.trial import Trial

SCORES = ("rel", "gen", "loc", "loc_eq4", "port", "avg")
ASKED_AT_ONCE = ("rel", "gen")
"""What is asked right after each edit."""
COMPARED = ("rel", "gen", "loc", "port", "avg")
"""What is tested; Eq. 4's locality stands beside and would count twice."""

Values = dict[str, dict[int, list[Scores]]]
"""Method -> T -> the scores of each chain."""


def measure(trial: Trial, model_id: str, dataset_id: str, method: str) -> dict[int, list[Scores]]:
    """A method's scores at each T of the schedule that every chain reaches: one entry per chain, in their order."""
    along: Trajectory = trajectory_of(trial, model_id, method, dataset_id)
    # From the end: the chains are then made in one go, all of them side by side, and not once per T.
    return {t: along.scores(t)[t] for t in sorted(along.schedule, reverse=True)}


def measure_right_after(trial: Trial, model_id: str, dataset_id: str, method: str) -> dict[int, list[Scores]]:
    """A method's reliability and generalization right after each edit: at each T, over a chain's first T edits."""
    along = trajectory_of(trial, model_id, method, dataset_id)
    answered = along.right_after_each()
    return {t: [_first(one.rows, chain[:t]) for one, chain in zip(answered, along.chains, strict=True)]
            for t in along.schedule}  # fmt: skip


def _first(rows: Sequence[dict[str, Any]], made: Sequence[EditRecord]) -> Scores:
    ids = {record.id for record in made}
    return scores_of([row for row in rows if row["edit_id"] in ids])


def _units(scores: Sequence[Scores], name: str) -> list[float] | None:
    """One number per chain; None where some chain has no question of the dimension."""
    found = [getattr(one, name) for one in scores]
    return None if any(value is None for value in found) else [float(value) for value in found]


def _step(name: str, t: int) -> float:
    """Granularity of a chain's score: one answer in ``t``, of an average a quarter of that."""
    return 1 / (4 * t) if name == "avg" else 1 / t


def _shown(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": list(estimate.interval) if estimate.interval else None}


def lines_of(values: Values, scoring: Scoring = "retention", names: Sequence[str] = SCORES) -> list[dict[str, Any]]:
    """One line per method and T: mean over chains and 99% interval of every score, and the chains' own values.

    ``scoring`` says when the edits were asked about, and stands in every line.
    """
    lines = []
    for method, by_t in values.items():
        for t in sorted(by_t):
            line: dict[str, Any] = {"method": method, "edits": t, "chains": len(by_t[t]), "scoring": scoring}
            for name in names:
                units = _units(by_t[t], name)
                found = None if units is None else t_interval(units, resolution=_step(name, t))
                line[name] = None if found is None else {**_shown(found), "units": units}
            lines.append(line)
    return lines


def comparisons_of(values: Values) -> list[dict[str, Any]]:
    """Every pair of methods at each T both have, dimension by dimension: mean difference over the same chains.

    A paired t test over chains (facts of one chain share a state, so they are no units), Holm over the whole table.
    The error has the floor of what one answer in T is: chains that all differ alike are no certainty.

    Returns
    -------
    list of dict
        ``first``, ``second``, ``edits``, ``score``, ``difference`` (first minus second), ``interval`` (99%), ``p``,
        ``p_holm``.
    """
    found: list[dict[str, Any]] = []
    for first, second in combinations(values, 2):
        for t in sorted(set(values[first]) & set(values[second])):
            for name in COMPARED:
                one, other = _units(values[first][t], name), _units(values[second][t], name)
                if one is None or other is None:
                    continue
                gaps = [a - b for a, b in zip(one, other, strict=True)]
                shown = _shown(t_interval(gaps, resolution=_step(name, t)))
                found.append(
                    {"first": first, "second": second, "edits": t, "score": name, "difference": shown["value"],
                     "interval": shown["interval"], "p": mean_p(gaps, _step(name, t))}
                )  # fmt: skip
    return [row | {"p_holm": p} for row, p in zip(found, holm([row["p"] for row in found]), strict=True)]


def right_after_lines(trial: Trial, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of methods by the protocol right after each edit, out of the store where :func:`table` has made them.

    They go into no comparison: those are of what is kept at the end.
    """
    (model_id,), (dataset_id,) = trial.profile.models[:1], trial.profile.datasets[:1]
    values = {method: measure_right_after(trial, model_id, dataset_id, method) for method in methods}
    return lines_of(values, RIGHT_AFTER_EACH, ASKED_AT_ONCE)


def _work(
    make: Callable[[], Trial], model_id: str, dataset_id: str, method: str, right_after: bool = False
) -> tuple[str, str | None]:
    """Make what a method's lines stand on; they are read from the store afterwards."""
    trial = worker_trial(make, method)

    def both() -> None:
        measure(trial, model_id, dataset_id, method)
        if right_after:
            measure_right_after(trial, model_id, dataset_id, method)

    return method, known_failures(both)


def table(
    trial: Trial, make: Callable[[], Trial], workers: int, say: Callable[[str], None], right_after: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, str]]:
    """Lines, comparisons, and what went wrong with the methods that are missing; what is stored is not made again.

    Parameters
    ----------
    trial
        For reading; its profile names model, data, methods, chains and schedule.
    make
        How a worker process makes the same trial (it must be picklable).
    workers
        Processes; each takes a method at a time.
    say
        Where progress goes.
    right_after
        Whether each edit is also asked about right after it was made (:func:`right_after_lines`).
    """
    (model_id,), (dataset_id,) = trial.profile.models[:1], trial.profile.datasets[:1]
    methods, failed = list(trial.profile.all_methods), dict[str, str]()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_work, make, model_id, dataset_id, method, right_after) for method in methods]
        for done, job in enumerate(concurrent.futures.as_completed(jobs), start=1):
            method, error = job.result()
            say(f"{done} of {len(methods)}: {method}" + (f" failed: {error}" if error else ""))
            if error:
                failed[method] = error
    values = {m: measure(trial, model_id, dataset_id, m) for m in methods if m not in failed}
    return lines_of(values), comparisons_of(values), failed
