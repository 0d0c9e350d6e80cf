"""Optimised values: what a feed-forward layer should put out at the subject so that the model says the new object.

Source: Meng et al. 2022 (ROME), section 3.1 step 2, eq. 4. Only what the value can change is run in the loop: layers
above the edited one, the tokens from the subject's last one on (keys and values of those before are computed once), and
logits only at the positions that the loss reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

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
    """[rows, t] token ids."""
    lengths: Tensor
    """[rows] tokens of each row."""
    lookup: Tensor
    """[rows] position of the subject's last token, where delta is added."""
    first: Tensor
    """[rows - 1] position whose next token is the target's first."""
    targets: Tensor
    """[m] target token ids."""

    @property
    def mask(self) -> Tensor:
        """[rows, t] 1 for tokens, 0 for padding."""
        return (torch.arange(self.ids.shape[1]) < self.lengths[:, None]).long().to(self.ids.device)


def _sentences(loaded: LoadedModel, edit: EditRecord, templates: Sequence[str]) -> _Rows:
    tokenizer = loaded.tokenizer
    targets = target_ids(tokenizer, edit.target_new)
    rows: list[list[int]] = []
    lookup: list[int] = []
    first: list[int] = []
    for template in templates:
        text = template.format(edit.prompt)
        ids = tokenizer(text)["input_ids"]
        first.append(len(ids) - 1)
        lookup.append(subject_end(tokenizer, text, edit.subject))
        rows.append([*ids, *targets[:-1]])
    kl_text = f"{edit.subject} is a"
    rows.append(list(tokenizer(kl_text)["input_ids"]))
    lookup.append(subject_end(tokenizer, kl_text, edit.subject))
    ids_ = torch.full((len(rows), max(map(len, rows))), int(tokenizer.pad_token_id), dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids_[row, : len(tokens)] = torch.tensor(tokens)
    lengths = torch.tensor([len(tokens) for tokens in rows])
    return _Rows(ids_.to(loaded.device), lengths, torch.tensor(lookup), torch.tensor(first), torch.tensor(targets))


@torch.no_grad()
def _below(loaded: LoadedModel, rows: _Rows, layer: int) -> tuple[Tensor, Tensor]:
    """Output of decoder layer ``layer`` [rows, t, d] and its feed-forward output at the lookup positions [rows, d]."""
    everywhere = torch.arange(len(rows.lookup))
    seen: dict[str, Tensor] = {}

    def keep_output(_module: Any, _args: Any, output: Any) -> None:
        seen["layer"] = output[0] if isinstance(output, tuple) else output

    handle = loaded.sites.layer(layer).register_forward_hook(keep_output)
    try:
        with record(loaded, outputs=[layer]) as recorded, loaded.sites.only_layers_before(layer + 1) as backbone:
            backbone(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
    finally:
        handle.remove()
    return seen["layer"], recorded["h", layer][everywhere, rows.lookup]


class _Suffixes:
    """The upper layers from the subject's last token on: what stands before it cannot depend on the value.

    Keys and values of the tokens before are computed once; every iteration then runs the few tokens from the lookup
    position to the end of each row. Both parts are padded on the right, and masks and position ids bridge the gap.
    """

    def __init__(self, loaded: LoadedModel, rows: _Rows, below: Tensor, layer: int) -> None:
        self._loaded, self._layer = loaded, layer
        device, count = below.device, len(rows.lookup)
        before, after = rows.lookup, rows.lengths - rows.lookup
        self._width, self._span = int(before.max()), int(after.max())
        columns = torch.arange(self._span)
        source = (before[:, None] + columns).clamp(max=below.shape[1] - 1)
        self.hidden = below[torch.arange(count)[:, None], source]
        self._positions = (before[:, None] + columns).to(device)
        own = (columns < after[:, None]).long()
        past = (torch.arange(self._width) < before[:, None]).long()
        self._mask = torch.cat([past, own], dim=1).to(device)
        self._past = self._keys_and_values(below[:, : self._width], past.to(device)) if self._width else []

    @torch.no_grad()
    def _keys_and_values(self, hidden: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        cache = DynamicCache(config=self._loaded.model.config)
        # A row without any token before its subject would have nothing to attend to; its column is masked later.
        safe = mask.clone()
        safe[:, 0] = 1
        positions = torch.arange(hidden.shape[1], device=hidden.device).expand(hidden.shape[:2])
        with self._loaded.sites.only_layers_from(self._layer + 1) as backbone:
            backbone(
                inputs_embeds=hidden, attention_mask=safe, position_ids=positions, past_key_values=cache, use_cache=True
            )
        upper: list[Any] = cache.layers[self._layer + 1 :]
        return [(own.keys, own.values) for own in upper]

    def _cache(self) -> DynamicCache | None:
        if not self._past:
            return None
        cache = DynamicCache(config=self._loaded.model.config)
        # The cache reads its length off its first layer, which is not run here: it gets placeholders of that length.
        keys, values = self._past[0]
        for number in range(self._layer + 1):
            cache.update(keys, values, number)
        for number, (keys, values) in enumerate(self._past, start=self._layer + 1):
            cache.update(keys, values, number)
        return cache

    def run(self, backbone: Any, delta: Tensor) -> Tensor:
        """Final hidden states [rows, span, d]; column 0 is the lookup position, where delta is added."""
        shift = torch.zeros_like(self.hidden[:, :1]) + delta
        placed = torch.cat([self.hidden[:, :1] + shift, self.hidden[:, 1:]], dim=1)
        cache = self._cache()
        result: Tensor = backbone(
            inputs_embeds=placed,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return result


def _losses(
    loaded: LoadedModel, rows: _Rows, hidden: Tensor, kl_before: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Negative log likelihood per context [rows - 1], KL(now || before), and the KL row's log-probabilities."""
    count, length = len(rows.first), len(rows.targets)
    columns = (rows.first - rows.lookup[:-1])[:, None] + torch.arange(length)
    wanted = hidden[torch.arange(count)[:, None], columns]
    logits = loaded.sites.logits(torch.cat([wanted.reshape(count * length, -1), hidden[-1, :1]]))
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
    suffixes = _Suffixes(loaded, rows, below, layer)
    limit = settings.clamp_factor * float(start.norm())
    kl_before: Tensor | None = None
    trace: list[dict[str, float]] = []
    with loaded.sites.only_layers_from(layer + 1) as backbone:
        for step in range(settings.steps):
            hidden = suffixes.run(backbone, delta)
            nll, kl, now = _losses(loaded, rows, hidden, kl_before)
            kl_before = now if kl_before is None else kl_before
            decay = settings.weight_decay * delta.norm() ** settings.decay_power / start.norm() ** 2
            loss = nll.mean() + settings.kl_factor * kl + decay
            terms = {"loss": loss, "nll": nll.mean(), "kl": settings.kl_factor * kl, "decay": decay}
            trace.append({name: float(term.detach()) for name, term in terms.items()})
            if not torch.isfinite(loss):
                raise EditError(
                    f"edit '{edit.id}': the loss is {trace[-1]['loss']} at step {step}; lower the learning rate"
                )
            if trace[-1]["loss"] < settings.early_stop or step == settings.steps - 1:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                if float(delta.detach().norm()) > limit:
                    delta.mul_(limit / delta.norm())
    return OptimisedValue((start + delta).detach(), start, trace)
