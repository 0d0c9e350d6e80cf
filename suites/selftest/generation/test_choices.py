"""Choices of multiple-choice questions equal a loop over single sequences, whichever way they take."""

from __future__ import annotations

import pytest
import torch

from editverdict.generation.choices import scored_choices

CHOICES = (
    ("Paris", "Rome"),
    ("a", "London", "three of them came back"),
    ("of them came", "of them sea"),
    ("a very long way from Lisbon",),
)


@pytest.fixture(scope="module")
def questions(prompts):  # type: ignore[no-untyped-def]
    return [(prompt, CHOICES[n % 4]) for n, prompt in enumerate(prompts)]


@torch.no_grad()
def naive(model, tokenizer, prompt, choice):  # type: ignore[no-untyped-def]
    first = tokenizer(prompt)["input_ids"]
    rest = tokenizer(" " + choice, add_special_tokens=False)["input_ids"]
    table = model(input_ids=torch.tensor([first + rest])).logits[0].double().log_softmax(-1)
    return sum(float(table[len(first) - 1 + i, token]) for i, token in enumerate(rest)), len(rest)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_equals_a_naive_loop(any_model, tokenizer, questions, batch_size):  # type: ignore[no-untyped-def]
    found = scored_choices(any_model, tokenizer, questions, batch_size=batch_size)
    lengths = set()
    for (prompt, choices), one in zip(questions, found, strict=True):
        wanted = [naive(any_model, tokenizer, prompt, choice) for choice in choices]
        assert one.logprobs == pytest.approx([value for value, _ in wanted], rel=1e-5, abs=1e-4)
        assert one.tokens == tuple(count for _, count in wanted)
        lengths |= set(one.tokens)
    assert 1 in lengths and max(lengths) > 3, "both ways are taken"


def test_the_same_call_gives_the_same_bits(model, tokenizer, questions):  # type: ignore[no-untyped-def]
    once, again = (scored_choices(model, tokenizer, questions) for _ in range(2))
    assert once == again


def test_nothing_to_score(model, tokenizer):  # type: ignore[no-untyped-def]
    assert scored_choices(model, tokenizer, []) == []
    with pytest.raises(ValueError, match="the target is empty"):
        scored_choices(model, tokenizer, [("One", ["a", " "])])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        scored_choices(model, tokenizer, [], batch_size=0)
