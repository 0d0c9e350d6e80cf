"""Artifacts of SCR's edit time: one more text put into memories of several sizes, and one query to each, in turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors.scr import Confirmed, Memory
from editverdict.generation.latency import LATENCY_VERSION, interleaved, timed_query
from editverdict.pipeline.edit_times import EDIT_TIMES_VERSION, Edit, Stopwatch, keeping, stopwatch
from editverdict.pipeline.edits import answering_fields
from editverdict.pipeline.latency import timing_protocol
from editverdict.pipeline.scr_grid import METHOD, memory_of, memory_recipe, others, scr_settings
from editverdict.pipeline.timing import alone, settings
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Clock, Draft, Recipe

EMBEDDED, TEXT, REBUILT, QUERY = "embedded", "text", "rebuilt", "query"
"""The text embedded and put into the index; stored alone; put into a memory that is embedded anew; one query."""


@dataclass(frozen=True)
class TextTimes:
    """Wall-clock seconds: memory size -> what was done -> one per edit."""

    wall: dict[int, dict[str, list[float]]]
    spent: tuple[float, float]
    """Wall-clock and CPU seconds in all."""
    machine: dict[str, Any]
    key: str

    def shares(self, what: str) -> list[float]:
        """Per edit: its time over that of a query to the same memory, at the size where that is largest."""
        sizes = [own for own in self.wall.values() if what in own]
        each = [[a / b for a, b in zip(own[what], own[QUERY], strict=True)] for own in sizes]
        return [max(values) for values in zip(*each, strict=True)]


def text_times(trial: Trial, model_id: str, dataset_id: str) -> TextTimes:
    """Time of an edit that is kept as text, beside that of one query of exactly 50 tokens."""
    scr, sizes = scr_settings(trial, model_id), trial.profile.sizes.memory_sizes
    records = trial.singles(dataset_id)[: trial.profile.sizes.timed_edits]
    fillers = [record.statement for record in others(trial, dataset_id, records)]
    if len(fillers) < max(sizes):
        raise NotHere(f"needs {max(sizes)} other texts, and dataset '{dataset_id}' has {len(fillers)}")
    texts = {size: fillers[:size] for size in sizes}
    recipe = Recipe.of(
        "scr-edit-time",
        EDIT_TIMES_VERSION,
        clock=LATENCY_VERSION,
        model=trial.model(model_id).identity.fields(),
        protocol=timing_protocol(trial, model_id).id,
        editor=answering_fields(trial, METHOD, model_id),
        memories=[memory_recipe(trial, own) for own in texts.values()],
        edits=[record.statement for record in records],
        questions=[record.prompt for record in records],
        **settings(trial),
    )

    def produce(draft: Draft) -> None:
        ways: dict[str, Edit] = {}
        for size, own in texts.items():
            memory = memory_of(trial, own)
            ways |= {
                f"{size}|{EMBEDDED}": keeping(trial, memory, embed=True),
                f"{size}|{TEXT}": keeping(trial, memory, embed=False),
                f"{size}|{QUERY}": _query(trial, model_id, Confirmed(trial.model(model_id), memory, scr)),
            }
        ways[f"{sizes[0]}|{REBUILT}"] = _rebuilding(trial, texts[sizes[0]])
        with alone(trial) as beside:
            found = _in_turns(trial, ways, records)
        draft.write_json({"machine": beside, "times": found})

    stored = trial.store.build(recipe, produce)
    times: dict[str, list[list[float]]] = stored.json()["times"]
    wall: dict[int, dict[str, list[float]]] = {}
    for name, own in times.items():
        size, _, what = name.partition("|")
        wall.setdefault(int(size), {})[what] = [one[0] for one in own]
    every = [one for own in times.values() for one in own]
    spent = (sum(one[0] for one in every), sum(one[1] for one in every))
    return TextTimes(wall, spent, stored.json()["machine"], stored.key)


def _query(trial: Trial, model_id: str, answering: Confirmed) -> Edit:
    loaded, protocol = trial.model(model_id), timing_protocol(trial, model_id)

    def ask(record: EditRecord) -> Stopwatch:
        query = timed_query(loaded.model, loaded.tokenizer, answering.prompts, record.prompt, protocol)
        return Stopwatch(query.total, query.cpu)

    return ask


def _rebuilding(trial: Trial, texts: list[str]) -> Edit:
    """An edit that embeds everything anew: what a memory without an index that grows would cost."""

    def rebuild(record: EditRecord) -> Stopwatch:
        with stopwatch(trial) as watch:
            Memory([*texts, record.statement], trial.encoder)
        return watch

    return rebuild


def _in_turns(trial: Trial, ways: dict[str, Edit], records: list[EditRecord]) -> dict[str, list[list[float]]]:
    for make in ways.values():
        make(records[0])
    clock = Clock("edit time of SCR", "edits", trial.report)
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for number, (record, order) in enumerate(zip(records, interleaved(list(ways), len(records)), strict=True)):
        for name in order:
            watch = ways[name](record)
            found[name].append([watch.wall, watch.cpu])
        clock.tick(number + 1, len(records))
    return found
