"""Hidden states reduced while they are collected: how many layers at a time, and in what memory.

Every measured layer has second moments for each block of texts, ``triangle_bytes(d)`` apiece. At d = 576 all of them
are a quarter of a gigabyte; 20 blocks of 7 layers at d = 4096 would be 10 GiB, and one layer at d = 16,384 would be 22.
So the blocks are filled one after the other and, where they do not fit, kept on disk (one accumulator per layer remains
in memory); where not even these fit, the layers are measured in groups, with one pass over the texts for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.numerics.moments import chunk_rows
from editverdict.numerics.spectrum import SPECTRUM_SQUARES
from editverdict.numerics.triangle import triangle_bytes

_GIB = 2**30


@dataclass(frozen=True)
class Plan:
    """How the layers of a model are collected."""

    groups: tuple[tuple[int, ...], ...]
    """Layers of each pass over the texts."""
    on_disk: bool
    """Whether the blocks that are not being filled are kept on disk."""
    peak_bytes: int
    """Most memory that moments, samples and the decomposition take at a time."""
    disk_bytes: int
    """Most disk space that the blocks take at a time."""


def _peak(layers: int, d: int, blocks: int, d_key: int, on_disk: bool) -> int:
    own, key = triangle_bytes(d), triangle_bytes(d_key) if d_key else 0
    waiting = layers * 4 * d * chunk_rows(d)
    converted = max(8 * d * chunk_rows(d), 8 * d_key * chunk_rows(d_key) if d_key else 0)
    collecting = layers * own * (1 if on_disk else blocks) + key + waiting + converted
    covariance = layers * own * (1 if on_disk else blocks) + key + 8 * d_key**2
    # Joining blocks: their sum, and one of them read back; before that a layer's last block is put away.
    decomposing = layers * own * (1 if on_disk else blocks) + own + SPECTRUM_SQUARES * 8 * d**2
    return max(collecting, covariance, decomposing)


def plan_passes(
    layers: Sequence[int], d: int, blocks: int, memory_bound: float, *, d_key: int = 0, disk_bound: float = math.inf
) -> Plan:
    """The fewest passes, without disk if possible, that keep within bounds of memory and disk (model and texts apart).

    Parameters
    ----------
    layers
        Layers to be measured.
    d
        Width of their hidden states.
    blocks
        Blocks of texts.
    memory_bound
        In bytes.
    d_key
        Width of the keys whose covariance is formed in the first pass; 0: none.
    disk_bound
        Space for blocks on disk, in bytes.

    Raises
    ------
    ValueError
        Not even one layer fits.
    """
    whole = _peak(len(layers), d, blocks, d_key, on_disk=False)
    if whole <= memory_bound:
        return Plan((tuple(layers),), False, whole, 0)
    for count in range(len(layers), 0, -1):
        peak, disk = _peak(count, d, blocks, d_key, on_disk=True), count * blocks * triangle_bytes(d)
        if peak <= memory_bound and disk <= disk_bound:
            groups = tuple(tuple(layers[start : start + count]) for start in range(0, len(layers), count))
            return Plan(groups, True, peak, disk)
    needed, room = _peak(1, d, blocks, d_key, on_disk=True) / _GIB, blocks * triangle_bytes(d) / _GIB
    raise ValueError(
        f"the spectrum of one layer of width {d}"
        + (f" (with the covariance of keys of width {d_key})" if d_key else "")
        + f" needs {needed:.1f} GiB of memory and {room:.1f} GiB on disk; there are {memory_bound / _GIB:.3g} "
        f"(memory_gib of the profile) and {disk_bound / _GIB:.3g} (where the store is). Raise memory_gib if the "
        "machine has as much, make room on the disk, or measure a narrower site"
    )


class Gathering:
    """Rows that wait until there are enough for an accumulator: adding few costs nearly as much as adding many.

    Parameters
    ----------
    d
        Width of a row.
    sink
        Takes the rows, [n, d].
    """

    def __init__(self, d: int, sink: Callable[[Tensor], None]) -> None:
        self._limit = chunk_rows(d)
        self._sink = sink
        self._waiting: list[Tensor] = []
        self._count = 0

    def add(self, rows: Tensor) -> None:
        """Add rows [b, d]; they must not be changed afterwards."""
        if len(rows):
            self._waiting.append(rows)
            self._count += len(rows)
        if self._count >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Hand over what waits."""
        if self._waiting:
            rows, self._waiting, self._count = torch.cat(self._waiting), [], 0
            self._sink(rows)
