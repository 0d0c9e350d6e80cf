"""WISE: its equations restated, shards over a chain, and what counts as irrelevant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from editverdict.data.records import EditRecord, Probe
from editverdict.editors import EditError, Resources, Step
from editverdict.editors.tails import passage
from editverdict.editors.wise import (
    WiseSettings,
    margin_loss,
    shard_of,
    shard_places,
    side_memory,
    threshold,
    ties_merge,
)
from editverdict.editors.wise_routing import text_activation
from editverdict.models.sources import LoadedModel
from suites.selftest.editors.small_wise import CORPUS, chain, clean, wise

SIZE = 32 * 64


@pytest.fixture
def given(resources: Callable[..., Resources]) -> Resources:
    return resources(texts=lambda count: CORPUS[:count], train_edits=lambda: [])


# ---------------------------------------------------------------------------------------------------- the equations
@pytest.mark.parametrize("over", ["mean", "max"])
def test_a_texts_activation_leaves_padding_out(over: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    key, delta = torch.randn(2, 3, 5, generator=generator).double(), torch.randn(4, 5, generator=generator).double()
    shift = key @ delta.T
    shift[1, 0] = float("nan")
    shift[0, 2] = float("inf")
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    norms = [
        [sum(float(delta[row] @ key[b, t]) ** 2 for row in range(4)) ** 0.5 for t in range(3) if mask[b, t]]
        for b in range(2)
    ]
    expected = [max(row) if over == "max" else sum(row) / len(row) for row in norms]
    assert text_activation(shift, mask, over).tolist() == pytest.approx(expected, rel=1e-12)


def test_margin_loss_restated() -> None:
    edits, irrelevant = [1.0, 9.5, 30.0], [0.5, 6.0]
    alpha, beta, gamma = 5.0, 10.0, 8.0
    terms = [max(0.0, i - alpha) + max(0.0, beta - e) + max(0.0, gamma - (e - i)) for e in edits for i in irrelevant]
    found = margin_loss(torch.tensor(edits).double(), torch.tensor(irrelevant).double(), alpha, beta, gamma)
    assert float(found) == pytest.approx(sum(terms) / len(terms), rel=1e-12)
    assert float(margin_loss(torch.tensor([25.0]), torch.tensor([4.0]), 5.0, 20.0, 10.0)) == 0.0


def test_masks_have_their_density_and_overlap_by_chance() -> None:
    """Theorem 2.1: two masks of ratio rho share rho^2 of the weights."""
    size, ratio = 50_000, 0.2
    first, second = (set(shard_places(size, ratio, seed).tolist()) for seed in ("0|a", "0|b"))
    assert len(first) == len(second) == 10_000 and max(first | second) < size
    # Hypergeometric: the standard deviation is 36.
    assert abs(len(first & second) - size * ratio**2) < 5 * 36
    assert torch.equal(shard_places(size, ratio, "0|a"), shard_places(size, ratio, "0|a"))
    assert shard_places(10, 1.0, "x").tolist() == list(range(10))


def test_ties_by_hand() -> None:
    vectors = torch.tensor([[4.0, -1.0, 3.0, 0.5, 0.0, 2.0], [2.0, 5.0, -3.5, 0.1, -6.0, 0.2]]).double()
    # Density 0.5 keeps 4, 3, 2 of the first and 5, 3.5, 6 of the second.
    found = ties_merge(vectors, torch.tensor([0.5, 0.5]).double(), 0.5)
    assert found.tolist() == pytest.approx([4.0, 5.0, -3.5, 0.0, -6.0, 2.0])
    # Nothing trimmed: entries that agree are averaged, those that do not follow the larger sum.
    found = ties_merge(vectors, torch.tensor([0.5, 0.5]).double(), 1.0)
    assert found.tolist() == pytest.approx([3.0, 5.0, -3.5, 0.3, -6.0, 1.1])
    # Weights decide the sign and the mean.
    found = ties_merge(vectors, torch.tensor([0.9, 0.1]).double(), 1.0)
    assert found.tolist() == pytest.approx([3.8, -1.0, 3.0, 0.46, -6.0, 1.82])


def test_one_step_is_masked_gradient_descent(tiny: LoadedModel, given: Resources, edits: list[EditRecord]) -> None:
    """Eq. 7 with the loss of eq. 5, restated on the whole model in float64 with the weight itself as the variable."""
    settings = {"steps": 2, "learning_rate": 0.05, "early_stop": 0.0, "over_tokens": "mean"}
    editor = wise(**settings)
    step = editor.edit(tiny, (), edits[2:], given)
    places = shard_places(SIZE, 0.2, shard_of(editor.hyperparameters, 0).name)
    edit, tokenizer, model = edits[2], tiny.tokenizer, tiny.model.double()
    prompts, target = [edit.prompt, f"It is so. {edit.prompt}"], tokenizer(" " + edit.target_new)["input_ids"]
    weight, keys = tiny.sites.down_proj(1).weight, []
    base, values = weight.detach().clone(), torch.zeros(len(places), dtype=torch.float64)
    handle = tiny.sites.down_proj(1).register_forward_hook(lambda _m, args, _o: keys.append(args[0][0]))
    try:
        trace = []
        for _ in range(2):
            delta = torch.zeros(SIZE, dtype=torch.float64)
            delta[places] = values
            delta = delta.reshape(32, 64).requires_grad_()
            nll, active, quiet = [], [], []
            for prompt in prompts:
                head = tokenizer(prompt)["input_ids"]
                ids = torch.tensor([[*head, *target[:-1]]])
                rows = (
                    torch.func.functional_call(model, {"model.layers.1.mlp.down_proj.weight": base + delta}, (ids,))
                    .logits[0, len(head) - 1 :]
                    .log_softmax(-1)
                )
                nll.append(-rows[torch.arange(len(target)), torch.tensor(target)].mean())
                active.append((keys[-1][: len(head)] @ delta.T).norm(dim=1).mean())
            for text in CORPUS:
                model(torch.tensor([tokenizer(text)["input_ids"]]))
                quiet.append((keys[-1] @ delta.T).norm(dim=1).mean())
            pairs = [
                (i - 0.5).clamp(min=0) + (3.0 - e).clamp(min=0) + (2.0 - (e - i)).clamp(min=0)
                for e in active
                for i in quiet
            ]
            loss = torch.stack(nll).mean() + torch.stack(pairs).mean()
            (slope,) = torch.autograd.grad(loss, delta)
            values = values - 0.05 * slope.flatten()[places]
            trace.append(float(loss.detach()))
    finally:
        handle.remove()
        tiny.model.float()
    assert [one["loss"] for one in step.info["trace"]] == pytest.approx(trace, rel=1e-4)
    torch.testing.assert_close(step.tensors["side.values"].double(), values, atol=1e-5, rtol=1e-3)
    assert float(values.abs().max()) > 1e-3


# ------------------------------------------------------------------------------------------------------- the shards
def test_shards_fill_up_and_are_merged_over_a_chain() -> None:
    """Two edits per shard, two shards: edits 1-2, 3-4 | 5-6, 7; merged at 4, and as they are in between."""
    settings, size = WiseSettings(shards=2, edits_per_shard=2, mask_ratio=0.5, density=0.8, kept_weight=0.6), 40
    names = [shard_of(settings, number).name for number in range(7)]
    assert [shard_of(settings, number).started for number in range(7)] == [False, True] * 3 + [False]
    assert len(set(names)) == 4 and names[0] == names[1] and names[4] == names[5] != names[6]
    generator = torch.Generator().manual_seed(1)
    state = tuple(
        Step({"side.values": torch.randn(20, generator=generator), "side.activation": torch.tensor([9.0 - number])})
        for number in range(7)
    )
    assert threshold(settings, state[:3]) == pytest.approx(0.88 * 7) and threshold(settings, state) < 0.88 * 4

    def vector(number: int) -> Tensor:
        found = torch.zeros(size, dtype=torch.float64)
        found[shard_places(size, 0.5, names[number])] = state[number].tensors["side.values"].double()
        return found

    def merged(*parts: tuple[float, Tensor]) -> Tensor:
        weights, vectors = zip(*parts, strict=True)
        return ties_merge(torch.stack(vectors), torch.tensor(weights, dtype=torch.float64), 0.8)

    def memory(edits: int) -> Tensor:
        return side_memory(settings, state[:edits], size)

    assert torch.equal(memory(0), torch.zeros(size, dtype=torch.float64))
    assert torch.equal(memory(1), vector(0)) and torch.equal(memory(2), vector(1))
    torch.testing.assert_close(memory(3), merged((0.5, vector(1)), (0.5, vector(2))))
    first = merged((0.5, vector(1)), (0.5, vector(3)))
    torch.testing.assert_close(memory(4), first)
    torch.testing.assert_close(memory(6), merged((0.4, vector(5)), (0.6, first)))
    torch.testing.assert_close(memory(7), merged((0.2, vector(5)), (0.2, vector(6)), (0.6, first)))
    assert not torch.allclose(memory(7), memory(6), atol=1e-2)


def test_a_chain_resumes_from_the_file_bit_by_bit(
    tiny: LoadedModel, given: Resources, edits: list[EditRecord], stored: Callable[[Step], Step]
) -> None:
    editor = wise(steps=6)
    more = [edit.model_copy(update={"id": f"{edit.id}b", "target_new": "the sea"}) for edit in edits]
    records = [*edits, *more]
    whole = chain(editor, tiny, records, given)
    for stop in (1, 2, 5):
        resumed = chain(editor, tiny, records, given, state=tuple(stored(step) for step in whole[:stop]))
        for one, other in zip(whole, resumed, strict=True):
            assert one.tensors.keys() == other.tensors.keys() and one.edits == 1
            assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    # The second edit of a shard goes on from the first, the third starts a shard of its own.
    apart = [editor.edit(tiny, (), [edit], given).tensors["side.values"] for edit in edits]
    assert torch.equal(apart[0], whole[0].tensors["side.values"])
    assert not torch.allclose(apart[1], whole[1].tensors["side.values"], atol=1e-3)
    assert len({step.info["shard"] for step in whole}) == 3 and clean(tiny)


# ------------------------------------------------------------------------------------------------ what is irrelevant
def test_irrelevant_texts_do_not_name_the_subject(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    probe = Probe(prompt="The river has", answers=("x",), kind="k")
    tune = [
        edits[1].model_copy(update={"prompt": text, "locality": (probe,)})
        for text in ("France has", "The sea has", "The sea has")
    ]
    given = resources(texts=lambda _count: ["A town in France.", "A river.", " "], train_edits=lambda: tune)

    def spy(loaded: LoadedModel, text: str, **options: Any) -> Any:
        seen.append(text)
        return passage(loaded, text, **options)

    monkeypatch.setattr("editverdict.editors.wise.passage", spy)
    wise(steps=1, irrelevant_corpus=3, irrelevant_prompts=3).edit(tiny, (), edits[:1], given)
    assert seen == ["A river.", "The sea has"]
    # What is drawn from is part of a step's recipe.
    fields = [
        wise(irrelevant_prompts=count).training_fields(tiny, resources(train_edits=lambda use=use: use))
        for count, use in ((3, tune), (3, tune[:1]), (3, [*tune, tune[0]]), (0, tune))
    ]
    assert fields[0] != fields[1] and fields[0] == fields[2] and fields[3] == {}
    with pytest.raises(EditError, match="edit 'e0': WISE found no irrelevant texts"):
        wise(irrelevant_corpus=0, irrelevant_prompts=2).edit(
            tiny, (), edits[:1], resources(train_edits=lambda: [edits[0]])
        )


def test_what_cannot_be_done_is_refused_and_leaves_nothing_behind(
    tiny: LoadedModel,
    tiny_of: Callable[[str], LoadedModel],
    given: Resources,
    edits: list[EditRecord],
) -> None:
    with pytest.raises(EditError, match="'tiny-t5' is an encoder-decoder"):
        wise().edit(tiny_of("t5"), (), edits[:1], given)
    with pytest.raises(EditError, match="layer 4, but model 'tiny' has 4 layers"):
        wise(layer=4).edit(tiny, (), edits[:1], given)
    with pytest.raises(EditError, match="one fact at a time"):
        wise().edit(tiny, (), edits, given)
    with pytest.raises(EditError, match=r"edit 'e0': the loss is .*; lower the learning rate"):
        wise(learning_rate=1e38).edit(tiny, (), edits[:1], given)
    assert clean(tiny)
    state = chain(wise(steps=2), tiny, edits[:1], given)
    with pytest.raises(RuntimeError, match="stop"), wise().install(tiny, state, edits[:1], given):
        raise RuntimeError("stop")
    with wise().install(tiny, (), [], given):
        assert not tiny.sites.down_proj(1)._forward_hooks
    assert clean(tiny)
