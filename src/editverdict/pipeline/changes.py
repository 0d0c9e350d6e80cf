"""Artifacts of edited states: what an edit does to hidden states, on the paired subset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.passes import row_tokens, tail_pass
from editverdict.editors.base import State
from editverdict.editors.deltas import installed, touched
from editverdict.geometry.amplification import POOLINGS, pool, project
from editverdict.geometry.angles import angle_profile, paper_ks
from editverdict.geometry.checks import check_paired
from editverdict.geometry.perturbation import paired_change, relative_change
from editverdict.models.fingerprint import hash_tensors
from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import spectrum_of
from editverdict.pipeline import base, paired, validity
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

CHANGE_VERSION = 4


@dataclass(frozen=True)
class Change:
    """What one edited state does to the hidden states of the subset, per layer."""

    norms: dict[int, dict[str, float]]
    """mean, std, min, max of |dh|; rms_hidden; ratio; mispaired: the ratio where base states are another token's."""
    pooled: dict[int, Tensor]
    """[poolings, d] pooled |c_k| in the basis of the full sample; rows as POOLINGS."""
    unpaired: dict[int, Tensor]
    """[d] mean |c_k| when edited states are paired with another token's base state."""
    angles: dict[int, dict[str, dict[str, float]]]
    """layer -> k label -> largest_angle, smallest_angle, mean, overlap."""
    checks: dict[str, tuple[bool, str]]
    """Where -> pairing as the arrays show it."""
    key: str
    state: State = ()
    """What was measured, and how many times as large: other ways to find it again need both."""
    scale: float = 1.0
    validity: dict[str, dict[str, tuple[bool, str]]] = field(default_factory=dict)
    """Where (a layer, or all of them) -> check -> what it found when this was measured."""


@dataclass(frozen=True)
class Reach:
    """Where a method's edits begin and what lies above, among the measured layers."""

    start: int
    """Lowest edited layer: edited states run from here up."""
    edited: int
    """"The edited layer" of a claim: the highest measured layer from the lowest to the highest edited one."""
    layers: tuple[int, ...]
    """Measured layers from the lowest edited one up: edited and later."""
    later: tuple[int, ...]
    """Measured layers after the highest edited one."""


def reach_of(trial: Trial, model_id: str, states: Sequence[State]) -> Reach:
    """The layers that states change; of states that change nothing, the model's own edited layer.

    Raises
    ------
    NotHere
        A state is more than weight deltas, or changes something outside the layers, or lies above all measured layers.
    """
    sites, plan = trial.model(model_id).sites, trial.model(model_id).spec.layers
    steps = [step for state in states for step in state]
    if any(step.tensors and not touched((step,)) for step in steps):
        raise NotHere("hidden states are measured for methods whose state is weight deltas, and this one's is not")
    found = {sites.layer_of(name): name for step in steps for name in touched((step,))}
    if None in found:
        raise NotHere(f"hidden states are measured for methods that change layers, and this one changes {found[None]}")
    edited = sorted(layer for layer in found if layer is not None) or [plan.edit]
    layers = tuple(layer for layer in plan.measured if layer >= edited[0])
    if not layers:
        raise NotHere(f"the method edits layer {edited[0]} of '{model_id}', above all measured layers {plan.measured}")
    inside = [layer for layer in layers if layer <= edited[-1]]
    return Reach(
        start=edited[0],
        edited=inside[-1] if inside else layers[0],
        layers=layers,
        later=tuple(layer for layer in layers if layer > edited[-1]),
    )


def hidden_after(
    trial: Trial, model_id: str, state: State, scale: float = 1.0, start: int | None = None
) -> dict[int, Tensor]:
    """Hidden states of the subset in an edited state: measured layer from ``start`` up -> [m, d], rows as the base's.

    ``start`` is at most the lowest edited layer; by default that layer.
    """
    loaded, sub = trial.model(model_id), paired.subset(trial, model_id)
    first = reach_of(trial, model_id, [state]).start if start is None else start
    lower = paired.lower_inputs(trial, model_id, first)
    with installed(loaded.model, state, scale):
        found = tail_pass(loaded, sub.batches, lower, first, [layer for layer in sorted(sub.states) if layer >= first])
    return {layer: states.cpu() for layer, states in found.items()}


def change_recipe(trial: Trial, model_id: str, state: State, scale: float, start: int) -> Recipe:
    """Recipe of the measurement of one state."""
    return Recipe.of(
        "change",
        CHANGE_VERSION,
        model=trial.model(model_id).identity.fields(),
        subset=paired.subset(trial, model_id).key,
        base=base.base_recipe(trial, model_id),
        state=state_key(state),
        scale=float(scale),
        start=start,
    )


def _produce(trial: Trial, model_id: str, state: State, scale: float, start: int, draft: Draft) -> None:
    sub = paired.subset(trial, model_id)
    full = base.spectra(trial, model_id)
    after = hidden_after(trial, model_id, state, scale, start)
    tensors: dict[str, Tensor] = {}
    again = validity.Again(trial.model(model_id), sub.batches, sorted(after), state, scale)
    seen_again = {"all layers": validity.of_states(again, after)}
    record: dict[str, Any] = {"norms": {}, "angles": {}, "checks": {}, "validity": seen_again}
    shuffled = _derangement(sub)
    stored, seen = (hash_tensors([("tokens", tokens)]) for tokens in (sub.tokens, row_tokens(sub.batches)))
    for layer, states in after.items():
        before = sub.states[layer]
        spectrum = full[layer].spectrum
        change = paired_change(before, states, spectrum.rms_norm)
        record["norms"][str(layer)] = {k: float(v) for k, v in vars(change).items()}
        record["norms"][str(layer)]["mispaired"] = relative_change(before[shuffled], states, spectrum.rms_norm)
        components = project(spectrum, states.double() - before.double())
        tensors[f"pooled.{layer}"] = torch.stack([pool(components, name) for name in POOLINGS])
        own = _base_components(trial, model_id, layer)
        tensors[f"unpaired.{layer}"] = pool(components + own - own[shuffled])
        moments = Moments(states.shape[1])
        moments.update(states)
        edited = spectrum_of(moments, activation_dtype=states.dtype)
        record["angles"][str(layer)] = {
            label: vars(angle_profile(sub.bases[layer].basis, edited.basis, k))
            for label, k in paper_ks(states.shape[1]).items()
        }
        record["validity"][f"layer {layer}"] = validity.of_change(
            spectrum,
            sub.bases[layer],
            before,
            states,
            edited,
            dict(zip(POOLINGS, tensors[f"pooled.{layer}"], strict=True)),
            record["norms"][str(layer)],
            record["angles"][str(layer)],
        )
        # Mis-pairing shows at every layer alike; the first and the last one measured suffice.
        if layer in (min(after), max(after)):
            outcome = check_paired(before, states, base_tokens=stored, edited_tokens=seen)
            record["checks"][str(layer)] = [outcome.ok, outcome.detail]
    draft.write_tensors(tensors)
    draft.write_json(record)


def _base_components(trial: Trial, model_id: str, layer: int) -> Tensor:
    """Projections of the base states [m, d], float32, kept in memory: an unpaired change is a paired one plus these."""
    key = ("base-components", model_id, layer)
    if key not in trial._memo:
        spectrum = base.spectra(trial, model_id)[layer].spectrum
        trial._memo[key] = project(spectrum, paired.subset(trial, model_id).states[layer].double()).float()
    found: Tensor = trial._memo[key]
    return found


def _derangement(sub: paired.Subset) -> Tensor:
    """A pairing of every row with a row of another text: half the sample on."""
    count = len(sub.tokens)
    return (torch.arange(count) + count // 2) % count


def change_job(trial: Trial, model_id: str, state: State, scale: float, start: int) -> Job:
    """The measurement of one state as a job."""
    return Job(
        change_recipe(trial, model_id, state, scale, start),
        lambda draft: _produce(trial, model_id, state, scale, start, draft),
    )


def read_change(artifact: Artifact, state: State, scale: float) -> Change:
    """The stored measurement of a state, so many times as large."""
    record, tensors = artifact.json(), artifact.tensors()

    def by_layer(prefix: str) -> dict[int, Tensor]:
        return {int(k.partition(".")[2]): t for k, t in tensors.items() if k.startswith(f"{prefix}.")}

    return Change(
        norms={int(layer): norms for layer, norms in record["norms"].items()},
        pooled=by_layer("pooled"),
        unpaired=by_layer("unpaired"),
        angles={int(layer): angles for layer, angles in record["angles"].items()},
        checks={f"layer {layer}": (ok, detail) for layer, (ok, detail) in record["checks"].items()},
        key=artifact.key,
        state=state,
        scale=scale,
        validity={
            place: {name: (ok, text) for name, (ok, text) in f.items()} for place, f in record["validity"].items()
        },
    )


def changes(
    trial: Trial,
    model_id: str,
    states: Sequence[State],
    scale: float = 1.0,
    what: str = "states",
    start: int | None = None,
) -> list[Change]:
    """Measure several states; several workers share the work.

    ``start`` is the layer from which the states run, by default the lowest that any of them changes: a no-op that is
    held beside a method takes the method's.

    Raises
    ------
    NotHere
        As :func:`reach_of`.
    """
    own = reach_of(trial, model_id, states).start
    first = own if start is None else min(start, own) if any(map(touched, states)) else start
    base.spectra(trial, model_id)
    order = trial.offset(list(range(len(states))))
    jobs = [change_job(trial, model_id, states[i], scale, first) for i in order]
    made = trial.store.build_many(jobs, progress=Clock(f"hidden states after {what}", "states", trial.report).tick)
    found = {i: read_change(artifact, states[i], scale) for i, artifact in zip(order, made, strict=True)}
    return [found[i] for i in range(len(states))]
