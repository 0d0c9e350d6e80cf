"""GRACE: geometry of the codebook by hand, what is replaced and what is not, chains, passes cut in different ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from editverdict.data.records import EditRecord
from editverdict.editors import EditError, Resources, State, Step, make_editor
from editverdict.editors.grace import Codebook, placed
from editverdict.generation.decode import greedy_answers
from editverdict.generation.protocol import Protocol
from editverdict.generation.scoring import targets_are_argmax
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sources import LoadedModel
from editverdict.schema.protocols import AnswerProtocol

OTHERS = ["The capital of Italy is", "Ada wrote", "It is known that", "Seven ships sailed from Lisbon to"]
LONG = "It is known that a river flows into the sea. The capital of Italy is"


def grace(**settings: Any) -> Any:
    return make_editor("grace", {"radius": 0.05, "steps": 60, "learning_rate": 1.0, "early_stop": 0.01, **settings})


@pytest.fixture
def words(edits: list[EditRecord]) -> list[EditRecord]:
    """The edits with targets of one token, which a model of this size can learn at one position."""
    targets = ("sea", "river", "ships")
    return [edit.model_copy(update={"target_new": target}) for edit, target in zip(edits, targets, strict=True)]


def chain(editor: Any, loaded: LoadedModel, records: list[EditRecord], given: Resources, state: State = ()) -> State:
    for t in range(len(state) + 1, len(records) + 1):
        state = (*state, editor.edit(loaded, state, records[:t], given))
    return state


def protocol(loaded: LoadedModel) -> Protocol:
    return Protocol.build(AnswerProtocol(id="t", prompt_form="completion", max_new_tokens=6), loaded.tokenizer)


def clean(loaded: LoadedModel) -> bool:
    modules = list(loaded.model.modules())
    return (
        hash_weights(loaded.model) == loaded.identity.weights
        and all(p.grad is None and not p.requires_grad for p in loaded.model.parameters())
        and not any(m.training or m._forward_hooks or m._forward_pre_hooks for m in modules)
        and len(loaded.sites.layers) == loaded.sites.n_layers
    )


def logits(loaded: LoadedModel, prompts: list[str], side: str = "right") -> list[Tensor]:
    """Logits of each prompt's own tokens, out of one padded batch."""
    batch = loaded.tokenizer(prompts, padding=True, padding_side=side, return_tensors="pt")
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        found = loaded.model(**batch, position_ids=positions, use_cache=False).logits
    return [row[mask.bool()] for row, mask in zip(found, batch["attention_mask"], strict=True)]


def book(keys: list[list[float]], radii: list[float], labels: list[tuple[int, ...]]) -> Codebook:
    return Codebook(torch.tensor(keys), torch.arange(1.0, len(keys) + 1)[:, None], torch.tensor(radii), tuple(labels))


# ------------------------------------------------------------------------------------------------------- geometry
def test_far_away_is_a_new_entry() -> None:
    """Distance 5 (a 3-4-5 triangle) against 2 + 2.5 and 2 + 3.5."""
    before = book([[0.0, 0.0], [100.0, 0.0]], [2.0, 1.0], [(1,), (2,)])
    after, entry, action = placed(before, torch.tensor([3.0, 4.0]), (3,), 2.5)
    assert (entry, action) == (2, "add")
    assert after.keys.tolist() == [[0, 0], [100, 0], [3, 4]] and after.radii.tolist() == [2, 1, 2.5]
    assert after.labels == ((1,), (2,), (3,)) and after.values[:2].tolist() == before.values.tolist()
    assert placed(before, torch.tensor([3.0, 4.0]), (3,), 3.5)[2] == "split"
    empty, entry, action = placed(Codebook.empty(2, 1), torch.tensor([3.0, 4.0]), (3,), 2.5)
    assert (entry, action) == (0, "add") and empty.radii.tolist() == [2.5] and empty.labels == ((3,),)


def test_the_same_label_nearby_expands_until_the_new_key_is_covered() -> None:
    before = book([[0.0, 0.0], [100.0, 0.0]], [2.0, 1.0], [(1, 7), (2,)])
    after, entry, action = placed(before, torch.tensor([3.0, 4.0]), (1, 7), 4.0)
    assert (entry, action) == (0, "expand") and after.keys.tolist() == before.keys.tolist()
    assert after.radii.tolist() == pytest.approx([5.0, 1.0], rel=2e-3) and float(after.radii[0]) > 5.0
    # A key that lies inside already changes nothing.
    inside, entry, action = placed(before, torch.tensor([0.6, 0.8]), (1, 7), 4.0)
    assert (entry, action) == (0, "expand") and inside.radii.tolist() == [2.0, 1.0]


def test_another_label_nearby_splits_the_distance_in_halves() -> None:
    before = book([[100.0, 0.0], [0.0, 0.0]], [1.0, 4.5], [(2,), (1, 7)])
    after, entry, action = placed(before, torch.tensor([3.0, 4.0]), (1, 8), 4.0)
    assert (entry, action) == (2, "split")
    assert after.radii.tolist() == [1.0, 2.5, 2.5] and after.labels == ((2,), (1, 7), (1, 8))


def test_the_very_same_key_with_another_label_is_learnt_anew() -> None:
    before = book([[3.0, 4.0], [100.0, 0.0]], [1.5, 1.0], [(1,), (2,)])
    after, entry, action = placed(before, torch.tensor([3.0, 4.0 + 1e-6]), (9, 9), 1.0)
    assert (entry, action) == (0, "relearn") and after.labels == ((9, 9), (2,))
    assert after.radii.tolist() == [1.5, 1.0]


def test_only_the_nearest_entry_is_asked_whether_it_covers_a_token() -> None:
    """The token lies in the wide ball of the farther key, and outside the narrow ball of its nearest one."""
    codebook = book([[0.0, 0.0], [4.0, 0.0]], [10.0, 0.5], [(1,), (2,)])
    tokens = torch.tensor([[[3.0, 0.0], [4.0, 0.5], [0.0, 9.9]], [[1.9, 0.0], [0.0, -10.1], [4.0, 0.51]]])
    index, inside = codebook.look_up(tokens)
    assert index.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert inside.tolist() == [[False, True, True], [True, False, False]]


def test_small_distances_between_large_keys_are_not_lost() -> None:
    generator = torch.Generator().manual_seed(0)
    keys = 1e3 * torch.randn(40, 64, generator=generator)
    token = keys[7] + 1e-2 * torch.nn.functional.normalize(torch.randn(64, generator=generator), dim=0)
    _, distance = Codebook(keys, keys, torch.ones(40), ((1,),) * 40).nearest(token.expand(40, 64))
    truth = (token.double() - keys[7].double()).norm()
    assert distance.tolist() == pytest.approx([float(truth)] * 40, rel=0.02)


def test_a_codebook_survives_its_tensors(stored: Callable[[Step], Step]) -> None:
    before = book([[0.0, 1.0], [4.0, 0.0]], [10.0, 0.5], [(1, 0, 5), (2,)])
    after = Codebook.of((Step(), stored(Step(before.tensors()))), 2, 1)
    assert after.labels == before.labels
    for name in ("keys", "values", "radii"):
        assert torch.equal(getattr(after, name), getattr(before, name))


# ---------------------------------------------------------------------------------------------------------- editing
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_target_inside_the_ball_and_the_very_same_bits_outside(
    tiny: LoadedModel,
    tiny_of: Callable[[str], LoadedModel],
    resources: Callable[..., Resources],
    words: list[EditRecord],
    family: str,
) -> None:
    loaded, editor, given = tiny if family == "llama" else tiny_of(family), grace(), resources()
    state, pairs = chain(editor, loaded, words, given), [(edit.prompt, edit.target_new) for edit in words]
    assert clean(loaded) and [step.info["action"] for step in state] == ["add"] * 3
    apart = [*OTHERS, LONG, *(edit.prompt.rsplit(" ", 1)[0] for edit in words)]
    before = logits(loaded, apart)
    assert not any(targets_are_argmax(loaded.model, loaded.tokenizer, pairs))
    with editor.install(loaded, state, words, given) as answering:
        assert answering.prompts(["Who?"]) == ["Who?"]
        after = logits(loaded, apart)
        assert all(targets_are_argmax(loaded.model, loaded.tokenizer, pairs))
        answers = greedy_answers(loaded.model, loaded.tokenizer, [edit.prompt for edit in words], protocol(loaded))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(answer.text.strip().startswith(edit.target_new) for edit, answer in zip(words, answers, strict=True))
    assert clean(loaded)


def test_the_loss_is_that_of_the_whole_model_with_one_output_replaced(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    """Restated with a hook at the position alone, and Adam written out, in float64."""
    edit, steps, rate = edits[2], 4, 0.3
    step = grace(steps=steps, early_stop=0.0, learning_rate=rate, initial="output").edit(tiny, (), [edit], resources())
    model = tiny.model.double()
    try:
        prompt = tiny.tokenizer(edit.prompt)["input_ids"]
        target = tiny.tokenizer(" " + edit.target_new)["input_ids"]
        ids, last, seen = torch.tensor([[*prompt, *target[:-1]]]), len(prompt) - 1, {}

        def hook(_module: Any, args: Any, output: Tensor) -> Tensor:
            seen.setdefault("key", args[0][0, last])
            seen.setdefault("value", output[0, last].detach().clone())
            place = torch.arange(ids.shape[1])[None, :, None] == last
            return torch.where(place, seen["value"], output)

        handle = tiny.sites.down_proj(1).register_forward_hook(hook)
        first, second, trace = 0.0, 0.0, []
        for t in range(1, steps + 1):
            if "value" in seen:
                seen["value"].requires_grad_()
            else:
                with torch.no_grad():
                    model(input_ids=ids)
                seen["value"].requires_grad_()
            rows = model(input_ids=ids, use_cache=False).logits[0, last:].log_softmax(-1)
            loss = -rows[torch.arange(len(target)), torch.tensor(target)].mean()
            (slope,) = torch.autograd.grad(loss, seen["value"])
            first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
            update = rate * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
            seen["value"] = (seen["value"] - update).detach()
            trace.append(float(loss.detach()))
        handle.remove()
    finally:
        tiny.model.float()
    assert [one["loss"] for one in step.info["trace"]] == pytest.approx(trace, rel=1e-4)
    torch.testing.assert_close(step.tensors["codebook.values"][0].double(), seen["value"], atol=1e-2, rtol=0)
    torch.testing.assert_close(step.tensors["codebook.keys"][0].double(), seen["key"], atol=1e-4, rtol=1e-4)


def test_a_chain_resumes_from_the_file_bit_by_bit(
    tiny: LoadedModel,
    resources: Callable[..., Resources],
    words: list[EditRecord],
    stored: Callable[[Step], Step],
) -> None:
    editor, given = grace(), resources()
    again = words[0].model_copy(update={"id": "e9", "target_new": "machines"})
    records = [*words, again]
    whole = chain(editor, tiny, records, given)
    resumed = chain(editor, tiny, records, given, state=tuple(stored(step) for step in whole[:2]))
    for one, other in zip(whole, resumed, strict=True):
        assert one.tensors.keys() == other.tensors.keys() and one.edits == 1
        assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    assert [step.info["entries"] for step in whole] == [1, 2, 3, 3] and whole[-1].info["action"] == "relearn"
    with editor.install(tiny, whole, records, given):
        said = targets_are_argmax(
            tiny.model, tiny.tokenizer, [(again.prompt, word) for word in ("machines", words[0].target_new)]
        )
    assert said == [True, False]


def test_growing_keeps_what_is_learnt_already(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    editor, given = grace(radius=1e3, steps=4), resources()
    same = edits[0].model_copy(update={"id": "e9", "prompt": "The capital of Italy is", "subject": "Italy"})
    state = chain(editor, tiny, [edits[0], same], given)
    assert state[1].info["action"] == "expand" and state[1].info["entries"] == 1
    other = edits[1]
    split = editor.edit(tiny, state[:1], [edits[0], other], given)
    keys, radii = split.tensors["codebook.keys"], split.tensors["codebook.radii"]
    half = float((keys[0].double() - keys[1].double()).norm()) / 2
    assert split.info["action"] == "split" and radii.tolist() == pytest.approx([half, half], rel=1e-5)


def test_padding_batch_and_cut_make_no_difference(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    editor, given = grace(), resources()
    state, prompts = chain(grace(steps=15), tiny, edits, given), [*(e.prompt for e in edits), *OTHERS, LONG]
    with editor.install(tiny, state, edits, given):
        left, right = logits(tiny, prompts, "left"), logits(tiny, prompts, "right")
        alone = [logits(tiny, [prompt])[0] for prompt in prompts]
        answers = greedy_answers(tiny.model, tiny.tokenizer, prompts, protocol(tiny))
        for prompt, one, other, single, answer in zip(prompts, left, right, alone, answers, strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(one, single, atol=1e-3, rtol=1e-3)
            # Decoded token by token with a cache, or read in one pass: the same tokens are the most probable.
            ids = torch.tensor([[*tiny.tokenizer(prompt)["input_ids"], *answer.tokens[:-1]]])
            with torch.no_grad():
                forced = tiny.model(input_ids=ids, use_cache=False).logits[0].argmax(-1)
            assert forced[-len(answer.tokens) :].tolist() == list(answer.tokens)


def test_a_random_start_is_the_edits_own(
    tiny: LoadedModel, resources: Callable[..., Resources], edits: list[EditRecord]
) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, seeded = (
        grace(steps=1, learning_rate=1e-6, **more).edit(tiny, (), edits[:1], resources())
        for more in ({}, {}, {"seed": 1})
    )
    other = grace(steps=1, learning_rate=1e-6).edit(tiny, (), edits[1:2], resources())
    assert torch.equal(torch.get_rng_state(), state)
    values = [step.tensors["codebook.values"][0] for step in (first, again, seeded, other)]
    assert torch.equal(values[0], values[1])
    assert not any(torch.allclose(values[0], value, atol=1e-2) for value in values[2:])
    assert all(float(value.min()) > -1e-3 and float(value.max()) < 1 + 1e-3 for value in values)


def test_what_cannot_be_done_is_refused_and_leaves_nothing_behind(
    tiny: LoadedModel,
    tiny_of: Callable[[str], LoadedModel],
    resources: Callable[..., Resources],
    edits: list[EditRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = resources()
    with pytest.raises(EditError, match="'tiny-t5' is an encoder-decoder"):
        grace().edit(tiny_of("t5"), (), edits[:1], given)
    with pytest.raises(EditError, match="layer 4, but model 'tiny' has 4 layers"):
        grace(layer=4).edit(tiny, (), edits[:1], given)
    with pytest.raises(EditError, match="one fact at a time"):
        grace().edit(tiny, (), edits, given)
    with monkeypatch.context() as patch, pytest.raises(EditError, match="edit 'e0': the loss is nan at step 1; lower"):
        patch.setattr("editverdict.editors.grace.row_losses", lambda found, _forced: found.sum() * float("nan"))
        grace().edit(tiny, (), edits[:1], given)
    assert clean(tiny)
    state = chain(grace(steps=2), tiny, edits[:1], given)
    with pytest.raises(RuntimeError, match="stop"), grace().install(tiny, state, edits[:1], given):
        raise RuntimeError("stop")
    assert clean(tiny)
    with grace().install(tiny, (), [], given):
        assert not tiny.sites.down_proj(1)._forward_hooks
