"""Optimised values: what a layer should put out at the subject so that the model says the new object.

Source: Meng et al. 2022 (ROME), section 3.1 step 2, eq. 4; MEMIT optimises the layer's output instead of its
feed-forward part's, PMET the outputs of attention and feed-forward part together: three places (:data:`Place`) for one
optimisation. Only what the value can change is run in the loop: layers from the place on, the tokens from the subject's
last one to the last that the loss reads (keys and values of those before are computed once), and logits only at the
positions that the loss reads. The sentences of an edit stand in one row behind each other, with a mask that keeps them
apart: small batches cost by the token on a CPU, and padding would be paid for at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
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

    def _ends(self) -> list[int]:
        """Per row, where it may end: contexts are read to their end, the KL row at its lookup."""
        return [*map(len, self.rows[:-1]), self.lookup[-1] + 1]

    def places(self, offset: int) -> list[tuple[int, int]]:
        """(row, position) of the tokens to run, sentence after sentence; rows are counted from ``offset`` on."""
        spans = zip(self.lookup, self._ends(), strict=True)
        return [(offset + row, at) for row, (start, end) in enumerate(spans) for at in range(start, end)]

    def places_before(self, offset: int) -> list[tuple[int, int]]:
        """(row, position) of the tokens that stand before."""
        return [(offset + row, at) for row, start in enumerate(self.lookup) for at in range(start)]

    def wanted(self) -> list[int]:
        """Columns among :meth:`places` that the loss reads: per context each target position, then the KL row's."""
        found, start = list[int](), 0
        for lookup, end, first in zip(self.lookup, self._ends(), self.first, strict=False):
            found += range(start + first - lookup, start + first - lookup + len(self.targets))
            start += end - lookup
        return [*found, start]


def _sentences(loaded: LoadedModel, edit: EditRecord, templates: Sequence[str]) -> _Sentences:
    tokenizer = loaded.tokenizer
    targets = target_ids(tokenizer, edit.target_new)
    found = _Sentences([], [], [], targets)
    for template in templates:
        text = template.format(edit.prompt)
        ids = list(tokenizer(text)["input_ids"])
        found.first.append(len(ids) - 1)
        found.lookup.append(subject_end(tokenizer, text, edit.subject, prompt=edit.prompt))
        found.rows.append([*ids, *targets[:-1]])
    kl_text = f"{edit.subject} is a"
    found.rows.append(list(tokenizer(kl_text)["input_ids"]))
    found.lookup.append(subject_end(tokenizer, kl_text, edit.subject))
    return found


TOGETHER = 6
"""Edits in one pass at most: on a CPU more are hardly faster, and memory grows with them."""
MASKED_KERNELS = ("sdpa", "eager")
"""Attention kernels that take any mask."""


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


Place = Literal["mlp", "layer", "attention+mlp"]
"""What deltas are added to: a layer's feed-forward output (ROME), its whole output (MEMIT), or the outputs of attention
and feed-forward part, each with a delta of its own (PMET)."""


@contextmanager
def module_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record what a module puts out inside the block: a list whose only entry is its last output."""
    seen: list[Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        seen[:] = [output[0] if isinstance(output, tuple) else output]

    handle = module.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _added(module: nn.Module, delta: Tensor) -> Iterator[None]:
    """Add ``delta`` [edits, t, d] to a module's output."""

    def add(_module: Any, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        return (hidden + delta, *output[1:]) if isinstance(output, tuple) else hidden + delta

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


class _Site(Protocol):
    """Where deltas enter the forward pass; made outside of any context that takes layers out of the model."""

    names: ClassVar[tuple[str, ...]]
    """Names of the deltas; the first one is what a weight is to produce."""
    first: int
    """Lowest layer that the loop runs."""

    def read(self, rows: _Rows) -> tuple[Tensor, list[Tensor]]:
        """Input of layer ``first`` [rows, t, d], and per delta what it is added to, at the lookup [rows, d]."""
        ...

    def placed(self, hidden: Tensor, deltas: Sequence[Tensor]) -> AbstractContextManager[Tensor]:
        """Put deltas [edits, t, d] (zero but at the lookups) in force: yields the hidden states to run on."""
        ...


class _OutputSite:
    """One delta on what a layer passes on.

    A layer's output is the residual stream plus its feed-forward output, so that adding to the one is adding to the
    other: the two places differ in where the delta starts from.
    """

    names: ClassVar[tuple[str, ...]] = ("value",)

    def __init__(self, loaded: LoadedModel, layer: int, place: Place) -> None:
        self._loaded, self._layer, self._place = loaded, layer, place
        self.first = layer + 1

    @torch.no_grad()
    def read(self, rows: _Rows) -> tuple[Tensor, list[Tensor]]:
        layer, everywhere = self._layer, torch.arange(len(rows.lookup))
        with (
            module_output(self._loaded.sites.layer(layer)) as passed_on,
            record(self._loaded, outputs=[layer]) as recorded,
            self._loaded.sites.only_layers_before(layer + 1) as backbone,
        ):
            backbone(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
        source = recorded["h", layer] if self._place == "mlp" else passed_on[0]
        return passed_on[0], [source[everywhere, rows.lookup]]

    @contextmanager
    def placed(self, hidden: Tensor, deltas: Sequence[Tensor]) -> Iterator[Tensor]:
        yield hidden + deltas[0]


class _PartsSite:
    """A delta on the feed-forward output and one on the attention output of the same layer, which is run in the loop:

    its feed-forward part reads what the attention's delta has changed.
    """

    names: ClassVar[tuple[str, ...]] = ("value", "attention")

    def __init__(self, loaded: LoadedModel, layer: int) -> None:
        self._loaded, self.first = loaded, layer
        self._parts = (loaded.sites.mlp(layer), loaded.sites.attention(layer))

    @torch.no_grad()
    def read(self, rows: _Rows) -> tuple[Tensor, list[Tensor]]:
        everywhere = torch.arange(len(rows.lookup))
        with ExitStack() as stack:
            outputs = [stack.enter_context(module_output(part)) for part in self._parts]
            recorded = stack.enter_context(record(self._loaded, layer_inputs=[self.first]))
            backbone = stack.enter_context(self._loaded.sites.only_layers_before(self.first + 1))
            backbone(input_ids=rows.ids, attention_mask=rows.mask, use_cache=False)
        return recorded["in", self.first], [output[0][everywhere, rows.lookup] for output in outputs]

    @contextmanager
    def placed(self, hidden: Tensor, deltas: Sequence[Tensor]) -> Iterator[Tensor]:
        with ExitStack() as stack:
            for part, delta in zip(self._parts, deltas, strict=True):
                stack.enter_context(_added(part, delta))
            yield hidden


def _site(loaded: LoadedModel, layer: int, place: Place) -> _Site:
    return _PartsSite(loaded, layer) if place == "attention+mlp" else _OutputSite(loaded, layer, place)


class _Suffixes:
    """Layers from ``first`` up, from the subject's last token on: what stands before it cannot depend on the value.

    Keys and values of the tokens before are computed once; every iteration then runs, in one row per edit, the tokens
    of all its sentences from the lookup position to the last one that the loss reads.
    """

    def __init__(self, loaded: LoadedModel, many: Sequence[_Sentences], rows: _Rows, below: Tensor, first: int) -> None:
        self._loaded, self._first = loaded, first
        kernel = getattr(loaded.model.config, "_attn_implementation", None)
        if kernel not in MASKED_KERNELS:
            raise EditError(
                f"the attention kernel '{kernel}' of model '{loaded.spec.id}' takes no mask of its own, which "
                f"keeps the sentences of an edit apart; load the model with one of {', '.join(MASKED_KERNELS)}"
            )
        loaded.sites.need_window(first, int(rows.lengths.max()))  # a mask of one's own has no window
        offsets = [sum(len(one.rows) for one in many[:number]) for number in range(len(many))]
        own = [one.places(offset) for one, offset in zip(many, offsets, strict=True)]
        past = [one.places_before(offset) for one, offset in zip(many, offsets, strict=True)]
        row, positions = _table(own, below.device)
        self.hidden = below[row, positions.clamp(min=0)]
        self._positions = positions.clamp(min=0)
        self._lookups = (positions == rows.lookup.to(below.device)[row])[..., None].to(below.dtype)
        past_row, past_positions = _table(past, below.device)
        self._mask = _as_added(
            torch.cat([_same(row, positions, past_row, past_positions), _among(row, positions)], -1), below
        )
        self.wanted = [one.wanted() for one in many]
        """Per edit the columns whose logits the loss reads: each target position per context, then the KL row's."""
        self._past: list[tuple[Tensor, Tensor]] = []
        if past_row.shape[1]:
            hidden = below[past_row, past_positions.clamp(min=0)]
            mask = _as_added(_among(past_row, past_positions), below)
            self._past = self._keys_and_values(hidden, mask, past_positions.clamp(min=0))

    @torch.no_grad()
    def _keys_and_values(self, hidden: Tensor, mask: Tensor, positions: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of the tokens before the lookups [edits, heads, tokens, d_head], per layer from ``first`` up."""
        cache = DynamicCache()  # not by the model's config: layers with a window would crop a row of many sentences
        with self._loaded.sites.only_layers_from(self._first) as backbone:
            backbone(
                inputs_embeds=hidden, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
        upper: list[Any] = cache.layers[self._first :]
        return [(own.keys, own.values) for own in upper]

    def _cache(self) -> DynamicCache | None:
        if not self._past:
            return None
        cache = DynamicCache()
        # The cache reads its length off its first layer, which is not run here: it gets placeholders of that length.
        keys, values = self._past[0]
        for number in range(self._first):
            cache.update(keys, values, number)
        for number, (keys, values) in enumerate(self._past, start=self._first):
            cache.update(keys, values, number)
        return cache

    def keep(self, edits: Sequence[bool]) -> None:
        """Go on with these edits alone."""
        at = torch.tensor([number for number, kept in enumerate(edits) if kept], device=self.hidden.device)
        self.hidden, self._positions, self._mask = self.hidden[at], self._positions[at], self._mask[at]
        self._lookups, self.wanted = self._lookups[at], [self.wanted[number] for number in at.tolist()]
        self._past = [(keys[at], values[at]) for keys, values in self._past]

    def run(self, backbone: Any, site: _Site, deltas: Sequence[Tensor]) -> Tensor:
        """Final hidden states [edits, t, d] with deltas [edits, d] added at the lookup position of every sentence."""
        cache = self._cache()
        with site.placed(self.hidden, [delta[:, None] * self._lookups for delta in deltas]) as placed:
            result: Tensor = backbone(
                inputs_embeds=placed,
                attention_mask=self._mask,
                position_ids=self._positions,
                past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state
        return result


def _table(places: Sequence[Sequence[tuple[int, int]]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(row, position) pairs of each edit as two tensors [edits, most pairs]; -1 stands for padding in positions."""
    width = max(map(len, places))
    filled = [[*own, *[(own[0][0] if own else 0, -1)] * (width - len(own))] for own in places]
    both = torch.tensor(filled, device=device, dtype=torch.long).reshape(len(places), width, 2)
    return both[..., 0], both[..., 1]


def _same(row: Tensor, positions: Tensor, other_row: Tensor, other_positions: Tensor) -> Tensor:
    """Which tokens are of the same sentence as which others [edits, t, others]; padding is of none."""
    found: Tensor = (
        torch.where(positions < 0, -1, row)[..., None] == torch.where(other_positions < 0, -2, other_row)[:, None]
    )
    return found


def _among(row: Tensor, positions: Tensor) -> Tensor:
    """Which tokens may attend to which of their own row [edits, t, t]: those of the same sentence up to their place.

    Padding attends to padding, so that no row of the softmax is empty.
    """
    own = torch.where(positions < 0, -1, row)
    return (own[..., None] == own[:, None]) & (positions[:, None] <= positions[..., None])


def _as_added(allowed: Tensor, like: Tensor) -> Tensor:
    """A mask [edits, t, keys] as what is added to attention scores [edits, 1, t, keys]."""
    nothing = like.new_zeros(allowed.shape)
    return nothing.masked_fill(~allowed.to(like.device), torch.finfo(like.dtype).min)[:, None]


class _Search:
    """One edit's search for its values: deltas by name, optimiser, losses so far."""

    def __init__(
        self, edit: EditRecord, sentences: _Sentences, starts: Mapping[str, Tensor], settings: ValueSettings
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
) -> list[OptimisedValue]:
    """Optimise the values of independent edits together, all in the model as it stands.

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

    Raises
    ------
    EditError
        A subject is not in its prompt, or a loss is not finite.
    """
    found: list[OptimisedValue] = []
    for start in range(0, len(edits), TOGETHER):
        found += _optimise(loaded, edits[start : start + TOGETHER], layer, templates, settings, place)
    return found


def _optimise(
    loaded: LoadedModel,
    edits: Sequence[EditRecord],
    layer: int,
    templates: Sequence[str],
    settings: ValueSettings,
    place: Place,
) -> list[OptimisedValue]:
    many = [_sentences(loaded, edit, templates) for edit in edits]
    rows = _padded(loaded, many)
    site = _site(loaded, layer, place)
    below, outputs = site.read(rows)
    bare = [sum(len(sentences.rows) for sentences in many[:number]) for number in range(len(many))]
    searches = [
        _Search(edit, sentences, dict(zip(site.names, (out[at].clone() for out in outputs), strict=True)), settings)
        for edit, sentences, at in zip(edits, many, bare, strict=True)
    ]
    suffixes = _Suffixes(loaded, many, rows, below, site.first)
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
    loaded: LoadedModel, suffixes: _Suffixes, site: _Site, backbone: Any, running: Sequence[_Search]
) -> None:
    """One shared pass; leaves each search's gradients in its deltas and its loss in its trace."""
    deltas = [torch.stack([search.deltas[name] for search in running]) for name in site.names]
    hidden = suffixes.run(backbone, site, deltas)
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
