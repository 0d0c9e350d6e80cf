"""What is kept of hidden states when they are collected block by block: second moments, or triangular factors.

Both are visitors of :func:`~editverdict.capture.passes.full_pass` over batches that come block by block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from editverdict.capture.reduction import Gathering
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import BlockMoments, Moments
from editverdict.numerics.spectrum import StreamingQR

PROBES_PER_BATCH = 16
MAX_PROBES = 4096
"""Rows of each batch that are kept as they are, and about how many in all (at least one of each batch)."""


def batches_by_block(loaded: LoadedModel, sample: TextSample) -> list[TokenBatch]:
    """Batches of a sample on the model's device, block by block."""
    return sample.batches_by_block(int(loaded.tokenizer.pad_token_id), loaded.device)


class BlockReduction:
    """Moments of hidden states by block of texts, and of keys over every token.

    Parameters
    ----------
    loaded, sample
        What is run on what; ``sample`` also says which tokens are samples.
    layers
        Layers whose hidden states are reduced.
    keys
        Layers whose keys are.
    folder
        Where blocks are kept that are not being filled; None: in memory.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        sample: TextSample,
        layers: Sequence[int],
        keys: Sequence[int] = (),
        folder: Path | None = None,
    ) -> None:
        self.batches = batches_by_block(loaded, sample)
        self.blocks = {layer: _blocks(loaded, sample, layer, folder) for layer in layers}
        """Layer -> moments of its hidden states by block."""
        self.keys = {layer: Moments(int(loaded.sites.down_weight(layer).shape[1])) for layer in keys}
        """Layer -> moments of its keys."""
        self.probe: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        """Layer -> some of the samples [m, d], spread over all batches."""
        self._sample = sample
        self._block = 0
        self._probes = max(1, min(PROBES_PER_BATCH, MAX_PROBES // len(self.batches)))
        self._states = {layer: Gathering(own.d, self._into(own)) for layer, own in self.blocks.items()}
        self._inputs = {layer: Gathering(own.d, own.update) for layer, own in self.keys.items()}

    def _into(self, moments: BlockMoments) -> Callable[[Tensor], None]:
        return lambda rows: moments.update(self._block, rows)

    def visit(self, batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        """Take what a pass over one of ``batches`` saw; :meth:`finish` when the pass is over."""
        block = self._sample.block_of(int(batch.text[0]))
        if block != self._block:
            self.finish()
            self._block = block
        for layer, gathering in self._states.items():
            states = batch.samples(seen["h", layer]).cpu()
            # Rows from every batch: batches go by length, so the first ones alone would be no fair sample.
            self.probe[layer].append(states[:: max(1, len(states) // self._probes)].clone())
            gathering.add(states)
        for layer, gathering in self._inputs.items():
            gathering.add(seen["key", layer][batch.mask.bool()].cpu())

    def finish(self) -> None:
        """Add what waits to the moments."""
        for gathering in (*self._states.values(), *self._inputs.values()):
            gathering.flush()


def _blocks(loaded: LoadedModel, sample: TextSample, layer: int, folder: Path | None) -> BlockMoments:
    own = None if folder is None else folder / str(layer)
    if own is not None:
        own.mkdir(parents=True)
    return BlockMoments(int(loaded.sites.down_weight(layer).shape[0]), sample.n_blocks, folder=own)


class BlockFactors:
    """The exact mode's triangular factor of each block's hidden states, in a file each.

    Parameters
    ----------
    loaded, sample, layer
        What is run on what, and whose hidden states are reduced.
    folder
        An existing, empty folder; whoever made it removes it.
    """

    def __init__(self, loaded: LoadedModel, sample: TextSample, layer: int, folder: Path) -> None:
        self.batches = batches_by_block(loaded, sample)
        self._sample, self._layer, self._folder = sample, layer, folder
        self._width = int(loaded.sites.down_weight(layer).shape[0])
        self._current: dict[int, StreamingQR] = {}

    def _file(self, block: int) -> Path:
        return self._folder / f"{block}.safetensors"

    def visit(self, batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        """Take what a pass over one of ``batches`` saw."""
        block = self._sample.block_of(int(batch.text[0]))
        if block not in self._current:
            self._put_away()
            self._current[block] = StreamingQR(self._width)
        self._current[block].update(batch.samples(seen["h", self._layer]).cpu())

    def _put_away(self) -> None:
        while self._current:
            block, factor = self._current.popitem()
            save_file(factor.to_tensors(), self._file(block))

    def merged(self, chosen: Iterable[int]) -> StreamingQR:
        """The factor of all samples of some blocks."""
        self._put_away()
        out = StreamingQR(self._width)
        for block in chosen:
            out.merge(StreamingQR.from_tensors(load_file(self._file(block))))
        return out
