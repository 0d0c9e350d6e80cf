"""Validity of first-order remainders: one edit's states run again, and its change and derivative held against them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from editverdict.capture.passes import row_texts
from editverdict.editors.base import State
from editverdict.editors.deltas import installed, touched
from editverdict.geometry.checks import CheckOutcome
from editverdict.geometry.recomputed import check_reproduced
from editverdict.models.attention import EAGER, eager_attention
from editverdict.models.sources import LoadedModel
from editverdict.numerics.precision import effective_dtype
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.linearity import Linearity, linear_sample, passes_of
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.validity import Finding, rows_of, states_again, weights_again
from editverdict.store import Draft, Recipe

VERSION = 1
SIZE_TOLERANCE = 0.02
"""Of the size of the change within a block of texts; a pairing, a layer or a state that is wrong makes it another."""
ROUNDING = 200.0
"""Of the size of the states, in machine epsilons: what passes in other batches leave between two changes (at most a
tenth). An edit whose change is no larger than that is held to nothing."""
LINEAR = 0.01
"""Largest remainder where the change is linear in the edited weight: the layer that is edited lowest."""


def of_first_edit(trial: Trial, model_id: str, state: State, found: Linearity) -> list[Finding]:
    """states-reproduced and change-recomputed of one edit; all texts of the sample are run again, one at a time.

    Parameters
    ----------
    state, found
        An edit that changes something, and what was measured of it.
    """
    layers = sorted(found.remainder)
    recipe = Recipe.of(
        "linearity-again",
        VERSION,
        model=trial.model(model_id).identity.fields(),
        attention=EAGER,
        tokens=linear_sample(trial, model_id).hash,
        blocks=linear_sample(trial, model_id).n_blocks,
        layers=layers,
        state=state_key(state),
    )
    record = trial.store.build(recipe, lambda draft: _produce(trial, model_id, state, layers, draft)).json()
    outcomes = [CheckOutcome("states-reproduced", bool(ok), str(detail)) for ok, detail in record["checks"]]
    outcomes.append(weights_again(trial, model_id))
    squares, sizes = ({int(n): v for n, v in record[what].items()} for what in ("change", "states"))
    rounding = float(record["rounding"])
    outcomes.append(check_sizes(found, squares, sizes, rounding))
    if _linear_there(trial.model(model_id), state, layers[0]):
        outcomes.append(check_derivative(found, rounding))
    return [Finding("first edit that changes anything", outcome) for outcome in outcomes]


def _linear_there(loaded: LoadedModel, state: State, layer: int) -> bool:
    """Whether an edit changes a layer's down-projection, and nothing before it: its output is linear in it."""
    return [name for name in touched(state) if (loaded.sites.layer_of(name) or 0) <= layer] == [
        loaded.sites.down_proj_weight(layer)
    ]


def _produce(trial: Trial, model_id: str, state: State, layers: Sequence[int], draft: Draft) -> None:
    loaded, sample = trial.model(model_id), linear_sample(trial, model_id)
    with eager_attention(loaded.model):
        before = states_again(loaded, sample.ids, layers, sample.positions)
        with installed(loaded.model, state):
            after = states_again(loaded, sample.ids, layers, sample.positions)
    batches, unedited, edited = passes_of(trial, model_id, state)
    rows = rows_of(row_texts(batches), range(sample.n_texts))
    checks = [
        check_reproduced({n: x.cpu()[rows] for n, x in stored.items()}, fresh)
        for stored, fresh in ((unedited, before), (edited, after))
    ]
    texts = row_texts(batches)[rows].tolist()
    block = torch.tensor([sample.block_of(int(text)) for text in texts])

    def by_block(x: Tensor) -> list[float]:
        found: list[float] = x.new_zeros(sample.n_blocks).index_add_(0, block, x.square().sum(1)).tolist()
        return found

    eps = torch.finfo(effective_dtype(before[layers[0]])).eps
    draft.write_json(
        {
            "rounding": min(0.1, ROUNDING * eps),
            "checks": [[one.ok, one.detail] for one in checks],
            "change": {str(n): by_block(after[n].double() - before[n].double()) for n in layers},
            "states": {str(n): by_block(before[n].double()) for n in layers},
        }
    )


def check_sizes(
    found: Linearity, change: Mapping[int, Sequence[float]], states: Mapping[int, Sequence[float]], rounding: float
) -> CheckOutcome:
    """change-recomputed: squared norms of the change per layer and block of texts, as stored and as found again.

    Parameters
    ----------
    found
        As stored.
    change, states
        Layer -> squared Frobenius norms per block of the change and of the unedited states, found again.
    rounding
        Part of the size of the states that two passes may differ by.
    """
    problems, worst = [], 0.0
    for layer, own in change.items():
        stored = [math.sqrt(bottom) for _, bottom in found.blocks["remainder"].get(layer, [])]
        again = [math.sqrt(value) for value in own]
        limit = [SIZE_TOLERANCE * a + rounding * math.sqrt(h) for a, h in zip(again, states[layer], strict=True)]
        if len(stored) != len(again) or any(
            not abs(a - b) <= most for a, b, most in zip(stored, again, limit, strict=True)
        ):
            problems.append(f"layer {layer}: the change is of another size in some block of texts")
        elif any(again):
            worst = max(worst, max(abs(a - b) / a for a, b in zip(again, stored, strict=True) if a > 0.0))
    detail = "; ".join(problems[:3]) or f"sizes of the change found again at {len(change)} layers, within {worst:.2g}"
    return CheckOutcome("change-recomputed", not problems, detail)


def check_derivative(found: Linearity, rounding: float) -> CheckOutcome:
    """change-recomputed: at the lowest edited layer the change is linear in the weight, so it is its own prediction."""
    layer = min(found.remainder)
    value, size = found.remainder[layer], found.size[layer]
    limit = LINEAR + (rounding / size if size > 0.0 else math.inf)
    ok = value is not None and value <= limit
    shown = "no remainder" if value is None else f"remainder {value:.2g}"
    detail = f"layer {layer}: {shown} where the change is linear in the weight (at most {limit:.2g})"
    return CheckOutcome("change-recomputed", ok, detail)
