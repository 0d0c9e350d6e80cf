"""Artifacts of edit time: edits made once more, each alone and in turns, with the clock running.

The steps that claims about answers stand on note their CPU time, too (`pipeline/cost.py`), but their values are
optimised in groups and by whichever process came first. Here every edit is made by itself on the unedited model,
nothing of it found in the store; what is made once for all edits (covariances, prefixes, hypernetworks) is there
already and is not counted. Of a method that keeps text, an edit is what makes the text findable: it is embedded and put
into the index.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors.base import Compute, Resources, Step
from editverdict.editors.scr import Memory
from editverdict.generation.latency import interleaved, settled
from editverdict.pipeline.edits import edit_fields, editor_of, resources, state_method, step_recipe
from editverdict.pipeline.timing import alone, settings
from editverdict.pipeline.trial import Trial
from editverdict.store import Clock, Draft, Recipe

EDIT_TIMES_VERSION = 1
AGAIN = "again"
"""After the name of a method: its edits timed a second time."""
TEXT_ALONE = "text alone"
"""The text of a memory stored and not embedded yet: what the first query would then have to do."""


@dataclass(frozen=True)
class EditTimes:
    """Seconds of each edit by each method."""

    wall: dict[str, list[float]]
    """Method -> wall-clock seconds per record, preparation left out."""
    cpu: dict[str, list[float]]
    """The same in CPU seconds."""
    machine: dict[str, Any]
    key: str

    @property
    def spent(self) -> tuple[float, float]:
        """Wall-clock and CPU seconds of all edits."""
        return sum(map(sum, self.wall.values())), sum(map(sum, self.cpu.values()))


@dataclass
class Stopwatch:
    """Wall-clock and CPU seconds of a block, without what is prepared once for all edits."""

    wall: float = 0.0
    cpu: float = 0.0
    _depth: int = 0

    def once(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, its time taken off."""

        def apart(*args: Any, **options: Any) -> Any:
            wall, cpu, outermost = time.perf_counter(), time.process_time(), self._depth == 0
            self._depth += 1
            try:
                return call(*args, **options)
            finally:
                self._depth -= 1
                if outermost:
                    self.wall -= time.perf_counter() - wall
                    self.cpu -= time.process_time() - cpu

        return apart


@contextmanager
def stopwatch(trial: Trial) -> Iterator[Stopwatch]:
    """Time a block."""
    found = Stopwatch()
    settled(trial.device)
    wall, cpu = time.perf_counter(), time.process_time()
    yield found
    settled(trial.device)
    found.wall += time.perf_counter() - wall
    found.cpu += time.process_time() - cpu


def _by_itself(_fields: Mapping[str, Any], edits: Sequence[EditRecord], compute: Compute) -> list[Step]:
    """Values of these edits alone, computed here and now."""
    return list(compute(edits))


def _counted(given: Resources, watch: Stopwatch) -> Resources:
    """Resources with what is prepared once taken off, and values that are no one else's."""
    once = ("covariance", "covariances", "prefixes", "trained", "encoder", "texts", "train_edits")
    changes: dict[str, Any] = {name: watch.once(getattr(given, name)) for name in once}
    return dataclasses.replace(given, values=_by_itself, **changes)


Edit = Callable[[EditRecord], Stopwatch]


def _making(trial: Trial, model_id: str, method: str) -> Edit:
    """How one edit by a method is made and timed."""
    editor, loaded = editor_of(trial, state_method(trial, method), model_id), trial.model(model_id)

    def make(record: EditRecord) -> Stopwatch:
        with stopwatch(trial) as watch:
            editor.edit(loaded, (), [record], _counted(resources(trial, model_id), watch))
        return watch

    return make


def keeping(trial: Trial, memory: Memory, *, embed: bool) -> Edit:
    """How one edit that is kept as text is made and timed; the memory is as it was afterwards."""

    def keep(record: EditRecord) -> Stopwatch:
        own = memory.copy()
        with stopwatch(trial) as watch:
            if embed:
                own.add([record.statement])
            else:
                own.texts.append(record.statement)
        return watch

    return keep


def keeps_text(trial: Trial, method: str) -> bool:
    """Whether a method's edits are texts in a memory (SCR)."""
    return trial.library.methods[method].in_context


def edit_times(trial: Trial, model_id: str, dataset_id: str, methods: Sequence[str], again: str) -> EditTimes:
    """Edits of the profile's single-edit records by several methods, in turns.

    Parameters
    ----------
    trial, model_id, dataset_id
        Whose.
    methods
        Methods; one that keeps text is timed with and without embedding.
    again
        The one of them whose edits are timed twice.
    """
    records = trial.singles(dataset_id)[: trial.profile.sizes.timed_edits]
    names = list(dict.fromkeys(methods))
    recipe = Recipe.of(
        "edit-time",
        EDIT_TIMES_VERSION,
        model=trial.model(model_id).identity.fields(),
        # The step's own recipe names editor, settings, training and the edit; that of the first record will do.
        methods={name: step_recipe(trial, model_id, name, records[:1]).key for name in names},
        again=again,
        edits=[edit_fields(record) for record in records],
        encoder=trial.encoder_key,
        **settings(trial),
    )

    def produce(draft: Draft) -> None:
        ways: dict[str, Edit] = {}
        for name in names:
            if keeps_text(trial, name):
                held = Memory([r.statement for r in records], trial.encoder)
                ways |= {name: keeping(trial, held, embed=True), TEXT_ALONE: keeping(trial, held, embed=False)}
            else:
                ways[name] = _making(trial, model_id, name)
        ways[f"{again} {AGAIN}"] = ways[again]
        with alone(trial) as beside:
            found = edits_in_turns(ways, records, Clock("edit times", "edits", trial.report).tick)
        draft.write_json({"machine": beside, "times": found})

    stored = trial.store.build(recipe, produce)
    times = stored.json()["times"]
    wall = {name: [one["wall"] for one in own] for name, own in times.items()}
    cpu = {name: [one["cpu"] for one in own] for name, own in times.items()}
    return EditTimes(wall, cpu, stored.json()["machine"], stored.key)


def edits_in_turns(
    ways: Mapping[str, Edit], records: Sequence[EditRecord], tick: Callable[[int, int], None]
) -> dict[str, list[dict[str, float]]]:
    """Make every record's edit in every way, the order reversed from one to the next; a first round is not counted."""
    for make in ways.values():
        make(records[0])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number, (record, order) in enumerate(zip(records, interleaved(list(ways), len(records)), strict=True)):
        for name in order:
            watch = ways[name](record)
            found[name].append({"wall": watch.wall, "cpu": watch.cpu})
        tick(number + 1, len(records))
    return found
