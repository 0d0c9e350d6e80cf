"""Teacher forcing equals a loop over single sequences, under a protocol id of its own."""

from __future__ import annotations

import pytest
import torch

from editverdict.generation.decode import greedy_answers
from editverdict.generation.forced import forced_targets
from editverdict.generation.protocol import Protocol, ProtocolMismatch, continuation_ids, end_tokens, one_protocol
from editverdict.schema.protocols import AnswerProtocol

TARGETS = ["Paris", "Rome", "three of them came back", "London", "no", "a very long way from Lisbon"]
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[say]"


def free_protocol(tokenizer, **changes):  # type: ignore[no-untyped-def]
    return Protocol.build(AnswerProtocol(id="p", max_new_tokens=12, stop=(), **changes), tokenizer)


@torch.no_grad()
def naive(model, first, rest):  # type: ignore[no-untyped-def]
    logits = model(input_ids=torch.tensor([[*first, *rest]])).logits[0]
    return tuple(int(logits[len(first) - 1 + i].argmax()) for i in range(len(rest)))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_equals_a_naive_loop(any_model, tokenizer, prompts, batch_size):  # type: ignore[no-untyped-def]
    pairs = [(p, TARGETS[i % 6]) for i, p in enumerate(prompts)]
    found = forced_targets(
        any_model, tokenizer, pairs, free_protocol(tokenizer).teacher_forced(), batch_size=batch_size
    )
    for (prompt, target), one in zip(pairs, found, strict=True):
        rest = tokenizer(" " + target, add_special_tokens=False)["input_ids"]
        assert one.target == tuple(rest)
        assert one.best == naive(any_model, tokenizer(prompt)["input_ids"], rest)
        assert one.share == sum(a == b for a, b in zip(one.target, one.best, strict=True)) / len(rest)
        assert one.text == tokenizer.decode(one.best)


def test_chat_form_forces_the_assistants_turn(model, tokenizer):  # type: ignore[no-untyped-def]
    tokenizer.chat_template = TEMPLATE
    try:
        protocol = free_protocol(tokenizer, prompt_form="chat").teacher_forced()
        (found,) = forced_targets(model, tokenizer, [("The capital of France is", " Paris ")], protocol)
        rest = tokenizer("Paris", add_special_tokens=False)["input_ids"]
        first = tokenizer("[user]The capital of France is[say]", add_special_tokens=False)["input_ids"]
        assert found.target == tuple(rest) and found.best == naive(model, first, rest)
    finally:
        tokenizer.chat_template = None


def test_what_free_decoding_says_is_what_forcing_finds(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    """All tokens of a target are the most probable ones exactly if the free answer begins with them."""
    protocol = free_protocol(tokenizer)
    answers = greedy_answers(model, tokenizer, prompts, protocol)
    said = [tokenizer.decode(list(a.tokens[:3])).strip() for a in answers]
    pairs = [(p, t) for p, t in zip(prompts, said, strict=True) if t] + [(p, "London") for p in prompts]
    tokens = dict(zip(prompts, (a.tokens for a in answers), strict=True))
    hits = 0
    for (prompt, _), one in zip(pairs, forced_targets(model, tokenizer, pairs, protocol.teacher_forced()), strict=True):
        begins = tokens[prompt][: len(one.target)] == one.target
        assert (one.target == one.best) == begins
        assert one.first == (tokens[prompt][0] == one.target[0])
        hits += begins
    assert 0 < hits < len(pairs)


def test_the_id_is_another_and_free_of_what_ends_an_answer(tokenizer):  # type: ignore[no-untyped-def]
    free = free_protocol(tokenizer)
    forced = free.teacher_forced()
    assert forced.id != free.id
    assert forced.spec.id == "p-teacher-forced"
    longer = Protocol.build(AnswerProtocol(id="q", max_new_tokens=50, stop=("\n",)), tokenizer)
    assert longer.id != free.id and longer.teacher_forced().id == forced.id


def test_refusals(model, tokenizer):  # type: ignore[no-untyped-def]
    free = free_protocol(tokenizer)
    with pytest.raises(ValueError, match="forced_targets needs 'teacher-forced'"):
        forced_targets(model, tokenizer, [("a", "b")], free)
    with pytest.raises(ValueError, match="greedy_answers needs 'greedy'"):
        greedy_answers(model, tokenizer, ["a"], free.teacher_forced())
    with pytest.raises(ValueError, match="the target is empty"):
        forced_targets(model, tokenizer, [("a", " ")], free.teacher_forced())
    with pytest.raises(ValueError, match="batch_size"):
        forced_targets(model, tokenizer, [("a", "b")], free.teacher_forced(), batch_size=0)


def test_one_protocol() -> None:
    assert one_protocol([], "numbers") is None
    assert one_protocol([None, None], "numbers") is None
    assert one_protocol(["a", "a"], "numbers") == "a"
    with pytest.raises(ProtocolMismatch, match=r"numbers carry different protocol ids \(a, b\)"):
        one_protocol(["a", "b", "a"], "numbers")
    with pytest.raises(ProtocolMismatch, match=r"\(a, none\)"):
        one_protocol(["a", None], "numbers")


def test_end_tokens_of_the_generation_configuration(model):  # type: ignore[no-untyped-def]
    kept = model.generation_config.eos_token_id
    try:
        for given, expected in (([9, 4, 9], (4, 9)), (7, (7,)), (None, ())):
            model.generation_config.eos_token_id = given
            assert end_tokens(model) == expected
    finally:
        model.generation_config.eos_token_id = kept


def test_the_first_token_of_a_continuation(tokenizer):  # type: ignore[no-untyped-def]
    """Completion form puts one space before a target, whatever spaces it brings."""
    for target in ("Paris", " Paris", "Paris "):
        ids = continuation_ids(lambda t: tokenizer(t, add_special_tokens=False)["input_ids"], target)
        assert tokenizer.decode(ids) == " Paris"
