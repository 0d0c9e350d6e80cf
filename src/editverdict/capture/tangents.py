"""Forward-mode derivatives of hidden states along a change of weights: J dW without J, in one pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from editverdict.capture.texts import TokenBatch
from editverdict.models.attention import eager_attention
from editverdict.models.sources import LoadedModel


@contextmanager
def _outputs(loaded: LoadedModel, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """What the down-projections gave last; unlike `record`, with their derivatives: detaching would drop those."""
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            seen[layer] = output

        return hook

    handles = [loaded.sites.down_proj(layer).register_forward_hook(keep(layer)) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def tangent_pass(
    loaded: LoadedModel,
    batches: Sequence[TokenBatch],
    lower: Sequence[Tensor],
    start: int,
    layers: Sequence[int],
    deltas: Mapping[str, Tensor],
) -> dict[int, Tensor]:
    """Derivative of the hidden states at the model's weights along ``deltas``: one [m, d] per layer, rows as always.

    The weights themselves are arguments of a function here and are never written to. Attention is eager.

    Parameters
    ----------
    loaded
        The model, as it stands.
    batches, lower, start, layers
        As in :func:`editverdict.capture.passes.tail_pass`.
    deltas
        Parameter name (of the model) -> direction, in the parameter's own shape; with several the result is the sum
        of their derivatives.

    Raises
    ------
    ValueError
        No direction is given, or one does not belong to a layer from ``start`` on: the stored inputs of that layer
        would then change, too.
    """
    numbers = {name: loaded.sites.layer_of(name) for name in deltas}
    outside = sorted(name for name, number in numbers.items() if number is None or number < start)
    if not deltas or outside:
        found = ", ".join(outside) or "none"
        raise ValueError(f"expected directions of parameters in layers from {start} on, found {found}")
    path = loaded.sites.spec.layers.rpartition(".")[0]
    weights = {name: loaded.model.get_parameter(name).detach() for name in deltas}
    own = {name.removeprefix(f"{path}."): weight for name, weight in weights.items()}
    along = {name.removeprefix(f"{path}."): deltas[name].to(weight) for name, weight in weights.items()}
    rows: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    with (
        torch.no_grad(),
        eager_attention(loaded.model),
        _outputs(loaded, layers) as seen,
        loaded.sites.only_layers_before(max(layers) + 1),
        loaded.sites.only_layers_from(start) as backbone,
    ):
        for batch, hidden in zip(batches, lower, strict=True):

            def states(
                values: dict[str, Tensor], batch: TokenBatch = batch, hidden: Tensor = hidden
            ) -> dict[int, Tensor]:
                arguments = {"inputs_embeds": hidden, "attention_mask": batch.mask, "use_cache": False}
                functional_call(backbone, values, kwargs=arguments)
                return {layer: batch.samples(seen[layer]) for layer in layers}

            with warnings.catch_warnings():
                # torch compiles its own rules with a part of itself that it has deprecated.
                warnings.filterwarnings("ignore", message=r"`torch.jit", category=DeprecationWarning)
                tangents: dict[int, Tensor] = jvp(states, (own,), (along,))[1]
            seen.clear()
            for layer in layers:
                rows[layer].append(tangents[layer])
    return {layer: torch.cat(parts) for layer, parts in rows.items()}
