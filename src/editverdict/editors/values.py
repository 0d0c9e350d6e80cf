"""Optimised values: the output that a feed-forward layer should give at the subject so that the model says the new object.

Source: Meng et al. 2022 (ROME), section 3.1 step 2, eq. 4. Only the layers above the edited one are run in the loop (the
hidden state below does not depend on the value), and logits are taken only at the positions that the loss reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from editverdict.capture.passes import record
from editverdict.data.records import EditRecord
from editverdict.editors.base import EditError, Hyperparameters
from editverdict.editors.tokens import subject_end, target_ids
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


@dataclass(frozen=True)
class OptimisedValue:
    """Result of an optimisation."""

    value: Tensor
    """v* = v0 + delta [d]."""
    initial: Tensor
    """v0: the layer's output at the bare prompt's subject [d]."""
    trace: list[dict[str, float]]
    """Per forward: loss, nll, kl, decay."""


@dataclass(frozen=True)
class _Rows:
    """The sentences of the loss, padded on the right: one per context template, and the KL row last."""

    ids: Tensor
    mask: Tensor
    lookup: Tensor
    """[rows] position of the subject's last token, where delta is added."""
    first: Tensor
    """[rows - 1] position whose next token is the target's first."""
    targets: Tensor
    """[m] target token ids."""


def _sentences(loaded: LoadedModel, record_: EditRecord, templates: Sequence[str]) -> _Rows:
    tokenizer = loaded.tokenizer
    targets = target_ids(tokenizer, record_.target_new)
    rows: list[list[int]] = []
    lookup: list[int] = []
    first: list[int] = []
    for template in templates:
        text = template.format(record_.prompt)
        ids = tokenizer(text)["input_ids"]
        first.append(len(ids) - 1)
        lookup.append(subject_end(tokenizer, text, record_.subject))
        rows.append([*ids, *targets[:-1]])
    kl_text = f"{record_.subject} is a"
    rows.append(list(tokenizer(kl_text)["input_ids"]))
    lookup.append(subject_end(tokenizer, kl_text, record_.subject))
    width = max(map(len, rows))
    ids_ = torch.full((len(rows), width), int(tokenizer.pad_token_id), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids_[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    device = loaded.device
    return _Rows(ids_.to(device), mask.to(device), torch.tensor(lookup), torch.tensor(first), torch.tensor(targets))


@torch.no_grad()
def _below(loaded: LoadedModel, rows: _Rows, layer: int) -> tuple[Tensor, Tensor]:
    """Output of decoder layer ``layer`` [rows, t, d] and its feed-forward output at the lookup positions [rows, d]."""
    n = torch.arange(len(rows.lookup))
    seen: dict[str, Tensor] = {}

    def keep_output(_module: Any, _args: Any, output: Any) -> None:
        seen["layer"] = output[0] if isinstance(output, tuple) else output

    handle = loaded.sites.layer(layer).register_forward_hook(keep_output)
    try:
        with record(loaded, outputs=[layer]) as recorded, loaded.sites.only_layers_before(layer + 1) as backbone:
            backbone(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
    finally:
        handle.remove()
    return seen["layer"], recorded["h", layer][n, rows.lookup]


def _losses(loaded: LoadedModel, rows: _Rows, hidden: Tensor, kl_before: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log likelihood per context [rows - 1], KL(now || before), and the KL row's log-probabilities."""
    count, length = len(rows.first), len(rows.targets)
    positions = rows.first[:, None] + torch.arange(length)
    wanted = hidden[torch.arange(count)[:, None], positions]
    kl_state = hidden[-1, rows.lookup[-1]][None]
    logits = loaded.sites.logits(torch.cat([wanted.reshape(count * length, -1), kl_state]))
    log_probs = functional.log_softmax(logits.float(), dim=-1)
    nll = -log_probs[:-1].reshape(count, length, -1)[:, torch.arange(length), rows.targets].mean(1)
    now = log_probs[-1]
    kl = now.new_zeros(()) if kl_before is None else (now.exp() * (now - kl_before)).sum()
    return nll, kl, now.detach()


def optimise_value(
    loaded: LoadedModel, edit: EditRecord, layer: int, templates: Sequence[str], settings: ValueSettings
) -> OptimisedValue:
    """Optimise the value for one edit in the model as it stands (any earlier edits installed).

    Parameters
    ----------
    loaded, edit, layer
        Model, edit and the layer whose feed-forward output is optimised.
    templates
        Contexts, each with one ``{}`` for the prompt; the first is the bare prompt ``{}``.
    settings
        Steps, learning rate, penalties.

    Raises
    ------
    EditError
        The subject is not in the prompt, or the loss is not finite.
    """
    rows = _sentences(loaded, edit, templates)
    below, outputs = _below(loaded, rows, layer)
    start = outputs[0].detach().clone()
    delta = torch.zeros_like(start, requires_grad=True)
    optimiser = torch.optim.Adam([delta], lr=settings.learning_rate)
    everywhere = torch.arange(len(rows.lookup))
    limit = settings.clamp_factor * float(start.norm())
    kl_before: Tensor | None = None
    trace: list[dict[str, float]] = []
    with loaded.sites.only_layers_from(layer + 1) as backbone:
        for step in range(settings.steps):
            placed = below.index_put((everywhere, rows.lookup), delta.expand(len(everywhere), -1), accumulate=True)
            hidden = backbone(inputs_embeds=placed, attention_mask=rows.mask, use_cache=False).last_hidden_state
            nll, kl, now = _losses(loaded, rows, hidden, kl_before)
            kl_before = now if kl_before is None else kl_before
            decay = settings.weight_decay * delta.norm() ** settings.decay_power / start.norm() ** 2
            loss = nll.mean() + settings.kl_factor * kl + decay
            terms = {"loss": loss, "nll": nll.mean(), "kl": settings.kl_factor * kl, "decay": decay}
            trace.append({name: float(term.detach()) for name, term in terms.items()})
            if not torch.isfinite(loss):
                raise EditError(f"edit '{edit.id}': the loss is {trace[-1]['loss']} at step {step}; lower the learning rate")
            if trace[-1]["loss"] < settings.early_stop or step == settings.steps - 1:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                if float(delta.detach().norm()) > limit:
                    delta.mul_(limit / delta.norm())
    return OptimisedValue((start + delta).detach(), start, trace)
