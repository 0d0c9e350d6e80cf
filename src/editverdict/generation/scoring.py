"""Log-probabilities of given targets, by teacher forcing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editverdict.generation.decode import ByRow, accepts_logits_to_keep, batches, padded
from editverdict.generation.protocol import Rendered, decoder_start, encode_texts, target_after

Pair = tuple[str, str]
"""Prompt, target (without leading space)."""


def target_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    *,
    batch_size: int = 64,
    add_special_tokens: bool = True,
    owners: Sequence[int] | None = None,
    by_row: ByRow | None = None,
) -> torch.Tensor:
    """Log-probability of each whole target after its prompt.

    Longer targets have lower sums; for a length-normalised score take the mean of `token_logprobs`.

    Parameters
    ----------
    model, tokenizer
        A model in eval mode, and its tokenizer. An encoder-decoder reads the prompt with its encoder; the end of the
        sequence after the target is not scored, as it is not for decoder-only models.
    pairs : sequence of (str, str)
        Prompt and target; the target is tokenised apart from the prompt, as what follows after one space, or directly
        behind a prompt that a chat template has rendered (`protocol.Rendered`, which brings its special tokens).
    batch_size : int, optional
        Rows per forward pass.
    add_special_tokens : bool, optional
        Whether the tokenizer puts its special tokens (BOS) around the prompt; False for rendered chat prompts.
    owners, by_row : optional
        The state of each pair, and what puts several states in force row by row; without them all are in one state.

    Returns
    -------
    Tensor [n], float64, on the CPU
        Natural logarithms.

    Raises
    ------
    ValueError
        If a prompt or a target is empty, or ``batch_size`` is below 1.
    """
    rows = token_logprobs(
        model,
        tokenizer,
        pairs,
        batch_size=batch_size,
        add_special_tokens=add_special_tokens,
        owners=owners,
        by_row=by_row,
    )
    return torch.tensor([float(row.sum()) for row in rows], dtype=torch.float64)


@torch.no_grad()
def token_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    *,
    batch_size: int = 64,
    add_special_tokens: bool = True,
    owners: Sequence[int] | None = None,
    by_row: ByRow | None = None,
) -> list[torch.Tensor]:
    """Log-probability of each token of each target; arguments and errors as in `target_logprobs`.

    Returns
    -------
    list of Tensor [number of target tokens], float64, on the CPU
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}")
    prompts, targets = encode_pairs(tokenizer, pairs, add_special_tokens)
    result: dict[int, torch.Tensor] = {}
    # Sorted by prompt length first, so that the targets of a batch stand at nearly the same positions.
    for chosen in batches([len(p) * 4096 + len(t) for p, t in zip(prompts, targets, strict=True)], batch_size):
        if by_row is not None:
            by_row.use([owners[i] if owners else 0 for i in chosen])
        scored = _batch_logprobs(model, [prompts[i] for i in chosen], [targets[i] for i in chosen])
        result.update(zip(chosen, scored, strict=True))
    return [result[i] for i in range(len(pairs))]


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], add_special_tokens: bool = True
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of prompts and of targets; ValueError for one without tokens."""
    for i, (prompt, target) in enumerate(pairs):
        if not target.strip():
            raise ValueError(f"pair {i} (prompt {prompt!r}): the target is empty; expected the text to be scored")
    prompts: list[list[int]] = []
    for rendered, own in groupby((prompt for prompt, _ in pairs), lambda prompt: isinstance(prompt, Rendered)):
        prompts += encode_texts(tokenizer, list(own), add_special_tokens=add_special_tokens and not rendered)
    targets = [_continuation(tokenizer, target, prompt) for prompt, target in pairs]
    for i, ids in enumerate(prompts):
        if not ids:
            raise ValueError(f"pair {i}: the prompt {pairs[i][0]!r} has no tokens; expected some text to condition on")
    return prompts, targets


def _continuation(tokenizer: PreTrainedTokenizerBase, target: str, prompt: str = "") -> list[int]:
    """Token ids of a target behind its prompt."""
    return target_after(lambda text: encode_texts(tokenizer, [text], add_special_tokens=False)[0], target, prompt)


def _batch_logprobs(model: PreTrainedModel, prompts: list[list[int]], targets: list[list[int]]) -> list[torch.Tensor]:
    """Per-token log-probabilities of one batch; the log-softmax is in float64."""
    # The last target token is never read, only predicted.
    logits = logits_after(model, prompts, [target[:-1] for target in targets]).double()
    tokens = torch.tensor([t for row in targets for t in row], device=logits.device)
    scores = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1)
    return list(torch.split(scores.cpu(), [len(t) for t in targets]))


def logits_after(model: PreTrainedModel, prompts: list[list[int]], said: list[list[int]]) -> torch.Tensor:
    """Logits after each prompt and after each token of what is said then: [sum of (1 + tokens said), vocabulary]."""
    start = decoder_start(model)
    if start is None:
        rows = [p + s for p, s in zip(prompts, said, strict=True)]
        wanted = [list(range(len(p) - 1, len(row))) for p, row in zip(prompts, rows, strict=True)]
        return _logits_at(model, rows, wanted)
    ids, mask = padded(prompts, 0, model.device)
    spoken = [[start, *s] for s in said]
    # Nothing of the padding is read: what is wanted stands before it, and the decoder is causal.
    decoder_ids, _ = padded(spoken, start, model.device)
    logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False).logits
    return _picked(logits, [list(range(len(row))) for row in spoken])


def _logits_at(model: PreTrainedModel, rows: list[list[int]], wanted: list[list[int]]) -> torch.Tensor:
    """Logits of a right-padded batch at the wanted positions of each row: [number of positions, vocabulary]."""
    ids, mask = padded(rows, 0, model.device)
    if not accepts_logits_to_keep(model):
        return _picked(model(input_ids=ids, attention_mask=mask, use_cache=False).logits, wanted)
    union = sorted({at for row in wanted for at in row})
    keep = torch.tensor(union, device=model.device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits
    column = {at: i for i, at in enumerate(union)}
    return _picked(logits, [[column[at] for at in row] for row in wanted])


def _picked(logits: torch.Tensor, columns: list[list[int]]) -> torch.Tensor:
    """The given columns of each row, one after another: [number of them, vocabulary]."""
    rows = [i for i, row in enumerate(columns) for _ in row]
    return logits[rows, [column for row in columns for column in row]]


def targets_are_argmax(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    *,
    batch_size: int = 64,
    add_special_tokens: bool = True,
    owners: Sequence[int] | None = None,
    by_row: ByRow | None = None,
) -> list[bool]:
    """Whether teacher forcing finds every token of a target the most probable; arguments as `target_logprobs`."""
    prompts, targets = encode_pairs(tokenizer, pairs, add_special_tokens)
    best = argmax_tokens(model, prompts, targets, batch_size=batch_size, owners=owners, by_row=by_row)
    return [found == target for found, target in zip(best, targets, strict=True)]


@torch.no_grad()
def argmax_tokens(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    targets: Sequence[list[int]],
    *,
    batch_size: int = 64,
    owners: Sequence[int] | None = None,
    by_row: ByRow | None = None,
) -> list[list[int]]:
    """The most probable token at each place of each target, the target's own tokens before it being given.

    Parameters
    ----------
    model
        A model in eval mode.
    prompts, targets : sequence of list of int
        Token ids, none empty.
    batch_size, owners, by_row : optional
        As `target_logprobs`.

    Returns
    -------
    list of list of int
        As many ids as the target has.

    Raises
    ------
    ValueError
        If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}")
    result: dict[int, list[int]] = {}
    for chosen in batches([len(p) * 4096 + len(t) for p, t in zip(prompts, targets, strict=True)], batch_size):
        if by_row is not None:
            by_row.use([owners[i] if owners else 0 for i in chosen])
        wanted = [targets[i] for i in chosen]
        best = logits_after(model, [prompts[i] for i in chosen], [target[:-1] for target in wanted]).argmax(1).cpu()
        said = torch.split(best, [len(target) for target in wanted])
        result.update({i: tokens.tolist() for i, tokens in zip(chosen, said, strict=True)})
    return [result[i] for i in range(len(prompts))]


def choice_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    choices: Sequence[str],
    *,
    batch_size: int = 64,
    add_special_tokens: bool = True,
) -> torch.Tensor:
    """Log-probability of each of a few fixed targets after each prompt.

    Where every choice is a single token (`` yes``, `` no``), one forward pass per prompt serves all of them.

    Returns
    -------
    Tensor [number of prompts, number of choices], float64, on the CPU

    Raises
    ------
    ValueError
        As `target_logprobs`; also if there are no choices.
    """
    if not choices:
        raise ValueError("choice_logprobs needs at least one choice, found none")
    if not prompts:
        return torch.empty(0, len(choices), dtype=torch.float64)
    pairs = [(prompt, choice) for prompt in prompts for choice in choices]
    encoded, targets = encode_pairs(tokenizer, pairs, add_special_tokens)
    if any(len(target) > 1 for target in targets):
        sums = target_logprobs(model, tokenizer, pairs, batch_size=batch_size, add_special_tokens=add_special_tokens)
        return sums.reshape(len(prompts), len(choices))
    return _next_token_logprobs(
        model, encoded[:: len(choices)], [target[0] for target in targets[: len(choices)]], batch_size
    )


@torch.no_grad()
def _next_token_logprobs(
    model: PreTrainedModel, prompts: list[list[int]], tokens: list[int], batch_size: int
) -> torch.Tensor:
    """Log-probability of each token right after each prompt: [prompts, tokens], float64."""
    result = torch.empty(len(prompts), len(tokens), dtype=torch.float64)
    for chosen in batches([len(p) for p in prompts], batch_size):
        rows = [prompts[i] for i in chosen]
        logits = logits_after(model, rows, [[] for _ in rows]).double()
        result[chosen] = (logits[:, tokens] - logits.logsumexp(1, keepdim=True)).cpu()
    return result
