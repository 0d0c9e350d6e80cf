"""Locate-then-edit over several layers: one optimised value per edit, its residual spread over the layers below it.

What MEMIT (Meng et al. 2023, algorithm 1), PMET and AlphaEdit share. The value z of each edit is optimised at the last
edited layer L. Then, from the lowest edited layer up and with the layers before it already edited, every layer l takes
its share of what is missing, R = (z - current z) / divisor(L - l + 1), and writes it at the keys K of the batch,
dW = R X^T. The methods differ in where z stands, in the divisor and in X [d_ff, edits].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
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
    new_edits,
)
from editverdict.editors.contexts import ContextSettings, context_templates
from editverdict.editors.deltas import installed, layer_delta
from editverdict.editors.places import Place, module_output
from editverdict.editors.tokens import subject_end
from editverdict.editors.values import ValueSettings, optimise_values
from editverdict.generation.protocol import prompt_ids
from editverdict.models.sources import LoadedModel

REACH = 2
"""Layers on each side of the model's edited layer in the default window."""
ROWS = 64
"""Sentences that are read at a time."""


class SpreadSettings(ContextSettings):
    """Hyperparameters that the methods over several layers share."""

    layers: tuple[int, ...] | None = None
    """Edited layers, ascending; None: a window of five centred on the layer that the model spec names, cut to the
    layers that exist and without the last one, whose output at the subject nothing reads."""
    key_mean: Literal["plain", "half-bare"] = "plain"
    """Key of an edit: the mean over all contexts (MEMIT, eq. 19), or half the bare prompt's key and half the mean of
    the others (the authors' code)."""
    value: ValueSettings = ValueSettings()

    @field_validator("layers")
    @classmethod
    def _ascending(cls, layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if layers is not None and (not layers or layers[0] < 0 or list(layers) != sorted(set(layers))):
            raise ValueError("layers must be ascending, without repetition, and at least one")
        return layers


class MassEditSettings(SpreadSettings):
    """Hyperparameters of the methods that balance new keys against the covariance of old ones (MEMIT, eq. 14)."""

    covariance_weight: float = Field(default=15000.0, gt=0)
    """Lambda, the weight of the covariance (a mean over tokens) against the keys of the batch: belongs to a model."""
    accumulate: bool = False
    """Over a chain, count the keys of earlier steps among the old ones; as published each step knows its own alone."""


class SubjectReader:
    """Reads keys and outputs at the subjects' last tokens, over and over while layers from ``first`` up are edited.

    Sentences end with the subject, since nothing behind it reaches back; their hidden states below the first edited
    layer are computed once.
    """

    def __init__(self, loaded: LoadedModel, edits: Sequence[EditRecord], templates: Sequence[str], first: int) -> None:
        self._loaded, self._first, self._contexts = loaded, first, len(templates)
        rows = [self._tokens(template.format(edit.prompt), edit) for edit in edits for template in templates]
        self._last = torch.tensor([len(row) - 1 for row in rows])
        ids = torch.full((len(rows), max(map(len, rows))), int(loaded.tokenizer.pad_token_id), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        mask = (torch.arange(ids.shape[1]) <= self._last[:, None]).long()
        self._masks = torch.split(mask.to(loaded.device), ROWS)
        self._hidden = [self._below(*batch) for batch in zip(torch.split(ids, ROWS), self._masks, strict=True)]

    def _tokens(self, text: str, edit: EditRecord) -> list[int]:
        end = subject_end(self._loaded.tokenizer, text, edit.subject, prompt=edit.prompt)
        return prompt_ids(self._loaded.tokenizer, text)[: end + 1]

    @torch.no_grad()
    def _below(self, ids: Tensor, mask: Tensor) -> Tensor:
        with (
            record(self._loaded, layer_inputs=[self._first]) as seen,
            self._loaded.sites.only_layers_before(self._first + 1) as backbone,
        ):
            backbone(input_ids=ids.to(mask.device), attention_mask=mask, use_cache=False)
        return seen["in", self._first]

    @torch.no_grad()
    def read(self, layer: int, top: int, place: Place) -> tuple[Tensor, Tensor]:
        """Keys of ``layer`` [edits, contexts, d_ff] and the bare prompts' outputs of layer ``top`` [edits, d]."""
        sites = self._loaded.sites
        source = sites.layer(top) if place == "layer" else sites.mlp(top)
        keys, outputs = [], []
        with ExitStack() as stack:
            recorded = stack.enter_context(record(self._loaded, keys=[layer]))
            output = stack.enter_context(module_output(source))
            stack.enter_context(sites.only_layers_before(top + 1))
            backbone = stack.enter_context(sites.only_layers_from(self._first))
            for hidden, mask, last in zip(self._hidden, self._masks, torch.split(self._last, ROWS), strict=True):
                backbone(inputs_embeds=hidden, attention_mask=mask, use_cache=False)
                everywhere = torch.arange(len(last))
                keys.append(recorded["key", layer][everywhere, last])
                outputs.append(output[0][everywhere, last])
        found = torch.cat(keys)
        bare = torch.cat(outputs)[:: self._contexts]
        return found.reshape(-1, self._contexts, found.shape[-1]), bare


def mean_keys(keys: Tensor, how: Literal["plain", "half-bare"]) -> Tensor:
    """One key per edit from those of its contexts [edits, contexts, d_ff], the bare prompt's first: [d_ff, edits]."""
    keys = keys.double()
    if how == "half-bare" and keys.shape[1] > 1:
        return (0.5 * keys[:, 0] + 0.5 * keys[:, 1:].mean(1)).T
    return keys.mean(1).T


def balanced(keys: Tensor, weight: float, new: int) -> Tensor:
    """The first ``new`` columns of A (A^T A + w I)^-1 = (A A^T + w I)^-1 A, for keys A [d_ff, n], the new ones first.

    A system of as many equations as there are keys, in place of one of size d_ff.
    """
    gram = keys.T @ keys
    gram.diagonal().add_(weight)
    chosen = torch.eye(len(gram), new, dtype=gram.dtype, device=gram.device)
    found: Tensor = keys @ torch.cholesky_solve(chosen, torch.linalg.cholesky(gram))
    return found


def covariance_root(covariance: Tensor) -> Tensor:
    """Cholesky factor L of C = L L^T [d_ff, d_ff], float64.

    Raises
    ------
    EditError
        C has no full rank.
    """
    root, failed = torch.linalg.cholesky_ex(covariance.double())
    if bool(failed):
        raise EditError(
            "the covariance of keys has no full rank, so old keys cannot be weighed against new ones; compute it over "
            "more tokens than a key has entries"
        )
    found: Tensor = root
    return found


def least_squares_factor(keys: Tensor, root: Tensor, weight: float, earlier: Sequence[Tensor] = ()) -> Tensor:
    """X = (lambda C + A A^T)^-1 K [d_ff, edits], float64: with it dW = R X^T solves MEMIT's eq. 14.

    A = [K, ``earlier``] are the new keys and those of previous edits that count among the old ones; ``root`` is
    :func:`covariance_root` of C. In keys whitened by it the covariance is a ridge: see :func:`balanced`.
    """
    whitened = torch.linalg.solve_triangular(root, torch.cat([keys, *earlier], dim=1), upper=False)
    found: Tensor = torch.linalg.solve_triangular(root.T, balanced(whitened, weight, keys.shape[1]), upper=True)
    return found


class SpreadEditor(ABC):
    """Base of the editors over several layers; they make batches of edits in one step."""

    name: ClassVar[str]
    version: ClassVar[int] = 2
    answers_itself: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]]
    place: ClassVar[Place] = "layer"
    """Where the value stands."""
    hyperparameters: Any

    @abstractmethod
    def divisor(self, remaining: int) -> float:
        """What the missing part of the value is divided by when so many layers are still to edit."""

    @abstractmethod
    def right_factor(
        self, keys: Tensor, earlier: Sequence[Tensor], layer: int, layers: Sequence[int], resources: Resources
    ) -> Tensor:
        """X [d_ff, edits] of a layer's update R X^T, float64, for keys [d_ff, edits] and those of earlier steps."""

    def of_covariance(
        self,
        what: dict[str, Any],
        layer: int,
        layers: Sequence[int],
        resources: Resources,
        make: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Something made from a layer's covariance, which belongs to model and corpus: made once, stored, and shared.

        ``what`` names it with all that it depends on beside the covariance.
        """

        def made() -> Step:
            return Step({"found": make(resources.covariances(layers)[layer])})

        fields = {"of": "covariance", "layer": layer, "corpus": resources.corpus_key, **what}
        return resources.trained(fields, made).tensors["found"]

    @property
    def keeps_keys(self) -> bool:
        """Whether later steps need the keys of this one."""
        return False

    def layers(self, loaded: LoadedModel) -> tuple[int, ...]:
        """The edited layers.

        Raises
        ------
        EditError
            The model has no such layers, or is an encoder-decoder model.
        """
        method, count = self.name.upper(), loaded.sites.n_layers
        if loaded.sites.spec.encoder_decoder:
            raise CannotEdit(
                f"{method} edits decoder-only models: it reads the subject and writes the object in one stack of "
                f"layers, and '{loaded.spec.id}' has an encoder and a decoder; use MEND or FT-L there"
            )
        chosen: tuple[int, ...] | None = self.hyperparameters.layers
        if chosen is None:
            middle = loaded.spec.layers.edit
            window = range(max(0, middle - REACH), min(middle + REACH + 1, count - 1))
            return tuple(window) or (middle,)
        if chosen[-1] >= count:
            raise EditError(
                f"{method} is to edit layer {chosen[-1]}, but model '{loaded.spec.id}' has {count} layers; name its "
                "layers under per_model in the method's spec"
            )
        return chosen

    def value_fields(self, loaded: LoadedModel, resources: Resources) -> dict[str, object]:
        """What a value depends on beside model, state and edit; not on how it is written into the weights."""
        return {
            "layer": self.layers(loaded)[-1],
            "place": self.place,
            "templates": list(context_templates(self.hyperparameters, resources)),
            "settings": self.hyperparameters.value.model_dump(),
        }

    @property
    def values_above(self) -> bool:
        """Whether the search runs above the last edited layer; beside attention (PMET) it runs that layer itself."""
        return self.place != "attention+mlp"

    def values(
        self,
        loaded: LoadedModel,
        edits: Sequence[EditRecord],
        resources: Resources,
        states: Sequence[State] | None = None,
    ) -> list[Step]:
        """Optimise the values of independent edits, each in its state (None: all in the model as it stands)."""
        templates, top = context_templates(self.hyperparameters, resources), self.layers(loaded)[-1]
        found = optimise_values(loaded, edits, top, templates, self.hyperparameters.value, self.place, states)
        return [
            Step(
                {"value": one.value, "initial": one.initial, **one.also},
                {"trace": one.trace, "forwards": len(one.trace)},
            )
            for one in found
        ]

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """One step for all new records, in the given state (which the caller does not install; this method does)."""
        edits, layers = new_edits(state, records), self.layers(loaded)
        earlier = {layer: [keys.to(loaded.device) for keys in self._earlier_keys(state, layer)] for layer in layers}
        tensors: dict[str, Tensor] = {}
        norms: dict[str, float] = {}
        optimised = resources.values(
            self.value_fields(loaded, resources),
            edits,
            lambda some, states=None: self.values(loaded, some, resources, states or [state] * len(some)),
        )
        with ExitStack() as stack:
            stack.enter_context(installed(loaded.model, state))
            wanted = torch.stack([one.tensors["value"].to(loaded.device) for one in optimised], dim=1).double()
            templates = context_templates(self.hyperparameters, resources)
            reader = SubjectReader(loaded, edits, templates, layers[0])
            for number, layer in enumerate(layers):
                seen, outputs = reader.read(layer, layers[-1], self.place)
                keys = mean_keys(seen, self.hyperparameters.key_mean).contiguous()
                left = (wanted - outputs.double().T) / self.divisor(len(layers) - number)
                right = self.right_factor(keys, earlier[layer], layer, layers, resources)
                written = layer_delta(loaded, layer, left, right.T)
                stack.enter_context(installed(loaded.model, (Step(written),)))
                # |R X^T| from the small products of the factors.
                norms[str(layer)] = float(((left.T @ left) * (right.T @ right)).sum().clamp_min(0).sqrt())
                tensors |= written | ({f"keys.{layer}": keys.cpu()} if self.keeps_keys else {})
        info = {
            "traces": [one.info.get("trace") for one in optimised],
            "forwards": [one.info.get("forwards") for one in optimised],
            "norms": norms,
        }
        return Step(tensors, info, len(edits))

    def _earlier_keys(self, state: State, layer: int) -> list[Tensor]:
        """Keys [d_ff, edits] of the state's steps at a layer."""
        if not self.keeps_keys:
            return []
        if any(f"keys.{layer}" not in step.tensors for step in state):
            raise EditError(
                f"{self.name.upper()} accumulates the keys of all earlier edits, and a step of the state holds none of "
                f"layer {layer}: a chain must be made by the same method with the same layers from its first edit on"
            )
        return [step.tensors[f"keys.{layer}"] for step in state]

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the summed updates into the weights."""
        return installed(loaded.model, state)
