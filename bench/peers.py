"""`make bench-peers`: ROME, MEMIT and AlphaEdit of EasyEdit beside ours, at equal settings, in one run.

Both sides get the same model, facts, context templates, layers, second moments and hyperparameters; both run on one
thread, and CPU seconds (user and system) are those of the edit alone: loading the model, inverting or decomposing the
second moments and the like have happened in a first call that is not counted. The target is a ratio of at least three
at equal results and equal iteration counts; the exit code says whether it was met.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from editverdict.data.records import EditRecord
from editverdict.editors.base import Resources, Step
from editverdict.editors.deltas import delta_norm, installed, step_delta, touched
from editverdict.editors.registry import make_editor
from editverdict.generation.scoring import target_logprobs
from editverdict.models.sources import LoadedModel
from editverdict.pipeline.edits import resources
from editverdict.pipeline.setup import Options, UsageError, make_trial
from editverdict.pipeline.trial import NotHere, Trial

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m"
LAYERS = (6, 7, 8, 9, 10)
TEMPLATES = ("{}", "There is one thing to add. {}", "After all these years it is so. {}", "As she told us. {}")
WANTED = 3.0
"""How many times fewer CPU seconds ours are to take."""
SAME_RESULT = 0.02
"""Relative difference of |dW| that counts as equal: float32 there, float64 here."""

# The same numbers under the names of both sides.
_VALUE = {"steps": 25, "learning_rate": 0.5, "kl_factor": 0.0625, "weight_decay": 1e-3, "clamp_factor": 4.0}
_THEIR_NAMES = ("v_num_grad_steps", "v_lr", "kl_factor", "v_weight_decay", "clamp_norm_factor")
_THEIR_VALUE = dict(zip(_THEIR_NAMES, _VALUE.values(), strict=True))
_SPREAD = {"layers": LAYERS, "key_mean": "half-bare"}


@dataclasses.dataclass(frozen=True)
class Pair:
    """A method under the settings of both sides."""

    method: str
    batch: bool
    ours: tuple[str, dict[str, Any]]
    theirs: dict[str, Any]
    layers: tuple[int, ...]


PAIRS = (
    Pair("ROME", False, ("rome", {"layer": 8, "covariance": True}), {"mom2_adjustment": True}, (8,)),
    Pair(
        "MEMIT",
        True,
        ("memit", {**_SPREAD, "covariance_weight": 150.0}),
        {"mom2_update_weight": 150, "mom2_adjustment": True},
        LAYERS,
    ),
    Pair(
        "AlphaEdit",
        True,
        ("alphaedit", {**_SPREAD, "nullspace_threshold": 0.02, "threshold_unit": "absolute", "l2": 1.0}),
        {"nullspace_threshold": 0.02, "L2": 1, "mom2_update_weight": 150, "mom2_adjustment": True},
        LAYERS,
    ),
)


@dataclasses.dataclass(frozen=True)
class Side:
    """What one side took and made."""

    seconds: float
    forwards: list[int]
    step: Step
    probabilities: list[float]


def ours(loaded: LoadedModel, pair: Pair, edits: Sequence[EditRecord], given: Resources, calls: int) -> Side:
    """Our editor: CPU seconds of the median call after the first."""
    name, settings = pair.ours
    value = {**_VALUE, "decay_power": 1, "early_stop": 0.05}
    editor = make_editor(name, {**settings, "templates": TEMPLATES, "value": value})
    seconds = []
    for _ in range(calls):
        started = time.process_time()
        step = editor.edit(loaded, (), edits, given)
        seconds.append(time.process_time() - started)
    forwards = step.info["forwards"]
    return _side(loaded, edits, step, statistics.median(seconds[1:]), forwards)


def theirs(
    loaded: LoadedModel, pair: Pair, edits: Sequence[EditRecord], given: Resources, calls: int, python: Path
) -> Side:
    """EasyEdit's editor in its own process: CPU seconds of the median call after the first."""
    settings = {
        "algorithm": pair.method,
        "layers": pair.layers,
        "templates": TEMPLATES,
        "hparams": {**_THEIR_VALUE, **pair.theirs},
        "calls": calls,
        "python": python,
    }
    step = make_editor("easyedit", settings).edit(loaded, (), edits, given)
    return _side(loaded, edits, step, statistics.median(step.info["subprocess_cpu_seconds"][1:]), step.info["forwards"])


def _side(
    loaded: LoadedModel, edits: Sequence[EditRecord], step: Step, seconds: float, forwards: int | list[int]
) -> Side:
    with installed(loaded.model, (step,)):
        found = target_logprobs(loaded.model, loaded.tokenizer, [(e.prompt, e.target_new) for e in edits]).exp()
    return Side(seconds, forwards if isinstance(forwards, list) else [forwards], step, found.tolist())


def distance(one: Step, other: Step) -> float:
    """Frobenius distance of two updates, relative to the second."""
    names = sorted({*touched((one,)), *touched((other,))})
    pairs = [(step_delta(one, name), step_delta(other, name)) for name in names]
    if any(a is None or b is None for a, b in pairs):
        return float("inf")
    off = sum(float((a - b).norm()) ** 2 for a, b in pairs if a is not None and b is not None)
    return (off / sum(float(b.norm()) ** 2 for _, b in pairs if b is not None)) ** 0.5


def rows(trial: Trial, facts: Sequence[EditRecord], calls: int, methods: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """(pair, records, their side, our side) of every comparison, taken in turn."""
    loaded, python = trial.model(MODEL), trial.python_of_easyedit()
    # Values are computed anew, not taken out of the store.
    given = dataclasses.replace(resources(trial, MODEL), values=lambda _fields, edits, compute: list(compute(edits)))
    for pair in PAIRS:
        if pair.method not in methods:
            continue
        for edits in [list(facts)] if pair.batch else [[fact] for fact in facts]:
            trial.report(f"{pair.method}: {', '.join(edit.id for edit in edits)}")
            other = theirs(loaded, pair, edits, given, calls, python)
            yield pair, edits, other, ours(loaded, pair, edits, given, calls)


def _both(one: object, other: object) -> str:
    return f"{one}\n{other}"


def _numbers(values: Sequence[float], form: str) -> str:
    return " ".join(format(value, form) for value in values)


def compare(trial: Trial, facts: Sequence[EditRecord], calls: int, methods: Sequence[str]) -> tuple[Table, bool]:
    """The table, and whether every ratio, result and iteration count is as wanted."""
    columns = ("method, facts", "side", "CPU s", "ratio", "iterations", "‖ΔW‖", "P(target)", "ΔW apart", "")
    table = Table(*columns, title=f"EasyEdit and ours on {MODEL}, one thread", show_lines=True)
    fine = True
    totals: dict[str, list[float]] = {}
    for pair, edits, other, own in rows(trial, facts, calls, methods):
        norms = [delta_norm((side.step,)) for side in (other, own)]
        equal = other.forwards == own.forwards and abs(norms[1] / norms[0] - 1) < SAME_RESULT
        ratio = other.seconds / own.seconds
        fine &= equal and ratio >= WANTED
        spent = totals.setdefault(pair.method, [0.0, 0.0])
        spent[0], spent[1] = spent[0] + other.seconds, spent[1] + own.seconds
        table.add_row(
            f"{pair.method}\n{len(edits)} ({edits[0].id})",
            _both("EasyEdit", "ours"),
            _both(f"{other.seconds:.2f}", f"{own.seconds:.2f}"),
            f"{ratio:.1f}",
            _both(_numbers(other.forwards, "d"), _numbers(own.forwards, "d")),
            _both(f"{norms[0]:.4f}", f"{norms[1]:.4f}"),
            _both(_numbers(other.probabilities, ".3f"), _numbers(own.probabilities, ".3f")),
            f"{distance(own.step, other.step):.1e}",
            _both("equal" if equal else "NOT EQUAL", "" if ratio >= WANTED else f"BELOW {WANTED:g}"),
        )
    for method, (their, our) in totals.items():
        table.add_row(
            f"{method}, all", _both("EasyEdit", "ours"), _both(f"{their:.2f}", f"{our:.2f}"), f"{their / our:.1f}"
        )
    return table, fine


def main() -> int:
    """Run the comparison; 0 if the target is met, 1 if not, 2 if EasyEdit cannot be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--easyedit-python", type=Path, help="Python of EasyEdit's environment (docs/easyedit.md)")
    parser.add_argument("--facts", type=int, default=5, help="facts: one by one for ROME, one batch for the others")
    parser.add_argument("--calls", type=int, default=3, help="calls per comparison; the first is not counted")
    parser.add_argument("--methods", nargs="+", default=[pair.method for pair in PAIRS], help="only these")
    parser.add_argument("--store", type=Path, help="folder of the artifact store")
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=130)
    try:
        settings = Options(profile="methods-table", store=options.store, easyedit_python=options.easyedit_python)
        trial = make_trial(settings, ROOT / "specs")
        trial.python_of_easyedit()
        trial.report = lambda text: console.print(text, markup=False, highlight=False)
    except (UsageError, NotHere) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    facts = [record for chain in trial.chains("worldfacts") for record in chain][: options.facts]
    table, fine = compare(trial, facts, max(options.calls, 2), options.methods)
    console.print(table)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
