"""Pairing of a model that an edit has destroyed: shown by running all texts again, but not where rows are exchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from editverdict.editors.base import State, Step
from editverdict.editors.deltas import dense
from editverdict.pipeline import changes
from editverdict.pipeline.changes import Change
from editverdict.pipeline.trial import Trial
from suites.selftest.pipeline.corruption import EDITED, MODEL, World, a_tenth, all_over, by_one, reorder

KINDS = (*EDITED, "paired-again")


def noise(own: Trial, times: float) -> State:
    """Gaussian noise on the edited weight, of so many times its own spread."""
    loaded = own.model(MODEL)
    weight = loaded.sites.down_proj(loaded.spec.layers.edit).weight
    name = next(name for name, parameter in loaded.model.named_parameters() if parameter is weight)
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * weight.detach().std() * times
    return (Step(dense(name, drawn), {"key": f"noise-{times:g}"}),)


def measured(own: Trial, times: float, scale: float = 1.0) -> Change:
    return changes.changes(own, MODEL, [noise(own, times)], scale)[0]


def two_exchanged(m: int) -> torch.Tensor:
    order = torch.arange(m)
    order[[m // 3, m // 2]] = order[[m // 2, m // 3]]
    return order


def kinds_in(own: Trial) -> set[str]:
    return {folder.name for folder in own.store.root.iterdir()}


def test_states_that_resemble_their_own_are_run_once(world: World) -> None:
    own = world.again(KINDS)
    found = measured(own, 1.0)
    assert set(found.checks) == {"layer 1", "layer 3"} and all(ok for ok, _ in found.checks.values())
    assert "paired-again" not in kinds_in(own)


def test_a_destroyed_model_is_paired_by_texts_run_one_by_one(world: World) -> None:
    own = world.again(KINDS)
    found = measured(own, 100.0)
    (ok, detail) = found.checks["all layers"]
    assert ok, detail
    assert "ahead of its neighbours by -" in detail and "run one by one" in detail
    # It stands on an artifact of its own, which a second run finds.
    assert "paired-again" in kinds_in(own)


@pytest.mark.parametrize("order", [all_over, by_one, a_tenth, two_exchanged])
def test_a_destroyed_model_with_samples_out_of_order_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, order: Callable[[int], torch.Tensor]
) -> None:
    own = world.again(KINDS)
    reorder(monkeypatch, order)
    (ok, detail) = measured(own, 100.0).checks["all layers"]
    assert not ok
    assert "size or components of the change are others" in detail


def test_nothing_is_run_again_for_a_control(world: World) -> None:
    own = world.again(KINDS)
    assert not all(ok for ok, _ in measured(own, 10.0, scale=10.0).checks.values())
    assert "paired-again" not in kinds_in(own)
