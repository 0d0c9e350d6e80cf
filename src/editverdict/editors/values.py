"""Optimised values: what a layer should put out at the subject so that the model says the new object.

Source: Meng et al. 2022 (ROME), section 3.1 step 2, eq. 4; MEMIT optimises the layer's output instead of its
feed-forward part's, PMET the outputs of attention and feed-forward part together: three places (:data:`Place`) for one
optimisation. Only what the value can change is run in the loop: layers from the place on, the tokens from the subject's
last one to the last that the loss reads (keys and values of those before are computed once), and logits only at the
positions that the loss reads. The sentences of an edit stand in one row behind each other, with a mask that keeps them
apart: small batches cost by the token on a CPU, and padding would be paid for at every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from editverdict.data.records import EditRecord
from editverdict.editors.base import EditError, Hyperparameters, State
from editverdict.editors.deltas import installed, touched
from editverdict.editors.packed import Rows, Sentences, Suffixes, padded, sentences_of
from editverdict.editors.places import Place, Site, site_at
from editverdict.models.memory import give_back
from editverdict.models.sources import LoadedModel


class ValueSettings(Hyperparameters):
    """How a value is optimised."""

    steps: int = Field(default=25, ge=1)
    """Forward passes at most; the last is not followed by an update, so ``steps`` - 1 updates."""
    learning_rate: float = Field(default=0.5, gt=0)
    kl_factor: float = Field(default=0.0625, ge=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    decay_power: int = Field(default=1, ge=1, le=2)
    """Penalty ``weight_decay * |delta|^power / |v0|^2``: 1 as the authors' code has it, 2 is a true ridge."""
    clamp_factor: float = Field(default=4.0, gt=0)
    """After each step |delta| is at most this times |v0|."""
    early_stop: float = Field(default=0.05, ge=0)
    """Stop before the update when the loss is below this; 0 switches it off."""

    def nll_weight(self, found: bool) -> float:
        """Weight of the target's NLL; ``found``: at the last forward it was the most probable in every context."""
        return 1.0

    def reached(self, terms: Mapping[str, float], found: bool) -> bool:
        """Whether to stop at a forward with these terms of the loss; ``found``: at this very forward."""
        return terms["loss"] < self.early_stop


@dataclass(frozen=True)
class OptimisedValue:
    """Result of an optimisation."""

    value: Tensor
    """v* = v0 + delta [d]."""
    initial: Tensor
    """v0: what the place puts out at the bare prompt's subject [d]."""
    trace: list[dict[str, float]]
    """Per forward: loss, nll, kl, decay."""
    also: Mapping[str, Tensor] = field(default_factory=dict)
    """Values optimised along with it that no weight is to produce, by name [d]."""


TOGETHER = 6
"""Edits in one pass at most: on a CPU more are hardly faster, and memory grows with them."""


class _Search:
    """One edit's search for its values: deltas by name, optimiser, losses so far."""

    def __init__(
        self, edit: EditRecord, sentences: Sentences, starts: Mapping[str, Tensor], settings: ValueSettings
    ) -> None:
        self.edit, self.sentences, self.starts, self._settings = edit, sentences, starts, settings
        self.deltas = {name: torch.zeros_like(start, requires_grad=True) for name, start in starts.items()}
        self._optimiser = torch.optim.Adam(list(self.deltas.values()), lr=settings.learning_rate)
        self._kl_before: Tensor | None = None
        self._found = False
        self.trace: list[dict[str, float]] = []

    def loss(self, log_probs: Tensor) -> Tensor:
        """Loss from the log-probabilities at the wanted positions; its terms go to the trace."""
        settings, length = self._settings, len(self.sentences.targets)
        contexts = log_probs[:-1].reshape(-1, length, log_probs.shape[-1])
        targets = torch.tensor(self.sentences.targets)
        nll = -contexts[:, torch.arange(length), targets].mean(1).mean()
        weight = settings.nll_weight(self._found)
        self._found = bool((contexts.detach().argmax(-1).cpu() == targets).all())
        now = log_probs[-1]
        kl = now.new_zeros(())
        if self._kl_before is None:
            self._kl_before = now.detach()
        else:
            kl = settings.kl_factor * (now.exp() * (now - self._kl_before)).sum()
        decay = sum(
            (
                settings.weight_decay * delta.norm() ** settings.decay_power / self.starts[name].norm() ** 2
                for name, delta in self.deltas.items()
            ),
            start=now.new_zeros(()),
        )
        loss: Tensor = (nll if weight == 1.0 else weight * nll) + kl + decay
        terms = {"loss": loss, "nll": nll, "kl": kl, "decay": decay}
        self.trace.append({name: float(term.detach()) for name, term in terms.items()})
        if not torch.isfinite(loss):
            raise EditError(
                f"edit '{self.edit.id}': the loss is {self.trace[-1]['loss']} at step {len(self.trace)}; lower the "
                "learning rate"
            )
        return loss

    @property
    def done(self) -> bool:
        """Whether the last forward was the last: the loss is small enough, or the steps are used up."""
        settings = self._settings
        return settings.reached(self.trace[-1], self._found) or len(self.trace) == settings.steps

    def forget_gradients(self) -> None:
        """Clear the gradients of the last backward pass."""
        self._optimiser.zero_grad()

    def step(self) -> None:
        """One update, each delta clamped to its norm limit."""
        self._optimiser.step()
        for name, delta in self.deltas.items():
            limit = self._settings.clamp_factor * float(self.starts[name].norm())
            with torch.no_grad():
                if float(delta.norm()) > limit:
                    delta.mul_(limit / delta.norm())

    def result(self) -> OptimisedValue:
        """The values found."""
        found = {name: (start + self.deltas[name]).detach() for name, start in self.starts.items()}
        return OptimisedValue(found.pop("value"), self.starts["value"], self.trace, found)


def optimise_values(
    loaded: LoadedModel,
    edits: Sequence[EditRecord],
    layer: int,
    templates: Sequence[str],
    settings: ValueSettings,
    place: Place = "mlp",
    states: Sequence[State] | None = None,
) -> list[OptimisedValue]:
    """Optimise the values of independent edits together.

    Each edit has its own deltas, optimiser and stopping; only the forward and backward passes are shared, which is
    about twice as fast on a CPU. More than :data:`TOGETHER` are taken in turns, since what a backward pass keeps grows
    with them. An edit's bits depend on its companions by rounding, so the groups that callers form must not depend on
    what happens to be stored.

    Parameters
    ----------
    loaded, edits, layer
        Model, edits and the layer whose output is optimised.
    templates
        Contexts, each with one ``{}`` for the prompt; the first is the bare prompt ``{}``.
    settings
        Steps, learning rate, penalties.
    place
        Which of the layer's outputs.
    states
        The state that each edit is made in, installed here; None: the model as it stands. Different states may change
        weights below the loop alone, which then runs once for all of them.

    Raises
    ------
    EditError
        A subject is not in its prompt, or a loss is not finite.
    ValueError
        States differ, and one of them changes a weight that the loop runs.
    """
    found: list[OptimisedValue] = []
    for start in range(0, len(edits), TOGETHER):
        chosen = slice(start, start + TOGETHER)
        own = [()] * len(edits[chosen]) if states is None else states[chosen]
        found += _optimise(loaded, edits[chosen], layer, templates, settings, place, own)
        give_back()  # what backward passes kept would otherwise count beside the covariances of the update
    return found


def _optimise(
    loaded: LoadedModel,
    edits: Sequence[EditRecord],
    layer: int,
    templates: Sequence[str],
    settings: ValueSettings,
    place: Place,
    states: Sequence[State],
) -> list[OptimisedValue]:
    many = [sentences_of(loaded, edit, templates) for edit in edits]
    site, rows = site_at(loaded, layer, place), padded(loaded, many)
    if all(state is states[0] for state in states):
        with installed(loaded.model, states[0]):
            return _search_all(loaded, edits, many, rows, site, site.read(rows), settings)
    _refuse_changes_above(loaded, states, site)
    return _search_all(loaded, edits, many, rows, site, _read_each(loaded, many, rows, site, states), settings)


def _refuse_changes_above(loaded: LoadedModel, states: Sequence[State], site: Site) -> None:
    """The loop runs once for all states, so that it must not run a weight that one of them changes."""
    for name in sorted({name for state in states for name in touched(state)}):
        layer = loaded.sites.layer_of(name)
        if layer is None or layer >= site.first:
            raise ValueError(
                f"a state changes '{name}', and the values of edits in different states are optimised together only "
                f"where all changes lie below layer {site.first}"
            )


def _read_each(
    loaded: LoadedModel, many: Sequence[Sentences], rows: Rows, site: Site, states: Sequence[State]
) -> tuple[Tensor, list[Tensor]]:
    """:meth:`Site.read` of all rows, those of each edit in its own state."""
    sizes = [len(sentences.rows) for sentences in many]
    found = []
    for number, state in enumerate(states):
        start = sum(sizes[:number])
        with installed(loaded.model, state):
            found.append(site.read(rows.part(start, start + sizes[number])))
    outputs = [torch.cat([own[at] for _, own in found]) for at in range(len(site.names))]
    return torch.cat([below for below, _ in found]), outputs


def _search_all(
    loaded: LoadedModel,
    edits: Sequence[EditRecord],
    many: Sequence[Sentences],
    rows: Rows,
    site: Site,
    read: tuple[Tensor, list[Tensor]],
    settings: ValueSettings,
) -> list[OptimisedValue]:
    """The loop, from what the sites' layers put out."""
    below, outputs = read
    bare = [sum(len(sentences.rows) for sentences in many[:number]) for number in range(len(many))]
    searches = [
        _Search(edit, sentences, dict(zip(site.names, (out[at].clone() for out in outputs), strict=True)), settings)
        for edit, sentences, at in zip(edits, many, bare, strict=True)
    ]
    suffixes = Suffixes(loaded, many, rows, below, site.first)
    running = list(searches)
    with loaded.sites.only_layers_from(site.first) as backbone:
        while running:
            _forward_and_backward(loaded, suffixes, site, backbone, running)
            left = [search for search in running if not search.done]
            if len(left) < len(running) and left:
                suffixes.keep([not search.done for search in running])
            for search in left:
                search.step()
            running = left
    return [search.result() for search in searches]


def _forward_and_backward(
    loaded: LoadedModel, suffixes: Suffixes, site: Site, backbone: Any, running: Sequence[_Search]
) -> None:
    """One shared pass; leaves each search's gradients in its deltas and its loss in its trace."""
    deltas = [torch.stack([search.deltas[name] for search in running]) for name in site.names]
    hidden = suffixes.run(backbone, site.placed, deltas)
    wanted = [own[columns] for own, columns in zip(hidden, suffixes.wanted, strict=True)]
    log_probs = functional.log_softmax(loaded.sites.logits(torch.cat(wanted)).float(), dim=-1)
    split = torch.split(log_probs, [len(part) for part in wanted])
    losses = [search.loss(part) for search, part in zip(running, split, strict=True)]
    for search in running:
        search.forget_gradients()
    if not all(search.done for search in running):
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def optimise_value(
    loaded: LoadedModel,
    edit: EditRecord,
    layer: int,
    templates: Sequence[str],
    settings: ValueSettings,
    place: Place = "mlp",
) -> OptimisedValue:
    """Optimise the value of one edit in the model as it stands; see :func:`optimise_values`."""
    return optimise_values(loaded, [edit], layer, templates, settings, place)[0]
