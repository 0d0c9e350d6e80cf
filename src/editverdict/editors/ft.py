"""FT and FT-L: one layer's down-projection fine-tuned on the edit, without and with a bound on every entry's change.

Source: Zhu et al. 2020, "Modifying memories in transformer models" (arXiv 2012.00363), minimising the loss of the new
facts subject to |W - W0|_inf <= bound; as the ROME paper (Meng et al. 2022, appendix on baselines) uses it: Adam on one
feed-forward weight, the bound enforced by projection after every step. Zhu et al. change all facts at once. Where edits
come one after the other, W0 may be the weight that an edit finds (``bound_around: edit``, as the ROME authors' code has
it: a chain of T edits may drift by T times the bound) or the unedited weight (``original``: a whole chain stays within
the bound).

Only the layers from the edited one up are run in the loop, on inputs that are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from editverdict.capture.passes import record
from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, EditError, Hyperparameters, Resources, State, Step, new_edits
from editverdict.editors.deltas import dense, installed
from editverdict.editors.losses import Forced, force, logits_from, logits_of, row_losses
from editverdict.editors.registry import register_editor
from editverdict.models.sources import LoadedModel


class FtSettings(Hyperparameters):
    """Hyperparameters of FT and FT-L."""

    layer: int | None = Field(default=None, ge=0)
    """Tuned layer; None: the layer that the model spec names for edits."""
    objective: str = Field(default="target_new", pattern="^(target_new|prompt_last)$")
    """``target_new``: mean token loss of the target by teacher forcing. ``prompt_last``: all target tokens are read at
    the prompt's last position, as the ROME authors' code has it; the same where the target is one token."""
    norm_bound: float | None = Field(default=None, gt=0)
    """Largest change of any entry of the weight; None: no bound."""
    bound_around: str = Field(default="edit", pattern="^(edit|original)$")
    """Where the bound is centred in a chain; see the module's docstring."""
    steps: int = Field(default=25, ge=1)
    """Forward passes at most, each followed by an update unless it ends the search."""
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    """Adam's: added to the gradient as a multiple of the weight itself."""
    early_stop: float = Field(default=1e-2, ge=0)
    """Stop before the update when the loss is below this; 0 switches it off."""


@contextmanager
def _tuned(parameter: nn.Parameter) -> Iterator[None]:
    """Let one parameter be trained in place; on leaving, its bits and flags are as they were."""
    saved, flag = parameter.detach().clone(), parameter.requires_grad
    parameter.requires_grad_(True)
    try:
        yield
    finally:
        parameter.grad = None
        parameter.requires_grad_(flag)
        with torch.no_grad():
            parameter.copy_(saved)


@contextmanager
def _logits(loaded: LoadedModel, forced: Forced, layer: int) -> Iterator[Callable[[], Tensor]]:
    """A function that gives the logits of the targets with the weight of ``layer`` as it is at the moment."""
    if forced.decoder_ids is not None:
        yield lambda: logits_of(loaded, forced)
        return
    with (
        torch.no_grad(),
        record(loaded, layer_inputs=[layer]) as seen,
        loaded.sites.only_layers_before(layer + 1) as backbone,
    ):
        backbone(input_ids=forced.ids, attention_mask=forced.mask, use_cache=False)
    inputs = {"inputs_embeds": seen["in", layer]}
    with loaded.sites.only_layers_from(layer) as upper:
        yield lambda: logits_from(loaded, upper, forced, inputs)


@register_editor
class Ft:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "ft"
    version: ClassVar[int] = 1
    answers_itself: ClassVar[bool] = False
    reads_corpus: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = FtSettings

    def __init__(self, hyperparameters: FtSettings) -> None:
        self.hyperparameters = hyperparameters

    def layer(self, loaded: LoadedModel) -> int:
        """The tuned layer."""
        chosen = self.hyperparameters.layer
        layer = loaded.spec.layers.edit if chosen is None else chosen
        if layer >= loaded.sites.n_layers:
            raise EditError(
                f"FT is to tune layer {layer}, but model '{loaded.spec.id}' has {loaded.sites.n_layers} layers"
            )
        return layer

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Tune the layer on the new edits together, in the given state."""
        edits, layer = new_edits(state, records), self.layer(loaded)
        prompts = [resources.frame.around(edit.prompt) for edit in edits]
        forced = force(loaded, prompts, [edit.target_new for edit in edits])
        if self.hyperparameters.objective == "prompt_last":
            forced = replace(forced, column=forced.first)
        name = loaded.sites.down_proj_weight(layer)
        parameter = loaded.model.get_parameter(name)
        unedited = parameter.detach().clone()
        with installed(loaded.model, state):
            before = parameter.detach().clone()
            centre = before if self.hyperparameters.bound_around == "edit" else unedited
            with _tuned(parameter), _logits(loaded, forced, layer) as logits:
                trace = self._tune(parameter, centre, lambda: row_losses(logits(), forced).mean(), edits)
                # In float32: the installed sum differs from the tuned weight by a rounding of the weight at most.
                delta = parameter.detach() - before
        info = {
            "trace": trace,
            "forwards": len(trace),
            "norm": float(delta.double().norm()),
            "largest": float(delta.abs().max()),
        }
        return Step(dense(name, delta.cpu()), info, len(edits))

    def _tune(
        self, parameter: nn.Parameter, centre: Tensor, loss_of: Callable[[], Tensor], edits: Sequence[EditRecord]
    ) -> list[float]:
        """Adam on one parameter, in place; the losses seen."""
        settings = self.hyperparameters
        optimiser = torch.optim.Adam([parameter], lr=settings.learning_rate, weight_decay=settings.weight_decay)
        trace: list[float] = []
        while len(trace) < settings.steps:
            optimiser.zero_grad()
            loss = loss_of()
            trace.append(float(loss.detach()))
            if not torch.isfinite(loss):
                names = ", ".join(f"'{edit.id}'" for edit in edits)
                raise EditError(
                    f"edit {names}: the loss is {trace[-1]} at step {len(trace)}; lower the learning rate of FT"
                )
            if trace[-1] < settings.early_stop:
                break
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if settings.norm_bound is not None:
                with torch.no_grad():
                    parameter.clamp_(centre - settings.norm_bound, centre + settings.norm_bound)
        return trace

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the summed change into the weight."""
        return installed(loaded.model, state)
