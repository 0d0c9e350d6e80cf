"""MEND: model editor networks with gradient decomposition (Mitchell et al. 2022, arXiv 2110.11309).

A trained network turns the fine-tuning gradient of one fact into an edit of the feed-forward matrices of the last
layers: one gradient, no optimisation per edit. The network is trained here, on the clean model and the tune split, and
kept in the store; edits of a sequence are computed in the model as it then stands, with that same network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, EditError, Hyperparameters, Resources, State, Step, new_edits
from editverdict.editors.deltas import installed, low_rank
from editverdict.editors.hypernetwork import Hypernetwork, Matrix, edited_matrices
from editverdict.editors.mend_training import TrainingData, TrainingSettings, train
from editverdict.editors.registry import register_editor
from editverdict.editors.tails import Tail, gradient_factors, question
from editverdict.models.sources import LoadedModel

NETWORK_VERSION = 1
"""Raised whenever training gives other networks."""


class MendSettings(Hyperparameters):
    """Hyperparameters of MEND."""

    layers: int = Field(default=3, ge=1)
    """The last so many decoder layers are edited (the paper: 3)."""
    matrices: Literal["mlp", "down"] = "mlp"
    """All matrices of the feed-forward modules, or the down-projections alone."""
    rank: int = Field(default=256, ge=1)
    """Rank of the editing networks' blocks."""
    rate: float = Field(default=1e-4, gt=0)
    """Edit rate alpha that every matrix starts with; training gives each its own."""
    training: TrainingSettings = TrainingSettings()


@register_editor
class Mend:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "mend"
    version: ClassVar[int] = 1
    answers_itself: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = MendSettings

    def __init__(self, hyperparameters: MendSettings) -> None:
        self.hyperparameters = hyperparameters

    def matrices(self, loaded: LoadedModel) -> list[Matrix]:
        """The edited matrices, lowest layer first."""
        return edited_matrices(loaded, self.hyperparameters.layers, self.hyperparameters.matrices)

    def tail(self, loaded: LoadedModel) -> Tail:
        """The edited layers and the head."""
        return Tail(loaded, loaded.sites.n_layers - self.hyperparameters.layers)

    def _texts(self, resources: Resources) -> list[str]:
        settings = self.hyperparameters.training
        if not settings.texts:
            return []
        return list(resources.texts(settings.skipped_texts + settings.texts))[-settings.texts :]

    def _data(self, resources: Resources) -> TrainingData:
        return TrainingData(list(resources.train_edits()), self._texts(resources), resources.frame)

    def training_fields(self, loaded: LoadedModel, resources: Resources) -> dict[str, Any]:
        """What the trained networks depend on beside the model."""
        return {
            "what": "mend-hypernetwork",
            "network": NETWORK_VERSION,
            "settings": self.hyperparameters.model_dump(mode="json"),
            "matrices": [matrix.name for matrix in self.matrices(loaded)],
            **_data_fields(self._data(resources)),
        }

    def network(self, loaded: LoadedModel, resources: Resources) -> tuple[Hypernetwork, Step]:
        """The trained networks, from the store or trained now, and the record of their training."""
        settings, matrices = self.hyperparameters, self.matrices(loaded)
        shapes = [(matrix.d_in, matrix.d_out) for matrix in matrices]

        def fresh() -> Hypernetwork:
            return Hypernetwork(shapes, settings.rank, settings.rate, settings.training.seed).to(loaded.device)

        def make() -> Step:
            data = self._data(resources)
            # Whoever edits may have switched gradients off; training needs them.
            with torch.enable_grad():
                return train(loaded, self.tail(loaded), matrices, fresh(), data, settings.training, resources.report)

        trained = resources.trained(self.training_fields(loaded, resources), make)
        return fresh().restore(trained.tensors), trained

    @torch.no_grad()
    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Edits of all new records, each from its own gradient in the given state, summed into one step."""
        found, matrices, tail = new_edits(state, records), self.matrices(loaded), self.tail(loaded)
        net, trained = self.network(loaded, resources)
        parts: list[list[tuple[Tensor, Tensor]]] = []
        losses = []
        with installed(loaded.model, state):
            for record in found:
                asked = question(loaded, resources.frame.around(record.prompt), record.target_new)
                factors, (loss,) = gradient_factors(tail, matrices, tail.rows([asked]))
                made = [net(number, own.inputs, own.deltas) for number, own in enumerate(factors)]
                if not all(torch.isfinite(side).all() for pair in made for side in pair):
                    raise EditError(
                        f"edit '{record.id}': MEND's update is not finite (loss {loss}); the state before it may have "
                        "broken the model, so edit fewer facts in a row"
                    )
                parts.append(made)
                losses.append(loss)
        tensors: dict[str, Tensor] = {}
        squares = 0.0
        for number, matrix in enumerate(matrices):
            left = torch.cat([made[number][0] for made in parts]).cpu()
            right = torch.cat([made[number][1] for made in parts]).cpu()
            squares += float((left.double() @ left.double().T * (right.double() @ right.double().T)).sum())
            sides = (right.T, left) if matrix.transposed else (left.T, right)
            tensors |= low_rank(matrix.name, *(side.contiguous() for side in sides))
        info = {"losses": losses, "norm": max(squares, 0.0) ** 0.5, "held_out": trained.info["held_out"]}
        return Step(tensors, info, len(found))

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the summed updates into the weights."""
        return installed(loaded.model, state)


def _data_fields(data: TrainingData) -> dict[str, Any]:
    """Hashes of the data that training depends on."""
    used = [
        [r.prompt, r.subject, r.target_new, r.target_old, r.relation, list(r.rephrases), [p.prompt for p in r.locality]]
        for r in data.records
    ]
    # Named only where there is one, so that the keys of networks trained on bare prompts are what they were.
    frame = {"frame": [data.frame.before, data.frame.after]} if data.frame else {}
    return {
        **frame,
        "records": hashlib.sha256(json.dumps(used).encode()).hexdigest(),
        "texts": hashlib.sha256(json.dumps(list(data.texts)).encode()).hexdigest(),
    }
