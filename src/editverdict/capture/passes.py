"""Activation passes: one pass over the texts, many layers; base and edited states on the very same tokens.

The hidden state h of a layer is the output of its feed-forward down-projection (paper, B.1); a key is that
projection's input. Hooks only read; they are removed on leaving, whatever happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.texts import TokenBatch
from editverdict.models.sources import LoadedModel

Progress = Callable[[int], None]
"""Called with the number of tokens just finished."""
Visit = Callable[[TokenBatch, dict[tuple[str, int], Tensor]], None]
"""Called with a batch and what was recorded of it; the recordings are the caller's to keep, not to change."""


@contextmanager
def record(
    loaded: LoadedModel, *, outputs: Sequence[int] = (), keys: Sequence[int] = (), layer_inputs: Sequence[int] = ()
) -> Iterator[dict[tuple[str, int], Tensor]]:
    """Record, for every forward pass inside the block, what the named sites saw last.

    Yields a dict: ('h', layer) -> down-projection output [b, t, d]; ('key', layer) -> its input [b, t, d_ff];
    ('in', layer) -> input of the decoder layer [b, t, d].
    """
    seen: dict[tuple[str, int], Tensor] = {}
    handles = []

    def on_output(layer: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            seen["h", layer] = output.detach()

        return hook

    def on_input(kind: str, layer: int) -> Callable[..., None]:
        def hook(_module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            seen[kind, layer] = (args[0] if args else kwargs["hidden_states"]).detach()

        return hook

    try:
        for layer in outputs:
            handles.append(loaded.sites.down_proj(layer).register_forward_hook(on_output(layer)))
        for layer in keys:
            handles.append(
                loaded.sites.down_proj(layer).register_forward_pre_hook(on_input("key", layer), with_kwargs=True)
            )
        for layer in layer_inputs:
            handles.append(loaded.sites.layer(layer).register_forward_pre_hook(on_input("in", layer), with_kwargs=True))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def full_pass(
    loaded: LoadedModel,
    batches: Sequence[TokenBatch],
    visit: Visit,
    *,
    outputs: Sequence[int] = (),
    keys: Sequence[int] = (),
    layer_inputs: Sequence[int] = (),
    progress: Progress | None = None,
) -> None:
    """Run the model without its head over all batches and hand each batch's recordings to ``visit``.

    Layers above the highest one wanted are not run.
    """
    top = max((*outputs, *keys, *layer_inputs))
    with (
        record(loaded, outputs=outputs, keys=keys, layer_inputs=layer_inputs) as seen,
        loaded.sites.only_layers_before(top + 1) as backbone,
    ):
        for batch in batches:
            backbone(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
            visit(batch, seen)
            if progress:
                progress(int(batch.mask.sum()))


@torch.no_grad()
def tail_pass(
    loaded: LoadedModel,
    batches: Sequence[TokenBatch],
    lower: Iterable[Tensor],
    start: int,
    layers: Sequence[int],
    progress: Progress | None = None,
) -> dict[int, Tensor]:
    """Hidden states of ``layers`` (all ≥ ``start``) from stored inputs of layer ``start``: one [m, d] per layer.

    Base and edited model share everything below the first edited layer, so ``lower`` is computed once; each of its
    tensors is asked for just before its batch is run.
    """
    rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    with (
        record(loaded, outputs=layers) as seen,
        loaded.sites.only_layers_before(max(layers) + 1),
        loaded.sites.only_layers_from(start) as backbone,
    ):
        for batch, hidden in zip(batches, lower, strict=True):
            backbone(inputs_embeds=hidden, attention_mask=batch.mask, use_cache=False)
            for layer in layers:
                rows[layer].append(batch.samples(seen["h", layer]))
            if progress:
                progress(int(batch.mask.sum()))
    return {layer: torch.cat(parts) for layer, parts in rows.items()}


def row_texts(batches: Sequence[TokenBatch]) -> Tensor:
    """[m] index of the text that each row of a pass comes from."""
    return torch.cat([batch.row_texts() for batch in batches])


def row_tokens(batches: Sequence[TokenBatch]) -> Tensor:
    """[m] token id of each row of a pass; a number of the whole text where a row is the mean over it."""
    return torch.cat([batch.row_tokens() for batch in batches])
