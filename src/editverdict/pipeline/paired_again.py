"""Pairing shown by running every text again, for edited states that no longer resemble their own unedited ones.

``geometry.checks.check_paired`` reads from arrays which unedited state an edited one belongs to. A model that an edit
has destroyed keeps no such likeness, and its arrays look like those of samples out of order. Then every text is run
alone, unedited and edited, so that both states of a token are paired by how they came about; what was stored has to be
found in them. Samples out of order are not: their differences are other ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.passes import row_texts
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry.amplification import POOLINGS, pool, project
from editverdict.geometry.perturbation import paired_change
from editverdict.pipeline import base, paired
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import states_again, tokens_of
from editverdict.store import Draft, Recipe

VERSION = 1
NORMS = ("mean", "std", "min", "max", "rms_hidden")
APART = 1e-4
"""Relative, of the sizes of the change and of its components taken together. Texts run alone differ from batches by
3e-6 of their size (docs/validity.md), which norms over many samples hardly feel; two rows exchanged among 480 make
more than a hundred times that."""

Sizes = Mapping[int, Mapping[str, float]]
Pooled = Mapping[int, Tensor]


def found_again(
    trial: Trial, model_id: str, state: State, scale: float, norms: Sizes, pooled: Pooled
) -> tuple[bool, str]:
    """Whether the stored sizes and components are those of texts run one by one, and a sentence with the numbers.

    Parameters
    ----------
    norms
        Layer -> sizes of the change, as ``geometry.perturbation.PairedChange`` names them.
    pooled
        Layer -> ``[poolings, d]`` components, rows as ``POOLINGS``.
    """
    sub, layers = paired.subset(trial, model_id), sorted(norms)
    recipe = Recipe.of(
        "paired-again",
        VERSION,
        model=trial.model(model_id).identity.fields(),
        tokens=trial.subset(model_id).hash,
        base=base.base_recipe(trial, model_id),
        state=state_key(state),
        scale=float(scale),
        layers=layers,
    )
    artifact = trial.store.build(recipe, lambda draft: _produce(trial, model_id, state, scale, layers, draft))
    again, tensors = artifact.json(), artifact.tensors()
    worst, problems = 0.0, []
    for layer in layers:
        apart = max(
            _sizes_apart(norms[layer], again[str(layer)]),
            _components_apart(pooled[layer], tensors[f"pooled.{layer}"]),
        )
        worst = max(worst, apart)
        if not apart <= APART:
            problems.append(f"layer {layer}: by {apart:.2g}")
    fine = f"size and components of the change are found again within {worst:.2g}"
    other = f"size or components of the change are others (at most {APART:g} apart), {', '.join(problems[:3])}"
    return not problems, f"all {sub.n_texts} texts run one by one, unedited and edited: {other if problems else fine}"


def _produce(trial: Trial, model_id: str, state: State, scale: float, layers: Sequence[int], draft: Draft) -> None:
    before = _one_by_one(trial, model_id, (), 1.0, layers)
    after = _one_by_one(trial, model_id, state, scale, layers)
    record: dict[str, Any] = {}
    tensors = {}
    for layer in layers:
        spectrum = base.spectra(trial, model_id)[layer].spectrum
        record[str(layer)] = vars(paired_change(before[layer], after[layer], spectrum.rms_norm))
        components = project(spectrum, after[layer].double() - before[layer].double())
        tensors[f"pooled.{layer}"] = torch.stack([pool(components, name) for name in POOLINGS])
    draft.write_tensors(tensors)
    draft.write_json(record)


def _one_by_one(trial: Trial, model_id: str, state: State, scale: float, layers: Sequence[int]) -> dict[int, Tensor]:
    """States of all texts of the subset, each run alone: layer -> [m, d]; unedited ones are kept in memory."""
    memo = ("one-by-one", model_id, tuple(layers))
    if not state and memo in trial._memo:
        kept: dict[int, Tensor] = trial._memo[memo]
        return kept
    loaded, batches = trial.model(model_id), paired.subset(trial, model_id).batches
    texts = list(dict.fromkeys(row_texts(batches).tolist()))
    with installed(loaded.model, state, scale):
        found = states_again(loaded, [tokens_of(batches, text) for text in texts], layers, batches[0].positions)
    if not state:
        trial._memo[memo] = found
    return found


def _sizes_apart(stored: Mapping[str, float], again: Mapping[str, float]) -> float:
    """Largest difference of the sizes, over the mean size of the change."""
    if int(stored["n"]) != int(again["n"]):
        return float("inf")
    scale = max(abs(again["mean"]), torch.finfo(torch.float64).tiny)
    return max(_number(abs(stored[name] - again[name])) / scale for name in NORMS)


def _components_apart(stored: Tensor, again: Tensor) -> float:
    """Largest difference of pooled components [poolings, d], over each pooling's norm."""
    if stored.shape != again.shape:
        return float("inf")
    apart = (stored.double() - again.double()).norm(dim=1) / again.double().norm(dim=1)
    return _number(float(apart.max()))


def _number(value: float) -> float:
    return value if value == value else float("inf")
