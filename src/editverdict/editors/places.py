"""The places that a value is added to: what a layer passes on, or the outputs of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from editverdict.capture.passes import record
from editverdict.editors.packed import Rows
from editverdict.models.sources import LoadedModel

Place = Literal["mlp", "layer", "attention+mlp"]
"""What deltas are added to: a layer's feed-forward output (ROME), its whole output (MEMIT), or the outputs of attention
and feed-forward part, each with a delta of its own (PMET)."""


@contextmanager
def module_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record what a module puts out inside the block: a list whose only entry is its last output."""
    seen: list[Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        seen[:] = [output[0] if isinstance(output, tuple) else output]

    handle = module.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _added(module: nn.Module, delta: Tensor) -> Iterator[None]:
    """Add ``delta`` [edits, t, d] to a module's output."""

    def add(_module: Any, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        return (hidden + delta, *output[1:]) if isinstance(output, tuple) else hidden + delta

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


class Site(Protocol):
    """Where deltas enter the forward pass; made outside of any context that takes layers out of the model."""

    names: ClassVar[tuple[str, ...]]
    """Names of the deltas; the first one is what a weight is to produce."""
    first: int
    """Lowest layer that the loop runs."""

    def read(self, rows: Rows) -> tuple[Tensor, list[Tensor]]:
        """Input of layer ``first`` [rows, t, d], and per delta what it is added to, at the lookup [rows, d]."""
        ...

    def placed(self, hidden: Tensor, deltas: Sequence[Tensor]) -> AbstractContextManager[Tensor]:
        """Put deltas [edits, t, d] (zero but at the lookups) in force: yields the hidden states to run on."""
        ...


class _OutputSite:
    """One delta on what a layer passes on.

    A layer's output is the residual stream plus its feed-forward output, so that adding to the one is adding to the
    other: the two places differ in where the delta starts from.
    """

    names: ClassVar[tuple[str, ...]] = ("value",)

    def __init__(self, loaded: LoadedModel, layer: int, place: Place) -> None:
        self._loaded, self._layer, self._place = loaded, layer, place
        self.first = layer + 1

    @torch.no_grad()
    def read(self, rows: Rows) -> tuple[Tensor, list[Tensor]]:
        layer, everywhere = self._layer, torch.arange(len(rows.lookup))
        with (
            module_output(self._loaded.sites.layer(layer)) as passed_on,
            record(self._loaded, outputs=[layer]) as recorded,
            self._loaded.sites.only_layers_before(layer + 1) as backbone,
        ):
            backbone(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
        source = recorded["h", layer] if self._place == "mlp" else passed_on[0]
        return passed_on[0], [source[everywhere, rows.lookup]]

    @contextmanager
    def placed(self, hidden: Tensor, deltas: Sequence[Tensor]) -> Iterator[Tensor]:
        yield hidden + deltas[0]


class _PartsSite:
    """A delta on the feed-forward output and one on the attention output of the same layer, which is run in the loop:

    its feed-forward part reads what the attention's delta has changed.
    """

    names: ClassVar[tuple[str, ...]] = ("value", "attention")

    def __init__(self, loaded: LoadedModel, layer: int) -> None:
        self._loaded, self.first = loaded, layer
        self._parts = (loaded.sites.mlp(layer), loaded.sites.attention(layer))

    @torch.no_grad()
    def read(self, rows: Rows) -> tuple[Tensor, list[Tensor]]:
        everywhere = torch.arange(len(rows.lookup))
        with ExitStack() as stack:
            outputs = [stack.enter_context(module_output(part)) for part in self._parts]
            recorded = stack.enter_context(record(self._loaded, layer_inputs=[self.first]))
            backbone = stack.enter_context(self._loaded.sites.only_layers_before(self.first + 1))
            backbone(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
        return recorded["in", self.first], [output[0][everywhere, rows.lookup] for output in outputs]

    @contextmanager
    def placed(self, hidden: Tensor, deltas: Sequence[Tensor]) -> Iterator[Tensor]:
        with ExitStack() as stack:
            for part, delta in zip(self._parts, deltas, strict=True):
                stack.enter_context(_added(part, delta))
            yield hidden


def site_at(loaded: LoadedModel, layer: int, place: Place) -> Site:
    """Where deltas on a layer enter."""
    return _PartsSite(loaded, layer) if place == "attention+mlp" else _OutputSite(loaded, layer, place)
