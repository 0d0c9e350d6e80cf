"""Where a method's edits begin, which layer is "the edited one", and which states are refused."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from editverdict.editors.base import State, Step
from editverdict.editors.deltas import dense, low_rank
from editverdict.models.sources import LoadedModel
from editverdict.pipeline.changes import Reach, reach_of
from editverdict.pipeline.trial import NotHere
from editverdict.schema.specs import LayerPlan


def down(layer: int) -> str:
    return f"model.layers.{layer}.mlp.down_proj.weight"


def edit(*layers: int) -> State:
    parts = [low_rank(down(layer), torch.ones(32, 1), torch.ones(1, 64)) for layer in layers]
    return (Step({key: tensor for part in parts for key, tensor in part.items()}),)


def reach(tiny: LoadedModel, measured: tuple[int, ...], *states: State, own: int | None = None) -> Reach:
    plan = LayerPlan(edit=measured[0] if own is None else own, measured=measured, inner=measured[:1])
    loaded = dataclasses.replace(tiny, spec=tiny.spec.model_copy(update={"layers": plan}))
    trial: Any = SimpleNamespace(model=lambda _name: loaded)
    return reach_of(trial, "tiny", states)


@pytest.mark.parametrize(
    ("measured", "edited", "expected"),
    [
        ((0, 1, 2, 3), (1,), Reach(1, 1, (1, 2, 3), (2, 3))),
        ((0, 1, 2, 3), (0, 1, 2), Reach(0, 2, (0, 1, 2, 3), (3,))),  # several edited layers: the highest measured one
        ((0, 2, 3), (0, 1), Reach(0, 0, (0, 2, 3), (2, 3))),  # layer 1 is edited but not measured
        ((1, 3), (2,), Reach(2, 3, (3,), (3,))),  # no edited layer is measured: the next one up
        ((0, 1, 2, 3), (2, 3), Reach(2, 3, (2, 3), ())),  # nothing lies above
    ],
)
def test_layers(tiny: LoadedModel, measured: tuple[int, ...], edited: tuple[int, ...], expected: Reach) -> None:
    assert reach(tiny, measured, (), edit(*edited)) == expected


def test_states_of_one_method_are_taken_together(tiny: LoadedModel) -> None:
    assert reach(tiny, (0, 1, 2, 3), edit(2), edit(1)) == Reach(1, 2, (1, 2, 3), (3,))


def test_what_changes_nothing_takes_the_models_own_layer(tiny: LoadedModel) -> None:
    assert reach(tiny, (0, 1, 2, 3), (), (Step(),), own=1) == Reach(1, 1, (1, 2, 3), (2, 3))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (dense("lm_head.weight", torch.ones(2, 2)), "this one changes lm_head.weight"),
        ({"codebook": torch.ones(2)}, "this one's is not"),
    ],
)
def test_anything_else_is_not_run(tiny: LoadedModel, tensors: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(NotHere, match=said):
        reach(tiny, (0, 1, 2, 3), (), (Step(tensors),))


def test_an_edit_above_all_measured_layers(tiny: LoadedModel) -> None:
    with pytest.raises(NotHere, match="above all measured layers"):
        reach(tiny, (0, 1), edit(3))
