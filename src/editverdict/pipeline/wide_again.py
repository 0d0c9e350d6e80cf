"""Angles on the larger sample found again: what ``pipeline.wide_angles`` keeps of its passes is nothing but angles.

Of one state of a claim both passes are made once more, over whole sequences where the artifact goes on from stored
inputs; a few texts are run alone, spectra are held against sums of the states, and angles come from eigenvalues.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.passes import full_pass
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry.angles import paper_ks
from editverdict.geometry.checks import CheckOutcome
from editverdict.geometry.recomputed import angles_again, check_reproduced, check_spectrum
from editverdict.geometry.sketch import Sketch
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import Again, Finding
from editverdict.pipeline.wide_angles import Angles, bases_of
from editverdict.store import Draft, Recipe

VERSION = 1
APART = 1e-2
"""Between a stored cosine and one found again. Another machine rounds states otherwise, by 1e-6 of their size; where
neighbouring singular values differ by a thousandth, directions turn by a thousand times that."""


def found_again(trial: Trial, model_id: str, sample: TextSample, state: State, stored: Angles) -> list[Finding]:
    """Findings about one state's angles on the larger sample, and about the unedited states that they are taken to."""
    recipe = Recipe.of(
        "wide-angles-again",
        VERSION,
        model=trial.model(model_id).identity.fields(),
        tokens=sample.hash,
        layers=sorted(stored),
        state=state_key(state),
    )
    record = trial.store.build(recipe, lambda draft: _produce(trial, model_id, sample, state, sorted(stored), draft))
    found = record.json()
    outcomes = [CheckOutcome(str(name), bool(ok), str(detail)) for name, ok, detail in found["checks"]]
    outcomes.append(check_cosines(stored, {int(layer): own for layer, own in found["angles"].items()}))
    return [Finding("large sample", outcome) for outcome in outcomes]


def _produce(
    trial: Trial, model_id: str, sample: TextSample, state: State, layers: Sequence[int], draft: Draft
) -> None:
    loaded = trial.model(model_id)
    batches = batches_of(loaded, sample)
    outcomes, bases = list[CheckOutcome](), []
    for one in ((), state):
        rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}

        def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor], rows: dict[int, list[Tensor]] = rows) -> None:
            for layer in layers:
                rows[layer].append(batch.samples(seen["h", layer]).cpu())

        with installed(loaded.model, one):
            full_pass(loaded, batches, visit, outputs=list(layers))
        states = {layer: torch.cat(parts) for layer, parts in rows.items()}
        again = Again(loaded, batches, layers, one)
        outcomes.append(check_reproduced(again.stored(states), again.states))
        spectra = bases_of(states)
        outcomes += [check_spectrum(spectra[layer], Sketch.of(states[layer])) for layer in layers]
        bases.append({layer: spectrum.basis for layer, spectrum in spectra.items()})
    before, after = bases
    checks: list[list[Any]] = [[one.name, one.ok, one.detail] for one in outcomes]
    angles = {
        str(n): {label: angles_again(before[n], after[n], k) for label, k in paper_ks(len(before[n])).items()}
        for n in layers
    }
    draft.write_json({"checks": checks, "angles": angles})


def check_cosines(stored: Angles, again: Mapping[int, Mapping[str, Mapping[str, float]]]) -> CheckOutcome:
    """angles-recomputed: cosines of the larger sample as stored and as found again."""
    problems, worst = list[str](), 0.0
    for layer, by_k in again.items():
        for label, own in by_k.items():
            for name, value in own.items():
                apart = abs(stored[layer][label][name] - value)
                worst = max(worst, apart)
                if not apart <= APART:
                    known = stored[layer][label][name]
                    problems.append(f"layer {layer}, k {label}: {name} is {known:.4g}, found again {value:.4g}")
    detail = "; ".join(problems[:3]) or f"cosines found again at {len(again)} layers, within {worst:.2g}"
    return CheckOutcome("angles-recomputed", not problems, detail)
