"""Log-probabilities of many continuations of a few texts: each text is read once.

A memory of ten texts is weighed against a hundred questions. Scored pair by pair, every text would be read as often as
it is proposed; here its keys and values are computed once and lent to each of its questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from editverdict.generation.decode import batches, padded
from editverdict.generation.protocol import decoder_start
from editverdict.generation.scoring import Pair, encode_pairs, token_logprobs

BATCH = 64
"""Continuations per forward pass."""


@dataclass(frozen=True)
class _Texts:
    """Texts that have been read, padded on the left."""

    mask: Tensor
    """[texts, w]"""
    lengths: Tensor
    """[texts]"""
    past: list[Any]
    """The cache's layers: keys and values [texts, heads, w, head width]; behind the model's own what editors keep there
    row by row (`editors.wise_routing`)."""
    last: Tensor
    """[texts, vocabulary] logits after each text."""


def _read(model: PreTrainedModel, texts: list[list[int]]) -> _Texts:
    ids, mask = padded(texts, 0, model.device, left=True)
    cache = DynamicCache(config=model.config)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
    return _Texts(mask, mask.sum(1), list(cache.layers), out.logits[:, -1].clone())


def _after(model: PreTrainedModel, texts: _Texts, own: Tensor, said: list[list[int]]) -> Tensor:
    """Logits after each token said [rows, longest, vocabulary]; ``own`` [rows] is the text of each row."""
    ids, mask = padded(said, 0, model.device)
    cache = DynamicCache(config=model.config)
    depth = len(cache.layers)
    for number, layer in enumerate(texts.past[:depth]):
        cache.update(layer.keys[own], layer.values[own], number)
    for layer in texts.past[depth:]:
        kept = copy(layer)
        kept.batch_select_indices(own)
        cache.layers.append(kept)
    logits: Tensor = model(
        input_ids=ids,
        attention_mask=torch.cat([texts.mask[own], mask], dim=1),
        position_ids=texts.lengths[own][:, None] + torch.arange(ids.shape[1], device=ids.device),
        past_key_values=cache,
        use_cache=True,
    ).logits
    return logits


@torch.no_grad()
def continuation_logprobs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], *, batch_size: int = BATCH
) -> list[Tensor]:
    """Log-probability of each token of each continuation, as `token_logprobs` gives it, up to rounding.

    Parameters
    ----------
    model, tokenizer
        A model in eval mode, and its tokenizer. An encoder-decoder is scored pair by pair.
    pairs : sequence of (str, str)
        Text and continuation; few texts, many continuations.
    batch_size : int, optional
        Continuations per forward pass.

    Returns
    -------
    list of Tensor [number of the continuation's tokens], float64, on the CPU

    Raises
    ------
    ValueError
        If a text or a continuation is empty, or ``batch_size`` is below 1.
    """
    if decoder_start(model) is not None:
        return token_logprobs(model, tokenizer, pairs, batch_size=batch_size)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}")
    if not pairs:
        return []
    prompts, targets = encode_pairs(tokenizer, pairs)
    number = {ids: i for i, ids in enumerate(dict.fromkeys(map(tuple, prompts)))}
    texts = _read(model, [list(ids) for ids in number])
    text_of = [number[tuple(ids)] for ids in prompts]
    result: dict[int, Tensor] = {}
    for chosen in batches([len(target) for target in targets], batch_size):
        own = torch.tensor([text_of[i] for i in chosen], device=model.device)
        first = texts.last[own][:, None]
        said = [targets[i][:-1] for i in chosen]
        # A continuation of one token is predicted by the text alone.
        after = torch.cat([first, _after(model, texts, own, said)], dim=1) if any(said) else first
        for row, i in enumerate(chosen):
            logits = after[row, : len(targets[i])].double()
            tokens = torch.tensor(targets[i], device=logits.device)
            result[i] = (logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1)).cpu()
    return [result[i] for i in range(len(pairs))]
