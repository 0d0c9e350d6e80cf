"""Hidden states of several low-rank states over the same tokens in one pass.

Each batch is cut into pieces of few texts, trimmed to the longest of them, and each piece stands in the pass once per
state, every row adding its own state's term. The weights are read as often as for one state, on batches as large as
before but with less padding. Numbers equal those of installed weights up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from editverdict.capture.passes import tail_pass
from editverdict.capture.texts import TokenBatch
from editverdict.editors.base import State
from editverdict.editors.by_row import RowStates, installed_by_row
from editverdict.models.sources import LoadedModel

TOGETHER = 4
"""States that share a pass: about a tenth less time than one after the other, at batches of some 256 tokens."""


def _pieces(batch: TokenBatch, hidden: Tensor, count: int) -> Iterator[tuple[TokenBatch, Tensor]]:
    """A batch and its stored inputs in up to ``count`` pieces of consecutive texts, without padding common to one."""
    for own in torch.arange(len(batch.text)).chunk(count):
        width = int(batch.mask[own].sum(1).max())
        ids, mask, keep = (tensor[own, :width] for tensor in (batch.ids, batch.mask, batch.keep))
        yield replace(batch, ids=ids, mask=mask, keep=keep, text=batch.text[own]), hidden[own, :width]


def _repeated(batch: TokenBatch, count: int) -> TokenBatch:
    ids, mask, keep = (tensor.repeat(count, 1) for tensor in (batch.ids, batch.mask, batch.keep))
    return replace(batch, ids=ids, mask=mask, keep=keep, text=batch.text.repeat(count))


def tails_together(
    loaded: LoadedModel,
    batches: Sequence[TokenBatch],
    lower: Sequence[Tensor],
    start: int,
    layers: Sequence[int],
    states: Sequence[State],
    scales: Sequence[float] | None = None,
) -> list[dict[int, Tensor]]:
    """What :func:`~editverdict.capture.passes.tail_pass` gives for each of several states, in their order.

    Parameters
    ----------
    loaded, batches, lower, start, layers
        As for ``tail_pass``; nothing below layer ``start`` may be changed by a state.
    states
        Low-rank states (:func:`~editverdict.editors.by_row.is_low_rank`); the empty state is one.
    scales
        Factor of each state; by default 1.

    Returns
    -------
    list of dict
        Per state: layer -> [m, d], rows as in ``tail_pass`` over the same batches.

    Raises
    ------
    ValueError
        A state is more than low-rank deltas of the weights of linear modules.
    """
    count = len(states)
    if count == 0:
        return []
    parts = [piece for batch, own in zip(batches, lower, strict=True) for piece in _pieces(batch, own, count)]

    def announced(rows: RowStates) -> Iterator[Tensor]:
        # The pass asks for a batch's inputs just before it runs it: the moment to say whose rows they are.
        for batch, hidden in parts:
            rows.use([state for state in range(count) for _ in range(len(batch.text))])
            yield hidden.repeat(count, 1, 1)

    with installed_by_row(loaded.model, states, scales or [1.0] * count) as rows:
        found = tail_pass(loaded, [_repeated(batch, count) for batch, _ in parts], announced(rows), start, layers)
    sizes = [len(batch.row_texts()) for batch, _ in parts]
    out: list[dict[int, Tensor]] = [{} for _ in states]
    for layer, values in found.items():
        pieces = torch.split(values, [count * size for size in sizes])
        for number, own in enumerate(out):
            own[layer] = torch.cat(
                [piece[number * size : (number + 1) * size] for piece, size in zip(pieces, sizes, strict=True)]
            )
    return out
