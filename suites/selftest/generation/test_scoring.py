"""Target log-probabilities equal a loop over single sequences."""

from __future__ import annotations

import pytest
import torch

from editverdict.generation.scoring import choice_logprobs, target_logprobs, token_logprobs

TARGETS = ["Paris", "Rome", "three of them came back", "London", "no", "a very long way from Lisbon"]


@pytest.fixture(scope="module")
def pairs(prompts):  # type: ignore[no-untyped-def]
    return [(p, t) for i, p in enumerate(prompts) for t in (TARGETS[i % 6], TARGETS[(i * 5 + 2) % 6])]


@torch.no_grad()
def naive(model, tokenizer, prompt, target):  # type: ignore[no-untyped-def]
    first = tokenizer(prompt)["input_ids"]
    rest = tokenizer(" " + target, add_special_tokens=False)["input_ids"]
    logits = model(input_ids=torch.tensor([first + rest])).logits[0].double()
    table = logits.log_softmax(-1)
    return torch.stack([table[len(first) - 1 + i, token] for i, token in enumerate(rest)])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_equals_a_naive_loop(any_model, tokenizer, pairs, batch_size):  # type: ignore[no-untyped-def]
    rows = token_logprobs(any_model, tokenizer, pairs, batch_size=batch_size)
    expected = [naive(any_model, tokenizer, *pair) for pair in pairs]
    assert max(len(row) for row in rows) >= 6 and min(len(row) for row in rows) < 6
    for row, wanted in zip(rows, expected, strict=True):
        torch.testing.assert_close(row, wanted, rtol=1e-5, atol=1e-4)
    sums = target_logprobs(any_model, tokenizer, pairs, batch_size=batch_size)
    torch.testing.assert_close(sums, torch.stack([e.sum() for e in expected]), rtol=1e-5, atol=1e-4)
    assert sums.dtype == torch.float64 and sums.shape == (len(pairs),)


def test_the_same_call_gives_the_same_bits(model, tokenizer, pairs):  # type: ignore[no-untyped-def]
    once, again = (target_logprobs(model, tokenizer, pairs) for _ in range(2))
    assert torch.equal(once, again)


def test_probabilities_of_all_single_tokens_sum_to_one(model, tokenizer, prompts):  # type: ignore[no-untyped-def]
    """A log-softmax at the wrong position, or over a part of the vocabulary, would not."""
    words = [tokenizer.decode([i]) for i in range(3, len(tokenizer))]
    single = [
        w
        for w in words
        if w.startswith(" ")
        and tokenizer(w)["input_ids"] == [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(w))[0]]
        and w.strip()
    ]
    table = choice_logprobs(model, tokenizer, prompts[:3], [w[1:] for w in single])
    ids = [tokenizer(w)["input_ids"][0] for w in single]
    for prompt, row in zip(prompts[:3], table, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1].double()
        torch.testing.assert_close(row.exp().sum(), logits.softmax(-1)[ids].sum(), rtol=1e-5, atol=1e-6)
    assert len(single) > 20


@pytest.mark.parametrize("choices", [("yes", "no"), ("yes", "three of them")], ids=["one-token", "several-tokens"])
def test_choices_equal_targets(any_model, tokenizer, prompts, choices):  # type: ignore[no-untyped-def]
    table = choice_logprobs(any_model, tokenizer, prompts, choices, batch_size=5)
    assert table.shape == (len(prompts), 2)
    for j, choice in enumerate(choices):
        wanted = target_logprobs(any_model, tokenizer, [(p, choice) for p in prompts])
        torch.testing.assert_close(table[:, j], wanted, rtol=1e-5, atol=1e-4)


def test_empty_inputs(model, tokenizer):  # type: ignore[no-untyped-def]
    assert target_logprobs(model, tokenizer, []).shape == (0,)
    assert choice_logprobs(model, tokenizer, [], ["yes"]).shape == (0, 1)
    with pytest.raises(ValueError, match=r"pair 1 .*target is empty"):
        target_logprobs(model, tokenizer, [("a", "b"), ("a", " ")])
    with pytest.raises(ValueError, match="pair 0: the prompt '' has no tokens"):
        target_logprobs(model, tokenizer, [("", "b")])
    with pytest.raises(ValueError, match="at least one choice"):
        choice_logprobs(model, tokenizer, ["a"], [])
    with pytest.raises(ValueError, match="batch_size"):
        target_logprobs(model, tokenizer, [("a", "b")], batch_size=0)
