"""The upper layers of a model on stored inputs: losses, gradients of single matrices, and low-rank edits per row.

What lies below the lowest edited layer cannot change, so its output is computed once per text. An encoder-decoder model
keeps what its encoder puts out, and its whole decoder runs (T5's position bias is made by the decoder's first layer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from editverdict.capture.passes import record
from editverdict.editors.base import EditError
from editverdict.editors.hypernetwork import Matrix
from editverdict.editors.losses import force
from editverdict.generation.protocol import Rendered, prompt_ids
from editverdict.models.sources import LoadedModel

BATCH = 32
"""Texts per pass through the lower layers."""


@dataclass(frozen=True)
class Row:
    """One text, as far as the lower layers have brought it."""

    below: Tensor
    """[t, d] input of the lowest edited layer; of an encoder-decoder model what the encoder puts out."""
    decoder: tuple[int, ...]
    """Token ids that the decoder reads; () for causal models."""
    wanted: tuple[int, ...]
    """Positions whose next token is predicted."""
    targets: tuple[int, ...]
    """The token that should follow each wanted position; () where no answer is wanted."""


@dataclass(frozen=True)
class RowTokens:
    """One text as token ids; fields as in :class:`Row`."""

    ids: tuple[int, ...]
    decoder: tuple[int, ...]
    wanted: tuple[int, ...]
    targets: tuple[int, ...]


def question(loaded: LoadedModel, prompt: str, target: str) -> RowTokens:
    """Tokens of a prompt and the answer that should follow it."""
    forced = force(loaded, [prompt], [target])
    decoder = () if forced.decoder_ids is None else tuple(forced.decoder_ids[0].tolist())
    return RowTokens(
        tuple(forced.ids[0].tolist()), decoder, tuple(forced.column.tolist()), tuple(forced.target.tolist())
    )


def passage(loaded: LoadedModel, text: str, positions: int = 1, max_length: int = 32) -> RowTokens:
    """Tokens of a text without an answer; ``positions`` places, evenly spread from the middle to the end, are read.

    A decoder beside an encoder is read at its start token alone. A rendered prompt is not cut to ``max_length``: an
    answer begins at its end, and its beginning is the same for all.
    """
    found = prompt_ids(loaded.tokenizer, text)
    ids = tuple(found if isinstance(text, Rendered) else found[:max_length])
    if not ids:
        raise EditError(f"the text {text!r} has no tokens")
    if loaded.sites.spec.encoder_decoder:
        return RowTokens(ids, (int(loaded.model.config.decoder_start_token_id),), (0,), ())
    last = len(ids) - 1
    places = {last - step * (last // 2) // max(positions - 1, 1) for step in range(positions)} if last else {0}
    return RowTokens(ids, (), tuple(sorted(places)), ())


class Tail:
    """The layers from ``start`` on (all of the decoder beside an encoder)."""

    def __init__(self, loaded: LoadedModel, start: int) -> None:
        self._loaded, self._start = loaded, start
        self._paired = bool(loaded.sites.spec.encoder_decoder)

    @torch.no_grad()
    def rows(self, tokens: Sequence[RowTokens], progress: Callable[[int, int], None] | None = None) -> list[Row]:
        """Bring texts up to the lowest edited layer, texts of similar length together."""
        holder = self._holders([own.ids for own in tokens])
        order = sorted(set(holder.values()), key=lambda ids: (len(ids), ids))
        below: dict[tuple[int, ...], Tensor] = {}
        for begin in range(0, len(order), BATCH):
            chosen = order[begin : begin + BATCH]
            for ids, hidden in zip(chosen, self._below(chosen), strict=True):
                below[ids] = hidden[: len(ids)].clone()
            if progress:
                progress(len(below), len(order))
        return [Row(below[holder[own.ids]][: len(own.ids)], own.decoder, own.wanted, own.targets) for own in tokens]

    def _holders(self, texts: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Text -> a text that begins with it: a causal model has then read the shorter one, too."""
        ordered = sorted(set(texts))
        found = {ids: ids for ids in ordered}
        if not self._paired:
            # Whatever begins with a text follows it at once in this order.
            for ids, following in reversed(list(pairwise(ordered))):
                if following[: len(ids)] == ids:
                    found[ids] = found[following]
        return found

    def _below(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """[rows, t, d], padded on the right."""
        loaded = self._loaded
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(loaded.device)
        mask = _mask([len(row) for row in rows], loaded.device)
        if self._paired:
            encoded: Tensor = loaded.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            return encoded
        # The layer itself need not run for its input to be seen, but a hook sees only what runs.
        with (
            record(loaded, layer_inputs=[self._start]) as seen,
            loaded.sites.only_layers_before(self._start + 1) as backbone,
        ):
            backbone(input_ids=ids, attention_mask=mask, use_cache=False)
        return seen["in", self._start]

    def logits(self, rows: Sequence[Row]) -> Tensor:
        """Logits at the wanted positions of all rows, one after the other [n, vocabulary]."""
        loaded = self._loaded
        below = pad_sequence([row.below for row in rows], batch_first=True)
        mask = _mask([len(row.below) for row in rows], below.device)
        row_of = torch.tensor([number for number, row in enumerate(rows) for _ in row.wanted], device=below.device)
        place = torch.tensor([position for row in rows for position in row.wanted], device=below.device)
        if self._paired:
            decoder = pad_sequence([torch.tensor(row.decoder) for row in rows], batch_first=True).to(below.device)
            # T5 scales what its decoder puts out before the head: the model's own forward does it.
            whole: Tensor = loaded.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=below),
                attention_mask=mask,
                decoder_input_ids=decoder,
                use_cache=False,
            ).logits
            return whole[row_of, place]
        with loaded.sites.only_layers_from(self._start) as backbone:
            hidden = backbone(inputs_embeds=below, attention_mask=mask, use_cache=False).last_hidden_state
        return loaded.sites.logits(hidden[row_of, place])


def _mask(lengths: Sequence[int], device: torch.device) -> Tensor:
    """[rows, t] 1 for tokens, 0 for padding."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long().to(device)


def row_nll(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """Mean negative log-probability of each row's target tokens [rows], nats."""
    targets = torch.tensor([token for row in rows for token in row.targets], device=logits.device)
    nll = functional.cross_entropy(logits.float(), targets, reduction="none")
    return torch.stack([part.mean() for part in torch.split(nll, [len(row.targets) for row in rows])])


def row_hits(logits: Tensor, rows: Sequence[Row]) -> list[bool]:
    """Whether every target token of a row is the most probable one, by teacher forcing."""
    best = logits.argmax(1).tolist()
    hits, at = [], 0
    for row in rows:
        hits.append(tuple(best[at : at + len(row.targets)]) == row.targets)
        at += len(row.targets)
    return hits


Change = Callable[[int, Tensor, Tensor], Tensor]
"""(number of the matrix, its input [b, t, d_in], its output [b, t, d_out]) -> the output to go on with."""


@contextmanager
def changed_outputs(matrices: Sequence[Matrix], change: Change) -> Iterator[None]:
    """Let ``change`` replace what the matrices put out; the hooks are gone on leaving, whatever happened."""

    def hook(number: int) -> Callable[[Any, Any, Tensor], Tensor]:
        return lambda _module, args, output: change(number, args[0], output)

    handles = []
    try:
        for number, matrix in enumerate(matrices):
            handles.append(matrix.module.register_forward_hook(hook(number)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Factors:
    """Factors of the gradients of one matrix: the tokens of all rows at which the gradient is not zero."""

    inputs: Tensor
    """[n, d_in] u."""
    deltas: Tensor
    """[n, d_out] delta, gradient of its row's own loss."""
    row: Tensor
    """[n] row of each token, ascending."""


def gradient_factors(tail: Tail, matrices: Sequence[Matrix], rows: Sequence[Row]) -> tuple[list[Factors], list[float]]:
    """Factors of each matrix's fine-tuning gradient and each row's loss; the model is only read.

    The gradient of row r's mean token NLL by a weight [d_out, d_in] is the sum over its tokens of delta u^T.
    """
    inputs: dict[int, Tensor] = {}
    added: dict[int, Tensor] = {}

    def keep(number: int, taken: Tensor, output: Tensor) -> Tensor:
        inputs[number] = taken.detach()
        # Its gradient is that of the output, and no parameter needs to require one.
        added[number] = torch.zeros_like(output, requires_grad=True)
        return output + added[number]

    with torch.enable_grad(), changed_outputs(matrices, keep):
        losses = row_nll(tail.logits(rows), rows)
        deltas = torch.autograd.grad(losses.sum(), [added[number] for number in range(len(matrices))])
    found = []
    for number, delta in enumerate(deltas):
        taken = inputs[number]
        kept = (taken != 0).any(-1) & (delta != 0).any(-1)
        found.append(Factors(taken[kept], delta[kept], kept.nonzero()[:, 0]))
    return found, losses.detach().tolist()


@dataclass(frozen=True)
class RowEdits:
    """Low-rank edits of one matrix, another one for each of several edits."""

    left: Tensor
    """[edits, r, d_out]"""
    right: Tensor
    """[edits, r, d_in]"""


def spread_tokens(left: Tensor, right: Tensor, owner: Tensor, edits: int) -> RowEdits:
    """Sort the factors of tokens [n, ...] (``owner`` [n], ascending) into one padded block per edit."""
    sizes = torch.bincount(owner, minlength=edits).tolist()
    return RowEdits(*(pad_sequence(list(torch.split(one, sizes)), batch_first=True) for one in (left, right)))


def apply_edits(edits: Sequence[RowEdits], edit_of: Sequence[int]) -> Change:
    """A change of outputs that gives row i of a batch the edit number ``edit_of[i]``: W x + left^T (right x)."""
    chosen = torch.tensor(edit_of)

    def change(number: int, taken: Tensor, output: Tensor) -> Tensor:
        own = edits[number]
        rows = chosen.to(output.device)
        inner = taken.float() @ own.right[rows].transpose(1, 2)
        return output + (inner @ own.left[rows]).to(output.dtype)

    return change
