"""How much of the loss over a chain depends on which algorithm made the edits (§6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editverdict.evaluation.questions import DIMENSIONS
from editverdict.inference.intervals import Estimate, jackknife_interval, missing, seeds_interval
from editverdict.pipeline.edits import editor_of
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.answering import HEADROOM, begin, seeds_of
from editverdict.pipeline.measures.scores import less, mean, scores_in
from editverdict.pipeline.trial import NotHere, Trial

LEAST = 3
"""Fewest algorithms that are compared."""
Table = NDArray[np.float64]
"""One row per method, one column per chain."""


def share_of_method(table: Table) -> float | None:
    """Omega squared of the rows of a table of methods x chains, without interaction; None where nothing varies.

    ``(SS_methods - (m - 1) MS_error) / (SS_total + MS_error)`` of the two-way layout with one value per cell: the share
    of variance that goes with the method, without what chance alone gives it (eta squared is never 0). At least two
    rows and two columns.
    """
    m, n = table.shape
    centre = table.mean()
    total = float(((table - centre) ** 2).sum())
    methods = float(n * ((table.mean(axis=1) - centre) ** 2).sum())
    chains = float(m * ((table.mean(axis=0) - centre) ** 2).sum())
    error = max(total - methods - chains, 0.0) / ((m - 1) * (n - 1))
    if total + error <= 1e-12:
        return None
    return float((methods - (m - 1) * error) / (total + error))


def share_interval(table: Table) -> Estimate:
    """The share with a jackknife over chains; missing where nothing varies."""
    full = share_of_method(table)
    without = (
        [share_of_method(np.delete(table, i, axis=1)) for i in range(table.shape[1])] if table.shape[1] > 2 else []
    )
    known = [one for one in without if one is not None]
    if full is None or len(known) < len(without) or not known:
        return missing(note="losses do not vary, or there are fewer than three chains")
    return jackknife_interval(full, known).within((-1.0, 1.0))


def set_apart(table: Table) -> Table:
    """The same residuals around methods that lie apart: spread evenly over 20 of the residuals' standard deviations."""
    residuals = table - table.mean(axis=1, keepdims=True)
    width = 20.0 * float(residuals.std()) or 1.0
    return np.asarray(residuals + np.linspace(0.0, width, table.shape[0])[:, None])


def relabelled(table: Table, seed: int) -> Table:
    """Every chain's losses dealt to the methods at random."""
    return np.asarray(np.random.default_rng(seed).permuted(table, axis=0))


def _methods(trial: Trial, case: Case) -> list[str]:
    """The profile's parameter methods whose states are weight deltas, as the claim about the drop has them."""
    parameter = [m for m in trial.profile.methods_of(case.claim.id) if trial.library.methods[m].kind == "parameter"]
    found = [m for m in parameter if not editor_of(trial, m, case.model).answers_itself]
    algorithms = {trial.library.methods[m].editor for m in found}
    if len(algorithms) < LEAST:
        raise NotHere(
            f"compares at least {LEAST} algorithms; profile '{trial.profile.id}' has {len(algorithms)} that change "
            f"weights: {', '.join(sorted(algorithms)) or 'none'}"
        )
    return found


@measure("share_of_algorithm")
def share_of_algorithm(trial: Trial, case: Case) -> Measurement:
    """Share of the variance of the drop (single minus sequential average) that goes with the method."""
    methods, asked = _methods(trial, case), begin(trial, case)
    alone = {m: asked.single(m) for m in methods}
    usable = [m for m in methods if mean(scores_in(alone[m], *DIMENSIONS)) >= HEADROOM]
    after = {m: asked.after(m) for m in usable}
    algorithms = {trial.library.methods[m].editor for m in usable}
    made = Measurement({"absolute": missing(note="too few methods"), "relative": missing(note="too few methods")})
    made.checks |= passed(
        "headroom-single-avg",
        len(algorithms) >= LEAST,
        f"single edits reach an average of {HEADROOM} with {', '.join(usable) or 'no method'} of {', '.join(methods)}; "
        f"at least {LEAST} algorithms needed",
    )
    if len(algorithms) >= LEAST:
        single = np.asarray([scores_in(alone[m], *DIMENSIONS) for m in usable])
        drops = np.asarray([less(scores_in(alone[m], *DIMENSIONS), scores_in(after[m], *DIMENSIONS)) for m in usable])
        made.definitions = {"absolute": share_interval(drops)}
        made.definitions["relative"] = share_interval(drops / single) if single.min() > 0 else missing()
        made.controls["methods-apart"] = share_interval(set_apart(drops))
        seeds = seeds_of(trial)
        dealt = [share_of_method(relabelled(drops, seed)) for seed in seeds]
        made.controls["methods-dealt"] = _over_seeds(dealt)
        made.descriptive["drop"] = dict(zip(usable, drops.mean(axis=1).tolist(), strict=True))
    units = {"methods": made.definitions["absolute"].units}
    scores = {f"single {m}": alone[m] for m in methods} | {f"sequential {m}": after[m] for m in usable}
    shown = [f"{way} {m}" for m in usable[:1] for way in ("single", "sequential")]
    return asked.finished(made, scores, "Share of the variance of the drop that goes with the method", units, shown)


def _over_seeds(values: Sequence[float | None]) -> Estimate:
    known = [one for one in values if one is not None]
    return seeds_interval(known) if len(known) == len(values) else missing(note="losses do not vary")
