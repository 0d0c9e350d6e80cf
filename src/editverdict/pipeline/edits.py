"""Artifacts of editing: optimised values, steps of chains, and the states they add up to.

A chain's key is key_t = H(key_{t-1}, edit_t): every step is stored on its own, so a run killed at step 31 goes on at
step 31, and a chain of 50 begins with the stored chain of 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors.base import Editor, OptimisesValues, Resources, State, Step
from editverdict.editors.registry import make_editor
from editverdict.pipeline import base
from editverdict.pipeline.trial import Trial
from editverdict.store import Artifact, Draft, Job, Recipe

VALUE_VERSION = 1
STEP_VERSION = 1


def editor_of(trial: Trial, method_id: str, model_id: str) -> Editor:
    """The editor of a method, kept, since every recipe asks for it; ``placebo:X`` is the placebo that imitates X."""
    memo = ("editor", method_id, model_id)
    if memo not in trial._memo:
        name, _, like = method_id.partition(":")
        spec = trial.library.methods[name]
        settings = {**spec.hyperparameters, **spec.per_model.get(model_id, {})}
        if like:
            settings["like"] = like
        trial._memo[memo] = make_editor(spec.editor, settings)
    found: Editor = trial._memo[memo]
    return found


def edit_fields(edit: EditRecord) -> dict[str, Any]:
    """What an edit is, for recipes: its probes do not matter to the editors."""
    return {"prompt": edit.prompt, "subject": edit.subject, "new": edit.target_new, "old": edit.target_old}


def _save(step: Step, draft: Draft) -> None:
    draft.write_tensors(dict(step.tensors))
    draft.write_json({"info": dict(step.info)})


def _load(artifact: Artifact) -> Step:
    return Step(artifact.tensors(), {**artifact.json()["info"], "key": artifact.key})


def _save_all(made: Sequence[Step], draft: Draft) -> None:
    draft.write_tensors({f"{i}.{name}": tensor for i, step in enumerate(made) for name, tensor in step.tensors.items()})
    draft.write_json({"info": [dict(step.info) for step in made]})


def _load_one(artifact: Artifact, number: int) -> Step:
    own = {k.partition(".")[2]: t for k, t in artifact.tensors().items() if k.partition(".")[0] == str(number)}
    return Step(own, artifact.json()["info"][number])


def step_recipe(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> Recipe:
    """Recipe of the step that makes the chain's last edit."""
    found: Recipe | None = None
    for t, record in enumerate(records, start=1):
        before = None if found is None else found.key
        memo = ("step-key", model_id, method_id, before, record.id)
        if memo not in trial._memo:
            trial._memo[memo] = _step_recipe(trial, model_id, method_id, records[:t], before)
        found = trial._memo[memo]
    if found is None:
        raise ValueError("a step makes an edit, and there is none")
    return found


def _step_recipe(
    trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord], before: str | None
) -> Recipe:
    editor = editor_of(trial, method_id, model_id)
    # A placebo has the norm of the step that it imitates, and so changes with that method's hyperparameters.
    like = method_id.partition(":")[2]
    also: dict[str, Any] = {"imitates": step_recipe(trial, model_id, like, records).key} if like else {}
    # The value of a first edit is optimised in a group, whose members decide its last bits.
    if before is None and isinstance(editor, OptimisesValues):
        also["companions"] = [edit_fields(one) for one in trial.companions(records[-1])]
    return Recipe.of(
        "step",
        STEP_VERSION,
        editor={
            "name": editor.name,
            "version": editor.version,
            "settings": editor.hyperparameters.model_dump(mode="json"),
        },
        model=trial.model(model_id).identity.fields(),
        layer=trial.model(model_id).spec.layers.edit,
        corpus=trial.corpus_key(model_id),
        seed=trial.profile.seed,
        encoder=trial.encoder_key,
        edit=edit_fields(records[-1]) | ({"id": records[-1].id} if method_id.startswith("placebo") else {}),
        before=before,
        **also,
    )


def resources(trial: Trial, model_id: str, before: str | None = None) -> Resources:
    """What editors may ask for, backed by the store. ``before`` is the key of the state that is being edited."""

    def value(
        fields: Mapping[str, Any], edit: EditRecord, compute: Callable[[Sequence[EditRecord]], Sequence[Step]]
    ) -> Step:
        # On the clean model edits are independent of each other, and several together cost half as much each.
        group = trial.companions(edit) if before is None else [edit]
        recipe = Recipe.of(
            "value",
            VALUE_VERSION,
            model=trial.model(model_id).identity.fields(),
            edits=[edit_fields(one) for one in group],
            before=before,
            **fields,
        )
        artifact = trial.store.build(recipe, lambda draft: _save_all(compute(group), draft))
        return _load_one(artifact, [one.id for one in group].index(edit.id))

    return Resources(
        covariance=lambda layer: base.covariance(trial, model_id, layer),
        prefixes=lambda count, tokens: base.prefixes(trial, model_id, count, tokens),
        value=value,
        step_of=lambda method_id, records: steps(trial, model_id, method_id, records)[-1],
        encoder=lambda: trial.encoder,
    )


def _job(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord], state: State | None) -> Job:
    def produce(draft: Draft) -> None:
        before = steps(trial, model_id, method_id, records[:-1]) if state is None else state
        editor = editor_of(trial, method_id, model_id)
        key = step_recipe(trial, model_id, method_id, records[:-1]).key if len(records) > 1 else None
        made = editor.edit(trial.model(model_id), before, records, resources(trial, model_id, key))
        _save(made, draft)

    return Job(step_recipe(trial, model_id, method_id, records), produce)


def steps(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> State:
    """The state after editing ``records`` one after the other; steps found in the store are not made again."""
    state: State = ()
    for t in range(1, len(records) + 1):
        memo = ("step", model_id, method_id, step_recipe(trial, model_id, method_id, records[:t]).key)
        if memo not in trial._memo:
            job = _job(trial, model_id, method_id, records[:t], state)
            trial.report(f"{method_id}: edit {t} of {len(records)} in a chain ({records[t - 1].id})")
            trial._memo[memo] = _load(trial.store.build(job.recipe, job.producer))
        state = (*state, trial._memo[memo])
    return state


def singles(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> list[State]:
    """One state per record, each edited alone; several workers share the work."""
    order = trial.offset(list(range(len(records))))
    jobs = [_job(trial, model_id, method_id, [records[i]], ()) for i in order]
    made = trial.store.build_many(
        jobs, progress=lambda done, total: trial.report(f"{method_id}: single edits, {done} of {total}")
    )
    by_index = {i: _load(artifact) for i, artifact in zip(order, made, strict=True)}
    return [(by_index[i],) for i in range(len(records))]


def state_key(state: State) -> list[str]:
    """Keys of a state's steps, for recipes of what is measured on it."""
    return [str(step.info["key"]) for step in state]
