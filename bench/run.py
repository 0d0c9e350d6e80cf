"""`make bench`: what editing costs, as ratios measured side by side in one run.

The unit is one *forward-equivalent*: one forward pass of the plain model, head included, over the edit's own prompts
with their contexts. Passes and edits are timed in turn (CPU seconds of one thread), so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

from editverdict.data.records import EditRecord
from editverdict.editors.base import Resources, State
from editverdict.editors.contexts import context_templates
from editverdict.editors.deltas import installed
from editverdict.editors.losses import force
from editverdict.editors.registry import make_editor
from editverdict.editors.spread import SpreadEditor
from editverdict.pipeline.edits import resources, singles, steps
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m"
BUDGETS = {"ROME": 20.0, "MEMIT": 30.0, "AlphaEdit": 30.0}
"""Forward-equivalents per fact, all 25 steps."""
MANY = 10
"""Batches beyond this are long enough to be timed once."""
INSTALL_MS = 5.0
STATE_SHARE = 1 / 20
MEMORY_SHARE = 1.5


def cpu(call: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def side_by_side(one: Callable[[], Any], other: Callable[[], Any], rounds: int, passes: int = 5) -> tuple[float, float]:
    """Median CPU seconds of two calls taken in turn; ``other`` is the short one and runs ``passes`` times a round."""
    firsts, seconds = [], []
    for _ in range(rounds):
        seconds.append(cpu(lambda: [other() for _ in range(passes)]) / passes)
        firsts.append(cpu(one))
    return statistics.median(firsts), statistics.median(seconds)


def plain_forward(trial: Trial, edits: Sequence[EditRecord], templates: Sequence[str]) -> Callable[[], Any]:
    """One forward pass of the plain model over the edits' prompts in their contexts, one fact after the other.

    A row is what teacher forcing reads: prompt and all of the target but its last token.
    """
    loaded = trial.model(MODEL)
    forced = [
        force(loaded, [template.format(edit.prompt) for template in templates], [edit.target_new] * len(templates))
        for edit in edits
    ]

    def run() -> None:
        with torch.no_grad():
            for one in forced:
                loaded.model(input_ids=one.ids, attention_mask=one.mask, use_cache=False)

    return run


def unstored(trial: Trial) -> Resources:
    """The trial's resources, with values computed anew for exactly the edits that are asked for."""
    return dataclasses.replace(resources(trial, MODEL), values=lambda _fields, edits, compute: list(compute(edits)))


def editor_for(trial: Trial, method: str, **value: Any) -> Any:
    """A method's editor as its spec has it, with changes to its value optimisation."""
    spec = trial.library.methods[method]
    settings = {**spec.hyperparameters, **spec.per_model.get(MODEL, {})}
    if value:
        settings["value"] = {**settings["value"], **value}
    return make_editor(spec.editor, settings)


def batch_call(trial: Trial, editor: Any, edits: list[EditRecord]) -> Callable[[], Any]:
    """One batch by a method that edits batches; by ROME, independent edits whose values are optimised together."""
    loaded, given = trial.model(MODEL), unstored(trial)
    if editor.name != "rome" or len(edits) == 1:
        return lambda: editor.edit(loaded, (), edits, given)

    def independent() -> None:
        values = dict(zip([e.id for e in edits], editor.values(loaded, edits, given), strict=True))
        stored = dataclasses.replace(given, values=lambda _fields, wanted, _compute: [values[e.id] for e in wanted])
        for edit in edits:
            editor.edit(loaded, (), [edit], stored)

    return independent


def edit_costs(trial: Trial, records: Sequence[EditRecord], rounds: int, table: Table) -> None:
    """Forward-equivalents per fact, with all steps and with early stopping, alone and in batches."""
    plans = [("ROME", 1, True), ("ROME", 1, False), ("ROME", 8, True), ("ROME", 32, True), ("ROME", 32, False)]
    plans += [(m, n, full) for m in ("MEMIT", "AlphaEdit") for n, full in ((10, True), (10, False), (32, True))]
    warm: set[str] = set()
    for number, (method, count, full) in enumerate(plans, start=1):
        trial.report(f"editing, {number} of {len(plans)}: {method}, {count} at once{', all steps' if full else ''}")
        editor, edits = editor_for(trial, method, **({"early_stop": 0.0} if full else {})), list(records[:count])
        one = batch_call(trial, editor, edits)
        if method not in warm:  # covariances, prefixes and projectors are made once, not per edit
            batch_call(trial, editor_for(trial, method, steps=2), edits[:1])()
            warm.add(method)
        forward = plain_forward(trial, edits, context_templates(editor.hyperparameters, unstored(trial)))
        seconds, passes = side_by_side(one, forward, 1 if count > MANY else rounds)
        budget = BUDGETS[method] if full and count in (1, 10) else None
        what = f"{method}, {count} fact{'s' if count > 1 else ''}, {'25 steps' if full else 'early stopping'}"
        ratio = seconds / passes
        cost = f"{seconds / count:.2f} CPU s per fact"
        trial.report(f"{what}: {ratio:.1f} forward-equivalents per fact")
        _row(table, what, cost, f"{ratio:.1f} forward-equivalents per fact", budget, ratio)


def install_cost(trial: Trial, states: Sequence[State], table: Table) -> None:
    """Milliseconds to install and remove one rank-one edit, checksums included."""
    model = trial.model(MODEL).model
    times = []
    for state in states:
        started = time.perf_counter()
        with installed(model, state):
            middle = time.perf_counter()
        times.append((middle - started, time.perf_counter() - middle))
    for number, what in enumerate(("installing", "removing")):
        ms = 1000 * statistics.median(pair[number] for pair in times)
        _row(table, f"{what} one rank-one edit", f"{ms:.1f} ms", "", INSTALL_MS, ms)


def state_size(trial: Trial, state: State, table: Table) -> None:
    """Bytes of a chain's steps beside those of the model."""
    own = sum(t.numel() * t.element_size() for step in state for t in step.tensors.values())
    model = sum(p.numel() * p.element_size() for p in trial.model(MODEL).model.parameters())
    _row(
        table,
        f"state of a ROME chain of {len(state)}",
        f"{own / 2**20:.2f} of {model / 2**20:.0f} MiB",
        f"{own / model:.4f} of the model",
        STATE_SHARE,
        own / model,
    )


def memory(trial: Trial, records: Sequence[EditRecord], table: Table) -> None:
    """Largest growth of the process while editing, on top of one model, in models."""
    process = psutil.Process()
    model = sum(p.numel() * p.element_size() for p in trial.model(MODEL).model.parameters())
    own = [name for name in trial.profile.methods if trial.library.methods[name].family == "locate-then-edit"]
    for method in own:
        count = 10 if isinstance(editor_for(trial, method), SpreadEditor) else 1
        trial.report(f"peak memory of {method}")
        editor, given = editor_for(trial, method), unstored(trial)
        start, peak, stop = process.memory_info().rss, [0], threading.Event()

        def watch(start: int = start, peak: list[int] = peak, stop: threading.Event = stop) -> None:
            while not stop.wait(0.005):
                peak[0] = max(peak[0], process.memory_info().rss - start)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        editor.edit(trial.model(MODEL), (), list(records[:count]), given)
        stop.set()
        watcher.join()
        share = (model + peak[0]) / model
        _row(
            table,
            f"peak memory, {method}, {count} fact{'s' if count > 1 else ''}",
            f"{peak[0] / 2**20:.0f} MiB beyond the model",
            f"{share:.2f} × the model",
            MEMORY_SHARE,
            share,
        )


def _row(table: Table, what: str, measured: str, ratio: str, budget: float | None, value: float) -> None:
    verdict = "" if budget is None else ("within" if value <= budget else "OVER")
    table.add_row(what, measured, ratio, "" if budget is None else f"≤ {budget:g}", verdict)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times that each pair is measured (default 3)")
    parser.add_argument("--store", type=Path, help="folder of the artifact store")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trial = make_trial(Options(profile="overnight", store=options.store), ROOT / "specs")
    clock, console = time.monotonic(), Console(width=130)
    trial.report = lambda message: console.print(f"{time.monotonic() - clock:5.0f} s  {message}", highlight=False)
    records = [record for chain in trial.chains("worldfacts") for record in chain][:32]
    table = Table(
        "what", "measured", "ratio", "budget", "", title=f"editing {MODEL}, one thread, median of {options.rounds}"
    )
    edit_costs(trial, records, options.rounds, table)
    install_cost(trial, singles(trial, MODEL, "ROME", records[:4]), table)
    state_size(trial, steps(trial, MODEL, "ROME", trial.chains("worldfacts")[0][:50]), table)
    memory(trial, records, table)
    console.print(table)


if __name__ == "__main__":
    main()
