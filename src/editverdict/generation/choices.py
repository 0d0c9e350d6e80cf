"""Log-probabilities of the choices of multiple-choice questions, each question with choices of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editverdict.generation.decode import batches
from editverdict.generation.prefixed import continuation_logprobs
from editverdict.generation.scoring import encode_pairs, logits_after, token_logprobs

CHOICES_VERSION = 1
"""Raised whenever the same questions would get other numbers."""


@dataclass(frozen=True)
class Scored:
    """The choices of one question."""

    logprobs: tuple[float, ...]
    """Natural logarithm of the probability of each whole choice after the prompt."""
    tokens: tuple[int, ...]
    """Number of tokens of each choice."""


def scored_choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[tuple[str, Sequence[str]]],
    *,
    batch_size: int = 64,
    add_special_tokens: bool = True,
) -> list[Scored]:
    """Score every choice of every question by teacher forcing.

    Choices that differ in their last token only (most single words and digits) are read off one pass over the prompt
    and what they share; of other questions the prompt is read once, too, and its keys and values lent to each choice.

    Parameters
    ----------
    model, tokenizer
        A model in eval mode, and its tokenizer.
    questions
        Prompt and choices; a choice is tokenised apart from the prompt, as what follows after one space.
    batch_size
        Rows per forward pass.
    add_special_tokens
        Whether the tokenizer puts its special tokens (BOS) around the prompt.

    Raises
    ------
    ValueError
        A prompt or a choice is empty, or ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}")
    pairs = [(prompt, choice) for prompt, choices in questions for choice in choices]
    owner = [number for number, (_, choices) in enumerate(questions) for _ in choices]
    prompts, targets = encode_pairs(tokenizer, pairs, add_special_tokens)
    places: list[list[int]] = [[] for _ in questions]
    for i, number in enumerate(owner):
        places[number].append(i)
    groups = [_Group(own, prompts[own[0]], [targets[i] for i in own]) for own in places if own]
    values = _last_tokens(model, [group for group in groups if group.shares_all_but_last], batch_size)
    others = [group for group in groups if not group.shares_all_but_last]
    for batch in batches([len(group.prompt) for group in others], batch_size):
        chosen = [i for b in batch for i in others[b].places]
        if add_special_tokens:
            rows = continuation_logprobs(model, tokenizer, [pairs[i] for i in chosen])
        else:
            rows = token_logprobs(model, tokenizer, [pairs[i] for i in chosen], add_special_tokens=False)
        values |= {i: float(row.sum()) for i, row in zip(chosen, rows, strict=True)}
    return [Scored(tuple(values[i] for i in own), tuple(len(targets[i]) for i in own)) for own in places]


@dataclass(frozen=True)
class _Group:
    """The choices of one question."""

    places: list[int]
    """Places among all choices."""
    prompt: list[int]
    targets: list[list[int]]

    @property
    def shares_all_but_last(self) -> bool:
        return all(target[:-1] == self.targets[0][:-1] for target in self.targets)


@torch.no_grad()
def _last_tokens(model: PreTrainedModel, groups: Sequence[_Group], batch_size: int) -> dict[int, float]:
    """Place -> log-probability, for choices that differ in their last token: one pass per question."""
    found: dict[int, float] = {}
    for batch in batches([len(group.prompt) + len(group.targets[0]) for group in groups], batch_size):
        own = [groups[b] for b in batch]
        shared = [group.targets[0][:-1] for group in own]
        logits = logits_after(model, [group.prompt for group in own], shared).double()
        table = logits - logits.logsumexp(1, keepdim=True)
        start = 0
        for group, common in zip(own, shared, strict=True):
            rows = table[start : start + len(common) + 1]
            before = math.fsum(float(rows[at, token]) for at, token in enumerate(common))
            found |= {
                i: before + float(rows[-1, target[-1]]) for i, target in zip(group.places, group.targets, strict=True)
            }
            start += len(common) + 1
    return found
