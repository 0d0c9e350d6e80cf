"""Controls as editors: the edit that does nothing, and the random update of the same rank and norm."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from torch import Tensor

from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, CannotEdit, Hyperparameters, Resources, State, Step, new_edits
from editverdict.editors.deltas import dense, installed, low_rank, step_delta, touched
from editverdict.editors.registry import register_editor
from editverdict.models.sources import LoadedModel


class NoSettings(Hyperparameters):
    """Nothing to set."""


@register_editor
class NoOp:
    """The edit that changes nothing: whatever it shows is not the work of editing."""

    name: ClassVar[str] = "no-op"
    version: ClassVar[int] = 1
    answers_itself: ClassVar[bool] = False
    reads_corpus: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = NoSettings

    def __init__(self, hyperparameters: NoSettings) -> None:
        self.hyperparameters = hyperparameters

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """An empty step."""
        return Step(edits=len(new_edits(state, records, events=True)))

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Install nothing, by the same way as any other state."""
        return installed(loaded.model, ())


class PlaceboSettings(Hyperparameters):
    """Which method's updates the placebo imitates."""

    like: str
    """Id of the method."""
    seed: int = 0


@register_editor
class Placebo:
    """A random update of the same rank and Frobenius norm at the same weight as another method's, edit by edit."""

    name: ClassVar[str] = "placebo"
    version: ClassVar[int] = 1
    answers_itself: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = PlaceboSettings

    def __init__(self, hyperparameters: PlaceboSettings) -> None:
        self.hyperparameters = hyperparameters

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Isotropic Gaussian factors, scaled to the norm of the imitated step; one seed per chain and edit."""
        settings = self.hyperparameters
        real = resources.step_of(settings.like, records)
        if real.tensors and not touched((real,)):
            raise CannotEdit(f"a state of {settings.like} is no change of weights, so no random change is its like")
        chain = "|".join(record.id for record in records)
        seed = int.from_bytes(hashlib.sha256(f"{settings.seed}|{settings.like}|{chain}".encode()).digest()[:7], "big")
        generator = torch.Generator().manual_seed(seed)
        tensors: dict[str, Tensor] = {}
        for name in touched((real,)):
            norm = torch.as_tensor(step_delta(real, name)).norm()
            if f"{name}:delta" in real.tensors:
                noise = torch.randn(real.tensors[f"{name}:delta"].shape, generator=generator, dtype=torch.float64)
                tensors |= dense(name, noise * (norm / noise.norm()))
                continue
            left, right = (
                torch.randn(real.tensors[f"{name}:{side}"].shape, generator=generator, dtype=torch.float64)
                for side in ("left", "right")
            )
            tensors |= low_rank(name, left * (norm / (left @ right).norm()), right)
        return Step(tensors, {"seed": seed, "like": settings.like}, real.edits)

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the random update into the weight."""
        return installed(loaded.model, state)
