"""Artifacts of editing: optimised values, steps of chains, and the states they add up to.

A chain's key is key_t = H(key_{t-1}, edit_t): every step is stored on its own, so a run killed at step 31 goes on at
step 31, and a chain of 50 begins with the stored chain of 10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editverdict.data.records import EditRecord
from editverdict.editors.base import (
    Compute,
    Editor,
    KeepsTexts,
    KeysMore,
    OptimisesValues,
    Resources,
    State,
    Step,
    Trains,
)
from editverdict.editors.controls import NoOp, Placebo
from editverdict.editors.easyedit import EasyEdit
from editverdict.editors.registry import make_editor
from editverdict.pipeline import base, covariances
from editverdict.pipeline.cost import VALUE_COST, Cost, costing
from editverdict.pipeline.frames import check_form, frame_of, watched
from editverdict.pipeline.trial import GROUP, Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

VALUE_VERSION = 3
TRAINED_VERSION = 1
STEP_VERSION = 1
_MADE_BY = {
    "values": VALUE_VERSION,
    "trained": TRAINED_VERSION,
    "prefixes": base.PREFIX_VERSION,
    "covariances": base.SPECTRA_VERSION,
}
"""Versions of what steps are made of; their settings are in the recipes, too."""
PLACEBO = "placebo:"
"""What stands before the id of a method that is imitated."""


def imitated(method_id: str) -> str:
    """X for ``placebo:X``, which may itself have a colon (``placebo:easyedit:ROME``); empty for any other method."""
    return method_id.removeprefix(PLACEBO) if method_id.startswith(PLACEBO) else ""


def editor_of(trial: Trial, method_id: str, model_id: str) -> Editor:
    """The editor of a method, kept, since every recipe asks for it; ``placebo:X`` is the placebo that imitates X.

    Raises
    ------
    NotHere
        The method runs in a Python of its own, and none is named.
    """
    memo = ("editor", method_id, model_id)
    if memo not in trial._memo:
        like = imitated(method_id)
        spec = trial.library.methods["placebo" if like else method_id]
        settings = {**spec.hyperparameters, **spec.per_model.get(model_id, {})}
        if like:
            settings["like"] = like
        if spec.editor == EasyEdit.name:
            settings["python"] = trial.python_of_easyedit()
        trial._memo[memo] = make_editor(spec.editor, settings)
    found: Editor = trial._memo[memo]
    return found


def parts_of(trial: Trial, method_id: str) -> tuple[str, str] | None:
    """Of a combination ``X+SCR``: the method whose state it has and the one that answers; None for other methods."""
    if imitated(method_id):
        return None
    spec = trial.library.methods[method_id]
    if spec.kind != "combination":
        return None
    return spec.hyperparameters["parametric"], spec.hyperparameters["memory"]


def state_method(trial: Trial, method_id: str) -> str:
    """The method whose steps make a method's state: X for ``X+SCR``, so that they are made and stored once."""
    if like := imitated(method_id):
        return f"{PLACEBO}{state_method(trial, like)}"
    parts = parts_of(trial, method_id)
    return method_id if parts is None else parts[0]


def answering_fields(trial: Trial, method_id: str, model_id: str) -> dict[str, Any]:
    """What a method's own way of answering depends on beside state and memory, for recipes."""
    editor, parts = editor_of(trial, method_id, model_id), parts_of(trial, method_id)
    fields = {
        "name": editor.name,
        "version": editor.version,
        "settings": editor.hyperparameters.model_dump(mode="json"),
    }
    # The ids of a combination's parts say nothing of their settings.
    return fields if parts is None else fields | {"parts": [answering_fields(trial, p, model_id) for p in parts]}


def edit_fields(edit: EditRecord) -> dict[str, Any]:
    """What an edit is, for recipes: its probes do not matter to the editors."""
    fact = {"prompt": edit.prompt, "subject": edit.subject, "new": edit.target_new, "old": edit.target_old}
    # Named only where there is one, so that the keys of facts are what they were.
    return fact if edit.event is None else fact | {"event": edit.event}


@dataclass(frozen=True)
class _Group:
    """Edits whose values are optimised together."""

    edits: Sequence[EditRecord]
    before: str | Sequence[str] | None
    """Key of the state that they are made in, or of each one's; None: the unedited model."""
    states: Callable[[], Sequence[State]] | None = None
    """Each one's state, where they differ."""


def _save(step: Step, draft: Draft) -> None:
    draft.write_tensors(dict(step.tensors))
    draft.write_json({"info": dict(step.info), "edits": step.edits})


def _load(artifact: Artifact) -> Step:
    stored = artifact.json()
    return Step(artifact.tensors(), {**stored["info"], "key": artifact.key}, stored["edits"])


def _save_all(compute: Compute, group: _Group, draft: Draft) -> None:
    """Optimise the values of a group, and note what each of them took: others find them in the store for nothing."""
    states = group.states() if group.states else None
    with costing() as cost:
        made = compute(group.edits, states)
    each = {"cpu_seconds": round(cost.cpu_seconds / len(made), 3), "peak_mib": round(cost.peak_mib, 1)}
    draft.write_tensors({f"{i}.{name}": tensor for i, step in enumerate(made) for name, tensor in step.tensors.items()})
    draft.write_json({"info": [{**step.info, VALUE_COST: each} for step in made]})


def _load_one(artifact: Artifact, number: int) -> Step:
    own = {k.partition(".")[2]: t for k, t in artifact.tensors().items() if k.partition(".")[0] == str(number)}
    return Step(own, artifact.json()["info"][number])


def _groups(records: Sequence[EditRecord], batch: int) -> list[list[EditRecord]]:
    """The records of each step: ``batch`` at a time, the last group perhaps smaller."""
    return [list(records[start : start + batch]) for start in range(0, len(records), batch)]


def step_recipe(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord], batch: int = 1) -> Recipe:
    """Recipe of the last step of a chain that edits ``batch`` records at a time."""
    method_id = state_method(trial, method_id)
    found: Recipe | None = None
    done = 0
    for group in _groups(records, batch):
        done += len(group)
        before = None if found is None else found.key
        # By what is edited, not by id alone: ids are unique within one dataset, and a trial may have several.
        memo = ("step-key", model_id, method_id, before, *((r.id, *edit_fields(r).values()) for r in group))
        if memo not in trial._memo:
            trial._memo[memo] = _step_recipe(
                trial, model_id, method_id, records[:done], len(group), before, one_by_one=batch == 1
            )
        found = trial._memo[memo]
    if found is None:
        raise ValueError("a step makes an edit, and there is none")
    return found


def _step_recipe(
    trial: Trial,
    model_id: str,
    method_id: str,
    records: Sequence[EditRecord],
    new: int,
    before: str | None,
    *,
    one_by_one: bool,
) -> Recipe:
    editor = editor_of(trial, method_id, model_id)
    # A placebo has the norm of the step that it imitates, and so changes with that method's hyperparameters.
    like = imitated(method_id)
    also: dict[str, Any] = {"imitates": step_recipe(trial, model_id, like, records).key} if like else {}
    # A value is optimised in a group, whose members decide its last bits.
    if before is None and isinstance(editor, OptimisesValues):
        groups = {tuple(one.id for one in group): group for group in map(trial.companions, records)}
        also["companions"] = [edit_fields(one) for group in groups.values() for one in group]
    elif one_by_one and len(others := _side_by_side(trial, model_id, method_id, records)) > 1:
        also["companions"] = [edit_fields(chain[-1]) for chain in others]
        also["companions_before"] = _keys_before(trial, model_id, method_id, others)
    also |= editor.recipe_fields(trial.model(model_id)) if isinstance(editor, KeysMore) else {}
    # Named only where there is one, so that the keys of edits on the bare prompt are what they were.
    if not isinstance(editor, KeepsTexts) and (frame := frame_of(trial, model_id)):
        also["frame"] = [frame.before, frame.after]
    if isinstance(editor, Trains):
        also["training"] = editor.training_fields(trial.model(model_id), resources(trial, model_id))
    named = method_id.startswith("placebo")
    fields = [edit_fields(one) | ({"id": one.id} if named else {}) for one in records[len(records) - new :]]
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
        edit=fields[0] if new == 1 else fields,
        before=before,
        made_by=_MADE_BY,
        **also,
    )


def _side_by_side(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> list[list[EditRecord]]:
    """Chains up to and with the edits whose values are optimised in one group, of which ``records`` is one."""
    editor = editor_of(trial, method_id, model_id)
    if isinstance(editor, OptimisesValues) and editor.values_above:
        return trial.side_by_side(records)
    return [list(records)]


def _keys_before(trial: Trial, model_id: str, method_id: str, chains: Sequence[Sequence[EditRecord]]) -> list[str]:
    """Of each chain the key of the state that its last edit is made in."""
    return [step_recipe(trial, model_id, method_id, chain[:-1]).key for chain in chains]


def _around(edits: Sequence[EditRecord], edit: EditRecord) -> list[EditRecord]:
    """The group of an edit within a batch: ``GROUP`` at a time."""
    start = list(edits).index(edit) // GROUP * GROUP
    return list(edits[start : start + GROUP])


def _group_of(
    trial: Trial, before: str | None, edits: Sequence[EditRecord], edit: EditRecord, lockstep: _Group | None
) -> _Group:
    """The group of one of the edits of a step.

    It is fixed by the profile's chains, not by what is asked for, so that its bits do not depend on the caller.
    """
    if before is None:
        return _Group(trial.companions(edit), None)
    return _Group(_around(edits, edit), before) if lockstep is None else lockstep


def _lockstep(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> _Group | None:
    """The group of a chain's last edit among those of the chains that go on side by side with it; None if alone."""
    chains = _side_by_side(trial, model_id, method_id, records)
    if len(chains) == 1 or len(records) == 1:
        return None

    def states() -> list[State]:
        return [steps(trial, model_id, method_id, chain[:-1]) for chain in chains]

    return _Group([chain[-1] for chain in chains], _keys_before(trial, model_id, method_id, chains), states)


def resources(trial: Trial, model_id: str, before: str | None = None, lockstep: _Group | None = None) -> Resources:
    """What editors may ask for, backed by the store.

    Parameters
    ----------
    trial, model_id
        Whose.
    before
        Key of the state that is being edited.
    lockstep
        The edits of other chains that the values of this one are optimised with.
    """

    def values(
        fields: Mapping[str, Any],
        edits: Sequence[EditRecord],
        compute: Compute,
    ) -> list[Step]:
        # Edits of one state, or of chains side by side, do not depend on each other, and several together cost half
        # as much each.
        found: dict[str, Step] = {}
        for edit in edits:
            if edit.id in found:
                continue
            group = _group_of(trial, before, edits, edit, lockstep)
            recipe = Recipe.of(
                "value",
                VALUE_VERSION,
                model=trial.model(model_id).identity.fields(),
                edits=[edit_fields(one) for one in group.edits],
                before=group.before,
                **fields,
            )
            artifact = trial.store.build(recipe, lambda draft, group=group: _save_all(compute, group, draft))  # type: ignore[misc]
            found |= {one.id: _load_one(artifact, number) for number, one in enumerate(group.edits)}
        return [found[edit.id] for edit in edits]

    return Resources(
        covariance=lambda layer: covariances.covariance(trial, model_id, layer),
        prefixes=lambda count, tokens: base.prefixes(trial, model_id, count, tokens),
        values=values,
        step_of=lambda method_id, records: steps(trial, model_id, method_id, records)[-1],
        encoder=lambda: trial.encoder,
        covariances=lambda layers: covariances.covariances(trial, model_id, layers),
        trained=lambda fields, make: _trained(trial, model_id, fields, make),
        train_edits=lambda: [r for name in trial.profile.datasets for r in trial.records(name) if r.split == "tune"],
        texts=lambda count: trial.corpus[:count],
        corpus_key=trial.corpus_key(model_id),
        editor=lambda method_id: editor_of(trial, method_id, model_id),
        report=trial.report,
        frame=frame_of(trial, model_id),
    )


def _trained(trial: Trial, model_id: str, fields: Mapping[str, Any], make: Callable[[], Step]) -> Step:
    """Something trained once for a model (a hypernetwork), out of the store; kept in memory."""
    model = trial.model(model_id).identity.fields()
    recipe = Recipe.of("trained", TRAINED_VERSION, model=model, covariances=base.SPECTRA_VERSION, **fields)
    memo = ("trained", recipe.key)
    if memo not in trial._memo:
        trial._memo[memo] = _load(trial.store.build(recipe, lambda draft: _save(make(), draft)))
    found: Step = trial._memo[memo]
    return found


def _costed(given: Resources, cost: Cost) -> Resources:
    """The same resources, with the time of what is made once for all edits kept apart."""
    once = ("covariance", "covariances", "prefixes", "trained", "encoder")
    changes: dict[str, Any] = {name: cost.once(getattr(given, name)) for name in once}
    changes["values"] = cost.shared(given.values)
    return dataclasses.replace(given, **changes)


def _job(
    trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord], state: State | None, batch: int = 1
) -> Job:
    """The last step of a chain of steps of ``batch`` edits; ``state`` is what stands before it, if known."""
    method_id = state_method(trial, method_id)
    last = len(_groups(records, batch)[-1])
    earlier = records[: len(records) - last]

    def produce(draft: Draft) -> None:
        before = steps(trial, model_id, method_id, earlier, batch) if state is None else state
        editor = editor_of(trial, method_id, model_id)
        key = step_recipe(trial, model_id, method_id, earlier, batch).key if earlier else None
        lockstep = _lockstep(trial, model_id, method_id, records) if batch == 1 else None
        loaded, given = trial.model(model_id), resources(trial, model_id, key, lockstep)
        with costing() as cost:
            own = watched(_costed(given, cost))
            made = editor.edit(loaded, before, records, own)
        if not isinstance(editor, KeepsTexts | NoOp | Placebo):  # which read no prompts
            check_form(method_id, own.frame)
        _save(dataclasses.replace(made, edits=last, info={**made.info, "cost": cost.fields()}), draft)

    return Job(step_recipe(trial, model_id, method_id, records, batch), produce)


def steps(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord], batch: int = 1) -> State:
    """The state after editing ``records``, ``batch`` at a time; steps found in the store are not made again."""
    method_id = state_method(trial, method_id)
    state: State = ()
    clock = Clock(f"{method_id}: chain", "edits", trial.report)
    done = 0
    for group in _groups(records, batch):
        done += len(group)
        memo = ("step", model_id, method_id, step_recipe(trial, model_id, method_id, records[:done], batch).key)
        if memo not in trial._memo:
            job = _job(trial, model_id, method_id, records[:done], state, batch)
            clock.tick(done - len(group), len(records), f" ({group[-1].id} now)")
            trial._memo[memo] = _load(trial.store.build(job.recipe, job.producer))
            clock.tick(done, len(records))
        state = (*state, trial._memo[memo])
    return state


def singles(trial: Trial, model_id: str, method_id: str, records: Sequence[EditRecord]) -> list[State]:
    """One state per record, each edited alone; several workers share the work."""
    order = trial.offset(list(range(len(records))))
    jobs = [_job(trial, model_id, method_id, [records[i]], ()) for i in order]
    made = trial.store.build_many(jobs, progress=Clock(f"{method_id}: single", "edits", trial.report).tick)
    by_index = {i: _load(artifact) for i, artifact in zip(order, made, strict=True)}
    return [(by_index[i],) for i in range(len(records))]


def state_key(state: State) -> list[str]:
    """Keys of a state's steps, for recipes of what is measured on it."""
    return [str(step.info["key"]) for step in state]
