"""What a pass over the base sample leaves behind to check its spectra by: sums, a few states, hashes of texts.

Nothing here computes a result. A witness sees the same batches as the moments, keeps its own sums over them, and is
held against the spectra (and against the model itself) by :mod:`editverdict.pipeline.validity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.geometry.sketch import Sketch

TEXTS = 8
"""Texts whose hidden states are kept and run again: a few are enough, as a fault of a pass is in all of it."""
_MULTIPLIER = 6364136223846793005
_INCREMENT = 1442695040888963407


def chosen_texts(count: int, wanted: int = TEXTS) -> list[int]:
    """Numbers of ``wanted`` texts, evenly spaced over a sample of ``count``."""
    wanted = min(wanted, count)
    return [round(i * (count - 1) / max(wanted - 1, 1)) for i in range(wanted)]


def prefix_hashes(ids: Tensor) -> Tensor:
    """Hash of every prefix of the rows of ``ids`` ``[b, t]``, ``[b, t]`` int64 (a recurrence modulo 2^64)."""
    state = torch.full((ids.shape[0],), _INCREMENT, dtype=torch.int64)
    found = []
    for column in ids.cpu().to(torch.int64).T:
        state = (state ^ (column + 1)) * _MULTIPLIER + _INCREMENT
        state = state ^ (state >> 29)
        found.append(state)
    return torch.stack(found, dim=1)


def text_hashes(batches: Sequence[TokenBatch]) -> tuple[Tensor, Tensor]:
    """Hashes of the texts of some batches and of their samples (tokens that are kept, with all before them)."""
    texts, samples = [], []
    for batch in batches:
        hashes = prefix_hashes(batch.ids)
        mask = batch.mask.cpu().bool()
        texts.append(hashes[torch.arange(len(hashes)), mask.sum(dim=1) - 1])
        samples.append(hashes[batch.keep.cpu()])
    return torch.cat(texts), torch.cat(samples)


class Witness:
    """Sums over a pass, taken beside the moments."""

    def __init__(self, sample: TextSample, layers: Sequence[int]) -> None:
        self._chosen = set(chosen_texts(sample.n_texts))
        self._sums: dict[int, Sketch] = {}
        self._states: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        self._rows: list[Tensor] = []
        self._batches: list[TokenBatch] = []

    def see(self, batch: TokenBatch, states: Mapping[tuple[str, int], Tensor]) -> None:
        """Take in one batch: ``states["h", layer]`` [b, t, d]."""
        text = batch.row_texts()
        mine = torch.isin(text, torch.tensor(sorted(self._chosen)))
        self._rows.append(text[mine])
        self._batches.append(batch)
        for layer, kept in self._states.items():
            rows = batch.samples(states["h", layer]).cpu()
            self._sums.setdefault(layer, Sketch(rows.shape[1])).update(rows)
            kept.append(rows[mine].clone())

    def tensors(self) -> dict[str, Tensor]:
        """As tensors, for a safetensors file."""
        texts, samples = text_hashes(self._batches)
        found = {"witness.text": torch.cat(self._rows), "witness.texts": texts, "witness.samples": samples}
        for layer, rows in self._states.items():
            found[f"witness.states.{layer}"] = torch.cat(rows)
            found |= {f"witness.sums.{layer}.{key}": tensor for key, tensor in self._sums[layer].to_tensors().items()}
        return found


@dataclass(frozen=True)
class WitnessRecord:
    """A stored witness."""

    text: Tensor
    """[m] number of the text of each kept row."""
    states: dict[int, Tensor]
    """Layer -> [m, d] states of those rows, in the pass's own order."""
    sums: dict[int, Sketch]
    texts: Tensor
    """[texts] hash of every text that was run."""
    samples: Tensor
    """[n] hash of every sample that was run, with all tokens before it."""

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor]) -> WitnessRecord:
        """From the tensors of a base pass; ValueError if they hold no witness."""
        if "witness.text" not in tensors:
            raise ValueError(f"the base pass holds no witness; found {sorted(tensors)[:8]}: let it be measured again")
        prefix = "witness.states."
        layers = [int(key.removeprefix(prefix)) for key in tensors if key.startswith(prefix)]

        def sums(layer: int) -> Sketch:
            start = f"witness.sums.{layer}."
            return Sketch.from_tensors({k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)})

        return cls(
            text=tensors["witness.text"],
            states={layer: tensors[f"{prefix}{layer}"] for layer in layers},
            sums={layer: sums(layer) for layer in layers},
            texts=tensors["witness.texts"],
            samples=tensors["witness.samples"],
        )
