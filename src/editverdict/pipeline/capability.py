"""Artifacts of capability: what a state scores on a suite of tasks, item by item.

A suite is run by this project's own scorer or by lm-eval (:mod:`editverdict.pipeline.harness`); either way a state is
put in force on the one model in memory, and the items of a task are the same for every state.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from editverdict.data.capability import GENERATORS_VERSION, CapabilityItem, items_hash, items_of
from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, State, Step
from editverdict.editors.deltas import dense, installed
from editverdict.evaluation.capability import ItemScore, SuiteScores, item_score
from editverdict.generation.choices import CHOICES_VERSION, scored_choices
from editverdict.models.sources import LoadedModel
from editverdict.pipeline import harness
from editverdict.pipeline.edits import answering_fields, editor_of, resources, state_key
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.capabilities import CapabilityGroup, CapabilitySpec, HarnessItems
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

CAPABILITY_VERSION = 1
PLANTED_NORM = 30.0
"""Frobenius norm of a planted update, in norms of the weight that it is added to."""

Items = dict[str, list[CapabilityItem]]
"""Task -> its items, for tasks whose items are ours."""


@dataclass(frozen=True)
class InForce:
    """A state that is scored."""

    label: str
    """For progress lines."""
    state: State = ()
    removed: State = ()
    """A state that is installed and removed again first: nothing of it may be left."""
    planted: int | None = None
    """Seed of a random update, large enough to destroy the model, in place of a state."""
    method: str | None = None
    """A method with its own way of answering, which installs ``state`` itself and gets ``memory``."""
    memory: tuple[EditRecord, ...] = ()


@dataclass(frozen=True)
class Scored:
    """A state's scores and where they are kept."""

    scores: SuiteScores
    key: str


def suite_of(trial: Trial, group: CapabilityGroup) -> CapabilitySpec:
    """The suite that the profile names for a group of tasks.

    Raises
    ------
    NotHere
        It names none.
    """
    name = trial.profile.capabilities.get(group)
    if name is None:
        raise NotHere(f"profile '{trial.profile.id}' names no suite of tasks: capabilities: {{{group}: ...}}")
    return trial.library.capabilities[name]


def suite_items(trial: Trial, suite: CapabilitySpec) -> Items:
    """The items of a suite's tasks, but for those that lm-eval reads itself; kept in memory."""
    memo = ("capability-items", suite.id)
    if memo not in trial._memo:
        own = [task for task in suite.tasks if not isinstance(task.source, HarnessItems)]
        texts = trial.corpus if own else []
        trial._memo[memo] = {task.id: items_of(task, texts) for task in own}
    found: Items = trial._memo[memo]
    return found


def suite_fields(trial: Trial, suite: CapabilitySpec) -> dict[str, Any]:
    """What makes a suite's scores, apart from model and state: the protocol, for recipes.

    The id and the words of the suite do not enter: what is asked, and how it is scored, do.
    """
    items = suite_items(trial, suite)
    tasks = {
        task.id: {
            "metric": task.metric,
            "chance": task.chance,
            "source": task.source.model_dump(mode="json") | {"items": task.items}
            if isinstance(task.source, HarnessItems)
            else {"items": items_hash(items[task.id]), "generators": GENERATORS_VERSION},
        }
        for task in suite.tasks
    }
    by = {"own": CHOICES_VERSION} if suite.runner == "own" else harness.runner_fields(suite)
    return {"tasks": tasks, "runner": by}


def protocol_id(trial: Trial, suite: CapabilitySpec) -> str:
    """Hash of :func:`suite_fields`: numbers of different ids are never compared."""
    text = json.dumps(suite_fields(trial, suite), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scored(trial: Trial, model_id: str, suite: CapabilitySpec, many: Sequence[InForce]) -> list[Scored]:
    """Scores of several states, out of the store; several workers share the work.

    Raises
    ------
    NotHere
        lm-eval is not installed, or a task's items come from where this machine does not reach.
    """
    order = trial.offset(list(range(len(many))))

    def job(number: int) -> Job:
        own = many[number]
        return Job(_recipe(trial, model_id, suite, own), lambda draft: _produce(trial, model_id, suite, own, draft))

    jobs = [job(number) for number in order]
    label = f"{suite.id}, {many[0].label}" if many else suite.id
    made = trial.store.build_many(jobs, progress=Clock(label, "states", trial.report).tick)
    by_index = dict(zip(order, made, strict=True))
    return [_loaded(suite, by_index[i]) for i in range(len(many))]


def _recipe(trial: Trial, model_id: str, suite: CapabilitySpec, one: InForce) -> Recipe:
    editor = None
    if one.method is not None:
        editor = {
            **answering_fields(trial, one.method, model_id),
            "encoder": trial.encoder_key,
            "memory": [record.statement for record in one.memory],
        }
    planted = None
    if one.planted is not None:
        planted = {"seed": one.planted, "norm": PLANTED_NORM, "layer": trial.model(model_id).spec.layers.edit}
    return Recipe.of(
        "capability",
        CAPABILITY_VERSION,
        model=trial.model(model_id).identity.fields(),
        suite=suite_fields(trial, suite),
        state=state_key(one.state),
        removed=state_key(one.removed),
        planted=planted,
        editor=editor,
    )


def planted_update(loaded: LoadedModel, seed: int) -> State:
    """A Gaussian update of the edited layer's down-projection, ``PLANTED_NORM`` times as large as the weight."""
    name = loaded.sites.down_proj_weight(loaded.spec.layers.edit)
    weight = loaded.model.get_parameter(name).detach()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(weight.shape, generator=generator)
    scale = PLANTED_NORM * float(weight.double().norm()) / float(noise.double().norm())
    return (Step(dense(name, noise * scale)),)


@contextmanager
def _in_force(trial: Trial, model_id: str, one: InForce) -> Iterator[Answering]:
    loaded = trial.model(model_id)
    with installed(loaded.model, one.removed):
        pass
    if one.method is not None:
        editor = editor_of(trial, one.method, model_id)
        with editor.install(loaded, one.state, one.memory, resources(trial, model_id)) as answering:
            yield answering
    else:
        state = one.state if one.planted is None else planted_update(loaded, one.planted)
        with installed(loaded.model, state) as answering:
            yield answering


def _produce(trial: Trial, model_id: str, suite: CapabilitySpec, one: InForce, draft: Draft) -> None:
    items = suite_items(trial, suite)
    with _in_force(trial, model_id, one) as answering:
        if suite.runner == "own":
            rows = own_scores(trial.model(model_id), answering, items)
            draft.write_json({"runner": "own"})
        else:
            if one.method is not None and editor_of(trial, one.method, model_id).answers_itself:
                raise NotHere(f"lm-eval sees the model alone, and {one.method} answers by more than weights")
            rows, about = harness.run(trial.model(model_id), suite, items)
            draft.write_json({"runner": "lm-eval", **about})
    draft.write_table([vars(row) for row in rows])


def own_scores(loaded: LoadedModel, answering: Answering, items: Items) -> list[ItemScore]:
    """All items of all tasks, scored by the log-probability of each choice after the prompt."""
    asked = [(task, item) for task, own in items.items() for item in own]
    prompts = answering.prompts([item.prompt for _, item in asked])
    found = scored_choices(
        loaded.model,
        loaded.tokenizer,
        [(prompt, item.choices) for prompt, (_, item) in zip(prompts, asked, strict=True)],
    )
    return [
        item_score(task, item.id, one.logprobs, one.tokens, item.answer)
        for (task, item), one in zip(asked, found, strict=True)
    ]


def _loaded(suite: CapabilitySpec, artifact: Artifact) -> Scored:
    items: dict[str, list[ItemScore]] = {task.id: [] for task in suite.tasks}
    for row in artifact.table().to_pylist():
        known: dict[str, Any] = {k: math.nan if v is None else v for k, v in row.items()}
        items[row["task"]].append(ItemScore(**known))
    chance = {task.id: task.chance for task in suite.tasks if task.chance is not None}
    return Scored(SuiteScores({task: tuple(own) for task, own in items.items()}, chance), artifact.key)
