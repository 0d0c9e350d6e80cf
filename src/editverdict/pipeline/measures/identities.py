"""Identities of the paper's algebra: true by construction, so they test the machinery and claim nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.passes import tail_pass
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.geometry.amplification import from_components
from editverdict.inference.intervals import t_interval
from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import spectrum_of
from editverdict.pipeline import base, paired, validity
from editverdict.pipeline.changes import Reach, changes, hidden_after, reach_of
from editverdict.pipeline.edits import state_key, steps
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.perturbation import (
    common_checks,
    edited_and_later,
    keys_of,
    method_of,
    units_picture,
)
from editverdict.pipeline.trial import Trial
from editverdict.store import Recipe

TELESCOPING_VERSION = 5
EVERY = 8
"""The telescoping identity is checked on every eighth batch of the subset: it holds for every token or for none."""


@measure("amplification_identity")
def amplification_identity(trial: Trial, case: Case) -> Measurement:
    """RMS of hidden states along u_k against σ_k/√n (Eq. 10) and R_k by both forms of Eq. 11, per block of texts."""
    sub, layers = paired.subset(trial, case.model), edited_and_later(trial, case)
    blocks = sorted(set(sub.block.tolist()))
    chosen = sorted({layers[0], layers[-1]})

    def deviation(rows: Tensor, *, centred: bool) -> float:
        moments = Moments(rows.shape[1])
        moments.update(rows)
        spectrum = spectrum_of(moments)
        keep = spectrum.identified
        x = rows.double() - (rows.double().mean(0) if centred else 0.0)
        rms = (x @ spectrum.basis).square().mean(0).sqrt()[keep]
        direct = (spectrum.sigma / math.sqrt(spectrum.n))[keep]
        # R_k of a unit component: as the library computes it, and by Definition 4.4 (the component over the RMS).
        computed = from_components(spectrum, torch.ones(1, spectrum.d, dtype=torch.float64)).r[keep]
        return max(float((rms / direct - 1).abs().max()), float((computed * rms - 1).abs().max()))

    def units(*, centred: bool) -> list[float]:
        return [max(deviation(sub.states[n][sub.block == b], centred=centred) for n in chosen) for b in blocks]

    made = Measurement({}, recipes=[sub.key])
    width = next(iter(sub.states.values())).shape[1]
    made.checks |= passed("enough-samples", len(sub.tokens) > width, f"{len(sub.tokens)} tokens, d = {width}")
    made.checks |= validity.results(validity.of_subset(trial, case.model, sub))
    made.definitions["relative-error"] = t_interval(units(centred=True))
    made.controls["uncentred"] = t_interval(units(centred=False))
    made.stands_on = f"{case.model}, {len(sub.tokens)} tokens in {len(blocks)} blocks, layers {chosen}"
    made.pictures.append(
        units_picture(
            case,
            "Deviation of the two sides",
            {
                "centred": made.definitions["relative-error"].units,
                "uncentred (negative)": made.controls["uncentred"].units,
            },
        )
    )
    return made


@measure("telescoping_residual")
def telescoping_residual(trial: Trial, case: Case) -> Measurement:
    """The change over a chain, measured at its end, against the sum of its steps' changes (Eq. 14), per block."""
    method = method_of(case)
    length = chain_length(trial, case)
    chain = steps(trial, case.model, method, trial.chains(str(case.dataset))[0][:length])
    at = reach_of(trial, case.model, [chain])
    sub = paired.subset(trial, case.model)
    recipe = Recipe.of(
        "telescoping",
        TELESCOPING_VERSION,
        model=trial.model(case.model).identity.fields(),
        subset=sub.key,
        blocks=trial.subset(case.model).n_blocks,
        base=base.base_recipe(trial, case.model),
        state=state_key(chain),
    )
    found = trial.store.build(recipe, lambda draft: draft.write_json(_residuals(trial, case.model, chain, at))).json()
    made = Measurement({}, edits=length)
    measured = changes(trial, case.model, [chain])
    checks = common_checks(trial, case, measured)
    made.checks = {name: check for name, check in checks.items() if name != "no-op-zero"}
    made.definitions["relative-residual"] = t_interval(found["all"])
    made.controls["one-step-missing"] = t_interval(found["missing"])
    made.stands_on = f"{case.subject}, one chain of {length} edits, {found['tokens']} tokens"
    made.recipes = [recipe.key, *keys_of(trial, case.model, measured)]
    # σ_min and n are the same on both sides, so the bound R(T) ≤ ΣR(t) is the triangle inequality.
    made.descriptive["r_min_over_sum_of_parts"] = found["sum_of_parts"]
    made.pictures.append(
        units_picture(
            case,
            "Residual of the sum",
            {
                "all steps": made.definitions["relative-residual"].units,
                "one-step-missing (negative)": made.controls["one-step-missing"].units,
            },
        )
    )
    return made


def _residuals(trial: Trial, model_id: str, chain: State, at: Reach) -> dict[str, Any]:
    """Residual per block of texts (the worst layer), with all steps and with the middle one left out.

    The steps are passes of their own; the total is the stored base states against a pass over the whole subset after
    the last edit, so that the two sides share nothing but the model, the tokens and the chain.
    """
    layers = list(at.layers)
    rows, blocks, along = _states_along(trial, model_id, chain, at)
    base_states, last = paired.subset(trial, model_id).states, hidden_after(trial, model_id, chain)
    totals = {layer: (last[layer].double() - base_states[layer].double())[rows] for layer in layers}

    def residual(block: int, leave_out: int | None) -> float:
        here, worst = blocks == block, 0.0
        for layer in layers:
            taken = [t for t in range(len(chain)) if t != leave_out]
            parts = torch.stack([(along[t + 1][layer] - along[t][layer])[here] for t in taken]).sum(0)
            total = totals[layer][here]
            worst = max(worst, float((total - parts).norm() / total.norm()))
        return worst

    names = sorted(set(blocks.tolist()))
    return {
        "all": [residual(b, None) for b in names],
        "missing": [residual(b, len(chain) // 2) for b in names],
        "tokens": len(blocks),
        "sum_of_parts": {str(layer): _share_of_parts(trial, model_id, layer, along) for layer in layers},
    }


def _share_of_parts(trial: Trial, model_id: str, layer: int, along: list[dict[int, Tensor]]) -> float:
    """R_min(T) over the sum of the steps' own R_min, at one layer: 1 if all steps push u_min one way (Eq. 16)."""
    spectrum = base.spectra(trial, model_id)[layer].spectrum
    weakest = spectrum.basis[:, spectrum.index_min]
    heights = [states[layer] @ weakest for states in along]
    parts = sum(float((after - before).abs().mean()) for before, after in itertools.pairwise(heights))
    return float((heights[-1] - heights[0]).abs().mean()) / parts


def _covering(batch_of_row: Tensor, block: Tensor) -> list[int]:
    """Every eighth batch, and as many more as it takes to have every block of texts among them."""
    chosen = list(range(0, int(batch_of_row.max()) + 1, EVERY))
    for wanted in sorted(set(block.tolist())):
        having = batch_of_row[block == wanted].tolist()
        if not set(having) & set(chosen):
            chosen.append(having[0])
    return sorted(chosen)


def _states_along(
    trial: Trial, model_id: str, chain: State, at: Reach
) -> tuple[Tensor, Tensor, list[dict[int, Tensor]]]:
    """Of some batches: their rows in the subset, their text blocks, hidden states (float64) after 0, 1, … T edits."""
    loaded, sub = trial.model(model_id), paired.subset(trial, model_id)
    counts = [len(batch.row_texts()) for batch in sub.batches]
    number = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    chosen = _covering(number, sub.block)
    rows = torch.isin(number, torch.tensor(chosen)).nonzero().flatten()
    inputs = paired.lower_inputs(trial, model_id, at.start)
    batches, lower = [sub.batches[i] for i in chosen], [inputs[i] for i in chosen]
    found = []
    for t in range(len(chain) + 1):
        with installed(loaded.model, chain[:t]):
            states = tail_pass(loaded, batches, lower, at.start, at.layers)
        found.append({layer: x.double().cpu() for layer, x in states.items()})
    return rows, sub.block[rows], found
