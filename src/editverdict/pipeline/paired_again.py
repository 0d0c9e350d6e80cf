"""Pairing shown by running every text again, for edited states that no longer resemble their own unedited ones.

``geometry.checks.check_paired`` reads from arrays which unedited state an edited one belongs to. A model that an edit
has destroyed keeps no such likeness, and its arrays look like those of samples out of order. Then every text is run
alone, unedited and edited, so that both states of a token are paired by how they came about; what was stored has to be
found in them. Samples out of order are not: their differences are other ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from editverdict.capture.passes import row_texts
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry.amplification import POOLINGS, pool, project
from editverdict.geometry.checks import LIKENESS, check_same_change
from editverdict.geometry.perturbation import paired_change
from editverdict.numerics.precision import effective_dtype
from editverdict.pipeline import base, paired
from editverdict.pipeline.changes import Change
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import states_again, tokens_of
from editverdict.store import Draft, Recipe

VERSION = 1


class Pairing(NamedTuple):
    """Whether the samples of a change are paired, and what says so."""

    ok: bool
    detail: str
    keys: tuple[str, ...] = ()
    """Artifacts beyond the change's own."""


def pairing_of(trial: Trial, model_id: str, change: Change) -> Pairing:
    """Pairing of a change as its arrays show it; where they show no likeness, as all texts run again show it."""
    bad = {where: detail for where, (ok, detail) in change.checks.items() if not ok}
    if not bad:
        return Pairing(True, next((detail for _, detail in change.checks.values()), "nothing was looked at"))
    told = "; ".join(f"{where}: {detail}" for where, detail in bad.items())
    if not all(detail.startswith(LIKENESS) for detail in bad.values()):
        return Pairing(False, told)
    memo = ("paired-again", model_id, change.key)
    if memo not in trial._memo:
        trial._memo[memo] = _found_again(trial, model_id, change)
    again: Pairing = trial._memo[memo]
    return again._replace(detail=f"{told}; {again.detail}")


def _found_again(trial: Trial, model_id: str, change: Change) -> Pairing:
    sub, layers = paired.subset(trial, model_id), sorted(change.norms)
    recipe = Recipe.of(
        "paired-again",
        VERSION,
        model=trial.model(model_id).identity.fields(),
        tokens=trial.subset(model_id).hash,
        base=base.base_recipe(trial, model_id),
        state=state_key(change.state),
        scale=change.scale,
        layers=layers,
    )
    artifact = trial.store.build(recipe, lambda draft: _produce(trial, model_id, change, layers, draft))
    again, tensors = artifact.json(), artifact.tensors()
    outcomes = [
        check_same_change(
            change.norms[layer], change.pooled[layer], again[str(layer)], tensors[f"pooled.{layer}"], again["epsilon"]
        )
        for layer in layers
    ]
    bad = [f"layer {layer}: {one.detail}" for layer, one in zip(layers, outcomes, strict=True) if not one.ok]
    said = "; ".join(bad[:1]) or f"{outcomes[-1].detail}, so at {len(layers)} layers"
    how = f"all {sub.n_texts} texts run again one by one, unedited and edited: {said}"
    return Pairing(not bad, how, (artifact.key,))


def _produce(trial: Trial, model_id: str, change: Change, layers: Sequence[int], draft: Draft) -> None:
    before = _one_by_one(trial, model_id, (), 1.0, layers)
    after = _one_by_one(trial, model_id, change.state, change.scale, layers)
    record: dict[str, Any] = {"epsilon": torch.finfo(effective_dtype(after[layers[-1]])).eps}
    tensors = {}
    for layer in layers:
        spectrum = base.spectra(trial, model_id)[layer].spectrum
        record[str(layer)] = vars(paired_change(before[layer], after[layer], spectrum.rms_norm))
        components = project(spectrum, after[layer].double() - before[layer].double())
        tensors[f"pooled.{layer}"] = torch.stack([pool(components, name) for name in POOLINGS])
    draft.write_tensors(tensors)
    draft.write_json(record)


def _one_by_one(trial: Trial, model_id: str, state: State, scale: float, layers: Sequence[int]) -> dict[int, Tensor]:
    """States of all texts of the subset, each run alone: layer -> [m, d]."""
    loaded, batches = trial.model(model_id), paired.subset(trial, model_id).batches
    texts = list(dict.fromkeys(row_texts(batches).tolist()))
    with installed(loaded.model, state, scale):
        return states_again(loaded, [tokens_of(batches, text) for text in texts], layers, batches[0].positions)
