"""Prompts for knowledge in the context, and the two rules of confirmation."""

from __future__ import annotations

import pytest
import torch

from editverdict.generation.in_context import (
    NEUTRAL,
    answer_with_context,
    confirm,
    confirmation_prompt,
    confirmation_scores,
)

PAIRS = [
    ("The capital of France is Paris.", "The capital of France is"),
    (" Ada lived in London.\n", "Seven ships sailed from"),
    ("Ada lived in London.", "The capital of France is"),
]


@torch.no_grad()
def log_p(model, tokenizer, before, after):  # type: ignore[no-untyped-def]
    """Log-probability of each token of `` after`` behind ``before``, one sequence at a time."""
    first, rest = (tokenizer(text)["input_ids"] for text in (before, " " + after))
    table = model(input_ids=torch.tensor([first + rest])).logits[0].double().log_softmax(-1)
    return torch.stack([table[len(first) - 1 + i, token] for i, token in enumerate(rest)])


def test_the_prompt_still_comes_last():
    assert answer_with_context(" Rome is big.\n", "Rome is") == "It is known that Rome is big.\nTherefore, Rome is"
    assert answer_with_context("  ", "Rome is") == "Rome is"


def test_the_question_holds_both_texts_and_ends_open():
    text = confirmation_prompt("Rome is big.", "Rome is")
    assert text.endswith("Fact: Rome is big.\nUnfinished: Rome is\nDoes the fact finish it?")
    assert text.count(" yes\n") == text.count(" no\n") == 4


def test_query_lift_is_the_mean_gain_per_token(model, tokenizer):  # type: ignore[no-untyped-def]
    scores = confirmation_scores(model, tokenizer, PAIRS, batch_size=2)
    expected = [(log_p(model, tokenizer, c.strip(), q) - log_p(model, tokenizer, NEUTRAL, q)).mean() for c, q in PAIRS]
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-5, atol=1e-4)
    nothing = confirmation_scores(model, tokenizer, [(NEUTRAL, "Ada wrote")])
    assert abs(float(nothing[0])) < 1e-4


def test_yes_no_is_the_difference_of_the_two_words(model, tokenizer):  # type: ignore[no-untyped-def]
    scores = confirmation_scores(model, tokenizer, PAIRS, rule="yes-no")
    asked = [confirmation_prompt(c, q) for c, q in PAIRS]
    expected = [log_p(model, tokenizer, p, "yes").sum() - log_p(model, tokenizer, p, "no").sum() for p in asked]
    torch.testing.assert_close(scores, torch.stack(expected), rtol=1e-5, atol=1e-4)


def test_confirmation_is_a_score_above_the_threshold(model, tokenizer):  # type: ignore[no-untyped-def]
    scores = confirmation_scores(model, tokenizer, PAIRS)
    middle = float(scores.median())
    decided = confirm(model, tokenizer, PAIRS, threshold=middle)
    assert decided == [s > middle for s in scores.tolist()] and True in decided and False in decided
    assert confirm(model, tokenizer, PAIRS, threshold=float("inf")) == [False] * 3
    assert confirm(model, tokenizer, []) == []


def test_refusals(model, tokenizer):  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="unknown rule of confirmation 'ask'"):
        confirm(model, tokenizer, PAIRS, rule="ask")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pair 1: "):
        confirm(model, tokenizer, [("a text", "a query"), (" ", "a query")])
