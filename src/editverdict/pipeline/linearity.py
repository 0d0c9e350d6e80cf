"""Artifacts of edited states: how far their change of hidden states is from its first-order prediction.

Forward-mode differentiation costs several passes, so that these states stand on the first whole texts of the paired
subset alone (at least ``TOKENS`` samples). Everything here, unedited states included, runs with eager attention: the
two sides of a remainder must differ by the edit and by nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, row_texts, tail_pass
from editverdict.capture.tangents import tangent_pass
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import PurityError, installed, touched
from editverdict.geometry.checks import check_paired
from editverdict.geometry.linearity import first_order_remainder, homogeneity_gap, squares_by_block
from editverdict.geometry.perturbation import rms_centred
from editverdict.models.attention import EAGER, eager_attention
from editverdict.models.sources import LoadedModel
from editverdict.pipeline import base
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

VERSION = 3
ROUNDING = 1e-3
"""Relative difference between many times an edit and the edit many times over up to which they are one direction."""
TOKENS = 384
"""Samples that the derivative is taken on, at least: whole texts, the first of the paired subset."""


@dataclass(frozen=True)
class Linearity:
    """One edited state against its first-order prediction, per measured layer from the lowest edited one up."""

    remainder: dict[int, float | None]
    """|dh - J dW| / |dh| (Frobenius over all samples); None where nothing changes."""
    homogeneity: dict[int, float | None]
    """|dh(2 dW) - 2 dh(dW)| / |2 dh(dW)|; empty where it was not asked for."""
    gross: dict[int, float | None]
    """The remainder of the same edit many times over; empty where it was not asked for."""
    size: dict[int, float]
    """RMS |dh| over RMS |h| (centred) of these samples."""
    checks: dict[str, tuple[bool, str]]
    """Pairing at the first and the last layer."""
    blocks: dict[str, dict[int, list[tuple[float, float]]]]
    """Of remainder, homogeneity and gross per layer: squares of numerator and denominator per block of texts."""
    key: str

    def without(self, what: str, block: int) -> dict[int, float | None]:
        """The same as if a block of texts had not been there; None where nothing changes in the others."""
        found: dict[int, float | None] = {}
        for layer, squares in self.blocks[what].items():
            top, bottom = (math.fsum(s[i] for n, s in enumerate(squares) if n != block) for i in (0, 1))
            found[layer] = math.sqrt(top / bottom) if bottom > 0.0 else None
        return found


@dataclass(frozen=True)
class _Part:
    """The samples, as the unedited model sees them from one layer on."""

    block: Tensor
    """[m] block of texts of each sample."""
    n_blocks: int
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
        sample = linear_sample(trial, model_id)
        block = torch.tensor([sample.block_of(int(text)) for text in row_texts(batches)])
        trial._memo[memo] = _Part(block, sample.n_blocks, batches, lower, states)
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


def passes_of(
    trial: Trial, model_id: str, state: State
) -> tuple[list[TokenBatch], dict[int, Tensor], dict[int, Tensor]]:
    """Batches, unedited and edited states as they are measured on; for a check that finds them again.

    Raises
    ------
    ValueError
        The state changes nothing.
    """
    loaded = trial.model(model_id)
    start = _start(loaded, state)
    if start is None:
        raise ValueError("a state that changes nothing has no edited states")
    part = _part(trial, model_id, start, [layer for layer in loaded.spec.layers.measured if layer >= start])
    return part.batches, part.states, _edited(loaded, part, start, state, 1.0)[0]


def _tangents(loaded: LoadedModel, part: _Part, start: int, deltas: Mapping[str, Tensor]) -> dict[int, Tensor]:
    with _left_as_it_was({name: loaded.model.get_parameter(name) for name in deltas}):
        return tangent_pass(loaded, part.batches, part.lower, start, sorted(part.states), deltas)


def _tangents_of_gross(
    loaded: LoadedModel,
    part: _Part,
    start: int,
    known: tuple[dict[str, Tensor], dict[int, Tensor]],
    many: float,
    deltas: Mapping[str, Tensor],
) -> dict[int, Tensor]:
    """Derivatives along many times a change, which are many times those along it: J is linear.

    What is in force is rounded to the weights' format; where that makes the two changes differ (a small edit of
    weights in bfloat16), the derivative is taken anew.
    """
    once, tangents = known
    if all(float((deltas[n] - many * once[n]).norm()) <= ROUNDING * float(deltas[n].norm()) for n in deltas):
        return {layer: many * tangent for layer, tangent in tangents.items()}
    return _tangents(loaded, part, start, deltas)


def _produce(trial: Trial, model_id: str, state: State, gross: float | None, doubled: bool, draft: Draft) -> None:
    loaded = trial.model(model_id)
    start = _start(loaded, state)
    record: dict[str, Any] = {"remainder": {}, "homogeneity": {}, "gross": {}, "size": {}, "checks": {}, "blocks": {}}
    if start is None:
        draft.write_json(record)
        return
    layers = [layer for layer in loaded.spec.layers.measured if layer >= start]
    part = _part(trial, model_id, start, layers)
    unedited = {layer: states.double().cpu() for layer, states in part.states.items()}

    def changes(scale: float) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
        after, deltas = _edited(loaded, part, start, state, scale)
        return {layer: states.double().cpu() - unedited[layer] for layer, states in after.items()}, deltas

    def note(
        what: str, measure: Callable[[Tensor, Tensor], float], own: dict[int, Tensor], to: Mapping[int, Tensor]
    ) -> None:
        blocks: dict[str, list[list[float]]] = {}
        for layer in layers:
            record[what][str(layer)] = measure(own[layer], to[layer].cpu()) if bool(own[layer].any()) else None
            change = 2.0 * own[layer] if measure is homogeneity_gap else own[layer]
            blocks[str(layer)] = squares_by_block(change, to[layer].cpu(), part.block, part.n_blocks).tolist()
        record["blocks"][what] = blocks

    once, deltas = changes(1.0)
    tangents = _tangents(loaded, part, start, deltas)
    note("remainder", first_order_remainder, once, tangents)
    if doubled:
        note("homogeneity", homogeneity_gap, once, changes(2.0)[0])
    if gross is not None:
        large, large_deltas = changes(gross)
        along = _tangents_of_gross(loaded, part, start, (deltas, tangents), gross, large_deltas)
        note("gross", first_order_remainder, large, along)
    for layer in layers:
        size = float(once[layer].square().sum(dim=1).mean().sqrt())
        record["size"][str(layer)] = size / rms_centred(unedited[layer])
    for layer in (layers[0], layers[-1]):
        outcome = check_paired(unedited[layer], unedited[layer] + once[layer])
        record["checks"][str(layer)] = [outcome.ok, outcome.detail]
    draft.write_json(record)


def linearity_recipe(trial: Trial, model_id: str, state: State, gross: float | None, doubled: bool) -> Recipe:
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
        gross=gross,
        doubled=doubled,
    )


def _read(artifact: Artifact) -> Linearity:
    record = artifact.json()
    apart = ("checks", "blocks")
    by_layer = {what: {int(n): v for n, v in record[what].items()} for what in record if what not in apart}
    checks = {n: (bool(ok), str(detail)) for n, (ok, detail) in record["checks"].items()}
    blocks = {
        what: {int(n): [(float(a), float(b)) for a, b in squares] for n, squares in own.items()}
        for what, own in record["blocks"].items()
    }
    return Linearity(**by_layer, checks=checks, blocks=blocks, key=artifact.key)


def linearities(
    trial: Trial,
    model_id: str,
    states: Sequence[State],
    what: str = "states",
    *,
    gross: tuple[int, float] = (0, 1.0),
    doubled: bool = True,
) -> list[Linearity]:
    """Measure several states; several workers share the work.

    Parameters
    ----------
    gross
        How many of the states, from the first, are measured many times over as well, and how many times.
    doubled
        Whether twice the edit is measured, for the homogeneity.

    Raises
    ------
    NotHere
        See `_start`: nothing is measured before every state is known to be fit for it.
    """
    loaded = trial.model(model_id)
    for state in states:
        _start(loaded, state)

    def job(number: int) -> Job:
        state, many = states[number], gross[1] if number < gross[0] else None
        recipe = linearity_recipe(trial, model_id, state, many, doubled)
        return Job(recipe, lambda draft: _produce(trial, model_id, state, many, doubled, draft))

    order = trial.offset(list(range(len(states))))
    made = trial.store.build_many(
        [job(i) for i in order], progress=Clock(f"first-order remainder of {what}", "states", trial.report).tick
    )
    found = {i: _read(artifact) for i, artifact in zip(order, made, strict=True)}
    return [found[i] for i in range(len(states))]
