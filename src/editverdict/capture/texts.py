"""Texts as token batches: fixed order, right padding, known blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Some texts of a sample, padded on the right."""

    ids: Tensor
    """[b, t] token ids."""
    mask: Tensor
    """[b, t] 1 for tokens, 0 for padding."""
    keep: Tensor
    """[b, t] bool: tokens that are samples (not padding; not the first token, the attention sink)."""
    text: Tensor
    """[b] index of each text in the sample."""


@dataclass(frozen=True)
class TextSample:
    """A tokenised sample of a corpus; each text belongs to one of ``n_blocks`` blocks, the units of resampling."""

    ids: tuple[tuple[int, ...], ...]
    n_blocks: int

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return len(self.ids)

    @property
    def n_tokens(self) -> int:
        """Number of samples: all tokens but the first of each text."""
        return sum(len(text) - 1 for text in self.ids)

    @property
    def hash(self) -> str:
        """sha256 of all token ids in order."""
        return hashlib.sha256(json.dumps(self.ids).encode()).hexdigest()

    def block_of(self, text: int) -> int:
        """Block of text number ``text``: consecutive texts share a block."""
        return text * self.n_blocks // self.n_texts

    def head(self, min_tokens: int) -> TextSample:
        """The first texts that together hold at least ``min_tokens`` samples."""
        total = 0
        for number, text in enumerate(self.ids):
            total += len(text) - 1
            if total >= min_tokens:
                return TextSample(self.ids[: number + 1], min(self.n_blocks, number + 1))
        return self

    def batches(self, pad_id: int, device: torch.device, tokens_per_batch: int = 256) -> list[TokenBatch]:
        """Batches of similar length, formed from the sample alone (never from timing or what ran before)."""
        order = sorted(range(self.n_texts), key=lambda number: (len(self.ids[number]), number))
        groups: list[list[int]] = [[]]
        for number in order:
            if groups[-1] and (len(groups[-1]) + 1) * len(self.ids[number]) > tokens_per_batch:
                groups.append([])
            groups[-1].append(number)
        return [_pad(self.ids, group, pad_id, device) for group in groups if group]


def _pad(ids: Sequence[Sequence[int]], group: list[int], pad_id: int, device: torch.device) -> TokenBatch:
    width = max(len(ids[number]) for number in group)
    padded = torch.full((len(group), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(group), width), dtype=torch.long)
    for row, number in enumerate(group):
        padded[row, : len(ids[number])] = torch.tensor(ids[number])
        mask[row, : len(ids[number])] = 1
    keep = mask.bool()
    keep[:, 0] = False
    return TokenBatch(padded.to(device), mask.to(device), keep.to(device), torch.tensor(group))


def tokenize_sample(
    tokenizer: Any, texts: Sequence[str], *, min_texts: int, min_tokens: int, n_blocks: int, max_length: int = 128
) -> TextSample:
    """The first texts of a corpus, as many as needed for at least ``min_texts`` texts and ``min_tokens`` samples.

    Texts of a single token give no sample and are passed over; longer ones are cut at ``max_length`` tokens. If the
    corpus is too small the sample holds what there is: the validity checks count, and say so.
    """
    chosen: list[tuple[int, ...]] = []
    total = 0
    step = 512
    for start in range(0, len(texts), step):
        if len(chosen) >= min_texts and total >= min_tokens:
            break
        encoded = tokenizer(list(texts[start : start + step]), truncation=True, max_length=max_length)["input_ids"]
        for ids in encoded:
            if len(chosen) >= min_texts and total >= min_tokens:
                break
            if len(ids) > 1:
                chosen.append(tuple(ids))
                total += len(ids) - 1
    if not chosen:
        raise ValueError("the corpus holds no text of two tokens or more; expected one text per line")
    return TextSample(tuple(chosen), min(n_blocks, len(chosen)))
