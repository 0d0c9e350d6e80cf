"""Identities of the paper's algebra: true by construction, so they test the machinery and claim nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from editverdict.capture.passes import row_texts, tail_pass
from editverdict.editors.base import State
from editverdict.editors.deltas import installed
from editverdict.inference.intervals import t_interval
from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import spectrum_of
from editverdict.pipeline import base
from editverdict.pipeline.changes import changes
from editverdict.pipeline.edits import steps
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, measure, passed
from editverdict.pipeline.measures.perturbation import (
    common_checks,
    edited_and_later,
    method_of,
    units_picture,
)
from editverdict.pipeline.trial import Trial

EVERY = 4
"""The telescoping identity is checked on every fourth batch of the subset: it holds for every token or for none."""


@measure("amplification_identity")
def amplification_identity(trial: Trial, case: Case) -> Measurement:
    """RMS of hidden states along u_k against σ_k/√n (Eq. 10) and R_k by both forms of Eq. 11, per block of texts."""
    sub, layers = base.subset(trial, case.model), edited_and_later(trial, case.model)
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
        # R_k of a unit component by its definition (c over RMS) and by its closed form.
        by_rms, by_sigma = 1 / rms, math.sqrt(spectrum.n) / spectrum.sigma[keep]
        return max(float((rms / direct - 1).abs().max()), float((by_rms / by_sigma - 1).abs().max()))

    def units(*, centred: bool) -> list[float]:
        return [max(deviation(sub.states[n][sub.block == b], centred=centred) for n in chosen) for b in blocks]

    made = Measurement({}, recipes=[sub.key])
    width = next(iter(sub.states.values())).shape[1]
    made.checks |= passed("enough-samples", len(sub.tokens) > width, f"{len(sub.tokens)} tokens, d = {width}")
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
    """The change over a chain against the sum of its steps' changes (Eq. 14), per block of texts."""
    method, layers = method_of(case), edited_and_later(trial, case.model)
    length = chain_length(trial, case)
    chain = steps(trial, case.model, method, trial.chains(str(case.dataset))[0][:length])
    blocks, states = _states_along(trial, case.model, chain, layers)
    names = sorted(set(blocks.tolist()))

    def residual(block: int, leave_out: int | None) -> float:
        worst, rows = 0.0, blocks == block
        for layer in layers:
            total = (states[-1][layer] - states[0][layer])[rows]
            parts = sum((states[t + 1][layer] - states[t][layer])[rows] for t in range(length) if t != leave_out)
            worst = max(worst, float((total - parts).norm() / total.norm()))
        return worst

    made = Measurement({}, edits=length)
    made.checks = {
        k: v for k, v in common_checks(trial, case, changes(trial, case.model, [chain])).items() if k != "no-op-zero"
    }
    made.definitions["relative-residual"] = t_interval([residual(b, None) for b in names])
    made.controls["one-step-missing"] = t_interval([residual(b, length // 2) for b in names])
    made.stands_on = f"{case.subject}, one chain of {length} edits, {len(blocks)} tokens"
    made.pictures.append(
        units_picture(
            case,
            "Residual of the sum",
            {
                "all steps": made.definitions["relative-residual"].units,
                "one step missing (negative)": made.controls["one-step-missing"].units,
            },
        )
    )
    return made


def _states_along(
    trial: Trial, model_id: str, chain: State, layers: list[int]
) -> tuple[Tensor, list[dict[int, Tensor]]]:
    """Hidden states (float64) after 0, 1, … T edits on every fourth batch, and the text block of each row."""
    loaded, sub = trial.model(model_id), base.subset(trial, model_id)
    batches, lower = sub.batches[::EVERY], sub.lower[::EVERY]
    found = []
    for t in range(len(chain) + 1):
        with installed(loaded.model, chain[:t]):
            states = tail_pass(loaded, batches, lower, loaded.spec.layers.edit, layers)
        found.append({layer: x.double().cpu() for layer, x in states.items()})
    sample = trial.subset(model_id)
    return torch.tensor([sample.block_of(int(text)) for text in row_texts(batches)]), found
