"""Artifacts of the paired subset: the unedited model's states on the fixed texts that every edited state is paired on.

Versions below are part of the recipes: raise one whenever the same recipe would give other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass, row_texts, row_tokens
from editverdict.capture.texts import TokenBatch
from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import Spectrum, spectrum_of
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.trial import Trial
from editverdict.store import Draft, Recipe

SUBSET_VERSION = 3
LOWER_VERSION = 1


@dataclass(frozen=True)
class Subset:
    """Base states of the fixed subset: what every edited state is paired with."""

    batches: list[TokenBatch]
    states: dict[int, Tensor]
    """Layer -> base hidden states [m, d], for all measured layers."""
    bases: dict[int, Spectrum]
    """Layer -> spectrum of those states: the like for angles."""
    block: Tensor
    """[m] text block of each row."""
    tokens: Tensor
    """[m] token id of each row."""
    n_texts: int
    key: str


def subset(trial: Trial, model_id: str) -> Subset:
    """The paired subset, kept in memory; its states come from the store."""
    memo = ("subset", model_id)
    if memo in trial._memo:
        kept: Subset = trial._memo[memo]
        return kept
    loaded, sample = trial.model(model_id), trial.subset(model_id)
    layers = list(loaded.spec.layers.measured)
    batches = batches_of(loaded, sample)
    recipe = Recipe.of("subset", SUBSET_VERSION, model=loaded.identity.fields(), tokens=sample.hash, layers=layers)

    def produce(draft: Draft) -> None:
        rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}

        def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
            for layer in layers:
                rows[layer].append(batch.samples(seen["h", layer]).cpu())

        full_pass(loaded, batches, visit, outputs=layers)
        tensors = {"tokens": row_tokens(batches)}
        for layer in layers:
            states = torch.cat(rows[layer])
            tensors[f"states.{layer}"] = states
            moments = Moments(states.shape[1])
            moments.update(states)
            tensors |= {
                f"basis.{layer}.{k}": t
                for k, t in spectrum_of(moments, activation_dtype=states.dtype).to_tensors().items()
            }
        draft.write_tensors(tensors)

    artifact = trial.store.build(recipe, produce)
    tensors = artifact.tensors()
    found = Subset(
        batches=batches,
        states={layer: tensors[f"states.{layer}"] for layer in layers},
        bases={
            layer: Spectrum.from_tensors(
                {k.partition(f"basis.{layer}.")[2]: t for k, t in tensors.items() if k.startswith(f"basis.{layer}.")}
            )
            for layer in layers
        },
        block=torch.tensor([sample.block_of(int(text)) for text in row_texts(batches)]),
        tokens=tensors["tokens"],
        n_texts=sample.n_texts,
        key=artifact.key,
    )
    trial._memo[memo] = found
    return found


def lower_inputs(trial: Trial, model_id: str, start: int) -> list[Tensor]:
    """Inputs of layer ``start`` on the paired subset, per batch [b, t, d]: what base and edited model share.

    Kept in memory. Edited states run from their lowest edited layer up, so each ``start`` is an artifact of its own.
    """
    memo = ("lower", model_id, start)
    if memo in trial._memo:
        kept: list[Tensor] = trial._memo[memo]
        return kept
    loaded, batches = trial.model(model_id), subset(trial, model_id).batches
    recipe = Recipe.of(
        "lower-inputs",
        LOWER_VERSION,
        model=loaded.identity.fields(),
        tokens=trial.subset(model_id).hash,
        start=start,
    )

    def produce(draft: Draft) -> None:
        lower: list[Tensor] = []
        full_pass(loaded, batches, lambda _batch, seen: lower.append(seen["in", start].cpu()), layer_inputs=[start])
        draft.write_tensors({str(number): hidden for number, hidden in enumerate(lower)})

    tensors = trial.store.build(recipe, produce).tensors()
    found = [tensors[str(number)].to(loaded.device) for number in range(len(batches))]
    trial._memo[memo] = found
    return found
