"""Log-probabilities of the choices of multiple-choice questions, each question with choices of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editverdict.generation.decode import batches
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

    Choices of a single token (most common words) are read off one pass over their prompt; longer ones take a pass each.

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
    values: dict[int, float] = {}
    short = [i for i, target in enumerate(targets) if len(target) == 1]
    values.update(_next_tokens(model, owner, prompts, targets, short, batch_size))
    long = [i for i, target in enumerate(targets) if len(target) > 1]
    rows = token_logprobs(
        model, tokenizer, [pairs[i] for i in long], batch_size=batch_size, add_special_tokens=add_special_tokens
    )
    values.update((i, float(row.sum())) for i, row in zip(long, rows, strict=True))
    places: list[list[int]] = [[] for _ in questions]
    for i, number in enumerate(owner):
        places[number].append(i)
    return [Scored(tuple(values[i] for i in own), tuple(len(targets[i]) for i in own)) for own in places]


@torch.no_grad()
def _next_tokens(
    model: PreTrainedModel,
    owner: Sequence[int],
    prompts: Sequence[list[int]],
    targets: Sequence[list[int]],
    chosen: Sequence[int],
    batch_size: int,
) -> dict[int, float]:
    """Place -> log-probability, for choices of one token: one pass per prompt, however many choices it has."""
    own: dict[int, list[int]] = {}
    for i in chosen:
        own.setdefault(owner[i], []).append(i)
    groups = list(own.values())
    found: dict[int, float] = {}
    for batch in batches([len(prompts[group[0]]) for group in groups], batch_size):
        rows = [prompts[groups[b][0]] for b in batch]
        logits = logits_after(model, rows, [[] for _ in rows]).double()
        normal = logits.logsumexp(1)
        for row, b in enumerate(batch):
            for i in groups[b]:
                found[i] = float(logits[row, targets[i][0]] - normal[row])
    return found
