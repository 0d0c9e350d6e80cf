"""Pairing of a model that an edit has destroyed: shown by running all texts again, but not where rows are exchanged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from editverdict.editors.base import State, Step
from editverdict.editors.deltas import dense
from editverdict.inference.rows import CheckResult
from editverdict.pipeline import changes
from editverdict.pipeline.changes import Change
from editverdict.pipeline.matrix import matrix
from editverdict.pipeline.measures.perturbation import common_checks, keys_of, start
from editverdict.pipeline.paired_again import pairing_of
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


def measured(own: Trial, times: float) -> Change:
    return changes.changes(own, MODEL, [noise(own, times)])[0]


def paired(own: Trial, change: Change) -> CheckResult:
    """The check as claims about edited states have it."""
    case = next(case for case in matrix(own.library, own.profile) if case.claim.id == "smallpert-norm")
    return common_checks(own, case, [change])["samples-paired"]


def two_exchanged(m: int) -> torch.Tensor:
    order = torch.arange(m)
    order[[m // 3, m // 2]] = order[[m // 2, m // 3]]
    return order


def kinds_in(own: Trial) -> set[str]:
    return {folder.name for folder in own.store.root.iterdir()}


def test_states_that_resemble_their_own_are_run_once(world: World) -> None:
    own = world.again(KINDS)
    found = measured(own, 1.0)
    assert paired(own, found).ok and keys_of(own, MODEL, [found]) == [found.key]
    assert "paired-again" not in kinds_in(own)


def test_a_destroyed_model_is_paired_by_texts_run_one_by_one(world: World) -> None:
    own = world.again(KINDS)
    found = measured(own, 100.0)
    assert not any(ok for ok, _ in found.checks.values()), "the arrays themselves say nothing"
    check = paired(own, found)
    assert check.ok, check.detail
    assert "ahead of its neighbours by -" in check.detail and "run again one by one" in check.detail
    # It stands on an artifact of its own, which is part of the evidence and which a second run finds.
    (key, again) = keys_of(own, MODEL, [found])
    case = next(case for case in matrix(own.library, own.profile) if case.claim.id == "smallpert-norm")
    assert key == found.key and start(own, case, [found], "one edit").recipes[-1] == again
    built = own.store.ledger.snapshot()["paired-again"].built
    own._memo.clear()
    assert paired(own, found).detail == check.detail
    assert own.store.ledger.snapshot()["paired-again"].built == built == 1


@pytest.mark.parametrize("order", [all_over, by_one, a_tenth, two_exchanged])
def test_a_destroyed_model_with_samples_out_of_order_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, order: Callable[[int], torch.Tensor]
) -> None:
    own = world.again(KINDS)
    reorder(monkeypatch, order)
    check = paired(own, measured(own, 100.0))
    assert not check.ok
    assert "size and components of the change are others" in check.detail


def test_where_likeness_did_not_decide_nothing_is_run_again(world: World) -> None:
    own = world.again(KINDS)
    found = measured(own, 100.0)
    found.checks["layer 1"] = (False, "token ids differ: hash 1 against 2")
    pairing = pairing_of(own, MODEL, found)
    assert not pairing.ok and "token ids differ" in pairing.detail
    assert "paired-again" not in kinds_in(own)
