"""Texts as token batches: fixed order, right padding, known blocks, and what of a text counts as a sample.

Three choices of tokens have a name. ``all_tokens``: every token but the first (the attention sink) is a sample.
``last_token``: the last token of each text is, one sample per text. ``mean_token``: the mean over those tokens that
``all_tokens`` keeps is, one sample per text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Positions = Literal["all_tokens", "last_token", "mean_token"]
"""Which tokens of a text become samples."""
POSITIONS: tuple[Positions, ...] = get_args(Positions)


def _number_of(ids: Sequence[int]) -> int:
    """63 bits of a hash of token ids: names a text as a token id names a token."""
    digest = hashlib.sha256(json.dumps(list(ids)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class TokenBatch:
    """Some texts of a sample, padded on the right."""

    ids: Tensor
    """[b, t] token ids."""
    mask: Tensor
    """[b, t] 1 for tokens, 0 for padding."""
    keep: Tensor
    """[b, t] bool: tokens that are samples, or that the means are over (never padding, never the first token)."""
    text: Tensor
    """[b] index of each text in the sample."""
    positions: Positions = "all_tokens"

    def samples(self, states: Tensor) -> Tensor:
        """Samples among what a site saw, [b, t, width] -> [m, width], in the order of the texts.

        A mean is formed in float64 and rounded to the format of the states: it then claims no digits that they lack,
        and the noise floor that is read off it is theirs (an upper bound, for rounding errors average out).
        """
        if self.positions != "mean_token":
            return states[self.keep]
        kept = states.double().masked_fill(~self.keep[..., None], 0.0)
        return (kept.sum(1) / self.keep.sum(1, keepdim=True)).to(states.dtype)

    def row_texts(self) -> Tensor:
        """[m] text that each sample is of."""
        if self.positions == "mean_token":
            return self.text.clone()
        return self.text[:, None].expand(self.keep.shape)[self.keep.cpu()]

    def row_tokens(self) -> Tensor:
        """[m] what each sample is of: a token's id; a number of the whole text for a mean."""
        ids = self.ids.cpu()
        if self.positions != "mean_token":
            return ids[self.keep.cpu()]
        lengths = self.mask.sum(1).tolist()
        return torch.tensor([_number_of(row[:n]) for row, n in zip(ids.tolist(), lengths, strict=True)])


@dataclass(frozen=True)
class TextSample:
    """A tokenised sample of a corpus; each text belongs to one of ``n_blocks`` blocks, the units of resampling."""

    ids: tuple[tuple[int, ...], ...]
    n_blocks: int
    positions: Positions = "all_tokens"

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise ValueError(f"positions: expected one of {', '.join(POSITIONS)}, found '{self.positions}'")

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return len(self.ids)

    @property
    def n_tokens(self) -> int:
        """Number of tokens but the first of each text, whichever of them are samples."""
        return sum(len(text) - 1 for text in self.ids)

    @property
    def n_samples(self) -> int:
        """Number of samples: tokens, or texts where a text gives one."""
        return sum(self._count(text) for text in self.ids)

    def _count(self, text: Sequence[int]) -> int:
        return len(text) - 1 if self.positions == "all_tokens" else 1

    @property
    def hash(self) -> str:
        """sha256 of all token ids in order, and of the choice of tokens where it is not ``all_tokens``."""
        choice = "" if self.positions == "all_tokens" else self.positions
        return hashlib.sha256((choice + json.dumps(self.ids)).encode()).hexdigest()

    def block_of(self, text: int) -> int:
        """Block of text number ``text``: consecutive texts share a block."""
        return text * self.n_blocks // self.n_texts

    def head(self, min_samples: int) -> TextSample:
        """The first texts that together hold at least ``min_samples`` samples."""
        total = 0
        for number, text in enumerate(self.ids):
            total += self._count(text)
            if total >= min_samples:
                return replace(self, ids=self.ids[: number + 1], n_blocks=min(self.n_blocks, number + 1))
        return self

    def batches(self, pad_id: int, device: torch.device, tokens_per_batch: int = 256) -> list[TokenBatch]:
        """Batches of similar length, formed from the sample alone (never from timing or what ran before)."""
        return self._batches(range(self.n_texts), pad_id, device, tokens_per_batch)

    def batches_by_block(self, pad_id: int, device: torch.device, tokens_per_batch: int = 256) -> list[TokenBatch]:
        """The same block by block: every batch lies within one block, and the blocks come in order."""
        texts = range(self.n_texts)
        blocks = [list(own) for _, own in groupby(texts, self.block_of)]
        return [batch for own in blocks for batch in self._batches(own, pad_id, device, tokens_per_batch)]

    def _batches(
        self, texts: Sequence[int], pad_id: int, device: torch.device, tokens_per_batch: int
    ) -> list[TokenBatch]:
        order = sorted(texts, key=lambda number: (len(self.ids[number]), number))
        groups: list[list[int]] = [[]]
        for number in order:
            if groups[-1] and (len(groups[-1]) + 1) * len(self.ids[number]) > tokens_per_batch:
                groups.append([])
            groups[-1].append(number)
        return [self._pad(group, pad_id, device) for group in groups if group]

    def _pad(self, group: list[int], pad_id: int, device: torch.device) -> TokenBatch:
        lengths = torch.tensor([len(self.ids[number]) for number in group])
        place = torch.arange(int(lengths.max()))
        padded = torch.full((len(group), len(place)), pad_id, dtype=torch.long)
        for row, number in enumerate(group):
            padded[row, : len(self.ids[number])] = torch.tensor(self.ids[number])
        mask = place < lengths[:, None]
        keep = place == lengths[:, None] - 1 if self.positions == "last_token" else mask & (place > 0)
        return TokenBatch(
            padded.to(device), mask.long().to(device), keep.to(device), torch.tensor(group), self.positions
        )


def tokenize_sample(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    min_texts: int,
    min_tokens: int,
    n_blocks: int,
    max_length: int = 128,
    positions: Positions = "all_tokens",
) -> TextSample:
    """The first texts of a corpus, as many as needed for at least ``min_texts`` texts and ``min_tokens`` samples.

    Where a text gives one sample (``last_token``, ``mean_token``), ``min_tokens`` is a number of texts, too. Texts of a
    single token give no sample, whatever the choice, and are passed over; longer ones are cut at ``max_length`` tokens.
    If the corpus is too small the sample holds what there is: the validity checks count, and say so.
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
                total += len(ids) - 1 if positions == "all_tokens" else 1
    if not chosen:
        raise ValueError("the corpus holds no text of two tokens or more; expected one text per line")
    return TextSample(tuple(chosen), min(n_blocks, len(chosen)), positions)
