"""Teacher forcing for editors: the loss of targets after their prompts, in a form that gradients can go through.

A causal model reads prompt and target in one sequence. An encoder-decoder model (T5) reads the prompt with its encoder
and the target with its decoder, from the start token on; there a target ends with the end-of-sequence token, as every
sequence that such a model was trained on does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from editverdict.editors.base import EditError
from editverdict.editors.tokens import target_ids
from editverdict.generation.protocol import prompt_ids
from editverdict.models.sources import LoadedModel


@dataclass(frozen=True)
class Forced:
    """Prompts and targets as token ids, padded on the right; every target token is an entry of its own."""

    ids: Tensor
    """[rows, t] what the model reads: prompt and all of the target but its last token; the prompt where an encoder
    reads it."""
    mask: Tensor
    """[rows, t] 1 for tokens, 0 for padding."""
    decoder_ids: Tensor | None
    """[rows, u] start token and all of the target but its last token; None for causal models."""
    row: Tensor
    """[n] row of each target token."""
    column: Tensor
    """[n] position (of the decoder, if there is one) whose next token is this target token."""
    first: Tensor
    """[n] position whose next token is the first token of the same target."""
    target: Tensor
    """[n] token ids of the targets."""

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.ids)


def force(loaded: LoadedModel, prompts: Sequence[str], targets: Sequence[str]) -> Forced:
    """Tokenise targets after their prompts, each target with exactly one leading space (`tokens.target_ids`).

    Raises
    ------
    EditError
        A prompt or a target has no tokens.
    """
    pairs = list(zip(prompts, targets, strict=True))
    heads = [prompt_ids(loaded.tokenizer, prompt) for prompt, _ in pairs]
    if empty := [prompt for prompt, head in zip(prompts, heads, strict=True) if not head]:
        raise EditError(f"the prompt {empty[0]!r} has no tokens; expected some text before the target")
    tails = [target_ids(loaded.tokenizer, target, after=prompt) for prompt, target in pairs]
    decoder_ids = None
    if loaded.sites.spec.encoder_decoder:
        tails = [[*tail, int(loaded.tokenizer.eos_token_id)] for tail in tails]
        start = int(loaded.model.config.decoder_start_token_id)
        decoder_ids, _ = padded(loaded, [[start, *tail[:-1]] for tail in tails])
        ids, mask = padded(loaded, heads)
        firsts = [0] * len(tails)
    else:
        ids, mask = padded(loaded, [[*head, *tail[:-1]] for head, tail in zip(heads, tails, strict=True)])
        firsts = [len(head) - 1 for head in heads]
    row = [number for number, tail in enumerate(tails) for _ in tail]
    column = [first + step for first, tail in zip(firsts, tails, strict=True) for step in range(len(tail))]
    first = [first for first, tail in zip(firsts, tails, strict=True) for _ in tail]
    flat = [token for tail in tails for token in tail]
    made = (torch.tensor(numbers, device=loaded.device) for numbers in (row, column, first, flat))
    return Forced(ids, mask, decoder_ids, *made)


def padded(loaded: LoadedModel, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids [rows, t] and mask [rows, t], padded on the right."""
    width = max(map(len, rows))
    padding = int(loaded.tokenizer.pad_token_id)
    ids = torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows], device=loaded.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=loaded.device)
    return ids, mask


def logits_of(loaded: LoadedModel, forced: Forced) -> Tensor:
    """Logits at the position before each target token [n, vocabulary], by a full pass of the model as it stands."""
    if forced.decoder_ids is not None:
        # T5 scales what its decoder puts out before the head, so the model's own forward has to do it.
        logits: Tensor = loaded.model(
            input_ids=forced.ids, attention_mask=forced.mask, decoder_input_ids=forced.decoder_ids, use_cache=False
        ).logits
        return logits[forced.row, forced.column]
    return logits_from(loaded, loaded.sites.backbone, forced, {"input_ids": forced.ids})


def logits_from(loaded: LoadedModel, backbone: Any, forced: Forced, inputs: dict[str, Tensor]) -> Tensor:
    """Logits [n, vocabulary] of a causal model, by running ``backbone`` (all layers, or the upper ones) on ``inputs``.

    The head is applied to the wanted positions alone.
    """
    hidden = backbone(**inputs, attention_mask=forced.mask, use_cache=False).last_hidden_state
    return loaded.sites.logits(hidden[forced.row, forced.column])


def row_losses(logits: Tensor, forced: Forced) -> Tensor:
    """Mean negative log-probability of each row's target tokens [rows], nats; ``logits`` is [n, vocabulary]."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    nll = functional.cross_entropy(wide, forced.target, reduction="none")
    sums = nll.new_zeros(forced.count).index_add(0, forced.row, nll)
    return sums / torch.bincount(forced.row, minlength=forced.count)


def target_loss(loaded: LoadedModel, prompts: Sequence[str], targets: Sequence[str]) -> Tensor:
    """Mean over rows of the mean token NLL of ``targets`` after ``prompts``, nats, by one full pass.

    Gradients flow to whatever requires them: ``requires_grad`` is the caller's business.
    """
    forced = force(loaded, prompts, targets)
    return row_losses(logits_of(loaded, forced), forced).mean()
