"""The controls: an update that is random, and one that is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from editverdict.data.records import EditRecord
from editverdict.editors import Resources, Step, make_editor
from editverdict.editors.deltas import low_rank, total_delta
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel

NAMES = ("model.layers.1.mlp.down_proj.weight", "model.layers.3.mlp.down_proj.weight")


def imitated(rank: int = 2) -> Step:
    """A step of some method on two weights, of different norms."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for size, name in enumerate(NAMES, start=1):
        left = torch.randn(32, rank, generator=generator, dtype=torch.float64) * size
        tensors.update(low_rank(name, left, torch.randn(rank, 64, generator=generator, dtype=torch.float64)))
    return Step(tensors)


def placebo(
    tiny: LoadedModel, resources: Callable[..., Resources], records: list[EditRecord], seed: int = 0, like: str = "ROME"
) -> Step:
    asked = []

    def step_of(method: str, chain: list[EditRecord]) -> Step:
        asked.append((method, chain))
        return imitated()

    step = make_editor("placebo", {"like": like, "seed": seed}).edit(tiny, (), records, resources(step_of=step_of))
    assert asked == [(like, records)]
    return step


def test_equal_rank_and_norm_at_the_same_weights(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    fake, real = placebo(tiny, resources, edits), imitated()
    assert fake.tensors.keys() == real.tensors.keys()
    for name in NAMES:
        mine, theirs = total_delta((fake,), name), total_delta((real,), name)
        assert float(mine.norm()) == pytest.approx(float(theirs.norm()), rel=1e-12)
        assert torch.linalg.matrix_rank(mine) == torch.linalg.matrix_rank(theirs) == 2
        alignment = float((mine * theirs).sum() / mine.norm() / theirs.norm())
        assert abs(alignment) < 0.2, "the placebo follows the update that it imitates"


def test_a_function_of_seed_method_and_chain(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    state = torch.random.get_rng_state()
    name = f"{NAMES[0]}:left"
    torch.manual_seed(0)
    first = placebo(tiny, resources, edits)
    torch.manual_seed(1)
    assert all(torch.equal(t, first.tensors[k]) for k, t in placebo(tiny, resources, edits).tensors.items())
    others = [
        placebo(tiny, resources, edits, seed=1),
        placebo(tiny, resources, edits, like="SCR"),
        placebo(tiny, resources, edits[:2]),
        placebo(tiny, resources, edits[::-1]),
        placebo(tiny, resources, edits[2:]),
    ]
    drawn = [first, *others]
    assert len({tuple(step.tensors[name].flatten().tolist()) for step in drawn}) == len(drawn)
    torch.random.set_rng_state(state)
    placebo(tiny, resources, edits)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_method_without_weights_has_an_empty_placebo(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    editor = make_editor("placebo", {"like": "SCR"})
    step = editor.edit(tiny, (), edits, resources(step_of=lambda _method, _chain: Step(info={"statement": "text"})))
    assert step.tensors == {}
    with editor.install(tiny, (step,), edits, resources()):
        assert hash_weights(tiny.model) == tiny.identity.weights


def test_placebo_goes_into_the_weights_and_out_again(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    editor, state = make_editor("placebo", {"like": "ROME"}), (placebo(tiny, resources, edits),)
    with editor.install(tiny, state, edits, resources()):
        assert hash_weights(tiny.model) != tiny.identity.weights
    assert hash_weights(tiny.model) == tiny.identity.weights


def test_the_edit_that_does_nothing(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    editor = make_editor("no-op", {})
    step = editor.edit(tiny, (), edits, resources())
    assert step.tensors == {} and step.info == {}
    # Even a state that holds something is not put in force by the control that does nothing.
    for state in ((step,), (imitated(),)):
        with editor.install(tiny, state, edits, resources()) as answering:
            assert hash_weights(tiny.model) == tiny.identity.weights
            assert answering.prompts(["Who?"]) == ["Who?"]
