"""Artifacts of edited states: how far their change of hidden states is from its first-order prediction.

Forward-mode differentiation costs several passes, so that these states stand on the first whole texts of the paired
subset alone (at least ``TOKENS`` samples). Everything here, unedited states included, runs with eager attention: the
two sides of a remainder must differ by the edit and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, tail_pass
from editverdict.capture.tangents import tangent_pass
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import PurityError, installed, touched
from editverdict.geometry.checks import check_paired
from editverdict.geometry.linearity import first_order_remainder, homogeneity_gap
from editverdict.geometry.perturbation import rms_centred
from editverdict.models.attention import EAGER, eager_attention
from editverdict.models.sources import LoadedModel
from editverdict.pipeline import base
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

VERSION = 1
TOKENS = 384
"""Samples that the derivative is taken on, at least: whole texts, the first of the paired subset."""


@dataclass(frozen=True)
class Linearity:
    """One edited state against its first-order prediction, per measured layer from the lowest edited one up."""

    remainder: dict[int, float | None]
    """|dh - J dW| / |dh| (Frobenius over all samples); None where nothing changes."""
    homogeneity: dict[int, float | None]
    """|dh(2 dW) - 2 dh(dW)| / |2 dh(dW)|."""
    size: dict[int, float]
    """RMS |dh| over RMS |h| (centred) of these samples."""
    checks: dict[str, tuple[bool, str]]
    """Pairing at the first and the last layer."""
    key: str


@dataclass(frozen=True)
class _Part:
    """The samples, as the unedited model sees them from one layer on."""

    batches: list[TokenBatch]
    lower: list[Tensor]
    states: dict[int, Tensor]


def linear_sample(trial: Trial, model_id: str) -> TextSample:
    """The texts that derivatives are taken on."""
    return trial.subset(model_id).head(TOKENS)


def _start(loaded: LoadedModel, state: State) -> int | None:
    """Lowest layer whose weights a state changes; None if it changes nothing.

    Raises
    ------
    NotHere
        The state is more than weight deltas, changes weights outside the layers, or the model has an encoder.
    """
    if loaded.sites.spec.encoder_decoder:
        raise NotHere(f"derivatives are taken through a decoder alone, and '{loaded.spec.id}' has an encoder before it")
    if any(step.tensors and not touched((step,)) for step in state):
        raise NotHere("derivatives are taken along changes of weights, and this method's state is more than those")
    layers = []
    for name in touched(state):
        number = loaded.sites.layer_of(name)
        if number is None:
            raise NotHere(f"derivatives are taken from a layer on, and this one changes '{name}', outside them")
        layers.append(number)
    return min(layers, default=None)


def _part(trial: Trial, model_id: str, start: int, layers: Sequence[int]) -> _Part:
    """Inputs of layer ``start`` and the unedited states above it, kept in memory."""
    memo = ("linear-part", model_id, start)
    if memo not in trial._memo:
        loaded = trial.model(model_id)
        batches = base.batches_of(loaded, linear_sample(trial, model_id))
        lower: list[Tensor] = []
        with eager_attention(loaded.model):
            full_pass(loaded, batches, lambda _batch, seen: lower.append(seen["in", start]), layer_inputs=[start])
            states = tail_pass(loaded, batches, lower, start, layers)
        trial._memo[memo] = _Part(batches, lower, states)
    found: _Part = trial._memo[memo]
    return found


@contextmanager
def _left_as_it_was(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Prove that a pass which takes the weights as arguments wrote nothing into them.

    Raises
    ------
    PurityError
        It did.
    """
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    yield
    changed = sorted(name for name, weight in weights.items() if not torch.equal(weight.detach(), before[name]))
    if changed:
        raise PurityError(f"differentiating changed the weights {changed}")


def _edited(
    loaded: LoadedModel, part: _Part, start: int, state: State, scale: float
) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
    """Hidden states in an edited state, and the change of the weights that was in force, after rounding (float64)."""
    names = touched(state)
    before = {name: loaded.model.get_parameter(name).detach().double() for name in names}
    with eager_attention(loaded.model), installed(loaded.model, state, scale):
        deltas = {name: loaded.model.get_parameter(name).detach().double() - before[name] for name in names}
        return tail_pass(loaded, part.batches, part.lower, start, sorted(part.states)), deltas


def _produce(trial: Trial, model_id: str, state: State, scale: float, draft: Draft) -> None:
    loaded = trial.model(model_id)
    start = _start(loaded, state)
    if start is None:
        draft.write_json({"remainder": {}, "homogeneity": {}, "size": {}, "checks": {}})
        return
    layers = [layer for layer in loaded.spec.layers.measured if layer >= start]
    part = _part(trial, model_id, start, layers)
    after, deltas = _edited(loaded, part, start, state, scale)
    twice, _ = _edited(loaded, part, start, state, 2.0 * scale)
    with _left_as_it_was({name: loaded.model.get_parameter(name) for name in deltas}):
        tangents = tangent_pass(loaded, part.batches, part.lower, start, layers, deltas)
    record: dict[str, dict[str, object]] = {"remainder": {}, "homogeneity": {}, "size": {}, "checks": {}}
    for layer in layers:
        unedited = part.states[layer].double().cpu()
        change, doubled = (states[layer].double().cpu() - unedited for states in (after, twice))
        moved = bool(change.any())
        own = str(layer)
        record["remainder"][own] = first_order_remainder(change, tangents[layer].cpu()) if moved else None
        record["homogeneity"][own] = homogeneity_gap(change, doubled) if moved else None
        record["size"][own] = float(change.square().sum(dim=1).mean().sqrt()) / rms_centred(unedited)
        if layer in (layers[0], layers[-1]):
            outcome = check_paired(unedited, after[layer].cpu())
            record["checks"][own] = [outcome.ok, outcome.detail]
    draft.write_json(record)


def linearity_recipe(trial: Trial, model_id: str, state: State, scale: float) -> Recipe:
    """Recipe of the measurement of one state."""
    loaded = trial.model(model_id)
    return Recipe.of(
        "linearity",
        VERSION,
        model=loaded.identity.fields(),
        attention=EAGER,
        tokens=linear_sample(trial, model_id).hash,
        layers=list(loaded.spec.layers.measured),
        state=state_key(state),
        scale=float(scale),
    )


def _read(artifact: Artifact) -> Linearity:
    record = artifact.json()
    by_layer = {what: {int(n): v for n, v in record[what].items()} for what in ("remainder", "homogeneity", "size")}
    checks = {n: (bool(ok), str(detail)) for n, (ok, detail) in record["checks"].items()}
    return Linearity(by_layer["remainder"], by_layer["homogeneity"], by_layer["size"], checks, artifact.key)


def linearities(
    trial: Trial, model_id: str, states: Sequence[State], scale: float = 1.0, what: str = "states"
) -> list[Linearity]:
    """Measure several states; several workers share the work.

    Raises
    ------
    NotHere
        See `_start`: nothing is measured before every state is known to be fit for it.
    """
    loaded = trial.model(model_id)
    for state in states:
        _start(loaded, state)

    def job(state: State) -> Job:
        recipe = linearity_recipe(trial, model_id, state, scale)
        return Job(recipe, lambda draft: _produce(trial, model_id, state, scale, draft))

    order = trial.offset(list(range(len(states))))
    made = trial.store.build_many(
        [job(states[i]) for i in order], progress=Clock(f"first-order remainder of {what}", "states", trial.report).tick
    )
    found = {i: _read(artifact) for i, artifact in zip(order, made, strict=True)}
    return [found[i] for i in range(len(states))]
