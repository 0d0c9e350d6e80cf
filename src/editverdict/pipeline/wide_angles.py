"""Artifacts of angles on a larger sample: what few samples do to them, measured on some of a claim's own states.

Angles between subspaces depend on the number of samples that the bases come from, the deeper the more. Where the
paired subset has fewer than :data:`PER_DIMENSION` samples per dimension, the first states of a claim (the profile's
``angle_states``) are measured again on as many (`pipeline.sample_bias` says what becomes of it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, tail_pass
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry.angles import angle_profile, paper_ks
from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import Spectrum, spectrum_of
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.changes import reach_of
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

VERSION = 1
PER_DIMENSION = 10
"""Samples per dimension that angles are wanted on."""

Angles = dict[int, dict[str, dict[str, float]]]
"""layer -> k label -> largest_angle, smallest_angle, mean, overlap."""


class HasAngles(Protocol):
    """A measured state."""

    @property
    def angles(self) -> Angles:
        """Against the base, on the same tokens."""
        ...


@dataclass(frozen=True)
class WideAngles:
    """Angles of one edited state on the larger sample."""

    angles: Angles
    key: str


def samples_suffice(trial: Trial, model_id: str) -> bool:
    """Whether the paired subset itself is large enough for angles."""
    return trial.subset(model_id).n_samples >= PER_DIMENSION * trial.model(model_id).sites.width


def wide_sample(trial: Trial, model_id: str) -> TextSample | None:
    """The larger sample; None where the paired subset is large enough, or the base sample is too small itself."""
    wanted = PER_DIMENSION * trial.model(model_id).sites.width
    if samples_suffice(trial, model_id) or trial.sample(model_id).n_samples < wanted:
        return None
    return trial.sample(model_id).head(wanted)


def bases_of(states: Mapping[int, Tensor]) -> dict[int, Spectrum]:
    """Spectra of hidden states: layer -> of ``[m, d]``."""
    found = {}
    for layer, rows in states.items():
        moments = Moments(rows.shape[1])
        moments.update(rows.cpu())
        found[layer] = spectrum_of(moments, activation_dtype=rows.dtype)
    return found


def _base_recipe(trial: Trial, model_id: str, sample: TextSample, start: int) -> Recipe:
    layers = [layer for layer in trial.model(model_id).spec.layers.measured if layer >= start]
    identity = trial.model(model_id).identity.fields()
    return Recipe.of("wide-base", VERSION, model=identity, tokens=sample.hash, layers=layers, start=start)


def _base(trial: Trial, model_id: str, sample: TextSample, start: int) -> Artifact:
    """Inputs of layer ``start`` and the base's own bases at the measured layers from there up."""
    loaded, recipe = trial.model(model_id), _base_recipe(trial, model_id, sample, start)
    layers = [layer for layer in loaded.spec.layers.measured if layer >= start]

    def produce(draft: Draft) -> None:
        lower: list[Tensor] = []
        rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}

        def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
            lower.append(seen["in", start].cpu())
            for layer in layers:
                rows[layer].append(batch.samples(seen["h", layer]).cpu())

        full_pass(loaded, batches_of(loaded, sample), visit, outputs=layers, layer_inputs=[start])
        bases = bases_of({layer: torch.cat(parts) for layer, parts in rows.items()})
        tensors = {f"basis.{layer}": spectrum.basis.contiguous() for layer, spectrum in bases.items()}
        draft.write_tensors(tensors | {f"lower.{number}": hidden for number, hidden in enumerate(lower)})

    return trial.store.build(recipe, produce)


def _job(trial: Trial, model_id: str, sample: TextSample, start: int, state: State) -> Job:
    loaded, before = trial.model(model_id), _base_recipe(trial, model_id, sample, start)
    recipe = Recipe.of("wide-angles", VERSION, base=before, state=state_key(state))

    def produce(draft: Draft) -> None:
        base, batches = _base(trial, model_id, sample, start).tensors(), batches_of(loaded, sample)
        lower = [base[f"lower.{number}"].to(loaded.device) for number in range(len(batches))]
        layers = [layer for layer in loaded.spec.layers.measured if layer >= start]
        with installed(loaded.model, state):
            after = bases_of(tail_pass(loaded, batches, lower, start, layers))
        draft.write_json(
            {
                str(layer): {
                    label: vars(angle_profile(base[f"basis.{layer}"], own.basis, k))
                    for label, k in paper_ks(own.d).items()
                }
                for layer, own in after.items()
            }
        )

    return Job(recipe, produce)


def wide_angles(trial: Trial, model_id: str, states: Sequence[State], what: str) -> list[WideAngles]:
    """Angles of some states on the larger sample; several workers share the work.

    Raises
    ------
    ValueError
        There is no larger sample (:func:`wide_sample`).
    NotHere
        As :func:`~editverdict.pipeline.changes.reach_of`.
    """
    sample = wide_sample(trial, model_id)
    if sample is None:
        raise ValueError("there is no larger sample than the paired subset")
    start, order = reach_of(trial, model_id, states).start, trial.offset(list(range(len(states))))
    _base(trial, model_id, sample, start)
    jobs = [_job(trial, model_id, sample, start, states[i]) for i in order]
    made = trial.store.build_many(jobs, progress=Clock(f"angles of {what}, large sample", "states", trial.report).tick)
    found = {}
    for i, artifact in zip(order, made, strict=True):
        found[i] = WideAngles({int(layer): own for layer, own in artifact.json().items()}, artifact.key)
    return [found[i] for i in range(len(states))]
