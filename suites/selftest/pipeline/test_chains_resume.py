"""Chains that stop and go on give the bits of chains that do not: what methods carry along is in their steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from editverdict.editors.base import State, done_edits
from editverdict.pipeline.edits import steps
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
LENGTH = 5
MERGED = 6
"""WISE merges its shards, of two edits each here, after four, so that two follow the merge."""
TWO_BATCHES = 8
CARRYING = ["MEMIT", "AlphaEdit", "WISE", "GRACE", "MEND", "ROME"]
"""Keys, shards, a codebook, a hypernetwork; and nothing."""
BATCHED = ["MEMIT", "AlphaEdit", "MEND"]
VALUE = {"value": {"steps": 8}}
SHORTER = {
    "ROME": VALUE,
    "MEMIT": VALUE,
    "AlphaEdit": VALUE,
    "WISE": {"steps": 10, "edits_per_shard": 2},
    "GRACE": {"steps": 12},
}
"""Steps of descent per edit, fewer than the methods take: it is the bits of a chain that count, not its success."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Model and data, loaded once."""
    trial = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("first")), ROOT / "specs")
    sizes = trial.profile.sizes.model_copy(update={"long_chain": max(MERGED, TWO_BATCHES)})
    methods = dict(trial.library.methods)
    for name, shorter in SHORTER.items():
        hyperparameters = {**methods[name].hyperparameters, **shorter}
        methods[name] = methods[name].model_copy(update={"hyperparameters": hyperparameters})
    library = dataclasses.replace(trial.library, methods=methods)
    return dataclasses.replace(
        trial, library=library, profile=trial.profile.model_copy(update={"sizes": sizes}), _memo={}
    )


def fresh(first: Trial, store: Path) -> Trial:
    """A trial that has computed nothing yet: everything is made, or comes out of the store as it was left."""
    return dataclasses.replace(first, store=Store(store), _memo={})


def chain_of(trial: Trial, method: str, length: int, batch: int) -> State:
    records = list(trial.chains("worldfacts")[0][:length])
    assert len(records) == length
    return steps(trial, MODEL, method, records, batch)


def assert_same(one: State, other: State) -> None:
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert mine.tensors.keys() == theirs.tensors.keys() and mine.info["key"] == theirs.info["key"]
        assert all(torch.equal(mine.tensors[name], theirs.tensors[name]) for name in mine.tensors)


@pytest.mark.parametrize(
    ("method", "stop", "length", "batch"),
    [
        *((name, 3, LENGTH, 1) for name in CARRYING if name != "WISE"),
        ("WISE", MERGED - 1, MERGED, 1),
        *((name, TWO_BATCHES // 2, TWO_BATCHES, TWO_BATCHES // 2) for name in BATCHED),
    ],
)
def test_a_chain_goes_on_where_it_stopped(
    first: Trial, tmp_path: Path, method: str, stop: int, length: int, batch: int
) -> None:
    whole = chain_of(fresh(first, tmp_path / "whole"), method, length, batch)
    chain_of(fresh(first, tmp_path / "stopped"), method, stop, batch)
    resumed = chain_of(fresh(first, tmp_path / "stopped"), method, length, batch)
    assert done_edits(resumed) == length and len(resumed) == length // batch
    assert_same(resumed, whole)
    changed = [name for name in whole[-1].tensors if whole[-1].tensors[name].is_floating_point()]
    assert any(bool(whole[-1].tensors[name].abs().sum()) for name in changed), "the last step is empty"


@pytest.mark.parametrize("method", BATCHED)
def test_a_batch_is_not_its_edits_one_by_one(first: Trial, tmp_path: Path, method: str) -> None:
    trial = fresh(first, tmp_path)
    together, apart = (chain_of(trial, method, 4, batch) for batch in (4, 1))
    assert len(together) == 1 and len(apart) == 4
    assert together[0].edits == done_edits(apart) == 4
    assert together[0].info["key"] not in {step.info["key"] for step in apart}


@pytest.mark.parametrize("method", ["ROME", "MEMIT"])
def test_chains_side_by_side_are_those_alone(first: Trial, tmp_path: Path, method: str) -> None:
    """What is optimised together is each chain's own value up to rounding; the key says with whom it was."""
    together = fresh(first, tmp_path / "together")
    chains = [chain[:3] for chain in together.chains("worldfacts")]
    assert len(together.side_by_side(chains[0])) == len(chains) > 1
    alone = dataclasses.replace(
        fresh(first, tmp_path / "alone"),
        profile=first.profile.model_copy(update={"sizes": first.profile.sizes.model_copy(update={"chains": 1})}),
    )
    (own,) = alone.side_by_side(chains[0])
    assert own == chains[0]
    one, other = (steps(trial, MODEL, method, chains[0]) for trial in (together, alone))
    for mine, theirs in zip(one[1:], other[1:], strict=True):
        assert mine.info["key"] != theirs.info["key"]
        for name, tensor in mine.tensors.items():
            torch.testing.assert_close(tensor, theirs.tensors[name], rtol=2e-2, atol=2e-3)
    built = together.store.ledger.snapshot()["value"].built
    steps(together, MODEL, method, chains[1])
    assert together.store.ledger.snapshot()["value"].built == built, "the other chain's values were made with the first"
