"""`make bench`: what editing costs, as ratios measured side by side in one run.

The unit is one *forward-equivalent*: one forward pass of the plain model, head included, over the edit's own prompts
with their contexts, the prompt of the divergence term among them: the batch that the plain way of optimising a value
runs at every step. The plain way itself (forward and backward of the whole model over that batch) is timed, too, so
that the unit can be checked. Passes and edits are timed in turn (CPU seconds of one thread), so that a busy machine
slows both. Exit code 1 if a budget is exceeded.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from board import Board, cpu
from rich.console import Console
from torch import Tensor

from editverdict.data.records import EditRecord
from editverdict.editors.base import Resources, State
from editverdict.editors.contexts import context_templates
from editverdict.editors.deltas import installed
from editverdict.editors.registry import make_editor
from editverdict.editors.spread import SpreadEditor
from editverdict.editors.tokens import target_ids
from editverdict.models.sources import LoadedModel
from editverdict.pipeline.cost import costing
from editverdict.pipeline.edits import resources, singles, step_recipe, steps
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m"
BUDGETS = {"ROME": 20.0, "MEMIT": 30.0, "AlphaEdit": 30.0}
"""Forward-equivalents per fact, all 25 steps."""
INSTALL_MS = 5.0
STATE_SHARE = 1 / 20
MEMORY_SHARE = 1.5


def side_by_side(one: Callable[[], Any], other: Callable[[], Any], rounds: int, passes: int = 5) -> tuple[float, float]:
    """Median CPU seconds of two calls taken in turn; ``other`` is the short one and runs ``passes`` times a round."""
    firsts, seconds = [], []
    for _ in range(rounds):
        seconds.append(cpu(lambda: [other() for _ in range(passes)]) / passes)
        firsts.append(cpu(one))
    return statistics.median(firsts), statistics.median(seconds)


@dataclasses.dataclass(frozen=True)
class PlainWay:
    """Whole passes of the plain model over the prompts of edits, one fact after the other.

    A row is what teacher forcing reads: prompt and all of the target but its last token. The row of the divergence term
    ("<subject> is a") has no target.
    """

    loaded: LoadedModel
    batches: list[tuple[Tensor, Tensor]]
    """Per edit: ids and mask [rows, t], padded on the right."""

    @classmethod
    def of(cls, loaded: LoadedModel, edits: Sequence[EditRecord], templates: Sequence[str]) -> PlainWay:
        """The prompts of these edits in their contexts."""
        tokenizer, batches = loaded.tokenizer, []
        for edit in edits:
            target = target_ids(tokenizer, edit.target_new)[:-1]
            rows = [[*tokenizer(template.format(edit.prompt))["input_ids"], *target] for template in templates]
            rows.append(list(tokenizer(f"{edit.subject} is a")["input_ids"]))
            width = max(map(len, rows))
            ids = torch.tensor([[*row, *[int(tokenizer.pad_token_id)] * (width - len(row))] for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
            batches.append((ids, mask))
        return cls(loaded, batches)

    @torch.no_grad()
    def forward(self) -> None:
        """One forward-equivalent per fact."""
        for ids, mask in self.batches:
            self.loaded.model(input_ids=ids, attention_mask=mask, use_cache=False)

    def step(self, layer: int) -> None:
        """One step of the plain way: all positions, all layers, all logits, and back to a vector at ``layer``."""
        for ids, mask in self.batches:
            vector = torch.zeros(self.loaded.model.config.hidden_size, requires_grad=True)
            hook = self.loaded.sites.mlp(layer).register_forward_hook(lambda _m, _a, out, v=vector: out + v)
            try:
                logits = self.loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                torch.autograd.grad(logits.log_softmax(-1)[..., 0].mean(), vector)
            finally:
                hook.remove()


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


def plain_cost(trial: Trial, records: Sequence[EditRecord], rounds: int, table: Board) -> None:
    """What 25 steps of the plain way would take, from one: a check of the unit."""
    loaded = trial.model(MODEL)
    plain = PlainWay.of(
        loaded, records[:1], context_templates(editor_for(trial, "ROME").hyperparameters, unstored(trial))
    )
    step, forward = side_by_side(lambda: plain.step(loaded.spec.layers.edit), plain.forward, rounds)
    table.row(
        "the plain way, ROME, 1 fact, 25 steps", f"{25 * step:.2f} CPU s", 25 * step / forward, "forward-equivalents"
    )


def edit_costs(trial: Trial, records: Sequence[EditRecord], rounds: int, table: Board) -> None:
    """Forward-equivalents per fact, with all steps and with early stopping, alone and in batches."""
    plans = [("ROME", n, full) for n in (1, 8, 32) for full in (True, False)]
    plans += [(m, n, full) for m in ("MEMIT", "AlphaEdit") for n, full in ((10, True), (10, False), (32, True))]
    warm: set[str] = set()
    for number, (method, count, full) in enumerate(plans, start=1):
        trial.report(f"editing, {number} of {len(plans)}: {method}, {count} at once{', all steps' if full else ''}")
        editor, edits = editor_for(trial, method, **({"early_stop": 0.0} if full else {})), list(records[:count])
        one = batch_call(trial, editor, edits)
        if method not in warm:  # covariances, prefixes and projectors are made once, not per edit
            batch_call(trial, editor_for(trial, method, steps=2), edits[:1])()
            warm.add(method)
        plain = PlainWay.of(trial.model(MODEL), edits, context_templates(editor.hyperparameters, unstored(trial)))
        seconds, passes = side_by_side(one, plain.forward, rounds if count == 1 else 1)
        budget = BUDGETS[method] if full and count in (1, 10) else None
        what = f"{method}, {count} fact{'s' if count > 1 else ''}, {'25 steps' if full else 'early stopping'}"
        cost = f"{seconds / count:.2f} CPU s per fact"
        table.row(what, cost, seconds / passes, "forward-equivalents per fact", budget)


def install_cost(trial: Trial, states: Sequence[State], table: Board) -> None:
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
        table.row(f"{what} one rank-one edit", "", ms, "ms", INSTALL_MS)


def state_size(trial: Trial, edits: Sequence[EditRecord], table: Board) -> None:
    """Files of a chain's steps in the store beside a file of the model's weights.

    Values after two steps take as much room as after 25.
    """
    rome, method = trial.library.methods["ROME"], "ROME-two-steps"
    settings = {**rome.hyperparameters, "value": {**rome.hyperparameters.get("value", {}), "steps": 2}}
    trial.library.methods[method] = rome.model_copy(update={"id": method, "hyperparameters": settings})
    steps(trial, MODEL, method, edits)
    folders = [trial.store.path_of(step_recipe(trial, MODEL, method, edits[: done + 1])) for done in range(len(edits))]
    own = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    model = sum(p.numel() * p.element_size() for p in trial.model(MODEL).model.parameters())
    measured = f"{own / 2**20:.2f} of {model / 2**20:.0f} MiB"
    table.row(f"state of a ROME chain of {len(edits)}, on disk", measured, own / model, "of the model", STATE_SHARE)


def memory(trial: Trial, records: Sequence[EditRecord], table: Board) -> None:
    """Largest growth of the process while editing, on top of one model, in models."""
    model = sum(p.numel() * p.element_size() for p in trial.model(MODEL).model.parameters())
    own = [name for name in trial.profile.methods if trial.library.methods[name].family == "locate-then-edit"]
    for method in own:
        editor, given = editor_for(trial, method), unstored(trial)
        count = 10 if isinstance(editor, SpreadEditor) else 1
        with costing() as cost:
            editor.edit(trial.model(MODEL), (), list(records[:count]), given)
        share = 1 + cost.peak_mib * 2**20 / model
        what = f"peak memory, {method}, {count} fact{'s' if count > 1 else ''}"
        table.row(what, f"{cost.peak_mib:.0f} MiB beyond the model", share, "× the model", MEMORY_SHARE)


def main() -> int:
    """Run the benchmark; 1 if a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times that each pair is measured (default 3)")
    parser.add_argument("--store", type=Path, help="folder of the artifact store")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trial = make_trial(Options(profile="methods-table", store=options.store), ROOT / "specs")
    records = [record for chain in trial.chains("worldfacts") for record in chain][:32]
    title = f"editing {MODEL}, one thread, median of {options.rounds} (batches: once)"
    console = Console(width=130)
    table = Board(title, console)
    trial.report = table.say
    plain_cost(trial, records, options.rounds, table)
    edit_costs(trial, records, options.rounds, table)
    install_cost(trial, singles(trial, MODEL, "ROME", records[:4]), table)
    # No chain of the profile's: nothing goes on beside it.
    state_size(trial, trial.chains("worldfacts")[0][:50][::-1], table)
    memory(trial, records, table)
    console.print(table.table)
    return 1 if table.over else 0


if __name__ == "__main__":
    sys.exit(main())
