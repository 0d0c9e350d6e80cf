"""ROME: rank-one model editing (Meng et al. 2022, "Locating and editing factual associations in GPT").

One feed-forward layer is read as a linear memory W k = v. The edit inserts the association (k*, v*) by the rank-one
update of the paper's eq. 2. With ``covariance: false`` the memory is taken to be white (C = I), as configurations in
wide use have it: a different method over a chain, and on trial under its own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from editverdict.capture.passes import record
from editverdict.data.records import EditRecord
from editverdict.editors.base import (
    Answering,
    CannotEdit,
    EditError,
    Hyperparameters,
    Resources,
    State,
    Step,
    the_new_edit,
)
from editverdict.editors.contexts import ContextSettings, context_templates
from editverdict.editors.deltas import installed, layer_delta
from editverdict.editors.registry import register_editor
from editverdict.editors.tokens import subject_end
from editverdict.editors.values import ValueSettings, optimise_values
from editverdict.generation.protocol import prompt_ids
from editverdict.models.sources import LoadedModel


class RomeSettings(ContextSettings):
    """Hyperparameters of ROME."""

    layer: int | None = Field(default=None, ge=0)
    """Edited layer; None: the layer that the model spec names."""
    covariance: bool = True
    """Whiten the key by the covariance of keys over the corpus (True, as published) or take C = I."""
    residual_key: str = Field(default="bare", pattern="^(bare|mean)$")
    """Key at which the update hits v* exactly: of the bare prompt (the authors' code) or the mean key (their eq. 2)."""
    value: ValueSettings = ValueSettings()


@torch.no_grad()
def subject_keys(loaded: LoadedModel, edit: EditRecord, layer: int, templates: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Keys and outputs at the subject's last token: [templates, d_ff] and [templates, d].

    All templates are read in one batch, as far as the subject's last token: nothing behind it reaches back.
    """
    tokenizer, rows = loaded.tokenizer, []
    for template in templates:
        text = template.format(edit.prompt)
        end = subject_end(tokenizer, text, edit.subject, prompt=edit.prompt)
        rows.append(prompt_ids(tokenizer, text)[: end + 1])
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[int(tokenizer.pad_token_id)] * (width - len(row))] for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    with (
        record(loaded, keys=[layer], outputs=[layer]) as seen,
        loaded.sites.only_layers_before(layer + 1) as backbone,
    ):
        backbone(input_ids=ids.to(loaded.device), attention_mask=mask.to(loaded.device), use_cache=False)
    at = (torch.arange(len(rows)), lengths - 1)
    return seen["key", layer][at], seen["h", layer][at]


def update_direction(key: Tensor, covariance: Tensor | None) -> Tensor:
    """Direction u = C^-1 k / |C^-1 k| in float64 (C = I: k / |k|), [d_ff]."""
    direction = key.double()
    if covariance is not None:
        matrix = covariance.double().to(key.device)
        root, failed = torch.linalg.cholesky_ex(matrix)
        # A second moment of fewer keys than entries is singular up to rounding; LU then says so, or goes on.
        if bool(failed):
            direction = torch.linalg.solve(matrix, direction)
        else:
            direction = torch.cholesky_solve(direction[:, None], root)[:, 0]
    unit: Tensor = direction / direction.norm()
    return unit


def rank_one(value: Tensor, output: Tensor, key: Tensor, direction: Tensor) -> Tensor:
    """Left factor r of the update r u^T, such that (W + r u^T) k = v*: r = (v* - W k) / (k . u), [d], float64."""
    return (value.double() - output.double()) / (key.double() @ direction)


@register_editor
class Rome:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "rome"
    version: ClassVar[int] = 2
    answers_itself: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = RomeSettings

    def __init__(self, hyperparameters: RomeSettings) -> None:
        self.hyperparameters = hyperparameters

    @property
    def reads_corpus(self) -> bool:
        """Whether texts come into an edit: by the covariance of their keys."""
        return self.hyperparameters.covariance

    def layer(self, loaded: LoadedModel) -> int:
        """The edited layer."""
        if loaded.sites.spec.encoder_decoder:
            raise CannotEdit(
                f"{self.name.upper()} reads the last token of a subject in a decoder-only model, and "
                f"'{loaded.spec.id}' is an encoder-decoder; take FT-L or MEND for it"
            )
        chosen = self.hyperparameters.layer
        return loaded.spec.layers.edit if chosen is None else chosen

    def templates(self, resources: Resources) -> tuple[str, ...]:
        """Context templates, the one without a context first."""
        return context_templates(self.hyperparameters, resources)

    def value_fields(self, loaded: LoadedModel, resources: Resources) -> dict[str, object]:
        """What a value depends on beside model, state and edit: nothing of the covariance."""
        return {
            "layer": self.layer(loaded),
            "templates": list(self.templates(resources)),
            "settings": self.hyperparameters.value.model_dump(),
        }

    @property
    def values_above(self) -> bool:
        """v* is added to the edited layer's output, and the search runs the layers above it."""
        return True

    def values(
        self,
        loaded: LoadedModel,
        edits: Sequence[EditRecord],
        resources: Resources,
        states: Sequence[State] | None = None,
    ) -> list[Step]:
        """Optimise v* of independent edits, each in its state (None: all in the model as it stands).

        C plays no part, so that both variants share the values of first edits.
        """
        settings = self.hyperparameters.value
        found = optimise_values(loaded, edits, self.layer(loaded), self.templates(resources), settings, states=states)
        return [
            Step({"value": one.value, "initial": one.initial}, {"trace": one.trace, "forwards": len(one.trace)})
            for one in found
        ]

    def factors(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> tuple[Tensor, Tensor, dict[str, object]]:
        """Factors r [d] and u [d_ff] of the rank-one update r u^T in the given state, float64, and numbers to record.

        The caller does not install the state; this method does.
        """
        method = self.name.upper()
        edit, layer = the_new_edit(state, records, method), self.layer(loaded)
        if layer >= loaded.sites.n_layers:
            raise EditError(
                f"{method} is to edit layer {layer}, but model '{loaded.spec.id}' has {loaded.sites.n_layers} layers"
            )
        (optimised,) = resources.values(
            self.value_fields(loaded, resources),
            [edit],
            lambda edits, states=None: self.values(loaded, edits, resources, states or [state] * len(edits)),
        )
        with installed(loaded.model, state):
            keys, outputs = subject_keys(loaded, edit, layer, self.templates(resources))
        mean, bare = keys.double().mean(0), keys[0].double()
        covariance = resources.covariance(layer) if self.hyperparameters.covariance else None
        direction = update_direction(mean, covariance)
        # (W + r u^T) k is to be v* at the chosen key; with the mean key, W k is the mean of the outputs (W is linear).
        exact, output = (
            (bare, outputs[0]) if self.hyperparameters.residual_key == "bare" else (mean, outputs.double().mean(0))
        )
        left = rank_one(optimised.tensors["value"].to(direction.device), output, exact, direction)
        return (
            left,
            direction,
            {**optimised.info, "norm": float(left.norm()), "key_alignment": float(exact @ direction)},
        )

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """One rank-one update in the given state (which the caller does not install; this method does)."""
        left, direction, info = self.factors(loaded, state, records, resources)
        return Step(layer_delta(loaded, self.layer(loaded), left[:, None], direction[None]), info)

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the summed update into the weight."""
        return installed(loaded.model, state)
