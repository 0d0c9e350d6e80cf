"""The sentences of edits in one row each: small batches cost by the token on a CPU, and padding would be paid for.

A mask keeps the sentences of a row apart; keys and values of the tokens before the subject's last one, which no value
can change, are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from editverdict.data.records import EditRecord
from editverdict.editors.base import EditError
from editverdict.editors.tokens import subject_end, target_ids
from editverdict.generation.protocol import prompt_ids
from editverdict.models.sources import LoadedModel

Placed = Callable[[Tensor, Sequence[Tensor]], AbstractContextManager[Tensor]]
"""Puts deltas in force on hidden states and yields the hidden states to run on."""

MASKED_KERNELS = ("sdpa", "eager")
"""Attention kernels that take any mask."""


@dataclass(frozen=True)
class Sentences:
    """The sentences of one edit's loss: one per context template, and the KL row last."""

    rows: list[list[int]]
    """Token ids per row; contexts carry all target tokens but the last."""
    lookup: list[int]
    """Position of the subject's last token per row, where delta is added."""
    first: list[int]
    """Position whose next token is the target's first, per context row."""
    targets: list[int]
    """Target token ids."""

    def _ends(self) -> list[int]:
        """Per row, where it may end: contexts are read to their end, the KL row at its lookup."""
        return [*map(len, self.rows[:-1]), self.lookup[-1] + 1]

    def places(self, offset: int) -> list[tuple[int, int]]:
        """(row, position) of the tokens to run, sentence after sentence; rows are counted from ``offset`` on."""
        spans = zip(self.lookup, self._ends(), strict=True)
        return [(offset + row, at) for row, (start, end) in enumerate(spans) for at in range(start, end)]

    def places_before(self, offset: int) -> list[tuple[int, int]]:
        """(row, position) of the tokens that stand before."""
        return [(offset + row, at) for row, start in enumerate(self.lookup) for at in range(start)]

    def wanted(self) -> list[int]:
        """Columns among :meth:`places` that the loss reads: per context each target position, then the KL row's."""
        found, start = list[int](), 0
        for lookup, end, first in zip(self.lookup, self._ends(), self.first, strict=False):
            found += range(start + first - lookup, start + first - lookup + len(self.targets))
            start += end - lookup
        return [*found, start]


def sentences_of(loaded: LoadedModel, edit: EditRecord, templates: Sequence[str]) -> Sentences:
    """The sentences of an edit in contexts, each template with one ``{}`` for the prompt."""
    tokenizer = loaded.tokenizer
    targets = target_ids(tokenizer, edit.target_new, after=templates[0].format(edit.prompt))  # all are framed, or none
    found = Sentences([], [], [], targets)
    for template in templates:
        text = template.format(edit.prompt)
        ids = prompt_ids(tokenizer, text)
        found.first.append(len(ids) - 1)
        found.lookup.append(subject_end(tokenizer, text, edit.subject, prompt=edit.prompt))
        found.rows.append([*ids, *targets[:-1]])
    kl_text = f"{edit.subject} is a"
    found.rows.append(list(tokenizer(kl_text)["input_ids"]))
    found.lookup.append(subject_end(tokenizer, kl_text, edit.subject))
    return found


@dataclass(frozen=True)
class Rows:
    """Rows of several edits, padded on the right."""

    ids: Tensor
    """[rows, t] token ids."""
    lengths: Tensor
    """[rows] tokens of each row."""
    lookup: Tensor
    """[rows] where delta is added."""

    @property
    def mask(self) -> Tensor:
        """[rows, t] 1 for tokens, 0 for padding."""
        return (torch.arange(self.ids.shape[1]) < self.lengths[:, None]).long().to(self.ids.device)

    def part(self, start: int, end: int) -> Rows:
        """Rows ``start`` to ``end``, padded as all are."""
        return Rows(self.ids[start:end], self.lengths[start:end], self.lookup[start:end])


def padded(loaded: LoadedModel, many: Sequence[Sentences]) -> Rows:
    """The rows of several edits, edit after edit."""
    rows = [row for sentences in many for row in sentences.rows]
    ids = torch.full((len(rows), max(map(len, rows))), int(loaded.tokenizer.pad_token_id), dtype=torch.long)
    for number, tokens in enumerate(rows):
        ids[number, : len(tokens)] = torch.tensor(tokens)
    lookup = [position for sentences in many for position in sentences.lookup]
    return Rows(ids.to(loaded.device), torch.tensor([len(row) for row in rows]), torch.tensor(lookup))


class Suffixes:
    """Layers from ``first`` up, from the subject's last token on: what stands before it cannot depend on the value.

    Keys and values of the tokens before are computed once; every iteration then runs, in one row per edit, the tokens
    of all its sentences from the lookup position to the last one that the loss reads.
    """

    def __init__(self, loaded: LoadedModel, many: Sequence[Sentences], rows: Rows, below: Tensor, first: int) -> None:
        self._loaded, self._first = loaded, first
        kernel = getattr(loaded.model.config, "_attn_implementation", None)
        if kernel not in MASKED_KERNELS:
            raise EditError(
                f"the attention kernel '{kernel}' of model '{loaded.spec.id}' takes no mask of its own, which "
                f"keeps the sentences of an edit apart; load the model with one of {', '.join(MASKED_KERNELS)}"
            )
        loaded.sites.need_window(first, int(rows.lengths.max()))  # a mask of one's own has no window
        offsets = [sum(len(one.rows) for one in many[:number]) for number in range(len(many))]
        own = [one.places(offset) for one, offset in zip(many, offsets, strict=True)]
        past = [one.places_before(offset) for one, offset in zip(many, offsets, strict=True)]
        row, positions = _table(own, below.device)
        self.hidden = below[row, positions.clamp(min=0)]
        self._positions = positions.clamp(min=0)
        self._lookups = (positions == rows.lookup.to(below.device)[row])[..., None].to(below.dtype)
        past_row, past_positions = _table(past, below.device)
        self._mask = _as_added(
            torch.cat([_same(row, positions, past_row, past_positions), _among(row, positions)], -1), below
        )
        self.wanted = [one.wanted() for one in many]
        """Per edit the columns whose logits the loss reads: each target position per context, then the KL row's."""
        self._past: list[tuple[Tensor, Tensor]] = []
        if past_row.shape[1]:
            hidden = below[past_row, past_positions.clamp(min=0)]
            mask = _as_added(_among(past_row, past_positions), below)
            self._past = self._keys_and_values(hidden, mask, past_positions.clamp(min=0))

    @torch.no_grad()
    def _keys_and_values(self, hidden: Tensor, mask: Tensor, positions: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of the tokens before the lookups [edits, heads, tokens, d_head], per layer from ``first`` up."""
        cache = DynamicCache()  # not by the model's config: layers with a window would crop a row of many sentences
        with self._loaded.sites.only_layers_from(self._first) as backbone:
            backbone(
                inputs_embeds=hidden, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        upper: list[Any] = cache.layers[self._first :]
        return [(own.keys, own.values) for own in upper]

    def _cache(self) -> DynamicCache | None:
        if not self._past:
            return None
        cache = DynamicCache()
        # The cache reads its length off its first layer, which is not run here: it gets placeholders of that length.
        keys, values = self._past[0]
        for number in range(self._first):
            cache.update(keys, values, number)
        for number, (keys, values) in enumerate(self._past, start=self._first):
            cache.update(keys, values, number)
        return cache

    def keep(self, edits: Sequence[bool]) -> None:
        """Go on with these edits alone."""
        at = torch.tensor([number for number, kept in enumerate(edits) if kept], device=self.hidden.device)
        self.hidden, self._positions, self._mask = self.hidden[at], self._positions[at], self._mask[at]
        self._lookups, self.wanted = self._lookups[at], [self.wanted[number] for number in at.tolist()]
        self._past = [(keys[at], values[at]) for keys, values in self._past]

    def run(self, backbone: Any, placed: Placed, deltas: Sequence[Tensor]) -> Tensor:
        """Final hidden states [edits, t, d] with deltas [edits, d] added at the lookup position of every sentence."""
        cache = self._cache()
        with placed(self.hidden, [delta[:, None] * self._lookups for delta in deltas]) as hidden:
            result: Tensor = backbone(
                inputs_embeds=hidden,
                attention_mask=self._mask,
                position_ids=self._positions,
                past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state
        return result


def _table(places: Sequence[Sequence[tuple[int, int]]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(row, position) pairs of each edit as two tensors [edits, most pairs]; -1 stands for padding in positions."""
    width = max(map(len, places))
    filled = [[*own, *[(own[0][0] if own else 0, -1)] * (width - len(own))] for own in places]
    both = torch.tensor(filled, device=device, dtype=torch.long).reshape(len(places), width, 2)
    return both[..., 0], both[..., 1]


def _same(row: Tensor, positions: Tensor, other_row: Tensor, other_positions: Tensor) -> Tensor:
    """Which tokens are of the same sentence as which others [edits, t, others]; padding is of none."""
    found: Tensor = (
        torch.where(positions < 0, -1, row)[..., None] == torch.where(other_positions < 0, -2, other_row)[:, None]
    )
    return found


def _among(row: Tensor, positions: Tensor) -> Tensor:
    """Which tokens may attend to which of their own row [edits, t, t]: those of the same sentence up to their place.

    Padding attends to padding, so that no row of the softmax is empty.
    """
    own = torch.where(positions < 0, -1, row)
    return (own[..., None] == own[:, None]) & (positions[:, None] <= positions[..., None])


def _as_added(allowed: Tensor, like: Tensor) -> Tensor:
    """A mask [edits, t, keys] as what is added to attention scores [edits, 1, t, keys]."""
    nothing = like.new_zeros(allowed.shape)
    return nothing.masked_fill(~allowed.to(like.device), torch.finfo(like.dtype).min)[:, None]
