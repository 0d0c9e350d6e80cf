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
class _Sentences:
    """The sentences of one edit's loss: one per context template, and the KL row last."""

    rows: list[list[int]]
    """Token ids per row; contexts carry all target tokens but the last."""
    lookup: list[int]
    """Position of the subject's last token per row, where delta is added."""
    first: list[int]
    """Position whose next token is the target's first, per context row."""
    targets: list[int]
    """Target token ids."""


def _sentences(loaded: LoadedModel, edit: EditRecord, templates: Sequence[str]) -> _Sentences:
    tokenizer = loaded.tokenizer
    targets = target_ids(tokenizer, edit.target_new)
    found = _Sentences([], [], [], targets)
    for template in templates:
        text = template.format(edit.prompt)
        ids = list(tokenizer(text)["input_ids"])
        found.first.append(len(ids) - 1)
        found.lookup.append(subject_end(tokenizer, text, edit.subject))
        found.rows.append([*ids, *targets[:-1]])
    kl_text = f"{edit.subject} is a"
    found.rows.append(list(tokenizer(kl_text)["input_ids"]))
    found.lookup.append(subject_end(tokenizer, kl_text, edit.subject))
    return found


@dataclass(frozen=True)
class _Rows:
    """Rows of several edits, padded on the right."""

    ids: Tensor
    """[rows, t] token ids."""
    lengths: Tensor
    """[rows] tokens of each row."""
    lookup: Tensor
    """[rows] where delta is added."""

    @property
    def mask(self) -> Tensor:
        """[rows, t] 1 for tokens, 0 for padding."""
        return (torch.arange(self.ids.shape[1]) < self.lengths[:, None]).long().to(self.ids.device)


def _padded(loaded: LoadedModel, many: Sequence[_Sentences]) -> _Rows:
    rows = [row for sentences in many for row in sentences.rows]
    ids = torch.full((len(rows), max(map(len, rows))), int(loaded.tokenizer.pad_token_id), dtype=torch.long)
    for number, tokens in enumerate(rows):
        ids[number, : len(tokens)] = torch.tensor(tokens)
    lookup = [position for sentences in many for position in sentences.lookup]
    return _Rows(ids.to(loaded.device), torch.tensor([len(row) for row in rows]), torch.tensor(lookup))


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

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone."""
        self.hidden, self._positions, self._mask = self.hidden[rows], self._positions[rows], self._mask[rows]
        self._past = [(keys[rows], values[rows]) for keys, values in self._past]

    def run(self, backbone: Any, delta: Tensor) -> Tensor:
        """Final hidden states [rows, span, d]; column 0 is the lookup position, where ``delta`` [rows, d] is added."""
        placed = torch.cat([self.hidden[:, :1] + delta[:, None], self.hidden[:, 1:]], dim=1)
        cache = self._cache()
        result: Tensor = backbone(
            inputs_embeds=placed,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return result


class _Search:
    """One edit's search for its value: delta, optimiser, losses so far."""

    def __init__(self, edit: EditRecord, sentences: _Sentences, start: Tensor, settings: ValueSettings) -> None:
        self.edit, self.sentences, self.start, self._settings = edit, sentences, start, settings
        self.delta = torch.zeros_like(start, requires_grad=True)
        self._optimiser = torch.optim.Adam([self.delta], lr=settings.learning_rate)
        self._kl_before: Tensor | None = None
        self.trace: list[dict[str, float]] = []

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.sentences.rows)

    def wanted(self, hidden: Tensor) -> Tensor:
        """Hidden states whose logits the loss reads: per context each target position, then the KL row's lookup."""
        length = len(self.sentences.targets)
        first, lookup = torch.tensor(self.sentences.first), torch.tensor(self.sentences.lookup[:-1])
        columns = (first - lookup)[:, None] + torch.arange(length)
        contexts = hidden[torch.arange(len(first))[:, None], columns]
        return torch.cat([contexts.reshape(len(first) * length, -1), hidden[-1, :1]])

    def loss(self, log_probs: Tensor) -> Tensor:
        """Loss from the log-probabilities at the wanted positions; its terms go to the trace."""
        settings, length = self._settings, len(self.sentences.targets)
        contexts = log_probs[:-1].reshape(-1, length, log_probs.shape[-1])
        nll = -contexts[:, torch.arange(length), torch.tensor(self.sentences.targets)].mean(1).mean()
        now = log_probs[-1]
        kl = now.new_zeros(())
        if self._kl_before is None:
            self._kl_before = now.detach()
        else:
            kl = settings.kl_factor * (now.exp() * (now - self._kl_before)).sum()
        decay = settings.weight_decay * self.delta.norm() ** settings.decay_power / self.start.norm() ** 2
        loss: Tensor = nll + kl + decay
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
        return bool(self.trace[-1]["loss"] < settings.early_stop or len(self.trace) == settings.steps)

    def step(self) -> None:
        """One update, clamped to the norm limit."""
        self._optimiser.step()
        limit = self._settings.clamp_factor * float(self.start.norm())
        with torch.no_grad():
            if float(self.delta.norm()) > limit:
                self.delta.mul_(limit / self.delta.norm())

    def result(self) -> OptimisedValue:
        """The value found."""
        return OptimisedValue((self.start + self.delta).detach(), self.start, self.trace)


def optimise_values(
    loaded: LoadedModel, edits: Sequence[EditRecord], layer: int, templates: Sequence[str], settings: ValueSettings
) -> list[OptimisedValue]:
    """Optimise the values of independent edits together, all in the model as it stands.

    Each edit has its own delta, optimiser and stopping; only the forward and backward passes are shared, which is about
    twice as fast on a CPU. An edit's bits depend on its companions by rounding, so the groups that callers form must
    not depend on what happens to be stored.

    Parameters
    ----------
    loaded, edits, layer
        Model, edits and the layer whose feed-forward output is optimised.
    templates
        Contexts, each with one ``{}`` for the prompt; the first is the bare prompt ``{}``.
    settings
        Steps, learning rate, penalties.

    Raises
    ------
    EditError
        A subject is not in its prompt, or a loss is not finite.
    """
    many = [_sentences(loaded, edit, templates) for edit in edits]
    rows = _padded(loaded, many)
    below, outputs = _below(loaded, rows, layer)
    starts = [sum(len(sentences.rows) for sentences in many[:number]) for number in range(len(many))]
    searches = [
        _Search(edit, sentences, outputs[at].detach().clone(), settings)
        for edit, sentences, at in zip(edits, many, starts, strict=True)
    ]
    suffixes = _Suffixes(loaded, rows, below, layer)
    running = list(searches)
    with loaded.sites.only_layers_from(layer + 1) as backbone:
        while running:
            _forward_and_backward(loaded, suffixes, backbone, running)
            left = [search for search in running if not search.done]
            if len(left) < len(running) and left:
                kept = [torch.full((search.count,), not search.done) for search in running]
                suffixes.keep(torch.cat(kept).nonzero().flatten())
            for search in left:
                search.step()
            running = left
    return [search.result() for search in searches]


def _forward_and_backward(loaded: LoadedModel, suffixes: _Suffixes, backbone: Any, running: Sequence[_Search]) -> None:
    """One shared pass; leaves each search's gradient in its delta and its loss in its trace."""
    hidden = suffixes.run(backbone, torch.cat([s.delta.expand(s.count, -1) for s in running]))
    parts = torch.split(hidden, [search.count for search in running])
    wanted = [search.wanted(part) for search, part in zip(running, parts, strict=True)]
    log_probs = functional.log_softmax(loaded.sites.logits(torch.cat(wanted)).float(), dim=-1)
    split = torch.split(log_probs, [len(part) for part in wanted])
    losses = [search.loss(part) for search, part in zip(running, split, strict=True)]
    for search in running:
        search.delta.grad = None
    if not all(search.done for search in running):
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def optimise_value(
    loaded: LoadedModel, edit: EditRecord, layer: int, templates: Sequence[str], settings: ValueSettings
) -> OptimisedValue:
    """Optimise the value of one edit in the model as it stands; see :func:`optimise_values`."""
    return optimise_values(loaded, [edit], layer, templates, settings)[0]
