"""WISE routes whole texts, however they are cut and padded, and an answer goes the way of its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from editverdict.data.records import EditRecord
from editverdict.editors import Resources
from editverdict.editors.wise_routing import routed
from editverdict.generation.decode import greedy_answers
from editverdict.generation.prefixed import continuation_logprobs
from editverdict.generation.protocol import Protocol
from editverdict.generation.scoring import targets_are_argmax
from editverdict.models.sources import LoadedModel
from editverdict.schema.protocols import AnswerProtocol
from suites.selftest.editors.small_wise import CORPUS, chain, clean, wise

OTHERS = [*CORPUS[:3], "London is known", "Water", "The river of"]


@pytest.fixture
def given(resources: Callable[..., Resources]) -> Resources:
    return resources(texts=lambda count: CORPUS[:count], train_edits=lambda: [])


def logits(loaded: LoadedModel, prompts: Sequence[str], side: str = "right") -> list[Tensor]:
    """Logits of each prompt's own tokens, out of one padded batch."""
    batch = loaded.tokenizer(list(prompts), padding=True, padding_side=side, return_tensors="pt")
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        found = loaded.model(**batch, position_ids=positions, use_cache=False).logits
    return [row[mask.bool()] for row, mask in zip(found, batch["attention_mask"], strict=True)]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_edits_go_through_the_side_memory_and_irrelevant_texts_keep_their_bits(
    tiny: LoadedModel,
    tiny_of: Callable[[str], LoadedModel],
    given: Resources,
    edits: list[EditRecord],
    family: str,
) -> None:
    loaded = tiny if family == "llama" else tiny_of(family)
    editor = wise(steps=100, mask_ratio=0.5, alpha=1.0, gamma=1.0, early_stop=0.3, prefixes=0)
    edit = edits[0].model_copy(update={"target_new": "sea"})
    state, pair = chain(editor, loaded, [edit], given), [(edit.prompt, "sea")]
    assert clean(loaded) and state[0].info["activation"] > 3.0
    before = logits(loaded, CORPUS)
    assert not any(targets_are_argmax(loaded.model, loaded.tokenizer, pair))
    with editor.install(loaded, state, [edit], given) as answering:
        assert answering.prompts(["Who?"]) == ["Who?"]
        after, mixed = logits(loaded, CORPUS), logits(loaded, [*CORPUS, edit.prompt])
        assert all(targets_are_argmax(loaded.model, loaded.tokenizer, pair))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    untouched = logits(loaded, [*CORPUS, edit.prompt])
    same = [torch.equal(one, other) for one, other in zip(mixed, untouched, strict=True)]
    assert same == [True] * len(CORPUS) + [False]
    assert clean(loaded)


def half_routed(tiny: LoadedModel, prompts: list[str]) -> tuple[Tensor, float, list[bool]]:
    """A side memory, a threshold amid the prompts' activations, and which prompts are above it."""
    delta = 0.2 * torch.randn(32, 64, generator=torch.Generator().manual_seed(4))
    found = []
    for prompt in prompts:
        seen: list[Tensor] = []
        handle = tiny.sites.down_proj(1).register_forward_hook(lambda _m, args, _o, to=seen: to.append(args[0]))
        logits(tiny, [prompt])
        handle.remove()
        found.append(float((seen[0][0] @ delta.T).norm(dim=-1).max()))
    limit = sum(sorted(found)[len(found) // 2 - 1 : len(found) // 2 + 1]) / 2
    return delta, limit, [value > limit for value in found]


def test_a_text_is_routed_as_a_whole_and_its_answer_with_it(tiny: LoadedModel) -> None:
    """Against models that have one memory or the other throughout; rows end at different times, so batches shrink."""
    prompts = [*OTHERS, "The capital of France is", "Ada lived in", "Seven ships sailed from Goa to", "A"]
    delta, limit, above = half_routed(tiny, prompts)
    protocol = Protocol.build(AnswerProtocol(id="t", prompt_form="completion", max_new_tokens=12), tiny.tokenizer)
    main = greedy_answers(tiny.model, tiny.tokenizer, prompts, protocol)
    read = logits(tiny, prompts)
    weight = tiny.sites.down_proj(1).weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight += delta
    side, read_side = greedy_answers(tiny.model, tiny.tokenizer, prompts, protocol), logits(tiny, prompts)
    with torch.no_grad():
        weight.copy_(kept)
    with routed(tiny, 1, delta, limit, "max"):
        answers = greedy_answers(tiny.model, tiny.tokenizer, prompts, protocol)
        found, left = logits(tiny, prompts), logits(tiny, prompts, "left")
    assert clean(tiny) and 0 < sum(above) < len(above)
    for number, routed_side in enumerate(above):
        assert answers[number].tokens == (side if routed_side else main)[number].tokens
        torch.testing.assert_close(found[number], (read_side if routed_side else read)[number], atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(found[number], left[number], atol=1e-3, rtol=1e-3)
        assert routed_side or torch.equal(found[number], read[number])
    assert [one.tokens for one in main] != [one.tokens for one in side]


def test_texts_that_are_read_once_lend_their_decision_to_every_continuation(tiny: LoadedModel) -> None:
    """Retrieval beside WISE weighs each text against many questions (`generation.prefixed`)."""
    prompts = [*OTHERS, "The capital of France is", "Ada lived in", "Seven ships sailed from Goa to"]
    delta, limit, above = half_routed(tiny, prompts)
    pairs = [(prompt, said) for said in ("Rome, as everybody knows", "Goa") for prompt in prompts]

    def scored() -> list[Tensor]:
        return continuation_logprobs(tiny.model, tiny.tokenizer, pairs, batch_size=5)

    main, weight = scored(), tiny.sites.down_proj(1).weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight += delta
    side = scored()
    with torch.no_grad():
        weight.copy_(kept)
    with routed(tiny, 1, delta, limit, "max"):
        found = scored()
    assert clean(tiny) and 0 < sum(above) < len(above)
    for number, one in enumerate(found):
        expected = (side if above[number % len(prompts)] else main)[number]
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=1e-3)
    assert any(not torch.allclose(a, b, atol=1e-2) for a, b in zip(main, side, strict=True))


def test_decisions_travel_with_the_rows_of_a_cache(tiny: LoadedModel) -> None:
    prompts = ["Ada lived in", "Three of them", "The river of", "The sea"]
    delta, limit, above = half_routed(tiny, prompts)
    assert 0 < sum(above) < len(above)
    batch = tiny.tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    order = torch.tensor([2, 0, 3])
    following = torch.tensor([[7, 8]] * 3)
    mask = torch.cat([batch["attention_mask"][order], torch.ones(3, 2, dtype=torch.long)], dim=1)

    def onwards() -> Tensor:
        cache = DynamicCache(config=tiny.model.config)
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        tiny.model(**batch, position_ids=positions, past_key_values=cache, use_cache=True)
        cache.batch_select_indices(order)
        positions = (mask.cumsum(-1) - 1)[:, -2:]
        found: Tensor = tiny.model(
            input_ids=following, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).logits
        return found

    with torch.no_grad():
        plain = onwards()
        with routed(tiny, 1, delta, limit, "max"):
            chosen = onwards()
        # Whatever the new tokens' own activations are, the rows follow their prompts.
        with routed(tiny, 1, delta, 0.0, "max"):
            everything = onwards()
    for row, number in enumerate(order.tolist()):
        torch.testing.assert_close(chosen[row], (everything if above[number] else plain)[row], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(everything[row], plain[row], atol=1e-2)


def test_with_max_a_targets_tokens_can_only_turn_the_decision_to_the_side(tiny: LoadedModel) -> None:
    prompts = [*OTHERS, "The capital of France is"]
    delta, limit, above = half_routed(tiny, prompts)
    _, _, longer = half_routed(tiny, [f"{prompt} the sea" for prompt in prompts])
    with routed(tiny, 1, delta, limit, "max"):
        forced = logits(tiny, [f"{prompt} the sea" for prompt in prompts])
    plain = logits(tiny, [f"{prompt} the sea" for prompt in prompts])
    side = [not torch.equal(one, other) for one, other in zip(forced, plain, strict=True)]
    assert all(with_target or not prompt for with_target, prompt in zip(side, above, strict=True))
    assert len(longer) == len(side)
